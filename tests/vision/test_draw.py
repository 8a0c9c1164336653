"""Claims about the drawn picture and the notebook view."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFont

from ssd_resnet34.errors import UsageError
from ssd_resnet34.vision import draw as module
from ssd_resnet34.vision.colours import colour_of
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.draw import draw

GREY = 128


def grey(width: int, height: int) -> NDArray[Any]:
    return np.full((height, width, 3), GREY, np.uint8)


def one(
    box: tuple[float, float, float, float] = (100, 100, 300, 250),
    *,
    label: str = "dog",
    score: float = 0.9,
    index: int = 17,
    width: int = 640,
    height: int = 480,
    image: str = "",
) -> Detections:
    return Detections(
        np.array([box], np.float32),
        np.array([score], np.float32),
        np.array([index]),
        np.array([index]),
        (label,),
        image=image,
        width=width,
        height=height,
    )


def pixels(picture: Image.Image) -> NDArray[Any]:
    return np.asarray(picture).astype(int)


def test_the_frame_has_the_colour_of_the_class_and_the_inside_stays() -> None:
    drawn = draw(grey(640, 480), one(), colour="bgr", show_labels=False, show_scores=False)
    assert (drawn.mode, drawn.size) == ("RGB", (640, 480))
    image = pixels(drawn)
    changed = np.argwhere((image != GREY).any(axis=2))
    assert changed.min(axis=0).tolist() == [100, 100]
    assert changed.max(axis=0).tolist() == [249, 299]
    assert (image[110:240, 110:290] == GREY).all()
    assert (image == colour_of(17)).all(axis=2).sum() > 2 * 2 * (190 + 140)


def test_rgb_and_bgr_arrays_give_the_same_picture() -> None:
    array = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    rgb = draw(array, one(width=80, height=60), colour="rgb")
    bgr = draw(array[:, :, ::-1], one(width=80, height=60), colour="bgr")
    assert (pixels(rgb) == pixels(bgr)).all()


def test_the_source_is_not_changed() -> None:
    array = grey(640, 480)
    draw(array, one(), colour="bgr")
    assert (array == GREY).all()
    picture = Image.fromarray(array)
    draw(picture, one())
    assert (pixels(picture) == GREY).all()


def test_a_picture_of_another_size_gets_the_boxes_scaled() -> None:
    drawn = draw(grey(320, 240), one(), colour="bgr", show_labels=False, show_scores=False)
    changed = np.argwhere((pixels(drawn) != GREY).any(axis=2))
    assert changed.min(axis=0).tolist() == [50, 50]
    assert changed.max(axis=0).tolist() == [124, 149]


def test_only_scores_strictly_above_the_threshold_are_drawn() -> None:
    assert (pixels(draw(grey(640, 480), one(score=0.25), colour="bgr")) == GREY).all()
    half = one(score=0.5)
    assert (pixels(draw(grey(640, 480), half, colour="bgr", score_threshold=0.5)) == GREY).all()
    assert (pixels(draw(grey(640, 480), half, colour="bgr", score_threshold=0.49)) != GREY).any()
    third = one(score=0.3)  # in float32 a little over 0.3
    for threshold in (0.3, np.float64(0.3)):
        drawn = draw(grey(640, 480), third, colour="bgr", score_threshold=threshold)
        assert (pixels(drawn) == GREY).all()


def test_line_and_text_grow_with_the_picture() -> None:
    def share(side: int) -> float:
        drawn = draw(grey(side, side), one(), colour="bgr")
        return float((pixels(drawn) != GREY).any(axis=2).mean())

    assert share(1980) == pytest.approx(share(990), rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (16, 16), (3000, 1), (1, 3000)])
def test_a_tiny_picture_is_drawn_on_too(size: tuple[int, int]) -> None:
    assert draw(grey(*size), one((0, 0, 640, 480)), colour="bgr").size == size


@pytest.mark.parametrize(
    "box",
    [
        (-1e30, -1e30, 1e30, 1e30),
        (-500, -500, -100, -100),
        (700, 500, 900, 900),
        (300, 100, 200, 50),
        (10, 10, 10, 10),
        (639.9, 479.9, 640, 480),
        (0, 0, 1, 1),
    ],
)
def test_no_box_is_too_strange_to_draw(box: tuple[float, float, float, float]) -> None:
    assert draw(grey(640, 480), one(box), colour="bgr").size == (640, 480)


@pytest.mark.parametrize(
    "label", ["", "a\nb\tc", "\udce9", "\x00", "犬", "x" * 500, "👍", "e\u0301"]
)
def test_no_label_is_too_strange_to_draw(label: str) -> None:
    drawn = draw(grey(640, 480), one(label=label), colour="bgr")
    assert (pixels(drawn) != GREY).any()


def plates_of(
    monkeypatch: pytest.MonkeyPatch, found: Detections, width: int, height: int
) -> list[tuple[int, int, int, int]]:
    seen = []
    monkeypatch.setattr(module, "_paint", lambda canvas, plate: seen.append(plate.area))
    draw(grey(width, height), found, colour="bgr")
    return seen


@pytest.mark.parametrize(
    "box", [(0, 0, 50, 50), (600, 0, 640, 20), (0, 440, 30, 480), (600, 450, 640, 480)]
)
def test_labels_stay_inside_the_picture(
    box: tuple[float, float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (area,) = plates_of(monkeypatch, one(box, label="traffic light"), 640, 480)
    assert area[0] >= 0
    assert area[1] >= 0
    assert area[2] <= 640
    assert area[3] <= 480


def test_labels_of_one_crowded_place_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 6
    found = Detections(
        np.array([[200 + 3 * i, 150, 400 + 3 * i, 300] for i in range(n)], np.float32),
        np.linspace(0.9, 0.5, n, dtype=np.float32),
        np.arange(1, n + 1),
        np.arange(1, n + 1),
        ("person",) * n,
        width=640,
        height=480,
    )
    areas = plates_of(monkeypatch, found, 640, 480)
    assert len(areas) == n
    for a, b in combinations(areas, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_a_small_object_is_not_hidden_by_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Detections(
        np.array([[300, 200, 340, 240], [310, 180, 325, 195]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([75, 75]),
        np.array([85, 85]),
        ("clock", "clock"),
        width=640,
        height=480,
    )
    for area in plates_of(monkeypatch, found, 640, 480):
        across = min(area[2], 325) - max(area[0], 310)
        down = min(area[3], 195) - max(area[1], 180)
        assert across <= 0 or down <= 0


@pytest.fixture
def unknown_fonts() -> Iterator[None]:
    """The system's fonts are not looked for yet, nor afterwards."""
    module._system_font.cache_clear()
    yield
    module._system_font.cache_clear()


