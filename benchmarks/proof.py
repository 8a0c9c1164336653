"""``make proof``: the long checks and every number of the docs, written to ``docs/proof.md``.

    python -m benchmarks.proof [--only NAME [NAME ...]]

Each part is a command of its own, run in turn; the report has its output as it was printed, with
the day and the machine. It is written after each part, and --only renews some sections and keeps
the others. A part that fails is shown as failed, the others still run, and the exit code is 1.
"""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import command_line
from ssd_resnet34.files import write
from ssd_resnet34.runtime import cpu

REPOSITORY: Final = Path(__file__).resolve().parents[1]
REPORT: Final = REPOSITORY / "docs" / "proof.md"

_RAY_SAYS: Final = re.compile(r"\(raylet\)|^\t\(\d\) raylet|Set ray log level")
"""In lines about processes that the tests end, and about itself; they name folders and addresses of
the machine."""


@dataclass(frozen=True)
class Part:
    """A part of the report: the arguments of ``python -m``."""

    name: str
    about: str
    module: tuple[str, ...]

    @property
    def command(self) -> str:
        return f"python -m {' '.join(self.module)}"


HEAD: Final = """# Proof

Written by `make proof`: the output of each long check, with its command, machine and day. Numbers
elsewhere in the docs are from here, or name the command that gives them.
"""

PARTS: Final = (
    Part(
        "tests",
        "long tests: agreement, soak, kills",
        ("pytest", "-q", "-m", "proof", "-rP", "--show-capture=stdout"),
    ),
    Part(
        "accuracy-int8",
        "embedded weights on the 200 frozen scenes in int8",
        ("benchmarks.held_out", "--precision", "int8"),
    ),
    Part("accuracy-fp32", "the same in fp32", ("benchmarks.held_out", "--precision", "fp32")),
    Part(
        "calibration",
        "every calibration method on the first 40 of them",
        ("benchmarks.calibration", "--images", "32", "--count", "40"),
    ),
    Part(
        "engines",
        "the network in every engine and precision, and the machine's own convolution rates",
        (
            *("ssd_resnet34", "bench", "--quiet", "--no-stages", "--rates"),
            *("--configs", "openvino:int8+bf16+fp32,onnxruntime:int8+fp32"),
            *("--baseline", "onnxruntime:fp32"),
        ),
    ),
    Part(
        "int8",
        "int8 against the same file in ONNX Runtime; stages, a stream, peers, starts, memory",
        (
            *("ssd_resnet34", "bench", "--quiet", "--peers", "--start", "--rates"),
            *("--configs", "openvino:int8,onnxruntime:int8"),
            *("--baseline", "openvino:int8"),
        ),
    ),
    Part(
        "overlap",
        "a stream that overlaps against images one by one",
        ("benchmarks.overlap", "--pairs", "15"),
    ),
    Part("sample", "the sample picture", ("benchmarks.sample",)),
    Part("check", "engines and precisions", ("ssd_resnet34", "check", "samples/scene.png")),
    Part("postprocess", "against the vendor's Rust decoder", ("benchmarks.postprocess",)),
    Part("preprocess", "against the literal recipe", ("benchmarks.preprocess",)),
    Part("scoring", "average precision against plain pycocotools", ("benchmarks.scoring",)),
    Part("interval", "of average precision, against the real spread", ("benchmarks.interval",)),
    Part("evaluating", "`eval` against `detect`", ("benchmarks.evaluating",)),
    Part(
        "causes",
        "what changes AP, on the 200 frozen scenes; writes the page of the docs",
        (
            *("benchmarks.causes", "--scenes", "200", "--inputs", "20"),
            *("--page", "docs/why-is-my-map-different.md"),
        ),
    ),
    Part(
        "batch",
        "worker processes and rows against a plain stream",
        ("benchmarks.batch", "--part", "stream"),
    ),
    Part(
        "ray",
        "an actor of a Ray cluster against a local worker process",
        ("benchmarks.batch", "--part", "ray", "--images", "5"),
    ),
    Part(
        "capacity",
        "a hundred million images over a thousand workers, simulated",
        ("benchmarks.capacity",),
    ),
    Part("loadgen", "what LoadGen adds to the session's own time", ("benchmarks.loadgen",)),
    Part(
        "mlperf",
        "four quick scenarios, and accuracy against `eval`",
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
        env={**os.environ, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    verdict = "passed" if done.returncode == 0 else f"FAILED, exit code {done.returncode}"
    lines = [line.rstrip() for line in done.stdout.splitlines() if not _RAY_SAYS.search(line)]
    text = "\n".join(lines).strip("\n")  # no spaces: the first line may be a table's head
    return done.returncode == 0, (
        f"{_heading(part)}\n\n`{part.command}`: {verdict}, {seconds:.0f} s\\\n{machine()}\n\n"
        f"```text\n{text}\n```\n"
    )


def machine() -> str:
    """The day, and what a number depends on besides the code."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "torch"))
    able = cpu.features() - {"avx2"} or cpu.features()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu.model_name()} ({', '.join(sorted(able))}), "
        f"{cpu.available_threads()} threads, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def _heading(part: Part) -> str:
    return f"## {part.name}: {part.about}"


def sections(report: str) -> dict[str, str]:
    """The sections of a report, by the name of their part."""
    found = re.split(r"^(?=## [a-z0-9-]+: )", report, flags=re.MULTILINE)[1:]
    return {one.removeprefix("## ").partition(":")[0]: one.rstrip() + "\n" for one in found}


def joined(kept: Mapping[str, str]) -> str:
    """The report of these sections, in the order of the parts; sections of no part are left out."""
    return "\n".join([HEAD, *(kept[part.name] for part in PARTS if part.name in kept)])


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], metavar="NAME")
    chosen = parser.parse_args().only
    console = Console(stderr=True)
    kept = sections(REPORT.read_text("utf-8")) if REPORT.exists() else {}
    failed = []
    for part in PARTS:
        if chosen is not None and part.name not in chosen:
            continue
        console.print(f"{part.name}: {part.command}")
        passed, kept[part.name] = run(part)
        print(kept[part.name], flush=True)
        if not passed:
            failed.append(part.name)
        # After each part: a killed proof keeps what is done.
        write(REPORT, joined(kept).encode())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
