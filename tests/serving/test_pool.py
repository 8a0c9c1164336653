"""Supervision, with scripted workers: deaths, suspects, deadlines, clients that leave, drains."""

import asyncio
import gc
import math
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import pytest
from starlette.requests import Request

from serving_processes import CONFIG, STARTED, Scripted, scripted
from ssd_resnet34.errors import ServerError, UsageError, WrongHash
from ssd_resnet34.serving import work
from ssd_resnet34.serving.limits import ServerLimits
from ssd_resnet34.serving.line import Budget, Place, Ticket
from ssd_resnet34.serving.metrics import Metrics
from ssd_resnet34.serving.options import Selection
from ssd_resnet34.serving.pool import Pool
from ssd_resnet34.serving.refusals import Refused
from ssd_resnet34.serving.tasks import GIVEN_UP, Cancel, CannotStart, Detect, Done, NotDone, Parse

Scenario = Callable[[Pool, list[Scripted]], Awaitable[Any]]


def task(data: bytes = b"image") -> Detect:
    return Detect(data, "", Selection(), "json")


def play(scenario: Scenario, workers: int = 1, ready: bool = True, **limits: Any) -> Any:
    """Run a scenario with a pool, its workers started and, unless told otherwise, ready."""

    async def main() -> Any:
        spawn = scripted()
        pool = Pool(CONFIG, workers, ServerLimits(**limits), spawn)
        pool.start()
        await until(lambda: len(spawn.all) == workers)
        if ready:
            for process in spawn.all:
                process.report(STARTED)
        try:
            return await scenario(pool, spawn.all)
        finally:
            await pool.stop()
            assert all(process.ended for process in spawn.all), "no process is left behind"

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def run(pool: Pool, *data: bytes, timeout: float | None = None) -> "asyncio.Task[list[Done]]":
    return asyncio.ensure_future(pool.run([task(one) for one in data], timeout))


async def refusal(work: "asyncio.Task[list[Done]]") -> Refused:
    with pytest.raises(Refused) as error:
        await work
    return error.value


def test_a_task_goes_to_a_worker_and_its_result_comes_back() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"a")
        await until(lambda: bool(processes[0].orders))
        processes[0].finish(processes[0].orders[0], b"result")
        assert [one.result for one in await work] == [b"result"]
        assert pool.line.inside == 0

    play(scenario)


def test_before_the_first_worker_is_ready_requests_are_refused() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        assert not pool.ready
        error = await refusal(run(pool, b"a"))
        assert (error.status, error.code.name) == (503, "not_ready")
        processes[0].report(STARTED)
        assert pool.ready

    play(scenario, ready=False)


def test_a_worker_runs_two_tasks_at_a_time_and_the_rest_wait_in_order() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = [run(pool, bytes([n])) for n in range(4)]
        await until(lambda: pool.line.inside == 4)
        (process,) = processes
        assert [order.task.image for order in process.orders] == [b"\0", b"\1"]  # type: ignore[union-attr]
        process.finish(process.orders[1])
        process.finish(process.orders[0])
        assert [order.task.image for order in process.orders] == [b"\0", b"\1", b"\2", b"\3"]  # type: ignore[union-attr]
        for order in process.orders[2:]:
            process.finish(order)
        await asyncio.gather(*work)

    play(scenario)


def test_tasks_spread_over_the_workers() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"a", b"b")
        await until(lambda: all(process.orders for process in processes))
        for process in processes:
            process.finish(process.orders[0], process.orders[0].task.image)  # type: ignore[union-attr]
        assert [one.result for one in await work] == [b"a", b"b"], "in the request's order"

    play(scenario, workers=2)


def test_a_full_line_refuses_at_once_with_a_time_to_come_back() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        pool.line.service = 1.0
        work = [run(pool, b"a") for _ in range(3)]
        await until(lambda: pool.line.inside == 3)
        error = await refusal(run(pool, b"b"))
        assert (error.status, error.retry_after) == (429, 3)
        for one in work:
            one.cancel()

    play(scenario, deadline=3.0)


def test_a_request_over_its_deadline_leaves_the_line_without_having_run() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        first = [run(pool, b"a"), run(pool, b"b")]
        await until(lambda: len(processes[0].orders) == 2)
        late = await refusal(run(pool, b"late", timeout=0.02))
        assert (late.status, late.code.name) == (504, "deadline_exceeded")
        assert pool.dropped == 1
        assert pool.line.inside == 2
        for order in processes[0].orders:
            processes[0].finish(order)
        await asyncio.gather(*first)
        assert len(processes[0].orders) == 2, "it never ran"

    play(scenario)


