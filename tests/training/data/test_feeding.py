"""Batches while training goes on: who waited for whom."""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from ssd_resnet34.errors import TrainingError
from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.feeding import Feed
from ssd_resnet34.training.data.loading import Examples


class Clock:
    """Moves on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def batches(self, wait: Callable[[int], float]) -> Iterator[int]:
        number = 0
        while True:
            self.now += wait(number)
            yield number
            number += 1


def run(data: DataSet, wait: Callable[[int], float], steps: int) -> tuple[Feed[int], list[str]]:
    """``steps`` of 50 ms, the images of each waited for as ``wait`` says."""
    clock, said = Clock(), list[str]()
    examples = Examples(data, 64)
    feed = Feed(clock.batches(wait), examples, workers=2, say=said.append, clock=clock)
    for _ in islice(feed, steps):
        clock.now += 0.05
    return feed, said


def test_steps_that_never_wait_are_not_starving(ten: DataSet) -> None:
    feed, said = run(ten, lambda _: 0.001, 300)
    assert feed.starving == 0
    assert feed.waiting == pytest.approx(0.001 / 0.051)
    assert said == []


def test_the_first_batch_does_not_count(ten: DataSet) -> None:
    feed, said = run(ten, lambda n: 0.0 if n else 10.0, 2)
    assert feed.starving == feed.waiting == 0
    assert said == []


def test_starving_is_the_share_of_steps_that_waited_and_is_said_once(ten: DataSet) -> None:
    feed, said = run(ten, lambda n: 0.0 if n % 4 else 0.05, 500)
    assert feed.starving == pytest.approx(0.25)
    assert feed.waiting == pytest.approx(0.25 * 0.05 / (0.05 + 0.25 * 0.05))
    (sentence,) = said
    assert sentence.startswith("25% of the last 100 steps waited for images, 20% of their time")
    assert "2 worker processes; give more" in sentence


def test_starving_looks_back_on_a_hundred_steps_alone(ten: DataSet) -> None:
    feed, said = run(ten, lambda n: 0.05 if n < 200 else 0.0, 350)
    assert feed.starving == 0
    assert len(said) == 1


def test_a_few_waits_are_not_spoken_of(ten: DataSet) -> None:
    feed, said = run(ten, lambda n: 0.05 if n % 20 == 0 else 0.0, 300)
    assert feed.starving == pytest.approx(0.05)
    assert said == []


def test_a_feed_without_steps_has_nothing_to_tell(ten: DataSet) -> None:
    feed = Feed(iter([1]), Examples(ten, 64), workers=0)
    assert feed.starving == feed.waiting == 0
    assert list(feed) == [1]


def test_other_errors_pass_as_they_are(ten: DataSet) -> None:
    def broken() -> Iterator[int]:
        if ten.samples:
            raise TrainingError("a loss that is NaN")
        yield 1

    with pytest.raises(TrainingError, match="a loss that is NaN"):
        next(Feed(broken(), Examples(ten, 64), workers=0))
