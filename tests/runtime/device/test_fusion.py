"""Layers joined with their ReLU: the same numbers, and one kernel only where it is better."""

from collections.abc import Callable
from typing import Any

import pytest

from fake_clock import FakeClock

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from torch import Tensor, nn  # noqa: E402  # needs torch

from small_torch import SmallNetwork  # noqa: E402  # needs torch
from ssd_resnet34.network.layout import EXTRA_BLOCKS, STAGES  # noqa: E402
from ssd_resnet34.network.module import SSDResNet34Module  # noqa: E402
from ssd_resnet34.runtime.device import fusion  # noqa: E402  # needs torch
from ssd_resnet34.runtime.device.fusion import ConvReLU, choose, joined  # noqa: E402


def without_norms(network: nn.Module) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return network.eval()


def layers(network: nn.Module) -> list[ConvReLU]:
    return [module for module in network.modules() if isinstance(module, ConvReLU)]


def test_the_real_network_joined_gives_the_same_heads() -> None:
    torch.manual_seed(0)
    network = without_norms(SSDResNet34Module(4))
    made = joined(network)
    # The stem, two layers a block, two an extra block; not the shortcuts, not the heads.
    wanted = 1 + 2 * sum(stage.blocks for stage in STAGES) + 2 * len(EXTRA_BLOCKS)
    assert len(layers(made)) == wanted == 37
    kinds = {node.target for node in made.graph.nodes if node.op == "call_function"}
    assert torch.relu not in kinds  # every ReLU found its convolution
    image = torch.randn(1, 3, 480, 480)
    with torch.inference_mode():
        for a, b in zip(made(image), network(image), strict=True):
            torch.testing.assert_close(a, b)


def test_parameters_are_shared_with_the_network() -> None:
    network = SmallNetwork()
    made = joined(network)
    assert {p.data_ptr() for p in made.parameters()} == {p.data_ptr() for p in network.parameters()}


class Three(nn.Module):
    """Three convolutions with ReLU, one with a shortcut; and one whose result is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.twice = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        y = torch.relu(self.c(torch.relu(self.b(x))) + x)
        z: Tensor = self.twice(y)
        both: Tensor = torch.relu(z) + z
        return both


def test_a_result_that_others_read_is_left_alone() -> None:
    network = Three()
    made = joined(network)
    assert len(layers(made)) == 3
    image = torch.randn(2, 4, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(made(image), network(image))


Kernel = Callable[[nn.Conv2d, Tensor, Tensor | None], Tensor]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel, float], FakeClock]:
    """``kernels(fused, seconds)``: the one kernel, and the time it takes; separate ones take 2."""
    plain = fusion.separate
    clock = FakeClock()

    def use(fused: Kernel, seconds: float) -> FakeClock:
        def one_kernel(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
            clock.now += seconds
            return fused(conv, x, added)

        def separate(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
            clock.now += 2
            return plain(conv, x, added)

        monkeypatch.setattr(fusion, "one_kernel", one_kernel)
        monkeypatch.setattr(fusion, "separate", separate)
        return clock

    return use


def right(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    y: Tensor = conv(x)
    if added is not None:
        y = y + added
    return y.relu_()


def test_the_faster_way_is_taken_for_each_layer(
    kernels: Callable[[Kernel, float], FakeClock],
) -> None:
    image = torch.randn(1, 4, 5, 5)
    for seconds, wanted in ((1.0, 3), (3.0, 0)):
        made = joined(Three())
        with torch.inference_mode():
            before = made(image)
            assert choose(made, image, kernels(right, seconds)) == (wanted, 3)
            assert [layer.fused for layer in layers(made)] == [wanted == 3] * 3
            torch.testing.assert_close(made(image), before)
        assert not any(layer._forward_pre_hooks for layer in layers(made))


def wrong(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    return right(conv, x, None)  # forgets the shortcut


def missing(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    raise RuntimeError("unable to find an engine to execute this computation")


def rubbish(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    return right(conv, x, added).mul_(float("nan"))


@pytest.mark.parametrize(("kernel", "taken"), [(wrong, 2), (missing, 0), (rubbish, 0)])
def test_a_kernel_that_is_not_there_or_not_right_is_not_taken(
    kernels: Callable[[Kernel, float], FakeClock], kernel: Kernel, taken: int
) -> None:
    made = joined(Three())
    with torch.inference_mode():
        assert choose(made, torch.randn(1, 4, 5, 5), kernels(kernel, 1.0)) == (taken, 3)


def test_a_full_memory_is_no_reason_to_go_without(
    kernels: Callable[[Kernel, float], FakeClock],
) -> None:
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError), torch.inference_mode():
        choose(joined(Three()), torch.randn(1, 4, 5, 5), kernels(full, 1.0))


def test_without_cuda_there_is_no_such_kernel() -> None:
    made = joined(Three())
    with torch.inference_mode():
        assert choose(made, torch.randn(1, 4, 5, 5)) == (0, 3)