def test_a_deadline_that_no_image_can_meet_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        late = await refusal(run(pool, b"a"))
        assert "an image takes 0.01 s here; start the server with a longer --deadline" in str(late)
        late = await refusal(run(pool, b"a", timeout=0.001))
        assert "give it a longer timeout" in str(late)

    play(scenario, workers=2, deadline=0.005)
    assert caplog.text.count("raise --deadline") == 1
    caplog.clear()
    play(scenario=_nothing, deadline=0.02)
    assert "--deadline" not in caplog.text, "an image takes half of it"


async def _nothing(pool: Pool, processes: list[Scripted]) -> None:
    assert pool.ready


def test_a_timeout_cannot_lengthen_the_servers_deadline() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        late = await refusal(run(pool, b"a", timeout=1e9))
        assert late.status == 504
        assert "send fewer at a time, or start the server with a longer --deadline" in str(late)

    play(scenario, deadline=0.02)


def test_what_a_request_has_spent_before_it_runs_counts() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        late = await refusal(asyncio.ensure_future(pool.run([task()], 3.0, spent=3.0)))
        assert late.status == 504
        assert "not done within 3 s" in str(late), "what it had asked for"
        late = await refusal(run(pool, b"b", timeout=0.0))
        assert "not done within 0 s" in str(late), "no time is not the server's own deadline"

    play(scenario)


def test_a_client_that_leaves_takes_its_task_along_and_stops_what_runs() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = [run(pool, bytes([n])) for n in range(3)]
        (process,) = processes
        await until(lambda: pool.line.inside == 3)
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        assert pool.dropped == 1
        numbers = [order.number for order in process.orders]
        cancelled = [one.number for one in process.received if isinstance(one, Cancel)]
        assert cancelled == numbers
        assert pool.line.inside == 2, "their worker is still busy with them"
        for number in numbers:
            process.report(NotDone(number, "deadline_exceeded", "nobody waits"))
        assert pool.line.inside == 0

    play(scenario)


def test_a_death_fails_its_requests_and_the_next_worker_takes_the_rest() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        lost = [run(pool, b"a"), run(pool, b"b")]
        waiting = run(pool, b"c")
        await until(lambda: pool.line.inside == 3)
        processes[0].die()
        for one in lost:
            error = await refusal(one)
            assert (error.status, error.code.name) == (503, "worker_died")
            assert "SIGSEGV" in str(error)
        assert not pool.ready
        await until(lambda: len(processes) == 2)
        processes[1].report(STARTED)
        assert pool.ready_workers == 1
        processes[1].finish(processes[1].orders[0])
        await waiting
        assert pool.restarts.count == 1

    play(scenario)


def test_a_suspect_runs_alone_and_is_banned_at_its_second_death() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = [run(pool, b"bad"), run(pool, b"good")]
        await until(lambda: pool.line.inside == 2)
        processes[0].die()
        await asyncio.gather(*work, return_exceptions=True)
        await until(lambda: len(processes) == 2)
        processes[1].report(STARTED)
        again = [run(pool, b"bad"), run(pool, b"good"), run(pool, b"other")]
        await until(lambda: pool.line.inside == 3)
        assert [order.task.image for order in processes[1].orders] == [b"bad"]  # type: ignore[union-attr]
        processes[1].die()
        assert (await refusal(again[0])).code.name == "worker_died"
        await until(lambda: len(processes) == 3)
        processes[2].report(STARTED)
        assert [order.task.image for order in processes[2].orders] == [b"good"]  # type: ignore[union-attr]
        processes[2].finish(processes[2].orders[0])
        await again[1]
        processes[2].finish(processes[2].orders[1])
        await again[2]
        banned = await refusal(run(pool, b"bad"))
        assert (banned.status, banned.code.name) == (422, "quarantined")
        assert not pool.quarantine.suspects(b"good"), "forgiven"

    play(scenario)


def test_a_suspect_that_was_given_up_is_not_forgiven() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"bad")
        await until(lambda: bool(processes[0].orders))
        processes[0].die()
        await refusal(work)
        await until(lambda: len(processes) == 2)
        processes[1].report(STARTED)
        again = run(pool, b"bad", timeout=0.01)
        await refusal(again)
        number = processes[1].orders[0].number
        processes[1].report(NotDone(number, GIVEN_UP, "nobody waits for it any more"))
        await until(lambda: not pool.line.inside)
        assert pool.quarantine.suspects(b"bad"), "it did not come through"

    play(scenario)


