"""Runs as a whole: every input one row, run again to go on, nothing mixed by accident."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as datasets
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small_batch import SamePool, tree, write
from ssd_resnet34.batch import finishing, manifest, running
from ssd_resnet34.batch.place import open_place
from ssd_resnet34.batch.running import Rules
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.watching import Watcher
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.detector import Options
from ssd_resnet34.errors import (
    ManifestError,
    SettingsConflict,
    TooManyErrors,
    Unreconciled,
    UsageError,
)

Jobs = Callable[..., Job]


@pytest.mark.usefixtures("same_process")
def test_every_input_has_one_row_in_order_and_the_mark_comes_last(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    (pictures / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    outcome = running.run(str(out), Search(str(pictures)), job(), shard_size=4)
    assert outcome.summary.rows == 11
    assert dict(outcome.summary.errors) == {"unsupported_image": 1}
    rows = [
        row for n in range(3) for row in pq.read_table(out / f"part-{n:06d}.parquet").to_pylist()
    ]
    assert [row["id"] for row in rows] == list(range(1, 12))
    assert [os.path.basename(row["uri"]) for row in rows] == sorted(os.listdir(pictures))
    assert all((row["status"] == "ok") == (row["error"] is None) for row in rows)
    good, bad = rows[0], rows[-1]
    assert (good["width"], good["height"], good["size"]) == (
        40,
        48,
        (pictures / "00.png").stat().st_size,
    )
    assert [one["label"] for one in good["detections"]]
    assert (bad["width"], bad["detections"], bad["error"]) == (None, [], "unsupported_image")
    assert bad["hash"] is not None
    assert (out / "_SUCCESS").read_bytes() == b""
    report = json.loads((out / "_report.json").read_text())
    assert (report["inputs"], report["refused"]) == (11, 1)
    # Other programs see the rows alone.
    assert datasets.dataset(out, format="parquet").count_rows() == 11


@pytest.mark.usefixtures("same_process")
def test_json_lines_hold_the_common_json_of_detections_in_each_row(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    from ssd_resnet34 import Detections

    out = tmp_path / "out"
    running.run(str(out), Search(str(pictures)), job(), format="jsonl", shard_size=100)
    lines = (out / "part-000000.jsonl").read_text().splitlines()
    assert len(lines) == 10
    found = Detections.from_dict(json.loads(lines[3]))
    assert found.image == str(pictures / "03.png")
    assert (found.width, found.height) == (43, 48)
    assert {"id", "uri", "size", "hash", "status", "error", "message", "fingerprint"} <= set(
        json.loads(lines[3])
    )


def test_a_run_stopped_anywhere_and_run_again_equals_an_uninterrupted_one(
    tmp_path: Path, job: Jobs, same_process: type[SamePool]
) -> None:
    source = tmp_path / "in"
    for n in range(9):
        write(source / f"{n}.png", 25 * n)
    whole = tmp_path / "whole"
    running.run(str(whole), Search(str(source)), job(), shard_size=2)
    for stop in range(9):
        out = tmp_path / f"stopped-{stop}"
        same_process.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            running.run(str(out), Search(str(source)), job(), shard_size=2)
        assert not (out / "_SUCCESS").exists()
        assert not list(out.rglob("*.tmp"))
        assert not (out / "_run" / "lock").exists()
        same_process.stop_after = None
        outcome = running.run(str(out), Search(str(source)), job(), shard_size=2)
        done = same_process.instances[-1].done
        assert outcome.resumed + len(done) == 9
        assert tree(out) == tree(whole)


def test_a_complete_run_runs_nothing_again(
    pictures: Path, tmp_path: Path, job: Jobs, same_process: type[SamePool]
) -> None:
    out = str(tmp_path / "out")
    running.run(out, Search(str(pictures)), job())
    before = tree(Path(out), timings=True)
    outcome = running.run(out, Search(str(pictures)), job())
    assert outcome.resumed == 10
    assert same_process.instances[-1].done == []
    assert tree(Path(out), timings=True) == before


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_shard_that_is_damaged_anywhere_is_done_again(
    tmp_path_factory: pytest.TempPathFactory, job: Jobs, format: str, share: float
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    source = folder / "in"
    for n in range(3):
        write(source / f"{n}.png", 60 * n)
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Pool", SamePool)
        running.run(str(out), Search(str(source)), job(), format=format, shard_size=2)
        before = tree(out)
        part = next(out.glob("part-000000.*"))
        whole = part.read_bytes()
        part.write_bytes(whole[: int(share * len(whole))])
        notes: list[str] = []

        class Listening(Watcher):
            def note(self, text: str) -> None:
                notes.append(text)

        running.run(str(out), Search(str(source)), job(), watcher=Listening())
        assert tree(out) == before
        assert len(notes) == 1
        assert part.name in notes[0]


@pytest.mark.usefixtures("same_process")
def test_a_flipped_bit_in_a_parquet_shard_is_found(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    out = tmp_path / "out"
    running.run(str(out), Search(str(pictures)), job())
    part = out / "part-000000.parquet"
    whole = part.read_bytes()
    data = bytearray(whole)
    data[60] ^= 1
    part.write_bytes(data)
    running.run(str(out), Search(str(pictures)), job())
    assert part.read_bytes() == whole


@pytest.mark.usefixtures("same_process")
def test_another_threshold_refuses_to_mix_unless_forced(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    out = tmp_path / "out"
    running.run(str(out), Search(str(pictures)), job(), shard_size=5)
    (out / "part-000001.parquet").unlink()
    other = job(options=Options(score_threshold=0.9))
    with pytest.raises(SettingsConflict, match=r"score_threshold 0\.3, not 0\.9"):
        running.run(str(out), Search(str(pictures)), other)
    assert (out / "_SUCCESS").exists()  # nothing was touched
    outcome = running.run(str(out), Search(str(pictures)), other, rules=Rules(force=True))
    assert sorted(outcome.summary.fingerprints.values()) == [5, 5]


@pytest.mark.usefixtures("same_process")
def test_another_model_is_refused_even_before_the_first_shard(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    out = tmp_path / "out"
    SamePool.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        running.run(str(out), Search(str(pictures)), job())
    SamePool.stop_after = None
    with pytest.raises(SettingsConflict):
        running.run(str(out), Search(str(pictures)), job(options=Options(top_k=5)))


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("what", ["source", "format", "shard size"])
def test_another_plan_is_refused_and_force_begins_again(
    pictures: Path, tmp_path: Path, job: Jobs, what: str
) -> None:
    out = tmp_path / "out"
    running.run(str(out), Search(str(pictures)), job(), format="parquet", shard_size=5)
    other = tmp_path / "other"
    for n in range(3):
        write(other / f"{n}.png")
    search = Search(str(other if what == "source" else pictures))
    changes: dict[str, dict[str, Any]] = {
        "source": {},
        "format": {"format": "jsonl"},
        "shard size": {"shard_size": 4},
    }
    changed = changes[what]
    with pytest.raises(ManifestError, match=what.replace(" ", "_")):
        running.run(str(out), search, job(), **changed)
    running.run(str(out), search, job(), rules=Rules(force=True), **changed)
    fresh = tmp_path / "fresh"
    running.run(str(fresh), search, job(), **changed)
    if what != "source":  # an option that is not given is that of a new plan
        assert tree(out) == tree(fresh)
    assert finishing.is_marked(open_place(str(out)))


@pytest.mark.usefixtures("same_process")
def test_the_plan_decides_and_what_changed_since_is_an_error_row(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    out = tmp_path / "out"
    SamePool.stop_after = 0
    with pytest.raises(KeyboardInterrupt):
        running.run(str(out), Search(str(pictures)), job())
    SamePool.stop_after = None
    write(pictures / "late.png")
    (pictures / "01.png").unlink()
    write(pictures / "02.png", 7, 99, 99)
    os.utime(pictures / "03.png", (1, 1))
    outcome = running.run(str(out), Search(str(pictures)), job())
    assert outcome.summary.rows == 10
    assert dict(outcome.summary.errors) == {"unreadable_file": 1, "changed_file": 2}


@pytest.mark.usefixtures("same_process")
def test_error_rows_are_done_again_when_asked_and_the_others_kept(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("pictures/00.png\npictures/late.png\npictures/01.png\n")
    out = tmp_path / "out"
    outcome = running.run(str(out), Search(str(listing)), job(), shard_size=2)
    assert dict(outcome.summary.errors) == {"unreadable_file": 1}
    write(pictures / "late.png")
    running.run(str(out), Search(str(listing)), job())
    assert SamePool.instances[-1].done == []
    outcome = running.run(str(out), Search(str(listing)), job(), rules=Rules(retry_errors=True))
    assert SamePool.instances[-1].done == [3]
    assert not outcome.summary.errors


@pytest.mark.usefixtures("same_process")
def test_too_many_errors_stop_a_run_and_committed_shards_stay(tmp_path: Path, job: Jobs) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for n in range(300):
        (source / f"{n:03}.jpg").write_bytes(b"")
    out = tmp_path / "out"
    with pytest.raises(TooManyErrors, match="no bytes"):
        running.run(str(out), Search(str(source)), job(), shard_size=20)
    assert (out / "part-000002.parquet").exists()
    assert not (out / "_SUCCESS").exists()
    outcome = running.run(str(out), Search(str(source)), job(), rules=Rules(max_error_rate=1.0))
    assert outcome.summary.refused == 300
    assert outcome.resumed > 0


@pytest.mark.usefixtures("same_process")
def test_a_source_without_inputs_is_done_at_once(tmp_path: Path, job: Jobs) -> None:
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    outcome = running.run(str(out), Search(str(tmp_path / "in")), job())
    assert (outcome.summary.rows, outcome.plan.shards) == (0, 0)
    assert (out / "_SUCCESS").exists()


@pytest.mark.usefixtures("same_process")
def test_rows_that_are_lost_before_the_end_fail_the_run(
    pictures: Path, tmp_path: Path, job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = finishing.reconcile

    def after_a_loss(place: Any, found: manifest.Manifest) -> Any:
        (out / "part-000001.parquet").unlink()
        return real(place, found)

    monkeypatch.setattr(finishing, "reconcile", after_a_loss)
    with pytest.raises(Unreconciled, match=r"part-000001\.parquet: missing"):
        running.run(str(out), Search(str(pictures)), job(), shard_size=5)
    assert not (out / "_SUCCESS").exists()


@pytest.mark.usefixtures("same_process")
def test_rows_of_no_shard_are_refused(pictures: Path, tmp_path: Path, job: Jobs) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "part-000000.parquet").write_bytes(b"somebody else's")
    with pytest.raises(ManifestError, match="no plan"):
        running.run(str(out), Search(str(pictures)), job())
    (out / "part-000000.parquet").unlink()
    running.run(str(out), Search(str(pictures)), job())
    (out / "part-000007.parquet").write_bytes(b"somebody else's")
    with pytest.raises(ManifestError, match="part-000007"):
        running.run(str(out), Search(str(pictures)), job())


@pytest.mark.usefixtures("same_process")
def test_what_cannot_be_is_refused_before_any_work(
    pictures: Path, tmp_path: Path, job: Jobs
) -> None:
    wrong: list[dict[str, Any]] = [{"format": "xml"}, {"shard_size": 0}, {"shard_size": 1 << 20}]
    for options in wrong:
        with pytest.raises(UsageError):
            running.run(str(tmp_path / "out"), Search(str(pictures)), job(), **options)
    with pytest.raises(UsageError, match="no such file"):
        running.run(str(tmp_path / "out"), Search(str(tmp_path / "nothing")), job())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        running.run(str(tmp_path / "file"), Search(str(pictures)), job())
    with pytest.raises(UsageError, match="http has no write"):
        running.run("http://127.0.0.1/x", Search(str(pictures)), job())
    with pytest.raises(UsageError):
        Rules(max_error_rate=2)
