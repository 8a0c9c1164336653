"""The plot: bars as long as their numbers, reasons in place of bars, whole files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from ssd_resnet34.benchmarking import plot
from ssd_resnet34.benchmarking.runs import Run
from ssd_resnet34.errors import UsageError
from ssd_resnet34.pairs import Percentiles, Ratio


def run(name: str, ratio: float, seconds: float | None = None) -> Run:
    seconds = seconds or ratio
    times = Percentiles(seconds, seconds, seconds, 15)
    found = Ratio(ratio, ratio, ratio, 15)
    return Run(name, seconds=times, images_per_second=1 / seconds, ratio=found)


def bars(picture: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Lengths of the bars of that colour, from the top: the longest row of each."""
    mask = (np.array(picture) == colour).all(axis=2)
    rows = mask.sum(axis=1)
    inside = rows > 20
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [int(rows[a:b].max()) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def test_bars_and_labels_are_the_ratios_of_the_pairs_whatever_the_moments_were() -> None:
    rows = [run("base", 1), run("twice", 0.5, seconds=9), run("half", 2, seconds=0.1)]
    picture = plot.draw(rows, "title", ["note"])
    assert picture.mode == "RGB"
    assert picture.width == plot.WIDTH
    assert plot._label(rows[0], True) == "1 images/s"
    assert plot._label(rows[1], False) == "2 times as fast"
    (base,) = bars(picture, plot._BASELINE)
    twice, half = bars(picture, plot._BAR)
    assert base / twice == pytest.approx(1 / 2, abs=0.02)
    assert half / twice == pytest.approx(1 / 4, abs=0.02)


def test_what_was_not_measured_has_a_reason_and_no_bar() -> None:
    why = "no engine can run it:\nnot installed: pip install 'it'\n" * 9
    gone, failed = Run("gone", unavailable=why), Run("failed", fault="lost")
    picture = plot.draw([run("base", 1), gone, failed], "title")
    assert not bars(picture, plot._BAR)
    assert len(bars(picture, plot._BASELINE)) == 1
    short = plot.draw([run("base", 1), Run("failed", fault="lost")], "title")
    empty = plot.draw([run("base", 1), Run("failed")], "title")
    assert (np.array(short) != np.array(empty)).any()


def test_reasons_and_notes_break_between_words_and_lose_none() -> None:
    font = ImageFont.load_default(18)
    why = "no engine can run it:\nnot installed: pip install 'it' " * 9
    lines = plot._wrapped(why, 300, font)
    assert " ".join(lines).split() == why.split()
    assert max(map(font.getlength, lines)) <= 300
    (endless,) = plot._wrapped("e" * 300, 300, font)
    assert endless.endswith("…")
    rows = [run("base", 1), Run("gone", unavailable=why)]
    assert (
        plot.draw(rows, "title").height > plot.draw([run("base", 1), Run("gone")], "title").height
    )
    assert plot.draw(rows, "t", [why]).height > plot.draw(rows, "t", ["note"]).height


def test_long_names_and_no_runs_at_all_still_fit() -> None:
    picture = plot.draw([run("an-engine-of-another-distribution:int8:16:256" * 3, 1)], "t" * 300)
    assert (np.array(picture)[:, -10:] == 255).all()
    assert plot.draw([], "nothing").width == plot.WIDTH


def test_the_file_is_a_png_that_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    plot.save(target, [run("base", 1)], "title")
    with Image.open(target) as read:
        assert read.format == "PNG"
        read.load()
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(UsageError, match="existing folder"):
        plot.save(tmp_path / "no" / "plot.png", [], "title")
