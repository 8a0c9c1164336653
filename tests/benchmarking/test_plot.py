"""The plot: bars as long as their numbers, reasons in place of bars, whole files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssd_resnet34.benchmarking import plot
from ssd_resnet34.benchmarking.runs import Run
from ssd_resnet34.errors import UsageError
from ssd_resnet34.pairs import Percentiles, Ratio


def run(name: str, seconds: float, slow: float = 1.0) -> Run:
    times = Percentiles(seconds, slow * seconds, slow * seconds, 15)
    found = Ratio(seconds, seconds, seconds, 15)
    return Run(name, seconds=times, images_per_second=1 / seconds, ratio=found)


def bars(picture: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Lengths of the bars of that colour, from the top: the longest row of each."""
    mask = (np.array(picture) == colour).all(axis=2)
    rows = mask.sum(axis=1)
    inside = rows > 20
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [int(rows[a:b].max()) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def test_bars_are_as_long_as_their_images_a_second() -> None:
    picture = plot.draw([run("base", 1), run("twice", 0.5), run("half", 2)], "title", ["note"])
    assert picture.mode == "RGB"
    assert picture.width == plot.WIDTH
    assert plot._value(run("base", 1), True) == "1 images/s"
    assert plot._value(run("twice", 0.5), False) == "2 images/s, 2 times as fast"
    assert plot._value(run("small", 5e-4), False).startswith("2,000 images/s")
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
    empty = plot.draw([run("base", 1), Run("gone"), Run("failed")], "title")
    assert (np.array(picture) != np.array(empty)).any()


def test_long_names_and_no_runs_at_all_still_fit() -> None:
    picture = plot.draw([run("an-engine-of-another-distribution:int8:16:256" * 3, 1)], "t" * 300)
    assert (np.array(picture)[:, -10:] == 255).all()
    assert plot.draw([], "nothing").width == plot.WIDTH


def test_the_file_is_a_png_that_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    plot.save(target, [run("base", 1, slow=1.5)], "title")
    with Image.open(target) as read:
        assert read.format == "PNG"
        read.load()
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(UsageError, match="existing folder"):
        plot.save(tmp_path / "no" / "plot.png", [], "title")
