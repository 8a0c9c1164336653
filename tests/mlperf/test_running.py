"""A run in its own process: it ends well, or says why, and never hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import batch_site
import poison_engine
from small_dataset import document, written
from ssd_resnet34.errors import LoadGenError, UsageError, WeightsError
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.mlperf import loadgen, running
from ssd_resnet34.mlperf.job import Job, Pulse, Ready
from ssd_resnet34.mlperf.running import Finished, samples

pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")

COUNT = 6

MakeJob = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path, artifact: Path, installed: None) -> MakeJob:
    """``job(last=shade, **fields)``: a quick Offline run on six pictures with the poison engine."""

    def make(last: int = 60, **fields: Any) -> Job:
        paths = []
        for n in range(COUNT):
            path = tmp_path / f"{n}.png"
            shade = last if n == COUNT - 1 else 10 * n
            cv2.imwrite(str(path), np.full((20, 30, 3), shade, np.uint8))
            paths.append(str(path))
        plain = Job(
            round="v2.0",
            scenario="Offline",
            mode="performance",
            quick=True,
            user=None,
            images=tuple(paths),
            folder="",
            weights=str(artifact),
            engine="poison",
            threads=1,
        )
        return replace(plain, **fields)

    return make


def leftovers(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_a_finished_run_has_its_logs_under_standard_names(job: MakeJob, tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"  # LoadGen would abort where the folder is missing
    readies: list[Ready] = []
    pulses: list[Pulse] = []
    done = running.run(job(), out, on_ready=readies.append, on_pulse=pulses.append)
    assert isinstance(done, Finished)
    assert leftovers(out) == sorted([*loadgen.LOGS, "mlperf.conf", "quick.conf", "user.conf"])
    assert done.answered == 32
    assert done.detail.values["result_validity"] == "VALID"
    (ready,) = readies
    assert ready == done.ready
    assert (ready.facts.engine, ready.facts.precision) == ("poison", "fp32")
    assert ready.samples == 32
    assert all(pulse.answered <= 32 for pulse in pulses)


def test_an_earlier_runs_files_are_replaced_together(job: MakeJob, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    stale = ("run.json", "accuracy.txt", "comparison.png", "mlperf_log_detail.txt", "mine.txt")
    for name in stale:
        (out / name).write_text("stale")
    running.run(job(mode="accuracy"), out)
    assert leftovers(out) == sorted(
        [*loadgen.LOGS, "mine.txt", "mlperf.conf", "quick.conf", "user.conf"]
    )
    assert (out / loadgen.DETAIL).read_text() != "stale"


@pytest.mark.parametrize(
    ("shade", "reason"),
    [
        (poison_engine.RAISES, "no such luck"),
        (poison_engine.KILLS, "the run's process ended with SIGKILL after"),
    ],
)
def test_a_session_that_dies_ends_the_run_with_its_reason(
    job: MakeJob, tmp_path: Path, shade: int, reason: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / loadgen.SUMMARY).write_text("of an earlier run")
    with pytest.raises(LoadGenError) as caught:
        running.run(job(shade, scenario="SingleStream"), out)
    assert reason in str(caught.value)
    assert "what LoadGen wrote is in" in str(caught.value)
    assert (out / loadgen.SUMMARY).read_text() == "of an earlier run"
    assert len(list(out.glob("unfinished-*"))) == 1


def test_a_session_that_hangs_ends_the_run(job: MakeJob, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(LoadGenError, match=r"no answer for \d+ s, so the session hangs"):
        running.run(job(poison_engine.HANGS, timeout=3), tmp_path / "out")
    assert time.monotonic() - began < 120  # not an hour, as the engine would have it


def test_an_engine_that_ends_the_process_is_told(job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(LoadGenError, match=r"exit code 7 after 0 answers.*there are no logs"):
        running.run(job(engine="none"), tmp_path / "out")
    assert leftovers(tmp_path / "out") == []


def test_an_error_before_the_run_is_the_commands_own(job: MakeJob, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with pytest.raises(WeightsError):
        running.run(job(weights=str(bad)), tmp_path / "out")
    assert leftovers(tmp_path / "out") == []


@pytest.mark.parametrize("scenario", ["SingleStream", "Server"])
def test_a_stop_ends_a_run_by_the_rules_within_seconds(
    job: MakeJob, tmp_path: Path, scenario: str
) -> None:
    """Ten minutes and more by the rules; a Server schedule that LoadGen does not give up."""
    images = job().images
    seen: list[Pulse] = []
    began = 0.0

    def stops() -> int:
        nonlocal began
        if seen and seen[-1].answered > 3:
            began = began or time.monotonic()
            return 1
        return 0

    with pytest.raises(LoadGenError, match=r"stopped after \d+ answers, which is no result"):
        running.run(
            job(scenario=scenario, quick=False, images=images * 11),
            tmp_path / "out",
            stops=stops,
            on_pulse=seen.append,
        )
    assert time.monotonic() - began < 120  # not ten minutes
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name.startswith("unfinished-")


def test_a_second_stop_does_not_wait(job: MakeJob, tmp_path: Path) -> None:
    seen: list[Pulse] = []
    with pytest.raises(LoadGenError, match="stopped after"):
        running.run(
            job(poison_engine.HANGS),
            tmp_path / "out",
            stops=lambda: 2 if seen and seen[-1].open else 0,
            on_pulse=seen.append,
        )


def test_an_objection_at_the_start_ends_the_process(job: MakeJob, tmp_path: Path) -> None:
    def refuse(ready: Ready) -> None:
        raise UsageError("other categories")

    with pytest.raises(UsageError, match="other categories"):
        running.run(job(), tmp_path / "out", on_ready=refuse)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_command_leaves_no_process_behind(
    job: MakeJob, tmp_path: Path, site: Path
) -> None:
    made = job(scenario="Server", quick=False, images=job().images * 11)
    code = f"""
