"""``ssd-resnet34 batch``: folders, lists and buckets in; a row for every input out."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from .. import detector as detectors
from ..batch import cluster, converting, finishing, manifest, planning, running
from ..batch import report as reports
from ..batch.addresses import local_path
from ..batch.cluster import Actors
from ..batch.lock import Lock
from ..batch.manifest import Plan
from ..batch.patience import DEFAULT_PATIENCE, Patience
from ..batch.place import Place, open_place
from ..batch.pool import Care
from ..batch.running import Rules
from ..batch.sources import Search
from ..batch.worker import Job
from ..detector import Options
from ..errors import BatchError, UsageError
from ..files import check_target
from ..runtime import cpu
from ..vision.images import DEFAULT_LIMITS, Limits
from .batch_progress import Shown
from .batch_report import plan_facts, report_facts, setting, show_outcome, show_plan, show_report
from .inputs import SOME_REFUSED
from .options import (
    AsJson,
    ByNms,
    Classes,
    Device,
    Engine,
    InPrecision,
    MaxBytes,
    MaxPixels,
    Nms,
    NoNotes,
    Precision,
    ScoreThreshold,
    Weights,
    from_anywhere,
    labels,
)
from .terminal import complain, printable, progress

RUN_EXAMPLES: Final = """Examples:

ssd-resnet34 batch run photos/ -o found/

ssd-resnet34 batch run s3://bucket/photos/ -o s3://bucket/found

ssd-resnet34 batch run list.txt -o found/ --format jsonl -t 0.5

ssd-resnet34 batch run inventory.parquet --column key -o found/ --workers 8
"""

PLAN_EXAMPLES: Final = """Examples:

ssd-resnet34 batch plan s3://bucket/photos/ -o s3://bucket/found

ssd-resnet34 batch plan 'photos/**/*.jpg' -o found/ --shard-size 4096
"""

REPORT_EXAMPLES: Final = """Examples:

ssd-resnet34 batch report found/ --html found.html

ssd-resnet34 batch report s3://bucket/found --json
"""

CONVERT_EXAMPLES: Final = """Examples:

ssd-resnet34 batch convert found/ --to coco -o found.coco.json

