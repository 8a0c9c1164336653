"""The four scenarios in ``--quick``, and an accuracy run against ``eval``, as users call them.

    python -m benchmarks.quick_rounds [--weights embedded] [--precision auto] [--count 64]

On the first of the frozen scenes. Fails where LoadGen calls a run INVALID, or where the two mAP
differ by more than 1e-4.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import command_line
from ssd_resnet34.mlperf.rounds import SCENARIOS

from .held_out import scenes

CLOSE: Final = 1e-4
"""Of mAP, 0..1."""


def command(*words: str | Path) -> dict[str, Any]:
    """What ``ssd-resnet34 … --json`` gives; exit code 1 is a verdict, others end the benchmark."""
    called = [sys.executable, "-m", "ssd_resnet34", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(called, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"{' '.join(called)}: exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=64)
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        annotations = scenes(scratch, given.count)
        network = ("--weights", given.weights, "--precision", given.precision)
        common = (annotations, scratch, *network)
        for scenario in SCENARIOS:
            out = scratch / scenario
            options = ("--quick", "--scenario", scenario.lower(), "-o", out)
            run = command("mlperf", "run", *common, *options)
            system, metric, unit = run["system"], run["result"]["metric"], run["unit"]
            valid = run["result"]["valid"]
            failed |= not valid
            print(
                f"{scenario}: {'VALID' if valid else 'INVALID'} by relaxed rules, {metric['name']} "
                f"{metric['value']:.4g} {metric['unit']}, {run['answered']} samples; "
                f"{system['weights']}, {system['precision']} in {system['engine']}, "
                f"{unit['count']} {unit['kind']}(s)"
            )
        accuracy = ("--quick", "--mode", "accuracy", "--scenario", "offline", "-o", scratch / "ap")
        ours = command("mlperf", "run", *common, *accuracy)["accuracy"]["numbers"]["AP"]
        theirs = command("eval", *common)["numbers"]["AP"]
        failed |= abs(ours - theirs) > CLOSE
        print(f"mAP {ours:.6f} by the accuracy log, {theirs:.6f} by eval, {given.count} images")
    if failed:
        sys.exit("not as it should be; see above")


if __name__ == "__main__":
    main()
