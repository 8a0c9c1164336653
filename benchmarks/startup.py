"""Start-up: the cost of the import, and of ``detect`` on one image beyond its network.

    python -m benchmarks.startup [--runs 7] [--json]

Each run is a new process; caches are warm after the first, which is not counted.
"""

import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import ssd_resnet34
from benchmarks import SAMPLE, command_line

_IMPORT = "import resource, ssd_resnet34; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def _timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def measure(runs: int) -> dict[str, Any]:
    """Medians: the import (seconds, MB), ``detect``, its network, and the rest (seconds)."""
    imports = [_timed([sys.executable, "-c", _IMPORT]) for _ in range(runs + 1)][1:]
    detect = [sys.executable, "-m", "ssd_resnet34", "detect", str(SAMPLE)]
    whole = [_timed(detect)[0] for _ in range(runs + 1)][1:]
    with ssd_resnet34.load() as detector:
        inputs = detector.model.preprocess(SAMPLE)
        detector.session.run(inputs)
        network = []
        for _ in range(runs):
            began = time.perf_counter()
            detector.session.run(inputs)
            network.append(time.perf_counter() - began)
        ran = f"{detector.session.engine} {detector.session.precision}"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "ran": ran,
        "import_s": median(seconds for seconds, _ in imports),
        "import_mb": median(int(text) / 1024 for _, text in imports),
        "detect_s": median(whole),
        "network_s": median(network),
        "around_the_network_s": median(whole) - median(network),
        "detect_peak_mb": peak,
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.runs)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<22}{value:.3f}" if isinstance(value, float) else f"{name:<22}{value}")


if __name__ == "__main__":
    main()
