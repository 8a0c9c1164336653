"""The command line of a benchmark that compares in interleaved pairs."""

import json
from collections.abc import Callable
from dataclasses import asdict

from benchmarks import command_line
from ssd_resnet34.pairs import ENOUGH, Comparison


def report(measure: Callable[[int], list[Comparison]], about: str | None) -> None:
    """Run ``measure(pairs)`` with ``--pairs N`` and ``--json``, and print what it found."""
    parser = command_line(about)
    parser.add_argument("--pairs", type=int, default=31, help=f"at least {ENOUGH}")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure(max(arguments.pairs, ENOUGH))
    if arguments.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(*results, sep="\n")
