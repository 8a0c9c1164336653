"""Queues: every result once, with its context; bounded; every wait ends.

Each test runs under a watchdog: a wait that does not end is a failure, not a hang.
"""

import gc
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.conftest import SOURCE
from fake_engine import FakeEngine, FakeRunner
from fake_network import fake_onnx
from furiosa.runtime import errors, session, sync
from furiosa.runtime._queue import Pipeline

SECONDS = 60
"""How long the watchdog waits."""

PIXELS = np.zeros((1, 3, 1200, 1200), np.uint8)
FLOATS = np.zeros((1, 3, 1200, 1200), np.float32)


def within(*calls: Callable[[], Any], seconds: float = SECONDS) -> list[Any]:
    """Results of the calls, each in its own thread; fails where one does not end."""
    results: list[Any] = [None] * len(calls)

    def run(n: int) -> None:
        try:
            results[n] = calls[n]()
        except BaseException as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(calls))]
    for one in threads:
        one.start()
    end = time.monotonic() + seconds
    for one in threads:
        one.join(max(0, end - time.monotonic()))
        assert not one.is_alive(), "a call hangs"
    for result in results:
        if isinstance(result, AssertionError):
            raise result
    return results


class Echo(FakeRunner):
    """Heads that repeat the first value of the input, made without arithmetic."""

    def run(self, tensor: Any) -> Any:
        self.engine.begun.release()
        if self.engine.hold is not None:
            assert self.engine.hold.wait(SECONDS)
        value = tensor[0, 0, 0, 0]
        return [
            np.broadcast_to(value, (len(tensor), *shape))
            for shape in self.request.contract.head_shapes().values()
        ]