import os, sys, time
from pathlib import Path
from ssd_resnet34.mlperf import running
from ssd_resnet34.mlperf.job import Job
if __name__ == "__main__":
    import multiprocessing
    def told(pulse):
        (child,) = multiprocessing.active_children()
        print(child.pid, flush=True)
    running.run({made!r}, Path({str(tmp_path / "out")!r}), on_ready=told)
"""
    script = tmp_path / "command.py"
    script.write_text(code)
    environment = batch_site.environment(site)
    command = subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    child = int(command.stdout.readline())
    command.kill()
    command.wait()
    command.stdout.close()
    end = time.monotonic() + 60
    while _lives(child):
        assert time.monotonic() < end, "the run goes on without its command"
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_folder_that_cannot_be_made_is_bad_usage(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--out .*name a folder"):
        running.run(job(), tmp_path / "file" / "out")


def test_a_folder_whose_name_loadgen_cannot_take_is_bad_usage(job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="UTF-8 only"):
        running.run(job(), tmp_path / "caf\udce9")  # Latin-1 on a disk of today
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_all_images_must_be_there(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document(3)))
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "000001.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"2 of 3 images are missing.*000002\.jpg"):
        samples(dataset, folder, quick=True)
    for n in (2, 3):
        (folder / f"{n:06d}.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="3 images, and the rules keep 64 in memory"):
        samples(dataset, folder, quick=False)
    assert [Path(path).name for path in samples(dataset, folder, quick=True)] == [
        "000001.jpg",
        "000002.jpg",
        "000003.jpg",
    ]
    with pytest.raises(UsageError, match="no such folder"):
        samples(dataset, tmp_path / "nowhere", quick=True)


class Clock:
    """Stands in for ``time`` and for the pipe: every look at the pipe takes ``steps`` seconds."""

    def __init__(self, messages: list[Any], steps: list[float]) -> None:
        self.messages, self.steps = messages, steps
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def poll(self, timeout: float) -> bool:
        self.now += self.steps.pop(0) if self.steps else timeout
        return bool(self.messages)

    def recv(self) -> Any:
        return self.messages.pop(0)


def watched(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch, messages: list[Any], steps: list[float]
) -> float:
    """When a run without further messages counts as hung, by the clock."""
    clock = Clock(messages, steps)
    monkeypatch.setattr(running, "time", clock)
    pipe: Any = clock
    process: Any = None  # nobody asks it
    watch = running._Watch(
        process, pipe, job(timeout=30), Path("nowhere"), lambda: 0, print, lambda _: None
    )
    with pytest.raises(LoadGenError, match="so the session hangs"):
        watch.follow()
    return clock.now


def test_time_in_which_the_command_was_suspended_is_no_hang(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulses = [Pulse(6, 3, 1), Pulse(6, 3, 1)]
    assert watched(job, monkeypatch, pulses, [0.2, 5000.0]) > 5028


def test_more_samples_are_no_sign_of_life_but_answers_are(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = [Pulse(6, 3, n) for n in range(1, 101)]  # Server goes on asking
    assert watched(job, monkeypatch, queue, []) < 32
    answered = [Pulse(6, n, 1) for n in range(1000)]
    assert watched(job, monkeypatch, answered, []) > 200


def test_a_pause_between_queries_is_no_hang(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """At two queries a minute nothing is open most of the time."""
    pause = [Pulse(6, 3, 0)] * 1000
    assert watched(job, monkeypatch, [*pause, Pulse(6, 3, 1)], []) > 229
