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


def test_heads_stay_in_fp32_under_autocast_and_so_do_their_gradients() -> None:
    from ssd_resnet34.network.module import SSDResNet34Module

    torch.manual_seed(0)
    network = SSDResNet34Module(4)
    features = torch.randn(4, 256, 49, 49)  # of a 385×385 input: the last two maps are 1×1
    found = []
    for rounded in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            heads = network.heads(features)
        assert all(head.dtype == torch.float32 for head in heads)
        torch.cat([head.flatten() for head in heads]).square().sum().backward()
        (gradient,) = [p.grad for name, p in network.named_parameters() if name == "loc.5.weight"]
        assert gradient is not None
        found.append(gradient.clone())
    exact, rounded_once = found
    assert float((exact - rounded_once).norm() / exact.norm()) < 0.05