ssd-resnet34 batch convert found/ --to yolo -o labels/
"""

app = typer.Typer(
    no_args_is_help=True,
    help="A row for every image of a folder, list or bucket, whatever happens on the way.",
    epilog="Examples:\n\nssd-resnet34 batch run photos/ -o found/",
)

_MIB: Final = 1 << 20

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Folder, glob, image, list (.txt), Parquet file, or a URI of these (s3://…).",
    ),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="OUT", help="Folder or URI of the results.")
]
Results = Annotated[str, typer.Argument(metavar="OUT", help="Folder or URI of a run's results.")]
Form = Annotated[
    str | None, typer.Option("--format", metavar="FORM", help="parquet (default), jsonl or coco.")
]
ShardSize = Annotated[
    int | None,
    typer.Option(min=1, max=65536, help="Inputs a shard; default: a 32nd of all, from 16 to 512."),
]
Column = Annotated[
    str | None, typer.Option(help="Of a Parquet source: the column with the addresses.")
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Enter linked folders, read linked files.")
]
Force = Annotated[bool, typer.Option("--force", help="Mix models, or replace another plan.")]
Waiting = Annotated[
    float, typer.Option("--patience", min=0, help="Seconds that a failing store is tried again.")
]


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    source: Source,
    output: Output,
    form: Form = None,
    score_threshold: ScoreThreshold = detectors.DEFAULT_SCORE_THRESHOLD,
    classes: Classes = None,
    nms: ByNms = Nms.exact,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Device = "cpu",
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes; default: one for 4 threads.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of each worker.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds for one image, then its worker is ended.")
    ] = 120,
    memory: Annotated[
        int, typer.Option(min=64, metavar="MIB", help="That a worker may hold (Linux).")
    ] = 4096,
    max_bytes: MaxBytes = DEFAULT_LIMITS.max_bytes,
    max_pixels: MaxPixels = DEFAULT_LIMITS.max_pixels,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of refused inputs that stops the run.")
    ] = 0.5,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Do error rows of earlier runs again.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Ray cluster: auto, local or HOST:PORT."),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="With --ray: GPUs of each worker.")
    ] = None,
    shard_size: ShardSize = None,
    column: Column = None,
    follow_links: FollowLinks = False,
    patience: Waiting = DEFAULT_PATIENCE.seconds,
    force: Force = False,
    as_json: AsJson = False,
    quiet: NoNotes = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Each shard and each refused input.")
    ] = False,
) -> None:
    """Detect in every image of a source; run it again to go on after any end.

    Writes shards of rows, one row for every input: detections, or an error.

    The first run plans which inputs there are; _SUCCESS appears last.

    With --ray, --workers is the most actors that Ray may start, of --threads CPUs each.

    Exit code 3 where rows are errors, 1 where rows and plan differ.
    """
    wanted = labels(classes)
    if ray is None:
        if gpus is not None:
            raise UsageError("--gpus is for --ray; here, --device names a GPU")
        workers, threads = _share(workers, threads)
    else:
        workers, threads = workers or 1, threads or 1
    job = Job(
        weights=from_anywhere(weights),
        engine=engine,
        device=device,
        precision=precision.value,
        threads=threads,
        options=Options(score_threshold=score_threshold, nms=nms.value, classes=wanted),
        limits=Limits(max_bytes=max_bytes, max_pixels=max_pixels),
        patience=Patience(min(patience, timeout / 2)),
    )
    with Shown.on_stderr(quiet=quiet, verbose=verbose) as shown, _ended_by_signals(shown):
        search = Search(source, column, follow_links, local_path(output), job.patience)
        rules = Rules(max_error_rate, force, retry_errors)
        if ray is None:
            care = Care(workers, timeout, memory * _MIB)
            outcome = running.run(
                output, search, job, care, rules, format=form, shard_size=shard_size, watcher=shown
            )
        else:
            care = Care(1, timeout, memory * _MIB)
            actors = Actors(ray, 1, workers, threads, gpus or 0.0)
            outcome = cluster.run(
                output,
                search,
                actors,
                job,
                care,
                rules,
                format=form,
                shard_size=shard_size,
                watcher=shown,
            )
    show_outcome(outcome, output, as_json)
    if outcome.summary.refused:
        raise typer.Exit(SOME_REFUSED)


@app.command("plan", epilog=PLAN_EXAMPLES)
def plan(
    source: Source,
    output: Output,
    form: Form = None,
    shard_size: ShardSize = None,
    column: Column = None,
    follow_links: FollowLinks = False,
    patience: Waiting = DEFAULT_PATIENCE.seconds,
    force: Force = False,
    as_json: AsJson = False,
    quiet: NoNotes = False,
) -> None:
    """Write the manifest that runs follow: address, size and version of each input.

    A plan that is there is shown, not made again: it never changes.
    """
    place = open_place(output, Patience(patience))
    with Shown.on_stderr(quiet=quiet, verbose=False) as shown, Lock(place, shown.note):
        place.sweep()
        made = planning.plan(
            place,
            Search(source, column, follow_links, local_path(output), Patience(patience)),
            format=form,
            shard_size=shard_size,
            force=force,
            watcher=shown,
        )
    if as_json:
        print(json.dumps(plan_facts(made)))
    else:
        show_plan(made, output)


@app.command("convert", epilog=CONVERT_EXAMPLES)
def convert(
    results: Results,
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="coco, yolo, csv or jsonl.")],
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="TARGET", help="File; folder for yolo.")
    ],
    quiet: NoNotes = False,
) -> None:
    """Write the rows of a complete run in the form of training tools.

    Images are named relative to the folder that they share; refused ones have no entry.
    """
    place = open_place(results)
    made = _loaded(place)
    if not finishing.is_marked(place):
        raise BatchError(f"{place.name}: the run is not complete; run it again to the end first")
    written, refused = converting.convert(place, made, to, target)
    print(printable(f"{target}: {written:,} images"))
    if not quiet:
        folder = converting.common_folder(place, made)
        complain(f"names are relative to {folder or 'nothing'}", "note")
        if refused:
            complain(f"{refused:,} refused inputs have no entry", "note")


@app.command("report", epilog=REPORT_EXAMPLES)
def report(
    results: Results,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with pictures.")
    ] = None,
    as_json: AsJson = False,
    quiet: NoNotes = False,
) -> None:
    """Counts, classes, errors and rates of a run, complete or not."""
    if html is not None:
        check_target(html)
    place = open_place(results)
    made = _loaded(place)
    with progress("report", made.shards, quiet=quiet, at_end=True) as ticker:
        findings = reports.read_through(place, made, ticker.advance)
        if html is not None:
            reports.write(html, findings, setting(place, findings, html))
    if as_json:
        print(json.dumps(report_facts(findings)))
    else:
        show_report(findings, results)


def _share(workers: int | None, threads: int | None) -> tuple[int, int]:
    """Workers and threads of each: what this process may use, about four threads a worker."""
    available = cpu.available_threads()
    if workers is None:
        workers = max(1, available // (threads or 4))
    return workers, threads or max(1, available // workers)


@contextmanager
def _ended_by_signals(shown: Shown) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run in order: workers ended, lock given back."""

    def stop(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise BatchError(shown.stopped) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _loaded(place: Place) -> Plan:
    made = manifest.load(place)
    if made is None:
        raise UsageError(f"{place.name}: no batch run wrote there; name the output of one")
    return made
