"""Which engine a session gets, and which precision."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import EngineUnavailable, SessionError, UnsupportedPrecision, UsageError
from . import engines
from .engines import Engine
from .opening import OpenedArtifact
from .precision import Choice, Precision, choose

EngineLike = str | Engine | Callable[[], Engine]
"""``auto``, an engine's name, an engine, or a class or function that gives one."""


def check_device(device: Any) -> None:
    """Refuse what is not of a device's form.

    Raises:
        UsageError: says the form.
    """
    if not isinstance(device, str) or not re.fullmatch(r"(?!cpu:)[a-z]+(:[0-9]{1,3})?", device):
        raise UsageError(f"device {device!r} is not a device; use 'cpu', 'cuda' or 'cuda:1'")


def runs_int8(engine: EngineLike = "auto", device: str = "cpu") -> bool:
    """Whether this engine (``auto``: the first that works here) runs int8 artifacts on ``device``.

    Raises:
        UsageError: not a device.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
    """
    _, table = _first_engine(engine, device)
    return table.get("int8") == ""


def float_precision(engine: EngineLike = "auto", device: str = "cpu") -> Precision:
    """The fastest of fp32, bf16 and fp16 with this engine: what ``auto`` makes of an fp32 artifact.

    Raises:
        UsageError: not a device.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
        UnsupportedPrecision: it runs none of them.
    """
    found, table = _first_engine(engine, device)
    return choose("auto", "fp32", found.name, table, device).precision


def has_whole_road(engine: EngineLike = "auto", device: str = "cpu") -> bool:
    """Whether sessions of this engine (``auto``: the first that works here) go from pixels to boxes
    on ``device``: ``Session.whole_road``.

    Raises:
        UsageError: not a device.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
    """
    found, _ = _first_engine(engine, device)
    return engines.has_whole_road(found, device)


def _first_engine(engine: EngineLike, device: str) -> tuple[Engine, Mapping[str, str]]:
    """The engine (``auto``: the first that works here) and its table of precisions."""
    check_device(device)
    if engine != "auto":
        found = engines.find(engine)
        return found, found.precisions(device)
    reasons: list[str] = []
    for name in engines.order(device):
        try:
            found = engines.find(name)
            return found, found.precisions(device)
        except EngineUnavailable as error:
            reasons.append(str(error))
    raise EngineUnavailable(f"no engine works on device {device}:", *reasons)


def choose_engine(
    engine: EngineLike, device: str, precision: str, opened: OpenedArtifact
) -> tuple[Engine, Choice]:
    """The engine and the precision in which it runs an artifact on ``device``.

    Raises:
        UsageError: not a device, or no such precision.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
        UnsupportedPrecision: artifact, engine and precision do not go together.
    """
    if engine != "auto":
        found, table = _first_engine(engine, device)
        return found, choose(precision, opened.precision, found.name, table, device)
    reasons: list[str] = []
    kind: type[SessionError] = EngineUnavailable
    for name in engines.order(device):
        try:
            found, table = _first_engine(name, device)
            return found, choose(precision, opened.precision, name, table, device)
        except EngineUnavailable as error:
            reasons.append(str(error))
        except UnsupportedPrecision as error:
            reasons.append(str(error))
            kind = UnsupportedPrecision
    what = f"an {opened.precision} artifact on {device}"
    raise kind(f"no engine can run {what} with precision {precision}:", *reasons)
