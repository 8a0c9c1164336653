"""``make proof``: the long checks and every number of the docs, written to ``docs/proof.md``.

    python -m benchmarks.proof [--only NAME ...]

Each part is a command of its own, run in turn; the report has its output as it was printed. A part
that fails is shown as failed, the others still run, and the exit code is 1.
"""

import argparse
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from ssd_resnet34.files import replacing
from ssd_resnet34.runtime import cpu

REPOSITORY: Final = Path(__file__).resolve().parents[1]
REPORT: Final = REPOSITORY / "docs" / "proof.md"


@dataclass(frozen=True)
class Part:
    """A part of the report: the arguments of ``python -m``."""

    name: str
    about: str
    module: tuple[str, ...]

    @property
    def command(self) -> str:
        return f"python -m {' '.join(self.module)}"


PARTS: Final = (
    Part("tests", "long tests: agreement, soak, kills", ("pytest", "-q", "-m", "proof", "-rP")),
    Part(
        "accuracy-int8",
        "embedded weights on the 200 frozen scenes, as `detect` runs them",
        ("benchmarks.held_out",),
    ),
    Part(
        "accuracy-int8-60",
        "the first 60 of them, to compare with fp32",
        ("benchmarks.held_out", "--count", "60"),
    ),
    Part(
        "accuracy-fp32-60",
        "the first 60 of them in fp32",
        ("benchmarks.held_out", "--precision", "fp32", "--count", "60"),
    ),
    Part(
        "calibration",
        "every calibration method on the first 40 of them",
        ("benchmarks.calibration", "--images", "32", "--count", "40"),
    ),
    Part("sample", "the sample picture", ("benchmarks.sample",)),
    Part("check", "engines and precisions", ("ssd_resnet34", "check", "samples/scene.png")),
    Part("postprocess", "against the vendor's Rust decoder", ("benchmarks.postprocess",)),
    Part("preprocess", "against the literal recipe", ("benchmarks.preprocess",)),
    Part("scoring", "average precision against plain pycocotools", ("benchmarks.scoring",)),
    Part("interval", "of average precision, against the real spread", ("benchmarks.interval",)),
    Part("evaluating", "`eval` against `detect`", ("benchmarks.evaluating",)),
    Part("batch", "worker processes and rows against a plain stream", ("benchmarks.batch",)),
    Part(
        "capacity",
        "a hundred million images over a thousand workers, simulated",
        ("benchmarks.capacity",),
    ),
    Part("loadgen", "what LoadGen adds to the session's own time", ("benchmarks.loadgen",)),
    Part(
        "mlperf",
        "four scenarios in --quick, and accuracy against `eval`",
        ("benchmarks.quick_rounds",),
    ),
    Part("serve", "requests against their stages, 4 clients, a burst", ("benchmarks.serving",)),
    Part("startup", "import, and `detect` beyond its network", ("benchmarks.startup",)),
)


def run(part: Part) -> tuple[bool, str]:
    """Run one part; whether it passed, and its section of the report."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *part.module],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    verdict = "passed" if done.returncode == 0 else f"FAILED, exit code {done.returncode}"
    text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    section = f"## {part.name}: {part.about}\n\n`{part.command}`: {verdict}, {seconds:.0f} s\n\n"
    return done.returncode == 0, f"{section}```text\n{text}\n```\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=[part.name for part in PARTS], default=None)
    chosen = parser.parse_args().only
    console = Console(stderr=True)
    sections, failed = [], []
    for part in PARTS:
        if chosen is not None and part.name not in chosen:
            continue
        console.print(f"{part.name}: {part.command}")
        passed, section = run(part)
        sections.append(section)
        if not passed:
            failed.append(part.name)
    machine = f"{cpu.model_name()}, {cpu.available_threads()} threads, {platform.system()}"
    head = (
        "# Proof\n\nWritten by `make proof`; every number of the docs is from here.\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}.\n"
    )
    report = "\n".join([head, *sections])
    if chosen is None:
        REPORT.parent.mkdir(exist_ok=True)
        with replacing(REPORT) as file:
            file.write(report.encode())
    print(report)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
