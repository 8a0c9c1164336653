"""``ssd-resnet34 serve``: the Open Inference Protocol, ``/detect``, and a page for people."""

import gc
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import MissingExtra, UsageError
from ..vision.images import DEFAULT_LIMITS, Limits
from .options import (
    Device,
    Engine,
    InPrecision,
    MaxBytes,
    MaxPixels,
    Precision,
    Threads,
    Weights,
    from_anywhere,
    is_given,
)
from .terminal import complain
from .weights_notes import EMBEDDED_NOTE, size_note

if TYPE_CHECKING:
    from ..serving.tasks import Started

EXAMPLES: Final = """Examples:

ssd-resnet34 serve

ssd-resnet34 serve --host 0.0.0.0 --token-file token.txt

ssd-resnet34 serve -w mlcommons --port 9000 --deadline 30 -v

ssd-resnet34 serve --ray --ray-address 10.0.0.5:6379 --replicas 2:8 --threads 4

curl --data-binary @street.jpg http://127.0.0.1:8000/detect
"""

TOKEN: Final = "SSD_RESNET34_TOKEN"

_LOG: Final = logging.getLogger("ssd_resnet34")
"""Of the whole package; what other packages have to say below a warning is about themselves."""

_PACKAGES: Final = ("starlette", "uvicorn", "httptools", "multipart", "prometheus_client", "grpc")


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve gRPC there, too.")
    ] = None,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; they share the threads.")
    ] = 1,
    deadline: Annotated[
        float, typer.Option(min=0.1, help="Seconds from a request to its answer; sizes the queue.")
    ] = 10.0,
    max_bytes: MaxBytes = DEFAULT_LIMITS.max_bytes,
    max_pixels: MaxPixels = DEFAULT_LIMITS.max_pixels,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Holds the bearer token; or set {TOKEN}.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Serve other machines without a token.")
    ] = False,
    ray: Annotated[bool, typer.Option("--ray", help="Serve by replicas on a Ray cluster.")] = False,
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="auto, local (the default) or HOST:PORT.")
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="LEAST:MOST", help="With --ray; default 1. Between them, by load."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line for every request.")
    ] = False,
) -> None:
    """Serve detections over HTTP.

    Ends with code 0 at SIGTERM or Ctrl-C, after the accepted requests.

    With --ray, each replica has --workers processes of --threads CPUs, and a GPU if not on cpu.
    """
    if not ray and (ray_address is not None or replicas is not None):
        raise UsageError("--ray-address and --replicas are for --ray; give it, or leave them out")
    least, most = _between(replicas or "1")
    try:
        from ..runtime import cpu
        from ..serving.limits import ServerLimits
        from ..serving.server import Settings, run
        from ..serving.tasks import WorkerConfig
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _PACKAGES:
            raise MissingExtra("serve needs more: pip install 'ssd-resnet34[serve]'") from error
        raise
    if threads is None and (ray or workers > 1):
        threads = max(1, cpu.available_threads() // workers)
    limits = Limits(max_bytes=max_bytes, max_pixels=max_pixels)
    settings = Settings(
        WorkerConfig(from_anywhere(weights), engine, device, precision.value, threads, limits),
        host,
        port,
        workers,
        _token(token_file),
        open_,
        grpc_port,
        ServerLimits(limits, deadline),
    )
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.WARNING)
    _LOG.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    # What is no HTTP at all is counted, not logged: anybody could fill a disk with it.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)

    def announce(address: str, facts: "Started") -> None:
        _LOG.info(
            "model: %s, %s %s, %.3f s an image",
            *(facts.model, facts.engine, facts.precision, facts.seconds),
        )
        if not is_given(context, "weights"):
            _LOG.info("note: %s", EMBEDDED_NOTE)
        note = size_note(facts.model, facts.trained_size)
        if note:
            _LOG.info("note: %s", note)
        # Not in the log's form, and the last before requests: scripts wait for it.
        complain(f"{address}/ (stop with Ctrl-C)", "serving")

    if not ray:
        run(settings, announce)
        gc.freeze()  # else the interpreter looks at everything once more, most of the time to end
        return
    from ..serving import cluster

    gpus = 0.0 if device == "cpu" else 1.0
    scale = cluster.Scale(least, most, workers * (threads or 1), gpus, ray_address or "local")
    cluster.run(settings, scale, announce)


def _between(given: str) -> tuple[int, int]:
    least, colon, most = given.partition(":")
    try:
        return int(least), int(most if colon else least)
    except ValueError:
        raise UsageError(f"--replicas {given}: give LEAST:MOST, like 1:4, or one number") from None


def _token(path: Path | None) -> str | None:
    from ..serving.tokens import refuse_weak

    given = os.environ.get(TOKEN, "") if path is None else _read(path)
    if path is None and not given:
        return None
    token = given.strip()
    refuse_weak(token, TOKEN if path is None else f"--token-file {path}")
    return token


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(
            f"--token-file {path}: cannot be read ({reason}); give a file with nothing but the "
            "token in it"
        ) from error
