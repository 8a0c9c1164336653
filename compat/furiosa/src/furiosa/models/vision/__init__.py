"""Vision models: :class:`SSDResNet34`, and its module ``ssd_resnet34``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ssd_resnet34 import SSDResNet34

__all__ = ["SSDResNet34"]

_MODULES = ("nonblocking", "postprocess", "ssd_resnet34")


def __getattr__(name: str) -> Any:
    # Late, so that importing the namespace loads no numpy, OpenCV or engine.
    if name in __all__:
        return getattr(import_module(".ssd_resnet34", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has {[*__all__, *_MODULES]}"
    )
