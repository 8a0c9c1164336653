"""Device specifications: checked, and counted as replicas.

A machine without the vendor's chips has none of these devices. What a specification still means
is how many networks run at the same time: one for each device it names.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

from .errors import InvalidSessionOption

VARIABLES: Final = ("FURIOSA_DEVICES", "NPU_DEVNAME")

DEFAULT: Final = "warboy(2)*1"

_SET: Final = re.compile(r"warboy(?:\(([0-9]+)\))?\*([0-9]+)")
_ONE: Final = re.compile(r"npu(?::([0-9]+):|([0-9]+)pe)([0-9]+)(?:-([0-9]+))?")
_OURS: Final = re.compile(r"cpu|cuda(?::[0-9]+)?")

MOST: Final = 64


@dataclass(frozen=True)
class Devices:
    """What a specification means here.

    ``device`` is the device of ``ssd_resnet34``; ``replicas`` networks run on it at a time.
    """

    device: str
    replicas: int


def parse(specification: str | None) -> Devices:
    """``warboy(2)*1``, ``npu:0:0-1``, ``npu0pe0-1``, lists of these with commas between; also
    ``cpu``, ``cuda`` and ``cuda:1``, which are this package's own.

    Args:
        specification: None takes ``FURIOSA_DEVICES``, else ``NPU_DEVNAME``, else the default.

    Raises:
        InvalidSessionOption: not a specification, a device named twice, or more than 64.
    """
    where = "device"
    if specification is None:
        for variable in VARIABLES:
            if os.environ.get(variable):
                where, specification = variable, os.environ[variable]
                break
        else:
            specification = DEFAULT
    if not isinstance(specification, str):
        raise InvalidSessionOption(
            f"device: a {type(specification).__name__}; give text such as {DEFAULT!r}"
        )
    if _OURS.fullmatch(specification):
        return Devices(specification, 1)
    replicas = 0
    seen: set[tuple[int, int]] = set()
    for part in specification.split(","):
        if found := _SET.fullmatch(part):
            if int(found[1] or 1) not in (1, 2) or int(found[2]) < 1:
                raise InvalidSessionOption(
                    f"{where}: {part!r} needs 1 or 2 PEs and 1 or more chips"
                )
            replicas += int(found[2])
        elif found := _ONE.fullmatch(part):
            chip, first = int(found[1] or found[2] or 0), int(found[3])
            last = first if found[4] is None else int(found[4])
            if not 0 <= first <= last <= 1:
                raise InvalidSessionOption(f"{where}: {part!r} names a PE that is not 0, 1 or 0-1")
            pes = {(chip, pe) for pe in range(first, last + 1)}
            if pes & seen:
                raise InvalidSessionOption(f"{where}: {part!r} names a PE twice")
            seen |= pes
            replicas += 1
        else:
            raise InvalidSessionOption(
                f"{where}: {part!r} is no device; give {DEFAULT!r}, 'npu:0:0-1' or 'npu0pe0-1' "
                "(counted as replicas here), 'cpu' or 'cuda'"
            )
    if replicas > MOST:
        raise InvalidSessionOption(f"{where}: {replicas} devices; {MOST} replicas at most")
    return Devices("cpu", replicas)
