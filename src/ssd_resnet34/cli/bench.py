"""``ssd-resnet34 bench``: how fast this machine is, as ratios of interleaved pairs."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer

from ..benchmarking import plot, runs
from ..benchmarking.pictures import made_up
from ..benchmarking.runs import Configuration
from ..errors import ImageError, UnreadableFile, UsageError
from ..files import check_target
from ..pairs import ENOUGH
from .bench_job import Job
from .bench_report import caption, faults, few_pairs, show
from .inputs import SOME_REFUSED, STDIN, expand, read, tell
from .options import AsJson, Device, Quiet, Threads, Weights
from .terminal import complain

EXAMPLES: Final = """Examples:

ssd-resnet34 bench

ssd-resnet34 bench --images photos/ --configs auto,onnxruntime:fp32 --rates

ssd-resnet34 bench --configs all:all --baseline onnxruntime:fp32 --plot b.png

ssd-resnet34 bench --configs openvino:int8:1+2:1+4 --no-stages --pairs 5

ssd-resnet34 bench --peers --start --json > bench.json

ssd-resnet34 bench --configs torch:bf16+fp16:2:16 --device cuda --rates --tune
"""

_MADE_UP: Final = 4
"""Pictures, where none are given."""


def bench(
    images: Annotated[
        list[str] | None,
        typer.Option("--images", metavar="IMAGES", help="File, folder or glob; default: made up."),
    ] = None,
    configs: Annotated[
        str, typer.Option(metavar="CONFIGS", help="What to compare; see above.")
    ] = "auto",
    baseline: Annotated[
        str | None, typer.Option(metavar="CONFIG", help="Default: the first of these that works.")
    ] = None,
    weights: Weights = "embedded",
    device: Device = "cpu",
    threads: Threads = None,
    pairs: Annotated[
        int, typer.Option("--pairs", "-n", min=1, max=1000, help="Of each ratio; the run's length.")
    ] = ENOUGH,
    with_stages: Annotated[
        bool, typer.Option("--stages/--no-stages", help="Decode, preprocess, …, and a stream.")
    ] = True,
    with_peers: Annotated[
        bool, typer.Option("--peers", help="Other runtimes and decoders that are installed.")
    ] = False,
    with_rates: Annotated[
        bool, typer.Option("--rates", help="The device's convolution rates, and the share reached.")
    ] = False,
    with_start: Annotated[
        bool, typer.Option("--start", help="Cold and warm start, and peak memory, of detect.")
    ] = False,
    with_tuning: Annotated[
        bool, typer.Option("--tune", help="Find and keep the fastest threads, streams and batch.")
    ] = False,
    plot_to: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Write a bar chart, PNG.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the speed of the network and of all around it.

    Every configuration is timed in pairs with the baseline, the first row; all:all takes minutes.

    Times are of one image. Ratios are time / baseline: 0.5 is twice as fast.

    Stages, --peers' decoders and --tune are of the fastest row, or of the --baseline named.

    CONFIGS are ENGINE:PRECISION:STREAMS:BATCH with commas between; the last parts may be left out.

    In a part, + joins several values, and all is every engine or every precision.

    What --tune finds fastest, later sessions use by themselves.

    Exit code 1 if a configuration or a part fails; the others are shown.

    A configuration that cannot be had here is a row that says why.
    """
    wanted = runs.parse(configs)
    chosen = None if baseline is None else _one(baseline)
    if with_tuning and threads is not None:
        raise UsageError("--tune chooses the threads; leave --threads out")
    if plot_to is not None:
        _check_plot(plot_to)
    if pairs < ENOUGH:
        complain(few_pairs(pairs), "note")
    pictures, refused = _pictures(images, pairs)
    job = Job(weights, device, threads, pairs, pictures, quiet)
    try:
        with job.opened(wanted, chosen) as (found, detector, contender):
            others = [one for one in wanted if one != found]
            job.network(contender, others, with_peers=with_peers, with_stages=with_stages)
            # A baseline that was named is what everything is about, fastest or not.
            with job.fastest(detector) if chosen is None else nullcontext(detector) as subject:
                if with_stages:
                    job.stages(subject)
                if with_peers:
                    job.peers(subject)
                if with_tuning:
                    job.tune(subject)
        if with_rates:
            job.rates()
        if with_start:
            job.starts()
    except KeyboardInterrupt:
        if not job.runs:
            raise
        job.fail("bench", "interrupted; what was measured before is shown")
    report = job.report(refused)
    if plot_to is not None:
        with job.part("plot"):
            plot.save(plot_to, job.runs, *caption(report))
    for warning in report["warnings"]:
        complain(warning, "warning")
    if as_json:
        print(json.dumps(report))
    else:
        show(report)
    failed = faults(report)
    for fault in failed:
        complain(fault)
    if failed:
        raise typer.Exit(1)
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _one(text: str) -> Configuration:
    found = runs.parse(text)
    if len(found) != 1:
        raise UsageError(f"--baseline {text}: is {len(found)} configurations; give one")
    return found[0]


def _check_plot(target: Path) -> None:
    if target.suffix.lower() != ".png":
        raise UsageError(f"--plot {target}: the plot is a PNG; name a file that ends in .png")
    check_target(target)


def _pictures(images: list[str] | None, most: int) -> tuple[list[bytes], int]:
    """The first ``most`` encoded images that decode, and how many others were refused."""
    if not images:
        return [made_up(n) for n in range(min(most, _MADE_UP))], 0
    found: list[bytes] = []
    refused = 0
    for path in expand(images):
        if len(found) == most:
            break
        try:
            if path == STDIN:
                raise UsageError("--images -: is for detect; name files, folders or globs")
            read(path)
            found.append(Path(str(path)).read_bytes())
        except ImageError as error:
            refused += 1
            tell(error)
    if not found:
        raise UnreadableFile("--images: none of them can be read; give others, or leave it out")
    return found, refused
