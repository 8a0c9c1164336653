"""``furiosa.runtime``: the asyncio API of 0.10, and the modules ``sync`` and ``session``."""

from importlib import import_module
from typing import Any, Final

from furiosa._neighbours import warn_of
from furiosa._settings import version

_HOMES: Final = {
    **dict.fromkeys(
        ("Receiver", "Runner", "Runtime", "Submitter", "create_queue", "create_runner"),
        "_asynchronous",
    ),
    **dict.fromkeys(("ModelSource", "Tensor", "TensorArray"), "sync"),
    **dict.fromkeys(("Axis", "DataType", "TensorDesc"), "tensor"),
    **dict.fromkeys(("FuriosaRuntimeError", "FuriosaRuntimeWarning"), "errors"),
    "Model": "model",
}

_MODULES: Final = ("errors", "model", "profiler", "session", "sync", "tensor")

__all__ = [
    "__full_version__",
    "__version__",
    "is_legacy",
    *_HOMES,
]

warn_of("furiosa-runtime", "furiosa-sdk")

is_legacy = False
"""The runtime of 0.7–0.9 alone: no, both are here."""


def full_version() -> str:
    """``__full_version__``."""
    return f"Furiosa SDK Runtime {version()} (on ssd-resnet34, without the vendor's own)"


def __getattr__(name: str) -> Any:
    # Late, so that importing the namespace loads no numpy, OpenCV or engine, and a wrong release
    # variable ends what depends on it.
    if name == "__version__":
        return version()
    if name == "__full_version__":
        return full_version()
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