@pytest.fixture
def echo(any_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setattr(any_engine, "compile", lambda _, request: Echo(any_engine, request))
    return any_engine


def _inputs(value: float) -> Any:
    return np.broadcast_to(np.float32(value), FLOATS.shape)


def _contexts(thread: int, count: int) -> list[Any]:
    """Random contexts of many kinds; equal ones among them, and None."""
    source = random.Random(thread)
    kinds: list[Callable[[], Any]] = [
        lambda: source.randrange(1000),
        lambda: str(uuid.UUID(int=source.getrandbits(128))),
        lambda: (source.random(), source.random()),
        lambda: None,
        lambda: frozenset({source.randrange(5)}),
        lambda: b"context",
    ]
    return [source.choice(kinds)() for _ in range(count)]


@pytest.fixture(scope="module")
def four() -> list[Any]:
    """An input for each of four threads, of its number."""
    return [np.full_like(FLOATS, number) for number in range(4)]


@pytest.mark.parametrize(
    ("api", "workers", "input_size", "output_size"),
    [
        ("session", 1, 1, 1),
        ("session", 4, None, None),
        ("sync", 1, 16, 16),
        ("sync", 4, 3, 2),
    ],
)
def test_a_thousand_submissions_come_back_once_with_their_contexts(
    api: str,
    workers: int,
    input_size: int | None,
    output_size: int | None,
    echo: FakeEngine,
    four: list[Any],
) -> None:
    sizes = {"input_queue_size": input_size, "output_queue_size": output_size}
    submitter: Any
    receiver: Any
    if api == "session":
        submitter, receiver = session.create_async(fake_onnx(), worker_num=workers, **sizes)
    else:
        submitter, receiver = sync.create_queue(fake_onnx(), worker_num=workers, **sizes)
    contexts = [_contexts(thread, 250) for thread in range(4)]

    def submit(thread: int) -> None:
        inputs: Any = four[thread]
        if api == "session":  # which copies arrays, 17 MB each, but not tensors
            inputs = submitter.allocate_inputs()
            inputs[0] = four[thread]
        for number, context in enumerate(contexts[thread]):
            submitter.submit(inputs, (thread, number, context))

    found: list[Any] = []

    def receive() -> None:
        for context, outputs in receiver:
            head = outputs[0].view() if api == "session" else outputs[0]
            found.append((context, float(head[0, 0, 0, 0])))

    def all_submitted() -> None:
        within(*[lambda thread=thread: submit(thread) for thread in range(4)])
        submitter.close()

    within(all_submitted, receive)
    wanted = [
        (thread, number, context)
        for thread in range(4)
        for number, context in enumerate(contexts[thread])
    ]
    assert Counter(context for context, _ in found) == Counter(wanted)
    assert all(value == context[0] for context, value in found)  # its own result
    if workers == 1:  # the documented order
        for thread in range(4):
            numbers = [context[1] for context, _ in found if context[0] == thread]
            assert numbers == list(range(250))
    receiver.close()
    assert submitter._pipeline.join(SECONDS)
    assert echo.closed == 1


@given(
    workers=st.integers(1, 4),
    sizes=st.tuples(*[st.none() | st.integers(1, 3)] * 2),
    count=st.integers(0, 40),
    receivers=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(max_examples=25)
def test_any_shape_of_queues_gives_each_result_once(
    workers: int, sizes: tuple[int | None, int | None], count: int, receivers: int, seed: int
) -> None:
    source = random.Random(seed)
    finished: list[bool] = []

    def work(request: int) -> int:
        if source.random() < 0.2:
            time.sleep(source.random() / 500)
        if request % 7 == 3:
            raise ValueError("no sevens")
        return -request

    pipeline = Pipeline(work, lambda: finished.append(True), workers, *sizes)
    found: list[Any] = []
    failed: list[Any] = []

    def submit() -> None:
        for number in range(count):
            pipeline.submit(number, f"context {number}")
        pipeline.close_submitting()

    def receive() -> None:
        while True:
            try:
                found.append(pipeline.recv())
            except errors.InternalError as error:
                failed.append(error.context)
            except errors.SessionTerminated:
                return

    within(submit, *[receive] * receivers)
    assert sorted(found) == sorted((f"context {n}", -n) for n in range(count) if n % 7 != 3)
    assert sorted(failed) == sorted(f"context {n}" for n in range(count) if n % 7 == 3)
    if workers == receivers == 1:
        assert [-result for _, result in found] == [n for n in range(count) if n % 7 != 3]
    assert pipeline.join(SECONDS)
    assert finished == [True]


@pytest.fixture
def held(echo: FakeEngine) -> Iterator[FakeEngine]:
    """An engine whose runs wait until ``hold`` is set; it is, at the latest, at the end."""
    echo.hold = threading.Event()
    yield echo
    echo.hold.set()


def test_timeouts_are_milliseconds_in_sessions_and_seconds_in_runners(held: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx())
    sender, receiver = sync.create_queue(fake_onnx())
    submitter.submit(PIXELS, 1)
    sender.submit(PIXELS, 1)
    for recv, timeout, least, error in (
        (queue.recv, 0, 0.0, errors.QueueWaitTimeout),
        (queue.recv, 80, 0.08, errors.QueueWaitTimeout),
        (receiver.recv, 0, 0.0, TimeoutError),
        (receiver.recv, 0.08, 0.08, TimeoutError),
    ):
        began = time.monotonic()
        with pytest.raises(error):
            recv(timeout=timeout)
        assert least <= time.monotonic() - began < 10
    with pytest.raises(RuntimeError, match="-1 ms"):
        queue.recv(timeout=-1)
    with pytest.raises(ValueError, match="-1 s"):
        receiver.recv(timeout=-1)
    assert held.hold is not None
    held.hold.set()
    assert within(lambda: queue.recv(10**30)[0], lambda: receiver.recv(float("inf"))[0]) == [1, 1]
    for one in (submitter, queue, sender, receiver):
        one.close()


def test_after_the_submitter_everything_is_received_then_terminated(echo: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx())
    for number in range(3):
        submitter.submit(FLOATS, number)
    submitter.close()
    with pytest.raises(errors.SessionClosed):
        submitter.submit(FLOATS, 3)
    assert [context for context, _ in queue] == [0, 1, 2]
    for timeout in (None, 0, 100):
        with pytest.raises(errors.SessionTerminated):
            queue.recv(timeout=timeout)
    assert list(queue) == []
    queue.close()
    with pytest.raises(errors.SessionClosed):
        queue.recv()
    assert list(queue) == []


def test_a_full_queue_makes_submit_wait_and_closing_ends_the_wait(held: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx(), input_queue_size=2, output_queue_size=1)
    submitter.submit(PIXELS, 0)
    assert held.begun.acquire(timeout=SECONDS)  # one runs …
    submitter.submit(PIXELS, 1)
    submitter.submit(PIXELS, 2)  # … and two wait
    blocked = threading.Event()

    def one_more() -> None:
        blocked.set()
        submitter.submit(PIXELS, 3)

    thread = threading.Thread(target=lambda: found.extend(within(one_more)))
    found: list[Any] = []
    thread.start()
    assert blocked.wait(SECONDS)
    thread.join(0.1)
    assert thread.is_alive()
    queue.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert isinstance(found[0], errors.SessionClosed)


def test_a_full_output_queue_loses_nothing(echo: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx(), worker_num=2, output_queue_size=1)
    for number in range(10):
        submitter.submit(_inputs(number), number)
    submitter.close()
    time.sleep(0.1)  # workers wait with their results
    found = within(lambda: [(c, float(o[0].view()[0, 0, 0, 0])) for c, o in queue])[0]
    assert sorted(found) == [(n, float(n)) for n in range(10)]


@pytest.mark.parametrize("api", ["session", "sync"])
def test_closing_while_busy_ends_every_wait(api: str, held: FakeEngine) -> None:
    made: Any = (
        session.create_async(fake_onnx(), input_queue_size=1)
        if api == "session"
        else sync.create_queue(fake_onnx(), input_queue_size=1)
    )
    submitter, receiver = made
    submitter.submit(PIXELS, 0)
    assert held.begun.acquire(timeout=SECONDS)
    submitter.submit(PIXELS, 1)
    waiting = threading.Barrier(4)

    def call(function: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            waiting.wait(SECONDS)
            return function()

        return run

    def close() -> None:
        waiting.wait(SECONDS)
        time.sleep(0.05)
        receiver._pipeline.close_receiving()

    results = within(
        call(receiver.recv),
        call(lambda: submitter.submit(PIXELS)),
        call(lambda: list(receiver)),
        close,
    )
    assert isinstance(results[0], errors.SessionClosed)
    assert isinstance(results[1], errors.SessionClosed)
    assert results[2] == []
    assert not receiver._pipeline.join(0.05)  # the run that had begun still goes on
    assert held.hold is not None
    held.hold.set()
    assert receiver._pipeline.join(SECONDS)
    assert held.closed == 1
    for one in (submitter, receiver):
        one.close()


def test_closing_a_receiver_of_a_runner_waits_for_the_run(held: FakeEngine) -> None:
    submitter, receiver = sync.create_queue(fake_onnx())
    submitter.submit(PIXELS)
    assert held.begun.acquire(timeout=SECONDS)
    assert held.hold is not None
    threading.Timer(0.1, held.hold.set).start()
    began = time.monotonic()
    assert within(receiver.close) == [True]
    assert time.monotonic() - began >= 0.05
    assert held.closed == 1


def test_a_run_that_does_not_end_is_warned_of(
    held: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "CLOSE_SECONDS", 0.05)
    queue = sync.create_queue(fake_onnx())
    queue[0].submit(PIXELS)
    assert held.begun.acquire(timeout=SECONDS)
    with pytest.warns(sync.FuriosaRuntimeWarning, match="still runs"):
        queue.__exit__(None, None, None)


@pytest.mark.parametrize(
    "garbage",
    [None, "image", PIXELS[0], FLOATS.astype(np.float64), [], [PIXELS, PIXELS], object()],
    ids=str,
)
def test_garbage_is_refused_at_submission_and_harms_nothing(garbage: Any, echo: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx())
    with pytest.raises((errors.InvalidInput, errors.UnsupportedTensorType)):
        submitter.submit(garbage, "garbage")
    sender, receiver = sync.create_queue(fake_onnx())
    with pytest.raises((TypeError, ValueError)):
        sender.submit(garbage, "garbage")
    submitter.submit(FLOATS, "good")
    sender.submit(FLOATS, "good")
    assert within(lambda: queue.recv()[0], lambda: receiver.recv()[0]) == ["good", "good"]
    for one in (submitter, queue, sender, receiver):
        one.close()


def test_a_failing_engine_tells_which_request_failed(
    echo: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter, queue = session.create_async(fake_onnx())
    real = Echo.run

    def run(self: Any, tensor: Any) -> Any:
        if tensor[0, 0, 0, 0] == 13:
            raise MemoryError
        return real(self, tensor)

    monkeypatch.setattr(Echo, "run", run)
    for number in (12, 13, 14):
        submitter.submit(_inputs(number), number)
    submitter.close()
    assert next(queue)[0] == 12
    with pytest.raises(errors.InternalError, match="MemoryError") as raised:
        next(queue)
    assert raised.value.context == 13
    assert [context for context, _ in queue] == [14]


def test_a_session_copies_what_a_runner_only_borrows(held: FakeEngine) -> None:
    mine = np.zeros_like(FLOATS)
    submitter, queue = session.create_async(fake_onnx())
    submitter.submit(mine, "array")
    tensors = submitter.allocate_inputs()
    submitter.submit(tensors, "tensors")
    mine[...] = 5
    tensors[0] = mine
    assert held.hold is not None
    held.hold.set()
    found = within(lambda: [queue.recv()[1][0].view()[0, 0, 0, 0] for _ in range(2)])[0]
    assert found == [0, 5]
    queue.close()


def test_contexts_have_the_type_that_was_promised(echo: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx(), context_ty=int)
    submitter.submit(FLOATS, 5)
    with pytest.raises(errors.InvalidInput, match="is no int"):
        submitter.submit(FLOATS, "five")
    assert within(lambda: queue.recv()[0]) == [5]
    queue.close()


def test_both_sides_describe_the_model_while_they_are_open(echo: FakeEngine) -> None:
    submitter, queue = session.create_async(fake_onnx(), batch_size=2)
    sender, receiver = sync.create_queue(fake_onnx(), batch_size=2)
    assert submitter.input(0).shape == queue.input(0).shape == (2, 3, 1200, 1200)
    assert submitter.summary() == queue.summary() == sender.model.summary()
    assert [one.shape for one in sender.allocate()] == [(2, 3, 1200, 1200)]
    assert receiver.model.output_num == 12
    submitter.close()
    for call in (submitter.inputs, submitter.summary, lambda: submitter.output_num):
        with pytest.raises(errors.SessionClosed):
            call()
    assert queue.output_num == 12
    queue.close()
    with pytest.raises(errors.SessionClosed):
        queue.outputs()
    assert within(sender.close, receiver.close) == [True, True]


def test_queues_that_are_dropped_end_their_threads(echo: FakeEngine) -> None:
    pair: Any = session.create_async(fake_onnx(), worker_num=3)
    pipeline = pair[0]._pipeline
    pair[0].submit(FLOATS)
    del pair
    gc.collect()
    assert pipeline.join(SECONDS)
    assert echo.closed == 1


def test_a_queue_that_nobody_closes_does_not_keep_the_process() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "import time, threading\n"
        "from furiosa.runtime._queue import Pipeline\n"
        "begun = threading.Event()\n"
        "def work(x): begun.set(); time.sleep(0.3); print('done', flush=True)\n"
        "pipeline = Pipeline(work, lambda: print('finished', flush=True), 2, None, 1)\n"
        "for n in range(9): pipeline.submit(n, n)\n"
        "begun.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "finished"
    assert done.stdout.count("done") <= 2


def test_a_hundred_pairs_opened_and_closed_leave_no_thread(echo: FakeEngine) -> None:
    before = threading.active_count()
    for _ in range(25):
        submitter, queue = session.create_async(fake_onnx(), worker_num=2)
        with suppress(errors.SessionClosed):
            submitter.submit(FLOATS)
        queue.close()
        assert submitter._pipeline.join(SECONDS)
    end = time.monotonic() + SECONDS
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before
    assert echo.closed == 25
