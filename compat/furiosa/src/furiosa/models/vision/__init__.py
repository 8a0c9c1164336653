"""``furiosa.models.vision`` with one model, :class:`SSDResNet34`, on ``ssd_resnet34``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from furiosa._neighbours import warn_of

if TYPE_CHECKING:
    from .ssd_resnet34 import SSDResNet34

__all__ = ["SSDResNet34"]

warn_of("furiosa-models")


def __getattr__(name: str) -> Any:
    # Late, so that importing the namespace loads no numpy, OpenCV or engine.
    if name == "SSDResNet34":
        return import_module(".ssd_resnet34", __name__).SSDResNet34
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