def test_a_refusal_of_the_worker_keeps_its_code() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"a")
        await until(lambda: bool(processes[0].orders))
        processes[0].report(NotDone(processes[0].orders[0].number, "corrupt_image", "cut short"))
        error = await refusal(work)
        assert (error.status, str(error)) == (422, "cut short")

    play(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_refusal_leaves_nothing_for_the_collector(late: bool) -> None:
    """Else the inputs of refused requests would pile up until it comes by."""

    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        place, metrics = Place(), Metrics(pool, Budget(1))
        asked = Request({"type": "http"}, receive=asyncio.Event().wait)  # type: ignore[arg-type]
        timeout = 0.01 if late else None
        asking = asyncio.ensure_future(
            handled(asked, pool, metrics, [task(b"a"), task(b"b")], place, perf_counter(), timeout)
        )
        await until(lambda: len(processes[0].orders) > 1)
        numbers = [order.number for order in processes[0].orders[:2]]
        if not late:
            processes[0].report(NotDone(numbers[0], "corrupt_image", "cut short"))
        assert (await asking) == ("deadline_exceeded" if late else "corrupt_image")
        for number in numbers[not late :]:
            processes[0].report(NotDone(number, GIVEN_UP, "nobody waits for it any more"))
        await until(lambda: not pool.line.inside)
        assert held() == before

    def held() -> int:
        return sum(type(one) in (Ticket, Refused) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = held()
        play(scenario)
    finally:
        gc.enable()


async def handled(*arguments: Any) -> str:
    """The code with which a request's tasks are refused."""
    try:
        await work.run(*arguments)
    except Refused as error:
        return error.code.name
    return ""


def test_workers_that_end_one_after_the_other_end_the_pool() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        for number in range(3):
            await until(lambda number=number: len(processes) == number + 1)  # type: ignore[misc]
            processes[number].die("exit code 1")
        with pytest.raises(ServerError, match="exit code 1"):
            await pool.failed
        assert len(processes) == 3

    play(scenario, ready=False, restarts=2)


@pytest.mark.parametrize("error", [OSError(11, "no process"), RuntimeError("no thread")])
def test_a_worker_that_cannot_be_started_is_tried_again_and_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Scripted) -> None:
        self.ended = True
        raise error

    monkeypatch.setattr(Scripted, "start", start)

    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        async with asyncio.timeout(5):
            with pytest.raises(ServerError, match=r"2 workers .* cannot be started: no"):
                await pool.failed
        assert len(processes) == 2

    play(scenario, ready=False, restarts=1)


def test_an_error_at_the_start_ends_the_pool_with_that_error() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        processes[0].report(CannotStart("WrongHash", ("not the bytes", "at all")))
        processes[0].die("exit code 0")
        with pytest.raises(WrongHash, match="not the bytes\nat all"):
            await pool.failed

    play(scenario, ready=False)


def test_a_worker_that_hangs_is_ended() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        error = await refusal(run(pool, b"a"))
        assert (error.status, error.code.name) == (503, "worker_died")
        assert processes[0].killed

    play(scenario, run_seconds=0.02)


def test_a_drain_lets_nobody_in_and_waits_for_those_inside() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        inside = [run(pool, bytes([n])) for n in range(3)]
        await until(lambda: pool.line.inside == 3)
        drain = asyncio.ensure_future(pool.drain())
        await asyncio.sleep(0)
        assert not pool.ready
        assert (await refusal(run(pool, b"new"))).code.name == "not_ready"
        for n in range(3):
            assert not drain.done()
            processes[0].finish(processes[0].orders[n])
        await asyncio.gather(*inside)
        await drain
        assert pool.abandon() == 0

    play(scenario)


def test_a_drain_gives_up_after_its_time_and_tells_those_inside() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"a")
        await until(lambda: pool.line.inside == 1)
        await pool.drain()
        assert pool.abandon() == 1
        assert (await refusal(work)).status == 503

    play(scenario, drain_seconds=0.02)


def test_one_bad_image_of_a_batch_ends_the_whole_request() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        work = run(pool, b"a", b"b", b"c")
        await until(lambda: len(processes[0].orders) == 2)
        processes[0].report(NotDone(processes[0].orders[0].number, "corrupt_image", "b"))
        assert (await refusal(work)).code.name == "corrupt_image"
        for order in processes[0].orders[1:]:
            processes[0].finish(order)
        assert pool.line.inside == 0

    play(scenario)


def test_only_images_measure_the_service_time() -> None:
    async def scenario(pool: Pool, processes: list[Scripted]) -> None:
        before = pool.line.service
        work = asyncio.ensure_future(pool.run([Parse(b"{}", None, 9)]))
        await until(lambda: bool(processes[0].orders))
        processes[0].finish(processes[0].orders[0], seconds=9.0)
        await work
        assert pool.line.service == before

    play(scenario)


@pytest.mark.parametrize(
    "limits",
    [
        {"deadline": 0},
        {"deadline": math.inf},
        {"idle_seconds": math.nan},
        {"max_batch": 0},
        {"send_seconds": -1.0},
    ],
)
def test_a_limit_out_of_range_is_named(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(limits))):
        ServerLimits(**limits)
