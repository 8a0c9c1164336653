"""0.10's runners and queues for asyncio."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_heads, fake_onnx
from furiosa.runtime import (
    FuriosaRuntimeError,
    FuriosaRuntimeWarning,
    Runner,
    Runtime,
    create_queue,
    create_runner,
    errors,
    sync,
)

PIXELS = np.zeros((1, 3, 1200, 1200), np.uint8)
FLOATS = np.zeros((1, 3, 1200, 1200), np.float32)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(60):  # a hang is a failure
            return await work()

    return asyncio.run(limited())


def test_a_runner_is_awaited_or_entered(engine: FakeEngine) -> None:
    async def work() -> None:
        runner = await create_runner(fake_onnx())
        assert isinstance(runner, Runner)
        assert runner.model.input_num == 1
        for found, wanted in zip(await runner.run([FLOATS]), fake_heads(FLOATS), strict=True):
            assert np.array_equal(found, wanted)
        (named,) = await runner.run_with(["loc_5"], {"image": FLOATS})
        assert named.shape == (1, 16, 3, 3)
        assert await runner.close()
        with pytest.raises(FuriosaRuntimeError):
            await runner.run(FLOATS)
        async with create_runner(fake_onnx(), batch_size=2) as other:
            assert other.model.input(0).shape[0] == 2
        assert engine.closed == 2
        async with await create_runner(fake_onnx()) as third:
            assert len(await third.run(FLOATS)) == 12
        assert engine.closed == 3

    run(work)


def test_runs_of_many_tasks_overlap(engine: FakeEngine) -> None:
    engine.hold = threading.Event()

    async def work() -> None:
        async with create_runner(fake_onnx(), worker_num=3) as runner:
            tasks = [asyncio.create_task(runner.run(FLOATS)) for _ in range(3)]
            for _ in tasks:
                assert await asyncio.to_thread(engine.begun.acquire, timeout=30)
            assert engine.hold is not None
            engine.hold.set()
            assert [len(await one) for one in tasks] == [12] * 3

    run(work)


def test_a_runtime_is_the_scope_of_what_it_makes(engine: FakeEngine) -> None:
    async def work() -> None:
        async with Runtime("warboy(1)*2") as runtime:
            runner = await runtime.create_runner(fake_onnx())
            submitter, receiver = await runtime.create_queue(fake_onnx())
            assert engine.requests[0].streams == 2
        for call in (
            lambda: runner.run(FLOATS),
            lambda: submitter.submit(FLOATS),
            receiver.recv,
            lambda: _awaited(runtime.create_runner(fake_onnx())),
        ):
            with pytest.raises(FuriosaRuntimeError):
                await call()

    async def _awaited(made: Any) -> Any:
        return await made

    run(work)


def test_a_thousand_submissions_of_four_tasks_come_back_once(engine: FakeEngine) -> None:
    async def work() -> list[Any]:
        async with create_queue(
            fake_onnx(), worker_num=2, input_queue_size=3, output_queue_size=2
        ) as (submitter, receiver):

            async def submit(task: int) -> None:
                for number in range(250):
                    await submitter.submit(FLOATS, (task, number))

            async def submit_all() -> None:
                await asyncio.gather(*map(submit, range(4)))
                assert await submitter.close()

            sending = asyncio.create_task(submit_all())
            found = [context async for context, _ in receiver]
            await sending
            return found

    heads = fake_heads(FLOATS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fake_engine.fake_heads", lambda *_: heads)
        found = run(work)
    assert sorted(found) == [(task, number) for task in range(4) for number in range(250)]


def test_a_cancelled_recv_takes_nothing_with_it(engine: FakeEngine) -> None:
    engine.hold = threading.Event()

    async def work() -> None:
        async with create_queue(fake_onnx()) as (submitter, receiver):
            await submitter.submit(PIXELS, "kept")
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await receiver.recv()
            task = asyncio.create_task(receiver.recv())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert engine.hold is not None
            engine.hold.set()
            context, outputs = await receiver.recv()
            assert (context, len(outputs)) == ("kept", 12)
            assert not receiver._receiver._pipeline._watchers

    run(work)


def test_a_full_queue_holds_the_task_and_not_the_loop(engine: FakeEngine) -> None:
    engine.hold = threading.Event()

    async def work() -> None:
        submitter, receiver = await create_queue(fake_onnx(), input_queue_size=1)
        await submitter.submit(PIXELS, 0)
        assert await asyncio.to_thread(engine.begun.acquire, timeout=30)
        await submitter.submit(PIXELS, 1)
        waiting = asyncio.create_task(submitter.submit(PIXELS, 2))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other = asyncio.create_task(submitter.submit(PIXELS, 3))
        await asyncio.sleep(0.02)
        assert engine.hold is not None
        engine.hold.set()
        await other
        assert await submitter.close()
        assert [context async for context, _ in receiver] == [0, 1, 3]  # not the cancelled one
        assert await receiver.close()

    run(work)


def test_closing_while_a_task_waits_ends_the_wait(engine: FakeEngine) -> None:
    async def work() -> None:
        submitter, receiver = await create_queue(fake_onnx())
        waiting = asyncio.create_task(receiver.recv())
        iterating = asyncio.create_task(_all(receiver))
        await asyncio.sleep(0.02)
        assert await receiver.close()
        with pytest.raises(errors.SessionClosed):
            await waiting
        assert await iterating == []
        with pytest.raises(FuriosaRuntimeError):
            await submitter.submit(FLOATS)
        with pytest.raises(ValueError, match="tensors"):
            await submitter.submit([])

    async def _all(receiver: Any) -> list[Any]:
        return [one async for one in receiver]

    run(work)


def test_what_cannot_be_created_says_so_when_awaited(engine: FakeEngine) -> None:
    async def work() -> None:
        for options in ({"device": "gpu"}, {"compiler_config": {"a": 1}}, {"worker_num": 0}):
            with pytest.raises(FuriosaRuntimeError):
                await create_runner(fake_onnx(), **options)
            with pytest.raises(FuriosaRuntimeError):
                async with create_queue(fake_onnx(), **options):
                    pass

    run(work)


def test_a_run_that_does_not_end_is_warned_of(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "CLOSE_SECONDS", 0.05)
    engine.hold = threading.Event()

    async def work() -> None:
        making = create_queue(fake_onnx())
        submitter, _ = await making.__aenter__()
        await submitter.submit(PIXELS)
        assert await asyncio.to_thread(engine.begun.acquire, timeout=30)
        with pytest.warns(FuriosaRuntimeWarning, match="still runs"):
            await making.__aexit__(None, None, None)

    try:
        run(work)
    finally:
        engine.hold.set()
