"""Every calibration method on the embedded weights: average precision, noise, minutes and memory.

    python -m benchmarks.calibration [--images 40] [--count 60] [--folder DIR] [--json]
    python -m benchmarks.calibration --annotations instances.json --photos DIR [...]

Judges on the first of the frozen scenes and calibrates on scenes of the training stream that no
run has seen; with --photos, judges on the first photographs that the annotations name and
calibrates on those that follow. One pass of calibration serves all methods, and fp32 runs once.
Each row is printed when it is known. In --folder the pass and the rows are kept, so that a killed
run goes on where it was. Minutes and peak memory are of processes of their own: the pass, and the
search for the ranges of each method (Linux).
"""

import contextlib
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from benchmarks import command_line
from ssd_resnet34 import SSDResNet34
from ssd_resnet34.compiler.calibration import Statistics, calibrate
from ssd_resnet34.compiler.quantization import METHOD, quantize
from ssd_resnet34.compiler.ranges import METHODS, Method
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.evaluation.guard import Judge
from ssd_resnet34.vision.images import Image

STDERR: Final = Console(stderr=True)


@dataclass(frozen=True)
class Setting:
    """What is calibrated and judged on: ``images`` and ``count`` pictures; of the frozen scenes,
    or of the photographs that a file annotates."""

    images: int
    count: int
    annotations: Path | None = None
    photos: Path | None = None

    def truth(self, folder: Path) -> Dataset:
        """The annotations; of the scenes, which are written into ``folder`` once."""
        if self.annotations is not None:
            return read(self.annotations)
        from .held_out import scenes

        return read(scenes(folder / f"scenes-{self.count}", self.count))

    def judged(self, folder: Path) -> list[Path]:
        """The pictures that judge."""
        if self.photos is None:
            return [folder / f"scenes-{self.count}" / f"{n:03d}.jpg" for n in range(self.count)]
        return self._photographs()[: self.count]

    def seen(self) -> Iterator[Image | Path]:
        """The pictures to calibrate on, of which none judges."""
        if self.photos is None:
            # Here, for the memory of torch is not that of calibration.
            from ssd_resnet34.training.held_out import training_seed
            from ssd_resnet34.training.publish import FIRST_SCENE
            from ssd_resnet34.training.scenes import render_scene

            for number in range(self.images):
                yield Image(render_scene(training_seed(FIRST_SCENE + 1000 + number)).image)
        else:
            yield from self._photographs()[self.count :][: self.images]

    def _photographs(self) -> list[Path]:
        assert self.annotations is not None
        assert self.photos is not None
        return [self.photos / Path(one["file_name"]).name for one in read(self.annotations).images]

    def key(self, source: bytes) -> str:
        """Stands for all that the numbers depend on, in names of files."""
        facts = (*map(str, astuple(self)), METHOD, hashlib.sha256(source).hexdigest())
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def apart(task: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives in a process of its own, whose peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(task, *arguments).result()


def cost(began: float) -> dict[str, float]:
    """Minutes since ``began`` and the peak memory of this process, MB."""
    # Not getrusage, whose peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {"minutes": (time.perf_counter() - began) / 60, "peak_mb": peak * 1024 / 1e6}


def calibrated(setting: Setting, path: Path) -> dict[str, float]:
    """The pass, kept in ``path``; what it cost."""
    began = time.perf_counter()
    pictures = track(
        setting.seen(), "calibrate", total=setting.images, console=STDERR, transient=True
    )
    calibrate(SSDResNet34("embedded", "fp32").source, pictures, path=path)
    return cost(began)


def searched(path: Path, method: Method, symmetric: bool) -> tuple[Any, dict[str, float]]:
    """The ranges of one method, and what the search cost."""
    began = time.perf_counter()
    return Statistics.load(path).ranges(method, symmetric=symmetric), cost(began)


def rows(setting: Setting, folder: Path) -> Iterator[dict[str, Any]]:
    """The pass, then a row for each method, asymmetric and symmetric."""
    model = SSDResNet34("embedded", "fp32")
    key = setting.key(model.source)
    kept, statistics = folder / f"rows-{key}.jsonl", folder / f"pass-{key}.npz"
    lines = kept.read_text().splitlines(keepends=True) if kept.exists() else []
    whole = [line for line in lines if line.endswith("\n")]  # not the last one of a killed run
    kept.write_text("".join(whole))
    known: dict[str, dict[str, Any]] = {row["name"]: row for row in map(json.loads, whole)}

    def row(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in known:
            known[name] = {"name": name} | make()
            with kept.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
        return known[name]

    yield row("pass", lambda: apart(calibrated, setting, statistics))
    truth = setting.truth(folder)
    with Judge(model, setting.judged(folder), truth=truth) as judge:
        for symmetric in (False, True):
            for method in METHODS:
                name = f"{method}, symmetric" if symmetric else method

                def measured(method: Method = method, symmetric: bool = symmetric) -> Any:
                    ranges, spent = apart(searched, statistics, method, symmetric)
                    made = quantize(model.source, ranges)
                    with STDERR.status(f"{method}: {setting.count} pictures"):
                        return spent | asdict(judge.measure(made))

                yield row(name, measured)


def show(row: dict[str, Any]) -> None:
    """A line of the table; the headings and fp32 with the first."""
    if row["name"] == "pass":
        print(f"the pass: {row['minutes']:.1f} minutes, peak {row['peak_mb']:.0f} MB", flush=True)
        return
    (exact, ap), (exact50, ap50) = row["ap"], row["ap50"]
    if row["name"] == METHODS[0]:
        print(
            f"{'':22}{'AP':>7}{'AP50':>7}{'of fp32':>9}{'agree':>8}{'dB':>6}{'time':>6}"
            f"{'minutes':>8}{'MB':>6}"
        )
        print(f"{'fp32':22}{exact:7.4f}{exact50:7.4f}")
    agreement = row["agreement"]
    share = agreement["matched"] / max(agreement["reference"], agreement["found"], 1)
    print(
        f"{row['name']:22}{ap:7.4f}{ap50:7.4f}{100 * ap / exact:8.2f}%{100 * share:7.1f}%"
        f"{min(row['sqnr'].values()):6.1f}{row['speed']:6.2f}{row['minutes']:8.2f}"
        f"{row['peak_mb']:6.0f}",
        flush=True,
    )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.annotations is None) != (arguments.photos is None):
        parser.error("--annotations and --photos go together")
    setting = Setting(arguments.images, arguments.count, arguments.annotations, arguments.photos)
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows(setting, folder):
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                show(row)


if __name__ == "__main__":
    main()
