"""3×3 convolutions by fewer multiplications, against PyTorch's own in float64."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssd_resnet34.training import winograd


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums are the subject here, not the compiler, which takes a minute."""
    monkeypatch.setattr(winograd, "_fused", lambda transform: transform)


def direct(x: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(x.double(), weight.double(), padding=1)


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (5, 8), (13, 10), (3, 22)])
def test_values_and_both_gradients_are_those_of_the_direct_sum(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 6, *size, requires_grad=True)
    weight = torch.randn(5, 6, 3, 3, requires_grad=True)
    found, wanted = winograd.convolve(x, weight), direct(x, weight)
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, atol=1e-4)
    slope = torch.randn_like(found)
    mine = torch.autograd.grad(found, (x, weight), slope)
    right = torch.autograd.grad(wanted, (x, weight), slope.double())
    for a, b in zip(mine, right, strict=True):
        assert torch.allclose(a, b, atol=2e-4 * float(b.abs().max()) + 1e-4)


def test_any_memory_format_will_do() -> None:
    x = torch.randn(1, 8, 9, 9)
    weight = torch.randn(4, 8, 3, 3)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(winograd.convolve(x, weight), winograd.convolve(last, weight))


def test_no_gradient_is_computed_that_nobody_wants() -> None:
    x = torch.randn(1, 4, 8, 8)
    weight = torch.randn(4, 4, 3, 3, requires_grad=True)
    winograd.convolve(x, weight).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is None
    assert weight.grad is not None


def test_only_fitting_layers_are_taken_and_parameters_stay() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False),
        nn.Conv2d(8, 8, 3, 1, 1, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, bias=False),
        nn.Conv2d(8, 8, 3, 1, 1),
        nn.Conv2d(8, 8, 1, bias=False),
    )
    x = torch.randn(1, 3, 40, 40)
    before, keys = module(x), list(module.state_dict())
    assert winograd.use(module) == 1
    assert list(module.state_dict()) == keys
    assert torch.allclose(module(x), before, atol=1e-4)
    assert winograd.use(module) == 0
