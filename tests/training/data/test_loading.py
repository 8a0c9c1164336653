"""Images while training goes on: what they depend on, and what is refused."""

import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssd_resnet34.errors import MismatchedSize, TrainingError
from ssd_resnet34.training.data.augmentation import Augmentation
from ssd_resnet34.training.data.example import DataSet, Example
from ssd_resnet34.training.data.feeding import Feed
from ssd_resnet34.training.data.loading import Examples, Refused, decoded
from ssd_resnet34.training.fitting.loading import Micro, Order, Share, micros
from ssd_resnet34.vision.images import Limits

PRIORS = torch.tensor([[16.0, 16, 20, 20], [40, 40, 30, 30]])

MORE_WORKERS = pytest.mark.filterwarnings("ignore:This DataLoader will create")
"""Two of them, even on one core."""


def same(a: Example, b: Example) -> bool:
    return all(
        np.array_equal(getattr(a, field), getattr(b, field))
        for field in ("image", "boxes", "indices", "ignored")
    )


def refused(examples: Examples) -> list[Refused]:
    return list(examples.refused)


def damage(data_set: DataSet, *numbers: int) -> None:
    for n in numbers:
        path = data_set.samples[n].path
        path.write_bytes(path.read_bytes()[:60])


# ---------------------------------------------------------------- examples


def test_an_example_is_a_function_of_seed_epoch_and_number(ten: DataSet) -> None:
    examples = Examples(ten, 64, seed=3)
    first = examples.example(2, 5)
    examples.example(0, 1)  # what was asked before does not matter
    assert same(examples.example(2, 5), first)
    assert same(Examples(ten, 64, seed=3).example(2, 5), first)
    for other in (
        examples.example(1, 5),
        examples.example(2, 6),
        Examples(ten, 64, seed=4).example(2, 5),
    ):
        assert not same(other, first)


def test_without_augmentation_every_epoch_shows_the_same(ten: DataSet) -> None:
    examples = Examples(ten, 64, augmentation=None)
    assert same(examples.example(0, 5), examples.example(7, 5))
    assert examples.example(0, 5).boxes.shape == (1, 4)
    assert len(examples) == 10


@MORE_WORKERS
def test_copies_in_other_processes_give_the_same(ten: DataSet) -> None:
    examples = Examples(ten, 64)
    order, share = Order(10, 4, 2, seed=0), Share(0, 1, 2, 2)
    here = list(micros(examples, order, share, PRIORS, 0, 0))
    there = list(micros(examples, order, share, PRIORS, 0, 2))
    resumed = list(micros(examples, order, share, PRIORS, 3, 2))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.sources == other.sources
    assert [one.sources for one in resumed] == [one.sources for one in here[6:]]


# ---------------------------------------------------------------- refused images


def test_a_refused_image_is_replaced_by_the_next_and_reported(ten: DataSet) -> None:
    damage(ten, 4)
    examples = Examples(ten, 64)
    assert not refused(examples)
    assert examples.example(0, 4).source == ten.samples[5].path
    assert refused(examples) == [Refused(ten.samples[4].path, "corrupt_image")]
    assert examples.example(1, 3).source == ten.samples[3].path
    examples.example(1, 4)
    assert len(refused(examples)) == 1  # once, however often it is met


def test_after_the_last_image_comes_the_first(ten: DataSet) -> None:
    damage(ten, 9)
    assert Examples(ten, 64).example(0, 9).source == ten.samples[0].path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no image")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def larger(path: Path) -> None:
    Image.new("RGB", (65, 48)).save(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (empty, "empty_input"),
        (text, "unsupported_image"),
        (cut, "corrupt_image"),
        (Path.unlink, "unreadable_file"),
        (folder, "unreadable_file"),
        (pipe, "unreadable_file"),
        (larger, "mismatched_size"),
    ],
)
def test_each_kind_of_refusal_has_its_code(
    ten: DataSet, change: Callable[[Path], None], code: str
) -> None:
    change(ten.samples[2].path)
    examples = Examples(ten, 64)
    assert examples.example(0, 2).source == ten.samples[3].path
    assert examples.refused == (Refused(ten.samples[2].path, code),)


@pytest.mark.parametrize(
    ("limits", "code"),
    [(Limits(max_pixels=100), "too_many_pixels"), (Limits(max_bytes=10), "too_many_bytes")],
)
def test_the_limits_of_images_hold_here_too(ten: DataSet, limits: Limits, code: str) -> None:
    examples = Examples(ten, 64, limits=limits)
    with pytest.raises(TrainingError, match=code):
        examples.example(0, 0)


