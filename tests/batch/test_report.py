"""The report: what it counts, what it shows, and that a hostile name does it no harm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from browser import opened
from html_reading import strict
from small_batch import HASTY, SamePool, write
from ssd_resnet34.batch import report, running
from ssd_resnet34.batch.manifest import load
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.rates import columns, rates
from ssd_resnet34.batch.rows import Timing
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.report import Setting

SETTING = Setting("Batch run", "ssd-resnet34 batch report out", {"source": "in"}, ["a note"])
HOSTILE = "<script>alert(1)<img src=x onerror=alert(1)>{{ 7 * 7 }}.png"


@pytest.fixture
def done(
    pictures: Path, tmp_path: Path, job: Callable[..., Job], same_process: type[SamePool]
) -> LocalPlace:
    """A run over eleven pictures, two of them refused."""
    write(pictures / HOSTILE.replace("/", "_"))
    (pictures / "bad.png").write_bytes(b"no picture")
    (pictures / "empty.png").write_bytes(b"")
    running.run(str(tmp_path / "out"), Search(str(pictures)), job(), shard_size=5)
    return LocalPlace(tmp_path / "out", HASTY)


def read(place: LocalPlace) -> report.Findings:
    plan = load(place)
    assert plan is not None
    return report.read_through(place, plan)


def test_it_counts_rows_classes_errors_and_names_examples(done: LocalPlace) -> None:
    found = read(done)
    assert (found.summary.rows, found.missing) == (13, 0)
    assert dict(found.summary.objects) == {"person": 11, "car": 11, "dog": 11}
    assert {code: [Path(row.uri).name for row in rows] for code, rows in found.refused.items()} == {
        "unsupported_image": ["bad.png"],
        "empty_input": ["empty.png"],
    }
    assert found.rates.inputs == 13
    assert len(found.samples) >= 5
    assert len(found.slow) == 8


def test_the_page_is_whole_closed_and_harmless(done: LocalPlace, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write(page, read(done), SETTING)
    strict(page.read_bytes())
    text = page.read_text()
    assert "<script" not in text
    assert "49" not in text.split("alert(1)")[1][:40]
    assert text.count("data:image/jpeg") >= 5
    assert "no bytes; give an image file" in text
    with opened(tmp_path) as browser:
        for width in (1280, 390):
            view = browser.look(page, width)
            assert not view.complaints
            assert not view.requests[1:]
            assert not view.broken_images
            assert not view.unnamed
            assert view.scroll_width <= width


def test_an_incomplete_run_is_reported_as_such(done: LocalPlace, tmp_path: Path) -> None:
    done.remove("part-000001.parquet")
    (done.root / "part-000002.parquet").write_bytes(b"damaged")
    found = read(done)
    assert (found.missing, found.summary.rows) == (2, 5)
    report.write(tmp_path / "report.html", found, SETTING)
    with pytest.raises(UsageError):
        report.write(tmp_path / "nowhere" / "report.html", found, SETTING)


def test_a_run_without_inputs_has_a_page(
    tmp_path: Path, job: Callable[..., Job], same_process: type[SamePool]
) -> None:
    (tmp_path / "in").mkdir()
    running.run(str(tmp_path / "out"), Search(str(tmp_path / "in")), job())
    report.write(tmp_path / "report.html", read(LocalPlace(tmp_path / "out", HASTY)), SETTING)
    strict((tmp_path / "report.html").read_bytes())


def test_what_a_link_leads_to_outside_the_source_is_not_shown(
    tmp_path: Path, job: Callable[..., Job], same_process: type[SamePool]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.png").symlink_to(write(tmp_path / "private.png"))
    running.run(str(tmp_path / "out"), Search(str(tmp_path / "in")), job())
    found = read(LocalPlace(tmp_path / "out", HASTY))
    assert "a link out of the source folder" in str(found.refused["unreadable_file"][0].message)
    report.write(tmp_path / "report.html", found, SETTING)
    assert "data:image/jpeg" not in (tmp_path / "report.html").read_text()


def test_what_ended_a_worker_is_left_closed(
    done: LocalPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(done)
    (row,) = found.refused["empty_input"]
    dangerous = {"worker_crashed": [replace(row, error="worker_crashed")]}
    found = replace(found, refused=dangerous, samples=[])
    found.summary.errors.clear()
    found.summary.errors["worker_crashed"] = 1

    def never(*_: object) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(report, "read", never)
    report.write(tmp_path / "report.html", found, SETTING)
    assert "left closed" in (tmp_path / "report.html").read_text()


def test_rates_leave_out_the_pauses_between_runs() -> None:
    first = [Timing(n, 0.1, 0.2, 0.7, 1, 1000.0 + n) for n in range(1, 101)]
    second = [Timing(n, 0.1, 0.2, 0.7, 2, 90_000.0 + n) for n in range(101, 201)]
    found = rates(columns([*first, *second]))
    assert found.inputs == 200
    assert found.active == pytest.approx(198)
    assert found.rate == pytest.approx(1.0)  # as each of the two runs had
    assert [stage.name for stage in found.stages] == ["read", "decode", "detect"]
    assert found.stages[2].median == pytest.approx(0.7)
    assert found.retried == 100
    assert len(found.slowest) == 8
    assert found.chart is not None
    assert sum(height for *_, height in found.chart.bars) > 0
    nothing = rates(columns([]))
    assert (nothing.rate, nothing.chart, list(nothing.stages)) == (0.0, None, [])
    assert rates(columns([Timing(1, ended=5.0)])).chart is None
    assert np.isfinite(rates(columns([Timing(1, ended=5.0), Timing(2, ended=5.0)])).rate)
