"""``furiosa.models`` with one model, ``furiosa.models.vision.SSDResNet34``, on ``ssd_resnet34``."""

from importlib import import_module
from typing import Any

from furiosa._neighbours import warn_of
from furiosa._settings import version

__all__ = ["__version__", "errors", "types", "vision"]

warn_of("furiosa-models")


def __getattr__(name: str) -> Any:
    # Late, so that a wrong release variable ends what depends on it, and not every import.
    if name == "__version__":
        return version()
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
