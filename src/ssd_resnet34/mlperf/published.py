"""What others reached with this network: results of the rounds, and ours beside them.

VALID, all int8, from mlcommons/inference_results_v0.5 to _v2.0; of the closed division, but for the
one that is named open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from .rounds import Scenario

Kind = Literal["core", "accelerator"]
"""What a system is made of, and its throughput is divided by."""


@dataclass(frozen=True)
class Published:
    """A system's results: samples/s, milliseconds (90th percentile), queries/s."""

    round: str
    system: str
    kind: Kind
    units: int
    offline: float | None = None
    single_stream: float | None = None
    server: float | None = None


RESULTS: Final = (
    Published("v0.5", "Habana Goya", "accelerator", 1, 326.5, 3.86, 296),
    Published("v0.5", "NVIDIA Xavier", "accelerator", 1, 49.5, 29.4),
    Published("v0.7", "NVIDIA A100-SXM", "accelerator", 1, 980.6, 1.76),
    Published("v0.7", "NVIDIA T4", "accelerator", 1, 135.5, 8.42),
    Published("v0.7", "NVIDIA Xavier NX", "accelerator", 1, 26.8, 46.9),
    Published("v0.7", "4 Xeon 8380H, OpenVINO", "core", 112, 104.9, None, 65),
    Published("v0.7", "8 Xeon 8380H, OpenVINO", "core", 224, 208.2, None, 130),
    Published("v0.7", "Xeon 8259CL, 16 vCPU, OpenVINO", "core", 8, 9.60),
    Published("v0.7", "Xeon 8259CL, 16 vCPU (open)", "core", 8, None, 102.5),
    Published("v1.0", "2 Xeon 8380", "core", 80, 77.7, None, 40),
    Published("v1.0", "NVIDIA A100-SXM-80", "accelerator", 1, 989, 1.78, 926),
    Published("v1.0", "5 Qualcomm AI 100", "accelerator", 5, 1778, None, 1557),
    Published("v1.1", "2 Xeon 8380, OpenVINO", "core", 80, 85.8, None, 50),
    Published("v1.1", "2 Xeon 8380, PyTorch", "core", 80, 86.4, None, 45),
    Published("v1.1", "Furiosa Warboy", "accelerator", 1, 73.9, 13.6),
    Published("v1.1", "Qualcomm AI 100", "accelerator", 1, 435),
    Published("v2.0", "NVIDIA A100-80G", "accelerator", 1, 1001.8, 1.70),
    Published("v2.0", "8 NVIDIA A100-80G", "accelerator", 8, 7922.8),
    Published("v2.0", "NVIDIA Orin", "accelerator", 1, 207.7, 8.03),
    Published("v2.0", "Furiosa Warboy", "accelerator", 1, 79.9, 13.4),
    Published("v2.0", "Qualcomm AI 100", "accelerator", 1, 443, 8.94),
    Published("v2.0", "2 Xeon 8380, Triton (slowest)", "core", 80, 76, None, 40),
    Published("v2.0", "2 Xeon 8380, Triton (fastest)", "core", 80, 82, None, 42),
)
"""Cores are physical: 28 in a Xeon 8380H, 40 in an 8380, half as many as vCPU in a cloud.

A number before a name counts the processors or cards of the system. Of the v2.0 results of two Xeon
8380 served by Triton there were several; the slowest and the fastest stand for them.
"""

_FIELDS: Final[Mapping[Scenario, str]] = {
    "SingleStream": "single_stream",
    "Server": "server",
    "Offline": "offline",
}


@dataclass(frozen=True)
class Row:
    """A published result beside ours.

    Attributes:
        value: of the whole system; ``each`` is per unit, and the value itself for a latency.
        ratio: how many times as fast ours is by ``each``; None where the units differ.
    """

    result: Published
    value: float
    each: float
    ratio: float | None


def compare(scenario: Scenario, value: float, kind: Kind, units: int) -> Sequence[Row]:
    """Every published result of a scenario, CPUs before accelerators and the slowest of each first;
    empty where there is none."""
    field = _FIELDS.get(scenario)
    rows = []
    for one in RESULTS:
        theirs = None if field is None else getattr(one, field)
        if theirs is None:
            continue
        latency = scenario == "SingleStream"
        each = theirs if latency else theirs / one.units
        ratio = theirs / value if latency else value / units / each
        rows.append(Row(one, theirs, each, ratio if one.kind == kind else None))
    slowest_first = -1 if scenario == "SingleStream" else 1
    kinds = get_args(Kind)
    return sorted(rows, key=lambda row: (kinds.index(row.result.kind), slowest_first * row.each))


def place(rows: Sequence[Row], kind: Kind) -> int:
    """Where a run of that kind stands among ``rows`` of :func:`compare`: after all slower ones."""
    before = get_args(Kind).index(kind)
    return sum(
        get_args(Kind).index(row.result.kind) < before or (row.ratio is not None and row.ratio > 1)
        for row in rows
    )