@pytest.mark.usefixtures("unknown_fonts")
def test_letters_that_the_built_in_font_lacks_are_written_with_one_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    arial: Any = ImageFont.load_default(30)
    arial.path = "/fonts/arial.ttf"

    def found(name: str, size: int = 10) -> Any:
        asked.append(name)
        if not name.endswith("arial.ttf"):
            raise OSError
        return arial

    monkeypatch.setattr(ImageFont, "truetype", found)
    for _ in range(3):
        draw(grey(640, 480), one(label="Plättchen"), colour="bgr")
    assert asked[-3:] == 3 * ["/fonts/arial.ttf"]
    assert asked[:-3] == list(module._SYSTEM_FONTS[:4]), "looked for once, not for each frame"


@pytest.mark.usefixtures("unknown_fonts")
@pytest.mark.parametrize(
    ("label", "written"),
    [("Plättchen", "Plattchen"), ("Fuß", "Fuss"), ("čáp", "cap"), ("猫", "?"), ("ﬁsh", "fish")],
)
def test_without_such_a_font_accents_are_left_out(
    monkeypatch: pytest.MonkeyPatch, label: str, written: str
) -> None:
    monkeypatch.setattr(module, "_SYSTEM_FONTS", ())
    drawn = draw(grey(640, 480), one(label=label), colour="bgr")
    assert drawn.tobytes() == draw(grey(640, 480), one(label=written), colour="bgr").tobytes()


def test_a_wrong_option_is_refused(tmp_path: Path) -> None:
    for options in (
        {"line_width": 0},
        {"font_size": 0},
        {"font": tmp_path / "missing.ttf"},
        {"font": "\0"},
    ):
        with pytest.raises(UsageError):
            draw(grey(64, 48), one(), colour="bgr", **options)


def test_detections_draw_on_the_file_they_name(tmp_path: Path) -> None:
    Image.fromarray(grey(640, 480)).save(tmp_path / "a.png")
    drawn = one(image=str(tmp_path / "a.png")).draw(line_width=5)
    assert (pixels(drawn) != GREY).any()
    with pytest.raises(UsageError, match="give the image"):
        one().draw()


class TestNotebookView:
    def test_it_is_a_table_without_a_picture_where_there_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "text.jpg").write_text("not an image")
        for image in ("", "missing.jpg", str(tmp_path), str(tmp_path / "text.jpg"), "a\0b"):
            view = one(image=image)._repr_html_()
            assert "<table>" in view
            assert "<img" not in view

    def test_it_shows_the_drawn_picture_of_a_readable_file(self, tmp_path: Path) -> None:
        Image.fromarray(grey(1600, 1200)).save(tmp_path / "a.png")
        view = one(image=str(tmp_path / "a.png"))._repr_html_()
        assert 'src="data:image/jpeg;base64,' in view
        assert len(view) < 100_000

    def test_names_cannot_inject_markup(self) -> None:
        view = one(label="<script>alert(1)</script>", image="<b>\udce9")._repr_html_()
        assert "<script>" not in view
        assert "<b>\\" not in view
        view.encode()

    def test_a_long_table_is_cut(self) -> None:
        view = one()[[0] * 50]._repr_html_()
        assert "… 30 more" in view
