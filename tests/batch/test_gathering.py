"""Calls that wait together are run together, and each gets its own answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ssd_resnet34.batch.gathering import Gathering
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import Image


def image(n: int) -> Image:
    return Image(np.zeros((1, 1 + n, 3), np.uint8), str(n))


def empty(one: Image) -> Detections:
    none = np.zeros(0, np.float32)
    whole = np.zeros(0, np.int64)
    return Detections(none.reshape(0, 4), none, whole, whole, (), one.name, one.width, one.height)


def test_many_calls_are_batches_and_each_gets_its_own_answer() -> None:
    sizes: list[int] = []
    gate = threading.Event()

    def together(images: list[Image]) -> list[Detections]:
        gate.wait(30)
        sizes.append(len(images))
        return [empty(one) for one in images]

    gathering = Gathering(together, 4, 1)
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(gathering, image(n)) for n in range(12)]
        gate.set()
        assert [answer.result().image for answer in answers] == [str(n) for n in range(12)]
    gathering.close()
    assert sum(sizes) == 12
    assert max(sizes) <= 4
    assert len(sizes) < 12


def test_a_single_call_does_not_wait_for_others() -> None:
    gathering = Gathering(lambda images: [empty(one) for one in images], 64, 2)
    assert gathering(image(7)).image == "7"
    gathering.close()


def test_a_failure_is_told_to_the_image_that_causes_it_alone() -> None:
    gate = threading.Event()

    def together(images: list[Image]) -> list[Detections]:
        gate.wait(30)
        if any(one.name == "2" for one in images):
            raise MemoryError("no room for 2")
        return [empty(one) for one in images]

    gathering = Gathering(together, 8, 1)
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(gathering, image(n)) for n in range(5)]
        gate.set()
        for n, answer in enumerate(answers):
            if n == 2:
                with pytest.raises(MemoryError, match="no room for 2"):
                    answer.result()
            else:
                assert answer.result().image == str(n)
    gathering.close()
