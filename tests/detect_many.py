"""Driver of ``test_memory``: ``detect`` on many files in this process, with its memory on stderr.

    python detect_many.py FAKE_ARTIFACT LIST_OF_FILES

Runs ``ssd-resnet34 detect`` with the fake engine on every line of LIST_OF_FILES and writes, after
each 100th image, one JSON line ``{"images", "resident", "peak"}`` (megabytes) to stderr.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fake_engine import FakeEngine
from ssd_resnet34.cli import detect
from ssd_resnet34.cli.main import main


def memory() -> dict[str, float]:
    """Resident memory now and at its highest, megabytes (Linux)."""
    fields = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            fields[name] = int(value.split()[0]) / 1024
    return {"resident": fields["VmRSS"], "peak": fields["VmHWM"]}


def drive(weights: str, listing: str) -> None:
    fake = SimpleNamespace(name="fake", value="fake_engine:FakeEngine", load=lambda: FakeEngine)
    importlib.metadata.entry_points = lambda **_: [fake]  # type: ignore[assignment]
    real, done = detect._results, 0

    def counted(*arguments: Any) -> Any:
        nonlocal done
        for item in real(*arguments):
            yield item
            done += 1
            if done % 100 == 0:
                print(json.dumps({"images": done, **memory()}), file=sys.stderr, flush=True)

    detect._results = counted  # type: ignore[assignment]  # the same, counted
    files = Path(listing).read_text().splitlines()
    options = ["--json", "--engine", "fake", "--weights", weights]
    sys.argv = ["ssd-resnet34", "detect", *files, *options]
    main()


if __name__ == "__main__":
    drive(*sys.argv[1:])
