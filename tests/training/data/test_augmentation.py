"""Augmentation: pixels and boxes move together, nothing leaves the input, chance has one source."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.agreement import pairwise_iou
from ssd_resnet34.training.data import augmentation
from ssd_resnet34.training.data.augmentation import (
    LEAST_SIDE,
    OVERLAPS,
    Augmentation,
    View,
    augmented,
    distorted,
    drawn_view,
    mean_colour,
    mirrored,
    projected,
    resampled,
    whole,
)
from ssd_resnet34.training.data.example import Example, Sample

FILL = (104, 116, 124)
NOTHING = Augmentation(distortion=0, zoom_out=0, crop=0, mirror=0)
GEOMETRY = Augmentation(distortion=0)

sides = st.integers(8, 200)
seeds = st.integers(0, 2**32 - 1)
inputs = st.sampled_from([16, 75, 150, 300])
chances = st.sampled_from([0.0, 0.5, 1.0])
recipes = st.builds(
    Augmentation,
    distortion=chances,
    zoom_out=chances,
    largest=st.floats(1, 6),
    crop=chances,
    mirror=chances,
)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    width, height = draw(sides), draw(sides)
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        rows.append((left, top, right, bottom))
    n = len(rows)
    ignored = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return Sample(
        Path("some.jpg"),
        (width, height),
        np.array(rows, np.float32).reshape(-1, 4),
        np.arange(1, n + 1),  # each object has an index of its own
        np.array(ignored, np.bool_),
        frozenset({7}),
    )


def noise(sample: Sample, seed: int = 0) -> NDArray[np.uint8]:
    width, height = sample.size
    return generator(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# ---------------------------------------------------------------- what comes out


@settings(max_examples=150)
@given(samples(), recipes, seeds, inputs)
def test_every_example_is_what_its_class_promises(
    sample: Sample, recipe: Augmentation, seed: int, size: int
) -> None:
    before = noise(sample)
    pixels = before.copy()
    example = augmented(sample, pixels, size, generator(seed), recipe, FILL)
    assert np.array_equal(pixels, before)  # the original stays as it was
    assert example.image.shape == (size, size, 3)
    assert example.image.dtype == np.uint8
    assert example.boxes.dtype == example.ignored.dtype == np.float32
    assert example.boxes.shape == (len(example.indices), 4)
    for boxes in (example.boxes, example.ignored):
        assert boxes.shape[1] == 4
        assert (boxes >= 0).all()
        assert (boxes <= size).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (example.boxes[:, 2:] - example.boxes[:, :2] >= LEAST_SIDE * size).all()
    assert example.unknown == {7}
    assert example.source == sample.path
    wanted = set(sample.indices[~sample.ignored].tolist())
    found = example.indices.tolist()
    assert set(found) <= wanted
    assert len(set(found)) == len(found)
    assert len(found) + len(example.ignored) <= len(sample.boxes)


@settings(max_examples=150)
@given(samples(), recipes, seeds, inputs)
def test_an_index_stays_with_its_box(
    sample: Sample, recipe: Augmentation, seed: int, size: int
) -> None:
    example = augmented(sample, noise(sample), size, generator(seed), recipe, FILL)
    objects = sample.boxes[~sample.ignored]
    view = drawn_view(generator(seed), sample.size, objects, recipe)  # the same choices
    for box, index in zip(example.boxes, example.indices.tolist(), strict=True):
        moved = projected(sample.boxes[index - 1 : index], view, size)[0]
        assert np.array_equal(box, np.clip(moved, 0, size))
        centre = (moved[:2] + moved[2:]) / 2
        assert ((centre >= 0) & (centre < size)).all()


@settings(max_examples=60)
@given(samples(), recipes, seeds)
def test_the_same_generator_gives_the_same_example(
    sample: Sample, recipe: Augmentation, seed: int
) -> None:
    one, other = (
        augmented(sample, noise(sample), 75, generator(seed), recipe, FILL) for _ in range(2)
    )
    for field in ("image", "boxes", "indices", "ignored"):
        assert np.array_equal(getattr(one, field), getattr(other, field))


def test_other_generators_give_other_examples() -> None:
    sample = one_box(100, 80, (20, 20, 70, 60))
    images = {
        augmented(sample, noise(sample), 32, generator(seed), Augmentation(), FILL).image.tobytes()
        for seed in range(20)
    }
    assert len(images) == 20


def one_box(width: int, height: int, box: tuple[int, int, int, int]) -> Sample:
    return Sample(
        Path("one.png"),
        (width, height),
        np.array([box], np.float32),
        np.array([1]),
        np.array([False]),
    )


@settings(max_examples=150)
@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_pixels_and_boxes_move_together(seed: int, x: float, y: float) -> None:
    """A white object on black: wherever it goes, its box is where it is white."""
    width, height, size = 160, 120, 300
    left, top = int(x * 90), int(y * 60)
    sample = one_box(width, height, (left, top, left + 60, top + 50))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top : top + 50, left : left + 60] = 255
    example = augmented(sample, pixels, size, generator(seed), GEOMETRY, (0, 0, 0))
    white = example.image[:, :, 0] > 127
    boxes = np.concatenate([example.boxes, example.ignored])
    if len(boxes) == 0:
        assert white.sum() == 0
        return
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    if len(rows) == 0:  # a sliver of less than half a pixel
        assert (boxes[0, 2:] - boxes[0, :2]).min() < 1
        return
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(boxes[0] - seen).max() <= 1


# ---------------------------------------------------------------- geometry


@settings(max_examples=60)
@given(samples(), inputs)
def test_without_augmentation_the_whole_picture_is_resized(sample: Sample, size: int) -> None:
    pixels = noise(sample)
    example = augmented(sample, pixels, size, generator(0), NOTHING, FILL)
    plain = whole(sample, pixels, size)
    resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(example.image, plain.image)
    assert np.array_equal(plain.image, resized)
    assert np.array_equal(example.boxes, plain.boxes)
    scale = np.array([size / sample.size[0], size / sample.size[1]] * 2)
    moved = sample.boxes * scale
    sides = moved[:, 2:] - moved[:, :2]
    assume((abs(sides - LEAST_SIDE * size) > 1e-4 * size).all())  # else rounding decides
    large = (sides >= LEAST_SIDE * size).all(axis=1)
    assert plain.indices.tolist() == sample.indices[large & ~sample.ignored].tolist()
    assert len(plain.boxes) + len(plain.ignored) == len(sample.boxes)
    assert np.allclose(plain.boxes, moved[large & ~sample.ignored], atol=1e-3)


@settings(max_examples=60)
@given(samples(), recipes, seeds)
def test_mirrored_twice_is_as_before(sample: Sample, recipe: Augmentation, seed: int) -> None:
    pixels = noise(sample)
    assert np.array_equal(mirrored(mirrored(pixels)), pixels)
    view = drawn_view(generator(seed), sample.size, sample.boxes, recipe)
    other = View(view.left, view.top, view.right, view.bottom, not view.mirrored)
    size = 75
    image, turned = (resampled(pixels, one, size, FILL) for one in (view, other))
    assert np.array_equal(mirrored(turned), image)
    boxes, back = (projected(sample.boxes, one, size) for one in (view, other))
    again = np.stack([size - back[:, 2], back[:, 1], size - back[:, 0], back[:, 3]], 1)
    assert np.allclose(again, boxes, atol=1e-2)


def test_a_view_beyond_the_picture_agrees_with_one_inside_it() -> None:
    """Two ways of resampling, one result: the same view of a picture and of its middle."""
    smooth = cv2.GaussianBlur(
        generator(0).integers(0, 256, (120, 160, 3)).astype(np.uint8), (9, 9), 3
    )
    inside = resampled(np.asarray(smooth, np.uint8), View(30, 20, 110, 90), 128, FILL)
    middle = np.asarray(smooth[10:100, 25:120], np.uint8)
    beyond = resampled(middle, View(5, 10, 85, 80), 128, FILL)
    assert np.array_equal(beyond, inside)
    # The same pixels by the other way: a view that reaches one pixel out.
    wide = resampled(middle, View(-1, 0, 95, 90), 192, FILL)
    direct = cv2.resize(cv2.copyMakeBorder(middle, 0, 0, 1, 0, cv2.BORDER_REPLICATE), (192, 192))
    assert np.abs(wide.astype(int) - direct.astype(int))[:, 4:].max() <= 2
    assert (wide[:, :2] == FILL).all()


@settings(max_examples=150)
@given(samples(), seeds)
def test_a_crop_lies_in_its_canvas_and_is_never_empty(sample: Sample, seed: int) -> None:
    width, height = sample.size
    view = drawn_view(
        generator(seed), sample.size, sample.boxes, Augmentation(zoom_out=0, mirror=0)
    )
    assert 0 <= view.left < view.right <= width
    assert 0 <= view.top < view.bottom <= height
    wide = drawn_view(
        generator(seed), sample.size, sample.boxes, Augmentation(zoom_out=1, crop=0, largest=4)
    )
    assert wide.left <= 0
    assert wide.top <= 0
    assert wide.right >= width
    assert wide.bottom >= height
    assert wide.right - wide.left <= 4 * width + 1
    assert wide.bottom - wide.top <= 4 * height + 1


@pytest.mark.parametrize("least", [0.0, *OVERLAPS])
def test_a_crop_has_the_overlap_that_was_chosen(least: float) -> None:
    boxes = np.array([[10, 5, 195, 145], [10, 10, 30, 30]], np.float32)
    canvas = np.array([0.0, 0.0, 200.0, 150.0])
    crops = [augmentation._fitting(generator(seed), canvas, boxes, least) for seed in range(40)]
    overlaps = [float(pairwise_iou(crop[None], boxes).max()) for crop in crops if crop is not None]
    assert len(overlaps) >= 20
    assert min(overlaps) >= least
    assert min(overlaps) < least + 0.2  # no stricter than that


def test_an_overlap_that_no_crop_reaches_gives_way_to_another_choice() -> None:
    tiny = np.array([[0, 0, 2, 2]], np.float32)
    canvas = np.array([0.0, 0.0, 200.0, 150.0])
    assert augmentation._fitting(generator(0), canvas, tiny, 0.1) is None
    whole_ones = 0
    for seed in range(200):
        crop = augmentation._crop(generator(seed), canvas, tiny)
        whole_ones += np.array_equal(crop, canvas)
    # Only the whole picture and any crop at all are left, each as likely as the other.
    assert 70 <= whole_ones <= 130


def test_each_choice_is_as_likely_as_another() -> None:
    boxes = np.array([[5, 5, 195, 145]], np.float32)  # every overlap can be had
    canvas = np.array([0.0, 0.0, 200.0, 150.0])
    crops = [augmentation._crop(generator(seed), canvas, boxes) for seed in range(700)]
    whole_ones = sum(np.array_equal(crop, canvas) for crop in crops)
    assert 70 <= whole_ones <= 135  # a seventh is 100


def test_crops_have_the_scales_and_aspects_of_the_code() -> None:
    canvas = np.array([-50.0, -20.0, 350.0, 180.0])
    crops = np.concatenate([augmentation._crops(generator(seed), canvas) for seed in range(40)])
    extent = (crops[:, 2:] - crops[:, :2]) / (canvas[2:] - canvas[:2])
    scale = np.sqrt(extent.prod(axis=1))
    aspect = extent[:, 0] / extent[:, 1]
    assert scale.min() >= 0.3 - 1e-9
    assert scale.min() < 0.32
    assert scale.max() <= 1
    assert scale.max() > 0.97
    assert aspect.min() >= 0.5 - 1e-9
    assert aspect.max() <= 2 + 1e-9
    assert (crops[:, :2] >= canvas[:2] - 1e-9).all()
    assert (crops[:, 2:] <= canvas[2:] + 1e-9).all()


def test_without_objects_the_whole_picture_is_shown() -> None:
    empty = np.zeros((0, 4), np.float32)
    for seed in range(10):
        view = drawn_view(generator(seed), (90, 70), empty, Augmentation(zoom_out=0, mirror=0))
        assert view == View(0, 0, 90, 70)


@pytest.mark.parametrize(
    ("box", "learnt"),
    [
        ((30, 30, 50, 50), True),  # inside
        ((10, 30, 35, 50), True),  # its centre is inside
        ((5, 30, 33, 50), False),  # its centre is outside: what is seen of it is ignored
        ((30, 5, 50, 33), False),
    ],
)
def test_a_centre_decides_and_the_rest_is_ignored(
    box: tuple[int, int, int, int], learnt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "drawn_view", lambda *_: View(20, 20, 80, 80))
    sample = one_box(100, 100, box)
    example = augmented(sample, noise(sample), 60, generator(0), NOTHING, FILL)
    seen = np.clip(np.array(box) - 20, 0, 60)
    assert [one.tolist() for one in example.boxes] == ([seen.tolist()] if learnt else [])
    assert [one.tolist() for one in example.ignored] == ([] if learnt else [seen.tolist()])


def test_what_a_crop_does_not_show_is_neither_object_nor_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(augmentation, "drawn_view", lambda *_: View(50, 50, 100, 100))
    sample = one_box(100, 100, (0, 0, 50, 50))
    example = augmented(sample, noise(sample), 60, generator(0), NOTHING, FILL)
    assert len(example.boxes) == len(example.ignored) == 0


def test_a_crowd_stays_ignored_wherever_its_centre_is() -> None:
    sample = one_box(100, 100, (20, 20, 60, 60))
    crowd = Sample(
        sample.path, sample.size, sample.boxes, sample.indices, np.array([True]), frozenset()
    )
    example = whole(crowd, noise(crowd), 50)
    assert len(example.boxes) == 0
    assert example.ignored.tolist() == [[10, 10, 30, 30]]


def test_objects_too_small_for_any_prior_are_ignored() -> None:
    sample = one_box(1200, 1200, (100, 100, 107, 150))
    example = whole(sample, noise(sample), 600)
    assert len(example.boxes) == 0
    assert example.ignored.tolist() == [[50, 50, 53.5, 75]]


# ---------------------------------------------------------------- colours


def test_the_mean_colour_is_the_contracts_in_bgr() -> None:
    assert mean_colour(COCO) == FILL


def test_a_zoomed_out_picture_has_the_mean_colour_around_it_and_no_distortion_there() -> None:
    sample = one_box(60, 40, (10, 10, 40, 30))
    pixels = np.full((40, 60, 3), (250, 3, 120), np.uint8)
    recipe = Augmentation(distortion=1, zoom_out=1, crop=0)
    for seed in range(10):
        example = augmented(sample, pixels, 100, generator(seed), recipe, FILL)
        colours = {tuple(colour) for colour in example.image.reshape(-1, 3).tolist()}
        assert FILL in colours
        inside = np.array(sorted(colours - {FILL}))
        assert np.ptp(inside, axis=0).max() <= 4  # one colour, as 8 bits of HSV round it


def test_colours_are_distorted_within_the_bounds_of_the_code() -> None:
    gray = np.full((4, 4, 3), 100, np.uint8)
    seen = np.array([distorted(generator(seed), gray, 1)[0, 0].max() for seed in range(300)])
    assert 30 <= seen.min() < 60  # (100 - 32) · 0.5 = 34
    assert 170 < seen.max() <= 200  # (100 + 32) · 1.5 = 198
    red = np.full((4, 4, 3), (0, 0, 120), np.uint8)  # never brought over 255
    turns = []
    for seed in range(300):
        colour = distorted(generator(seed), red, 1)[:1, :1]
        turns.append(int(cv2.cvtColor(colour, cv2.COLOR_BGR2HSV)[0, 0, 0]))
    signed = (np.array(turns) + 90) % 180 - 90  # red is 0 and its neighbours lie on both sides
    assert -21 <= signed.min() < -14
    assert 14 < signed.max() <= 21


def test_no_distortion_changes_nothing() -> None:
    image = generator(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    for seed in range(5):
        assert np.array_equal(distorted(generator(seed), image, 0), image)


@pytest.mark.parametrize(
    "values",
    [
        {"distortion": 1.5},
        {"zoom_out": -0.1},
        {"crop": float("nan")},
        {"mirror": 2},
        {"largest": 0.5},
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(UsageError, match=name):
        Augmentation(**values)


def test_a_mirror_can_be_left_out() -> None:
    sample = one_box(100, 80, (20, 20, 70, 60))
    for seed in range(20):
        view = drawn_view(generator(seed), sample.size, sample.boxes, Augmentation(mirror=0))
        assert not view.mirrored


def test_an_example_is_the_type_that_training_takes() -> None:
    sample = one_box(100, 80, (20, 20, 70, 60))
    assert isinstance(whole(sample, noise(sample), 32), Example)
