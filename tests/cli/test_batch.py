"""``ssd-resnet34 batch`` as its users call it, with worker processes."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import pytest

import batch_site
from command import Run
from fake_clock import FakeClock
from small_batch import SamePool
from ssd_resnet34.batch import running
from ssd_resnet34.batch.manifest import PLAN
from ssd_resnet34.batch.pace import Pace, as_clock
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.errors import BatchError

Picture = Callable[..., Path]


@pytest.fixture
def batch(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., object]:
    """``batch("run", …)`` with the fake engine, in this process and its workers."""
    usual = weights
    batch_site.install(tmp_path / "site", "fake", batch_site.ENGINES["fake"])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def call(*words: str | Path, weights: Path = usual) -> object:
        more = ["--engine", "fake", "--weights", weights] if words[0] == "run" else []
        return run("batch", *words, *more, fake=False)

    return call


def test_a_folder_becomes_rows_a_report_and_labels(
    batch: Run, picture: Picture, tmp_path: Path
) -> None:
    for n in range(5):
        picture(f"in/{n}.png", shade=40 * n)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    done = batch("run", tmp_path / "in", "-o", out, "--shard-size", "2", "-v")
    assert done.code == 3
    assert "unsupported_image 1" in done.out
    assert "committed: shard 2" in done.err
    assert "[unsupported_image]" in done.err
    again = batch("run", tmp_path / "in", "-o", out, "--json")
    facts = json.loads(again.out)
    assert again.code == 3
    assert (facts["inputs"], facts["refused"], facts["resumed"]) == (6, 1, 6)
    assert "6 of 6 inputs were done before" in again.err
    other = batch("run", tmp_path / "in", "-o", out, "--score-threshold", "0.9", "-q")
    assert other.code == 1
    assert "score_threshold 0.3, not 0.9" in other.err
    assert len(other.err.splitlines()) == 1

    page = tmp_path / "report.html"
    shown = batch("report", out, "--html", page)
    assert shown.code == 0
    assert "6 of 6" in shown.out
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(batch("report", out, "--json").out)["complete"] is True

    labels = batch("convert", out, "--to", "yolo", "-o", tmp_path / "labels")
    assert labels.code == 0
    assert "5 images" in labels.out
    assert "1 refused inputs have no entry" in labels.err


def test_a_run_over_a_source_that_grew_says_that_its_plan_is_older(
    batch: Run, picture: Picture, tmp_path: Path
) -> None:
    picture("in/a.png")
    out = tmp_path / "out"
    assert "plan" not in batch("run", tmp_path / "in", "-o", out).err
    os.utime(out / PLAN, (0, datetime(2024, 5, 6, 7, 8).timestamp()))
    picture("in/b.png")
    again = batch("run", tmp_path / "in", "-o", out)
    assert (
        "note: follows the plan of 2024-05-06 07:08, of 1 inputs; files added since are not in "
        "it: name another output for them"
    ) in again.err
    assert "1 of 1 inputs were done before" in again.err
    assert "plan" not in batch("run", tmp_path / "in", "-o", out, "-q").err


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (0, "stopped before the first shard was complete, so nothing was committed"),
        (1, "stopped before the first shard was complete, so nothing was committed"),
        (4, "stopped; what was committed stays: run the same command again to go on"),
    ],
)
def test_a_run_that_is_stopped_says_whether_anything_was_committed(
    batch: Run,
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    told: str,
) -> None:
    for n in range(5):
        picture(f"in/{n}.png", shade=40 * n)
    words = ("run", tmp_path / "in", "-o", tmp_path / "out", "--shard-size", "2")
    with monkeypatch.context() as stopping:
        stopping.setattr(running, "Pool", SamePool)
        stopping.setattr(SamePool, "stop_after", rows)
        stopped = batch(*words)
    assert stopped.code == 1
    assert stopped.err.splitlines()[-1].startswith(f"error: {told}")
    assert bool(list((tmp_path / "out").glob("part-*"))) == ("stays" in told)


def test_a_run_that_is_stopped_while_it_plans_says_nothing_of_commits(
    batch: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "plan", interrupted)
    stopped = batch("run", picture("in/a.png").parent, "-o", tmp_path / "out")
    assert stopped.code == 1
    assert "stopped before the first image: run the same command again" in stopped.err


def test_a_model_that_was_trained_at_another_size_is_told_of(
    batch: Run, picture: Picture, tmp_path: Path, trained_at_600: Path
) -> None:
    words = ("run", picture("in/a.png").parent, "-o", tmp_path / "out")
    told = batch(*words, weights=trained_at_600)
    assert (told.code, told.err.count("note: trained.onnx was trained at 600×600")) == (0, 1)
    assert "trained at" not in batch(*words, "-q", weights=trained_at_600).err


@pytest.mark.parametrize("name", ["embedded", "mlcommons"])
def test_a_record_is_a_record_where_a_file_has_its_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    jobs: list[Job] = []

    def stopped(_: str, __: object, job: Job, *___: object, **____: object) -> NoReturn:
        jobs.append(job)
        raise BatchError("enough")

    monkeypatch.setattr(running, "run", stopped)
    monkeypatch.chdir(tmp_path)
    for made in (name, "mine.onnx"):
        (tmp_path / made).touch()
        assert run("batch", "run", "in", "-o", "out", "--weights", made).code == 1
    assert [job.weights for job in jobs] == [name, str(tmp_path / "mine.onnx")]


def test_the_limits_of_an_image_can_be_set(batch: Run, picture: Picture, tmp_path: Path) -> None:
    picture("in/one.png")
    limits = {"--max-pixels": "too_many_pixels", "--max-bytes": "too_many_bytes"}
    for option, code in limits.items():
        done = batch("run", tmp_path / "in", "-o", tmp_path / code, option, "9", "--json")
        assert json.loads(done.out)["errors"] == {code: 1}


def test_a_plan_is_made_once_and_shown(batch: Run, picture: Picture, tmp_path: Path) -> None:
    picture("in/a.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    out = tmp_path / "out"
    first = batch("plan", tmp_path / "in", "-o", out, "--format", "jsonl", "--json")
    facts = json.loads(first.out)
    assert (facts["inputs"], facts["shards"], facts["format"]) == (1, 1, "jsonl")
    assert facts["notes"] == {"links to folders not followed": 1}
    picture("in/b.png")
    assert "follows the plan" not in first.err
    again = batch("plan", tmp_path / "in", "-o", out, "--json")
    assert again.out == first.out
    assert "note: follows the plan of 20" in again.err
    assert "not followed" in batch("plan", tmp_path / "in", "-o", out).out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["run", "nowhere", "-o", "out"], 2, "no such file or folder"),
        (["run", "in", "-o", "out", "--classes", ","], 2, "--classes is empty"),
        (["run", "in", "-o", "ftp://x/y"], 2, "no write that appears whole"),
        (["run", "in", "-o", "out", "--format", "xml"], 2, "parquet, jsonl, coco"),
        (["run", "in", "-o", "out", "--max-error-rate", "7"], 2, "max-error-rate"),
        (["run", "in", "-o", "out", "--gpus", "1"], 2, "--gpus is for --ray"),
        (["run", "in", "-o", "out", "--ray", "127.0.0.1:9"], 1, "no Ray cluster"),
        (["report", "in"], 2, "no batch run wrote there"),
        (["convert", "in", "--to", "coco", "-o", "x.json"], 2, "no batch run wrote there"),
        (["plan", "in"], 2, "--output"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_code(
    batch: Run,
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    told: str,
) -> None:
    picture("in/a.png")
    monkeypatch.chdir(tmp_path)
    result = batch(*words)
    assert result.code == code
    assert told in result.err


def test_an_unfinished_run_is_reported_but_not_converted(
    batch: Run, picture: Picture, tmp_path: Path
) -> None:
    picture("in/a.png")
    batch("plan", tmp_path / "in", "-o", tmp_path / "out")
    assert "1 of 1 shards" in batch("report", tmp_path / "out").out
    refused = batch("convert", tmp_path / "out", "--to", "csv", "-o", tmp_path / "x.csv")
    assert refused.code == 1
    assert "not complete" in refused.err


def test_the_pace_is_that_of_the_last_minute() -> None:
    clock = FakeClock()
    pace = Pace(1000, clock)
    assert pace.line() == "0 of 1,000, 0.00/s, –"
    for _ in range(100):
        clock.now += 1
        pace.add()
    for n in range(200):
        clock.now += 0.5
        pace.add("corrupt_image" if n % 50 == 0 else None)
    assert pace.rate == pytest.approx(2.0, rel=0.05)
    assert pace.remaining == pytest.approx(350, rel=0.05)
    assert pace.line().endswith("4 refused: corrupt_image 4")
    assert [as_clock(s) for s in (5, 65, 3605, 90_000)] == [
        "0:05",
        "1:05",
        "1:00:05",
        "1 d 01:00:00",
    ]
