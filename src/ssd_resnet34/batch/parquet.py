"""pyarrow, imported when it is needed, with one line where it is missing."""

from importlib import import_module
from typing import Any

from ..errors import MissingExtra


def arrow() -> Any:
    """The module ``pyarrow``, with ``pyarrow.compute``.

    Raises:
        MissingExtra: not installed.
    """
    _module("pyarrow.compute")
    return _module("pyarrow")


def parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises:
        MissingExtra: not installed.
    """
    return _module("pyarrow.parquet")


def arrow_datasets() -> Any:
    """The module ``pyarrow.dataset``.

    Raises:
        MissingExtra: not installed.
    """
    return _module("pyarrow.dataset")


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra("batch needs pyarrow: pip install 'ssd-resnet34[batch]'") from error
