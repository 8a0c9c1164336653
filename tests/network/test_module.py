"""The torch module."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO
from ssd_resnet34.network.layout import parameter_shapes

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

State = dict[str, NDArray[Any]]


def test_the_218_official_keys_load_strictly_in_their_order(state: State) -> None:
    from ssd_resnet34.network.module import SSDResNet34Module

    network = SSDResNet34Module()
    assert list(network.state_dict()) == list(state)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})


def test_heads_are_golden(
    state: State, image: NDArray[np.float32], largest_difference: Callable[..., float]
) -> None:
    from ssd_resnet34.network.module import SSDResNet34Module

    network = SSDResNet34Module().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    with torch.inference_mode():
        heads = [head.numpy() for head in network(torch.from_numpy(image))]
    assert [head.shape[1:] for head in heads] == list(COCO.head_shapes().values())
    assert largest_difference(heads) < 1e-3


def test_the_layout_has_the_modules_keys_for_any_number_of_classes() -> None:
    from ssd_resnet34.network.module import SSDResNet34Module

    with torch.device("meta"):
        network = SSDResNet34Module(4)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert list(shapes.items()) == list(parameter_shapes(4).items())