def test_a_picture_that_exif_turns_says_so(ten: DataSet) -> None:
    path = ten.samples[0].path
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(path, exif=exif)
    with pytest.raises(
        MismatchedSize, match=r"48x64, annotated as 64x48; EXIF turns it.*orientation"
    ):
        decoded(ten.samples[0])


def test_one_refused_image_never_ends_a_run_and_more_than_a_share_does(ten: DataSet) -> None:
    damage(ten, 1, 2, 3)
    for share, most in ((0.0, 1), (0.05, 1), (0.2, 2)):
        examples = Examples(ten, 64, refused_share=share)
        for n in range(most):
            examples.example(0, 4 + n)
        with pytest.raises(TrainingError, match=rf"{most + 1} of 10 images .* more than {most}: "):
            examples.example(0, 1)
    enough = Examples(ten, 64, refused_share=0.3)
    assert enough.example(0, 1).source == ten.samples[4].path
    assert len(enough.refused) == 3
    enough.check()


def test_a_set_without_one_good_image_ends_the_run(ten: DataSet) -> None:
    damage(ten, *range(10))
    with pytest.raises(TrainingError, match=r"10 of 10 images are refused.*00\.png \(corrupt"):
        Examples(ten, 64, refused_share=1).example(0, 7)


@MORE_WORKERS
def test_what_workers_refuse_is_known_to_the_run(ten: DataSet) -> None:
    damage(ten, 3, 7)
    examples = Examples(ten, 64, refused_share=0.2)
    order, share = Order(10, 5, 1, seed=0), Share(0, 1, 5, 1)
    batches = list(Feed(micros(examples, order, share, PRIORS, 0, 2), examples, workers=2))
    assert len(batches) == 2
    assert [one.path.name for one in examples.refused] == ["03.png", "07.png"]
    assert {source for batch in batches for source in batch.sources} == {
        str(sample.path) for n, sample in enumerate(ten.samples) if n not in (3, 7)
    }


def test_a_workers_error_is_told_in_one_line(ten: DataSet) -> None:
    damage(ten, 3, 4, 5, 6, 7)
    examples = Examples(ten, 64)
    order, share = Order(10, 5, 1, seed=0), Share(0, 1, 5, 1)
    feed: Feed[Micro] = Feed(micros(examples, order, share, PRIORS, 0, 1), examples, workers=1)
    with pytest.raises(TrainingError, match=r"images are refused, more than 1: ") as caught:
        list(feed)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


class Deadly(Examples):
    """The system ends whoever asks for the sixth image, as it does when memory is short."""

    def example(self, epoch: int, number: int) -> Example:
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().example(epoch, number)


# torch tells of the death in a signal handler, which may meet a destructor.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_is_killed_ends_the_run_with_a_reason(ten: DataSet) -> None:
    examples = Deadly(ten, 64)
    order, share = Order(10, 5, 1, seed=0), Share(0, 1, 5, 1)
    feed: Feed[Micro] = Feed(micros(examples, order, share, PRIORS, 0, 1), examples, workers=1)
    with pytest.raises(TrainingError, match=r"ended by itself \(.*fewer workers.*--resume"):
        list(feed)


def test_a_process_that_is_stopped_early_ends_quietly(ten: DataSet) -> None:
    """It is sending the next batches then; one that shut down as Python does might abort."""
    examples = Examples(ten, 600)
    batches: Any = micros(examples, Order(10, 5, 50, seed=0), Share(0, 1, 5, 1), PRIORS, 0, 1)
    for _ in range(3):
        next(batches)
    (worker,) = batches._workers
    del batches
    assert worker.exitcode == 0


def test_examples_can_be_sent_to_a_new_process(ten: DataSet) -> None:
    """Where processes are not forked, torch's pickler takes the shared list along."""
    from multiprocessing.reduction import ForkingPickler

    examples = Examples(ten, 64, augmentation=Augmentation(mirror=0))
    sent = pickle.loads(ForkingPickler.dumps(examples))
    assert same(sent.example(1, 2), examples.example(1, 2))
    damage(ten, 0)
    sent.example(0, 0)
    assert [one.path.name for one in examples.refused] == ["00.png"]


def test_samples_of_another_size_are_not_scaled_in_silence(ten: DataSet) -> None:
    sample = replace(ten.samples[0], size=(32, 24))
    with pytest.raises(MismatchedSize, match="64x48, annotated as 32x24; annotate it anew"):
        decoded(sample)
