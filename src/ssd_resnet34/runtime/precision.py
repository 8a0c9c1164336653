"""Which precision a network runs in, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from ..errors import UnsupportedPrecision, UsageError
from . import cpu

Precision = Literal["fp32", "bf16", "fp16", "int8"]

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "bf16", "fp16", "int8")

HALF_ON_GPUS: Final = "fp16 is for GPUs; on a CPU take bf16 or int8"
"""Why no engine runs fp16 on a CPU: it is no faster there than bf16, and overflows at 65504."""

ArtifactPrecision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision and the reason for it, for ``info`` and ``summary``."""

    precision: Precision
    reason: str


def check_name(precision: str) -> None:
    """Refuse a precision that does not exist.

    Raises:
        UsageError: neither ``auto`` nor one of :data:`PRECISIONS`.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(f"precision {precision!r} is unknown; use auto, {', '.join(PRECISIONS)}")


def check_artifact(precision: str, artifact: ArtifactPrecision) -> None:
    """Refuse a precision that no engine can make of an artifact of precision ``artifact``.

    Raises:
        UsageError: no such precision.
        UnsupportedPrecision: float of an int8 artifact, or int8 of a float one.
    """
    check_name(precision)
    if artifact == "int8" and precision in ("fp32", "bf16", "fp16"):
        raise UnsupportedPrecision(
            f"precision {precision} was asked of an int8 artifact, whose weights are rounded "
            "already; ask for precision int8 or auto, or give the fp32 weights that it was "
            "compiled from"
        )
    if artifact == "fp32" and precision == "int8":
        raise UnsupportedPrecision(
            "precision int8 was asked of an fp32 artifact; make an int8 one first (`ssd-resnet34 "
            "compile --calibrate IMAGES`, or SSDResNet34(weights, 'int8', ranges=FILE).enf)"
        )


def preferred() -> Choice:
    """The fastest precision of this CPU, for whoever builds the artifact."""
    found = cpu.features()
    if cpu.has_int8(found):
        return Choice("int8", "this CPU has 8-bit dot products (VNNI, AMX or ARM dot product)")
    if cpu.has_fast_bf16(found, cpu.vendor()):
        return Choice("bf16", "this CPU has fast bfloat16 and no 8-bit dot products")
    return Choice("fp32", "this CPU has neither 8-bit dot products nor fast bfloat16")


def choose(
    requested: str,
    artifact: ArtifactPrecision,
    engine: str,
    table: Mapping[str, str],
    device: str = "cpu",
) -> Choice:
    """The precision to run an artifact in.

    Args:
        requested: ``auto`` or a precision.
        artifact: what the artifact holds.
        engine: the engine's name, for messages.
        table: the engine's answer to ``precisions(device)``: precision -> why not, "" for yes.
        device: ``cpu``, ``cuda`` …

    ``auto`` is int8 for an int8 artifact; else bf16 where it is fast and the engine has it; else
    fp16 on a GPU that has it and no bf16; else fp32.

    Raises:
        UsageError: no such precision.
        UnsupportedPrecision: artifact, engine and precision do not go together; says why.
    """
    check_artifact(requested, artifact)
    if requested != "auto":
        _check_engine(requested, engine, table)
        return Choice(cast(Precision, requested), "asked for")
    found = cpu.features()
    if artifact == "int8":
        _check_engine("int8", engine, table)
        slow = device == "cpu" and not cpu.has_int8(found)
        suffix = "; this CPU has no 8-bit dot products, so bench fp32 too" if slow else ""
        return Choice("int8", f"the artifact is int8{suffix}")
    reason = table.get("bf16", f"{engine} has no bf16")
    if not reason and device == "cpu" and not cpu.has_fast_bf16(found, cpu.vendor()):
        reason = "bf16 is not faster than fp32 on this CPU"
    if not reason:
        return Choice("bf16", "the artifact is fp32 and bf16 is fast here")
    if device != "cpu" and table.get("fp16") == "":
        return Choice("fp16", f"the artifact is fp32; {reason}")
    _check_engine("fp32", engine, table)
    return Choice("fp32", f"the artifact is fp32; {reason}")


def _check_engine(precision: str, engine: str, table: Mapping[str, str]) -> None:
    reason = table.get(precision, f"{engine} does not know it")
    if reason:
        possible = [name for name in PRECISIONS if table.get(name) == ""]
        raise UnsupportedPrecision(
            f"engine {engine} cannot run in {precision}: {reason}; it can run in "
            f"{', '.join(possible) or 'no precision here'}: choose another precision or engine"
        )
