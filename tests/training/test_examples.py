"""What the trainer looks at: windows, their boxes, and where the pictures come from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fake_scenes import FakeRenderer, fake_scenes
from ssd_resnet34.contract import COCO
from ssd_resnet34.training import examples
from ssd_resnet34.training.examples import (
    CROP_STREAM,
    LEAST_VISIBLE,
    Batch,
    Batches,
    Example,
    crop,
    crop_batch,
    crowd,
    patch_batch,
    scene_batch,
)
from ssd_resnet34.training.held_out import HELD_OUT_STREAM, TRAINING_STREAM
from ssd_resnet34.training.sample import STREAM
from ssd_resnet34.training.scenes import render_scene


def same(a: list[Example], b: list[Example]) -> bool:
    fields = ("image", "boxes", "indices", "ignored")
    return all(
        np.array_equal(getattr(x, field), getattr(y, field))
        for x, y in zip(a, b, strict=True)
        for field in fields
    )


# ---------------------------------------------------------------- windows


boxes_within = st.lists(
    st.tuples(*[st.integers(0, 290)] * 2, *[st.integers(1, 200)] * 2), max_size=6
)


@settings(max_examples=60)
@given(boxes_within, st.integers(0, 200), st.integers(0, 200), st.integers(20, 100))
def test_a_window_clips_boxes_and_ignores_those_mostly_outside(
    places: list[tuple[int, int, int, int]], left: int, top: int, size: int
) -> None:
    image = np.arange(300 * 300 * 3, dtype=np.uint32).astype(np.uint8).reshape(300, 300, 3)
    rows = [(x, y, min(x + w, 300), min(y + h, 300)) for x, y, w, h in places]
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    whole = Example(image, boxes, np.arange(1, len(rows) + 1), np.zeros((0, 4), np.float32))
    window = crop(whole, left, top, size)
    assert np.array_equal(window.image, image[top : top + size, left : left + size])
    assert window.image.flags.c_contiguous

    kept, ignored = [], []
    for n, (x1, y1, x2, y2) in enumerate(rows, 1):
        inside = (max(x1, left), max(y1, top), min(x2, left + size), min(y2, top + size))
        width, height = inside[2] - inside[0], inside[3] - inside[1]
        if width <= 0 or height <= 0:
            continue
        box = [inside[0] - left, inside[1] - top, inside[2] - left, inside[3] - top]
        share = width * height / ((x2 - x1) * (y2 - y1))
        if share >= np.float32(LEAST_VISIBLE):
            kept.append((n, box))
        else:
            ignored.append(box)
    assert window.indices.tolist() == [n for n, _ in kept]
    assert window.boxes.tolist() == [box for _, box in kept]
    assert window.ignored.tolist() == ignored


@pytest.fixture
def scenes() -> Iterator[FakeRenderer]:
    with fake_scenes() as renderer:
        yield renderer


def test_every_window_of_a_scene_holds_one_of_its_objects_whole(scenes: FakeRenderer) -> None:
    for step in range(10):
        for n, example in enumerate(crop_batch(0, step, 4, 408)):
            assert example.image.shape == (408, 408, 3)
            scene = crowd(0, step + n)
            sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
            found = example.boxes[:, 2:] - example.boxes[:, :2]
            # An object may lose the fraction of a pixel at the window's border.
            assert (np.abs(found[:, None] - sides[None]).max(2) <= 1).any()


def test_a_patch_shows_most_of_the_object_it_names(scenes: FakeRenderer) -> None:
    white = replace(crowd(0, 3), image=np.zeros((1200, 1200, 3), np.uint8))
    left, top, right, bottom = white.boxes[0].astype(int)
    white.image[top:bottom, left:right] = 255
    one = replace(white, boxes=white.boxes[:1], indices=white.indices[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "crowd", lambda seed, number: one)
        patches = patch_batch(0, 3, 4, 80)
    scale = max(right - left, bottom - top)
    for example in patches:
        assert example.image.shape == (80, 80, 3)
        assert example.indices.tolist() == white.indices[:1].tolist()
        assert len(example.boxes) == len(example.ignored) == 0
        shown = (example.image[:, :, 0] > 127).mean()
        full = (right - left) * (bottom - top) / scale**2  # share of the object's square
        assert 0.9 * full / 1.5**2 <= shown <= full / 1.1**2 * 1.1
    assert len(scenes.seeds) == 1


# ---------------------------------------------------------------- where pictures come from


def words(seed: tuple[int, ...]) -> tuple[int, ...]:
    """The seed as numpy sees it: trailing zeros do not count."""
    while seed and seed[-1] == 0:
        seed = seed[:-1]
    return seed


def test_no_training_picture_has_the_seed_of_a_held_out_one(scenes: FakeRenderer) -> None:
    for seed in (0, 1, HELD_OUT_STREAM):
        for step in (0, 1, 1000, HELD_OUT_STREAM):
            crop_batch(seed, step, 4, 408)
            patch_batch(seed, step, 4, 96)
            scene_batch(seed, step, 2)
    streams = {seed[0] for seed in scenes.seeds}
    assert streams == {TRAINING_STREAM, CROP_STREAM}
    assert not streams & {HELD_OUT_STREAM, STREAM}
    assert all(0 < stream < 2**32 for stream in streams)  # one word: no number spills over


def test_steps_and_seeds_share_no_whole_scene(scenes: FakeRenderer) -> None:
    for seed in range(3):
        for step in range(4):
            scene_batch(seed, step, 2)
    assert len({words(seed) for seed in scenes.seeds}) == 3 * 4 * 2


@pytest.mark.parametrize("make", [crop_batch, patch_batch])
def test_each_batch_replaces_one_of_the_scenes_it_is_cut_from(
    scenes: FakeRenderer, make: Callable[..., list[Example]]
) -> None:
    for step in range(3):
        make(0, step, 8, 96)
    assert [seed[-1] for seed in scenes.seeds] == [0, 1, 2, 3, 4, 5]  # each rendered once


@pytest.mark.parametrize("make", [crop_batch, patch_batch])
@pytest.mark.usefixtures("scenes")
def test_a_batch_is_a_function_of_seed_and_step(make: Callable[..., list[Example]]) -> None:
    first, again, other, sown = (
        make(seed, step, 4, 96) for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3))
    )
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, sown)


def test_a_rendered_window_shows_what_its_boxes_say() -> None:
    scene = examples.whole(render_scene((9, 9), size=300, objects=(3, 3), sides=(40, 120)))
    assert [COCO.labels[index - 1] for index in scene.indices]
    left, top, right, bottom = (int(edge) for edge in scene.boxes[0])
    origin = (min(left, 300 - 150), min(top, 300 - 150))
    window = crop(scene, *origin, 150)
    place = int(np.flatnonzero(window.indices == scene.indices[0])[0])
    x1, y1, x2, y2 = (int(edge) for edge in window.boxes[place])
    shown = window.image[y1:y2, x1:x2]
    inside: NDArray[np.uint8] = scene.image[top:bottom, left:right]
    assert np.array_equal(shown, inside[: shown.shape[0], : shown.shape[1]])


@pytest.mark.usefixtures("scenes")
def test_batches_from_a_later_step_are_those_of_an_earlier_start() -> None:
    def batches(first: int, count: int) -> list[Batch]:
        data = Batches("patches", torch.zeros(0, 4), seed=0, first=first, count=2, size=48)
        return list(islice(data, count))

    threads = torch.get_num_threads()
    try:
        early, late = batches(0, 3), batches(2, 1)
    finally:
        torch.set_num_threads(threads)  # it is meant for a worker, which has its own
    assert [batch.step for batch in early] == [0, 1, 2]
    assert late[0].step == 2
    assert torch.equal(late[0].images, early[2].images)
    assert late[0].images.dtype == torch.uint8
    for a, b in zip(late[0].targets, early[2].targets, strict=True):
        assert torch.equal(a.classes, b.classes)
