"""Workers that crash, hang, swell or fail: one input is lost at most, and it is told."""

import multiprocessing
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

import poison_engine
from small_batch import HASTY, write
from ssd_resnet34.batch.pool import Care, Pool, _Worker
from ssd_resnet34.batch.rows import Row
from ssd_resnet34.batch.sorting import Input
from ssd_resnet34.batch.sources import measure
from ssd_resnet34.batch.worker import Job, Ready, Task, serve
from ssd_resnet34.errors import UnknownWeights, UsageError, WorkerFailed

pytestmark = pytest.mark.usefixtures("installed")


def tasks(folder: Path, shades: Iterable[int]) -> list[Task]:
    """A picture of each shade, as tasks with ids from 1."""
    paths = [write(folder / f"{n:02}.png", shade) for n, shade in enumerate(shades)]
    return [Task(id, measure(str(path))) for id, path in enumerate(paths, 1)]


def run(pool: Pool, todo: list[Task], ahead: int = 100) -> dict[int, Row]:
    rows = {}
    for done in pool.run(todo, ahead):
        assert done.row.id not in rows
        rows[done.row.id] = done.row
    assert sorted(rows) == [task.id for task in todo]
    return rows


def test_a_picture_that_kills_its_worker_each_time_is_one_error_row(
    tmp_path: Path, artifact: Path
) -> None:
    shades = [10, 20, poison_engine.KILLS, 30, poison_engine.RAISES, 40, 50]
    with Pool(Job(str(artifact), "poison", patience=HASTY)) as pool:
        rows = run(pool, tasks(tmp_path, shades))
        lost = pool.lost
    errors = {id: row.error for id, row in rows.items() if row.error}
    assert errors == {3: "worker_crashed", 5: "internal_error"}
    assert "SIGKILL" in (rows[3].message or "")
    assert "RuntimeError: no such luck" in (rows[5].message or "")
    assert 2 <= lost <= 3  # once in company, once alone
    assert rows[3].size is not None
    assert rows[3].fingerprint == rows[1].fingerprint


def test_a_picture_that_hangs_is_ended_and_told(tmp_path: Path, artifact: Path) -> None:
    todo = tasks(tmp_path, [10, poison_engine.HANGS, 20, 30])
    with Pool(Job(str(artifact), "poison", patience=HASTY), Care(timeout=2.0)) as pool:
        rows = run(pool, todo)
    assert {id: row.error for id, row in rows.items() if row.error} == {2: "timed_out"}
    assert "not done in 2 s" in (rows[2].message or "")


def test_an_input_that_hangs_beside_others_that_go_on_is_ended_too(
    tmp_path: Path, artifact: Path
) -> None:
    (picture,) = tasks(tmp_path, [10])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = Input(f"ftp://127.0.0.1:{silent.getsockname()[1]}/x.png")
        todo = [Task(1, hanging), *(picture._replace(id=id) for id in range(2, 122))]
        with Pool(Job(str(artifact), "slow", patience=HASTY), Care(timeout=1.0)) as pool:
            seen = [(done.row.id, done.row.error) for done in pool.run(todo, 1000)]
    assert (1, "timed_out") in seen[:-1], "not when all others are done"
    assert Counter(error for _, error in seen) == {"timed_out": 1, None: 120}


def test_a_picture_that_swells_is_ended_and_told(tmp_path: Path, artifact: Path) -> None:
    todo = tasks(tmp_path, [10, poison_engine.SWELLS, 20])
    with Pool(Job(str(artifact), "poison", patience=HASTY), Care(memory=700 << 20)) as pool:
        rows = run(pool, todo)
    assert {id: row.error for id, row in rows.items() if row.error} == {2: "out_of_memory"}
    assert "700 MiB" in (rows[2].message or "")


def test_two_workers_share_the_work_and_one_slow_input_holds_up_few(
    tmp_path: Path, artifact: Path
) -> None:
    todo = tasks(tmp_path, [poison_engine.HANGS, *[10] * 12])
    began: list[int] = []

    def watched() -> Iterable[Task]:
        for task in todo:
            began.append(task.id)
            yield task

    with Pool(Job(str(artifact), "poison", patience=HASTY), Care(2, timeout=4.0)) as pool:
        seen = []
        for done in pool.run(watched(), ahead=6):
            seen.append(done.row.id)
            if 1 not in seen:
                assert max(began) <= 6
    assert sorted(seen) == list(range(1, 14))
    assert seen[0] != 1


def test_a_model_that_cannot_be_loaded_is_told_as_detect_tells_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownWeights, match="mlcommons"), Pool(Job("mlcomons")):
        pass


def test_workers_that_end_before_they_are_ready_fail_the_run(artifact: Path) -> None:
    with pytest.raises(WorkerFailed, match="exit code 7"), Pool(Job(str(artifact), "none")):
        pass


def test_a_worker_whose_run_was_killed_meanwhile_ends_without_a_word(
    artifact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("spawn")
    for weights in (str(artifact), "no such weights"):
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, Job(weights, "fake")))
        process.start()
        ours.close()
        theirs.close()
        process.join(60)
        assert process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_ctrl_c_passes_by_a_worker_from_its_first_moment_on(
    artifact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = _Worker(Job(str(artifact), "fake"), 1)
    pid = worker.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)  # as a terminal sends it to all
    assert isinstance(worker.receive(), Ready)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)  # as multiprocessing ends those that a program has left
    worker.process.join(60)
    assert worker.process.exitcode == -signal.SIGTERM
    worker.close()
    assert capfd.readouterr().err == ""


def test_care_is_checked() -> None:
    with pytest.raises(UsageError, match="workers"):
        Care(0)
    with pytest.raises(UsageError, match="timeout"):
        Care(timeout=0)
    with pytest.raises(UsageError, match="memory"):
        Care(memory=5)
