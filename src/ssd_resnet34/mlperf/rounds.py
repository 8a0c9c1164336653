"""The rules of each round in which this network was the large object detector, as data.

Sources: ``mlperf.conf``, ``inference_rules.adoc`` and the submission checker of each round, in
mlcommons/inference and mlcommons/inference_policies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ..errors import UsageError

Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]
"""How queries come: one after the other, eight at a time, at random, all at once."""

SCENARIOS: Final[tuple[Scenario, ...]] = ("SingleStream", "MultiStream", "Server", "Offline")

MODEL: Final = "ssd-resnet34"
"""The network's name in configuration files."""

SAMPLES: Final = 64
"""Samples that a run keeps in memory (the performance sample count)."""

GATE: Final = 0.198
"""Least mAP that counts: 99 % of the reference's 0.20."""

VAL2017: Final = (5000, 4952)
"""Images of COCO's validation set, and of those with an object, which the PyTorch profile runs."""


@dataclass(frozen=True)
class Rules:
    """What a round asks of one scenario.

    Attributes:
        min_queries: fewest queries; samples of the one query in Offline.
        percentile: of the latency that counts, percent; Server: that must keep ``limit``.
        limit: milliseconds; None where latency is the result, or plays no part.
        samples_per_query: of MultiStream.
        early_stopping: a run may end before ``min_queries`` if LoadGen finds its estimate sure.
        runs: that a submission needs.
    """

    min_queries: int
    percentile: int = 99
    limit: int | None = None
    samples_per_query: int = 1
    early_stopping: bool = False
    runs: int = 1


@dataclass(frozen=True)
class Round:
    """One round of the benchmark.

    Attributes:
        name, year: of the round.
        min_duration: seconds.
        seeds: ``qsl_rng_seed``, ``sample_index_rng_seed``, ``schedule_rng_seed``.
        scenarios: the rules of those that can be run.
        impossible: why the others cannot.
        estimates: latencies are reported by the early stopping estimate, not by the percentile.
    """

    name: str
    year: int
    min_duration: int
    seeds: Mapping[str, int]
    scenarios: Mapping[Scenario, Rules]
    impossible: Mapping[Scenario, str] = field(default_factory=dict)
    estimates: bool = False

    def rules(self, scenario: Scenario) -> Rules:
        """
        Raises:
            UsageError: the scenario cannot be run by this round's rules; says why.
        """
        if scenario not in self.scenarios:
            able = ", ".join(one.lower() for one in self.scenarios)
            raise UsageError(
                f"--scenario {scenario.lower()}: {self.impossible[scenario]}; choose {able}, or "
                "--round v2.0"
            )
        return self.scenarios[scenario]


def _seeds(qsl: int, sample_index: int, schedule: int) -> Mapping[str, int]:
    return {
        "qsl_rng_seed": qsl,
        "sample_index_rng_seed": sample_index,
        "schedule_rng_seed": schedule,
    }


_MANY: Final = 270_336
"""Queries that make a p99 sure at 99 % confidence and 0.05 % margin, rounded up to 33 · 2^13."""


def _before_v2(server_runs: int) -> Mapping[Scenario, Rules]:
    return {
        "SingleStream": Rules(1024, percentile=90),
        "Server": Rules(_MANY, limit=100, runs=server_runs),
        "Offline": Rules(24_576, percentile=90),
    }


def _fixed_rate(name: str) -> Mapping[Scenario, str]:
    return {
        "MultiStream": f"round {name} sent queries at a fixed rate (15 a second, 66 ms) and looked "
        "for the most samples a query; today's LoadGen no longer has that form"
    }


ROUNDS: Final[Mapping[str, Round]] = {
    one.name: one
    for one in (
        Round(
            "v0.5",
            2019,
            60,
            _seeds(3133965575612453542, 665484352860916858, 3622009729038561421),
            _before_v2(server_runs=5),
            _fixed_rate("v0.5"),
        ),
        Round(
            "v0.7",
            2020,
            60,
            _seeds(12786827339337101903, 12640797754436136668, 3135815929913719677),
            _before_v2(server_runs=5),
            _fixed_rate("v0.7"),
        ),
        Round(
            "v1.0",
            2021,
            600,
            _seeds(7322528924094909334, 1570999273408051088, 3507442325620259414),
            _before_v2(server_runs=1),
            _fixed_rate("v1.0"),
        ),
        Round(
            "v1.1",
            2021,
            600,
            _seeds(1624344308455410291, 517984244576520566, 10051496985653635065),
            _before_v2(server_runs=1),
            {"MultiStream": "round v1.1 had no such scenario"},
        ),
        Round(
            "v2.0",
            2022,
            600,
            _seeds(6655344265603136530, 15863379492028895792, 12662793979680847247),
            {
                "SingleStream": Rules(1024, percentile=90, early_stopping=True),
                "MultiStream": Rules(_MANY, samples_per_query=8, early_stopping=True),
                "Server": Rules(_MANY, limit=100, early_stopping=True),
                "Offline": Rules(24_576, percentile=90),
            },
            estimates=True,
        ),
    )
}

LATEST: Final = "v2.0"


def get(name: str) -> Round:
    """
    Raises:
        UsageError: no round of that name had this network.
    """
    if name not in ROUNDS:
        raise UsageError(
            f"--round {name}: this network was in {', '.join(ROUNDS)}; v2.1 replaced it"
        )
    return ROUNDS[name]


def configuration(chosen: Round) -> str:
    """The round's ``mlperf.conf``, with this network's lines only; times in milliseconds.

    The seeds are there for readers: LoadGen takes them from its settings alone.
    """
    lines = [
        f"# MLPerf Inference {chosen.name}: what the rules ask of {MODEL}. Times in milliseconds.",
        f"{MODEL}.*.performance_sample_count_override = {SAMPLES}",
        *(f"*.*.{name} = {seed}" for name, seed in chosen.seeds.items()),
    ]
    for scenario, rules in chosen.scenarios.items():
        values = {
            "min_duration": 1000 * chosen.min_duration,
            "min_query_count": rules.min_queries,
            "target_latency_percentile": rules.percentile,
        }
        if rules.limit is not None:
            values["target_latency"] = rules.limit
        if rules.samples_per_query > 1:
            values["samples_per_query"] = rules.samples_per_query
        lines += ["", *(f"*.{scenario}.{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
