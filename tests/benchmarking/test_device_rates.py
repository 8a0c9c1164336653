"""A card's rates: what is timed, the arithmetic, and reasons instead of numbers."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from fake_clock import FakeClock

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from ssd_resnet34.benchmarking import device_rates  # noqa: E402
from ssd_resnet34.benchmarking.rates import LAYERS, layer_work  # noqa: E402
from ssd_resnet34.errors import SessionError  # noqa: E402
from ssd_resnet34.runtime.precision import Precision  # noqa: E402

SMALL: dict[str, Any] = {"batch": 2, "channels": 4, "side": 6}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A chain takes 10 seconds for its ends and 2 for each layer; a product 5."""
    clock = FakeClock()

    def convolutions(device: str, precision: str, layers: int, *_: int) -> Callable[[], None]:
        return clock.taking(10 + 2 * layers)

    monkeypatch.setattr(device_rates, "convolutions", convolutions)
    monkeypatch.setattr(device_rates, "product", lambda *_: clock.taking(5))
    return clock


def test_the_rate_is_that_of_the_layers_without_the_ends(clock: FakeClock) -> None:
    pairs: list[int] = []
    rates = device_rates.measure("cpu", 3, clock=clock, on_pair=lambda: pairs.append(1), **SMALL)
    found = {rate.precision: rate for rate in rates}
    assert tuple(found) == get_args(Precision)
    assert found["fp32"].gops == pytest.approx(2 * layer_work(4, 6) / 2 / 1e9)
    assert found["fp32"].pairs == 3
    assert "for GPUs" in found["fp16"].unavailable
    assert "float artifacts only" in found["int8"].unavailable
    assert len(pairs) in (3, 6)  # bf16 where this CPU has it


def test_a_product_of_matrices_is_two_operations_a_multiplication(clock: FakeClock) -> None:
    found = {rate.precision: rate for rate in device_rates.products("cpu", 3, size=8, clock=clock)}
    assert found["fp32"].gops == pytest.approx(2 * 8**3 / 5 / 1e9)


def test_a_device_too_busy_to_tell_says_so(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_rates, "LAYERS", 1)
    found = device_rates.measure("cpu", 2, clock=clock, **SMALL)
    assert "too busy" in found[0].unavailable


def test_without_a_gpu_every_rate_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for found in (device_rates.measure("cuda", 2), device_rates.products("cuda", 2)):
        assert all("engine torch cannot use cuda" in rate.unavailable for rate in found)


def test_layers_and_products_really_run_and_leave_cudnn_as_it_was() -> None:
    flags = torch.backends.cudnn
    before = (flags.benchmark, flags.allow_tf32)
    device_rates.convolutions("cpu", "fp32", LAYERS, **SMALL)()
    device_rates.product("cpu", "bf16", 8)()
    assert (flags.benchmark, flags.allow_tf32) == before


def test_what_torch_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    run = device_rates.product("cpu", "fp32", 8)
    monkeypatch.setattr(torch, "mm", full)
    with pytest.raises(SessionError, match=r"cpu: CUDA out of memory. Tried .* GiB; end what else"):
        run()
