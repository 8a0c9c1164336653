"""The command ``furiosa-models``: list, desc, bench, serve."""

import logging
import os
import sys
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

import ssd_resnet34
from furiosa import _settings
from furiosa.models.errors import FuriosaModelException
from furiosa.models.types import ModelTaskType, Platform
from ssd_resnet34.cli.terminal import complain, printable, progress
from ssd_resnet34.cli.weights_notes import note_size
from ssd_resnet34.errors import MissingExtra, SSDResNet34Error, UsageError
from ssd_resnet34.weights.records import EMBEDDED

FAILED: Final = 1
BAD_USAGE: Final = 2
SOME_REFUSED: Final = 3

NAME: Final = "SSDResNet34"

TOKEN: Final = "SSD_RESNET34_TOKEN"

_FILTERS: Final = {
    "detect": ModelTaskType.OBJECT_DETECTION,
    "classif": ModelTaskType.IMAGE_CLASSIFICATION,
    "pose": None,
}

_PACKAGES: Final = ("starlette", "uvicorn", "httptools", "multipart", "prometheus_client")

_WEIGHTS_HELP: Final = (
    f"{_settings.WEIGHTS}=mlcommons, or a file, takes other weights than the embedded ones, "
    "which know twelve categories of drawn scenes."
)

app = typer.Typer(
    name="furiosa-models",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    help="The command of the vendor's model zoo, with the one model of ssd-resnet34.",
    epilog=f"""{_WEIGHTS_HELP}

{_settings.RELEASE}=0.8 or 0.9 follows that release, and not 0.10.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 done with some inputs refused,
130 interrupted (Ctrl-C).""",
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="ssd-resnet34, in any spelling.")]
Postprocess = Annotated[
    Platform | None,
    typer.Option(
        "--postprocess",
        "-post",
        metavar="python|rust",
        case_sensitive=False,
        help="Whose selection rules; default rust.",
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices", metavar="SPEC", help="warboy(2)*1, npu:0:0-1, …: counted as replicas."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"{_settings.version()} (ssd-resnet34 {ssd_resnet34.__version__})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options before the command; --version ends in its callback."""


@app.command("list", epilog="Example: furiosa-models list detection")
def list_(
    filter_: Annotated[
        str | None, typer.Argument(metavar="[FILTER]", help="detect, classif or pose.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("-t", metavar="TYPE", help="The same, before 0.10.1.")
    ] = None,
) -> None:
    """List the models, or those of one kind."""
    if filter_ is not None and kind is not None:
        raise UsageError("FILTER and -t are one option; give one of them")
    word = filter_ if kind is None else kind
    shown = True
    if word is not None:
        found = [task for part, task in _FILTERS.items() if part in word.lower()]
        if not found:
            print(f"Unknown type {word!r}; use one of {', '.join(_FILTERS)}. All models:")
        shown = not found or ModelTaskType.OBJECT_DETECTION in found
    headings = ("Model name", "Model description", "Task type", "Available postprocesses")
    table = Table(*headings, box=box.ROUNDED)
    if shown:
        table.add_row(NAME, "MLCommons SSD ResNet34 model", "Object Detection", "Python, Rust")
    Console(markup=False, highlight=False).print(table)


@app.command("desc", epilog="Example: furiosa-models desc ssd-resnet34")
def desc(model: Model) -> None:
    """Describe a model, as YAML."""
    import yaml

    from furiosa.models.vision import SSDResNet34

    _check_name(model)
    weights = _settings.chosen_weights()
    found = SSDResNet34(weights=None if weights else EMBEDDED)  # said below, not logged
    facts = {
        "name": found.name,
        "format": str(found.format),
        "family": found.family,
        "version": found.version,
        "metadata": None if found.metadata is None else _without_nulls(asdict(found.metadata)),
    }
    text = yaml.safe_dump(_without_nulls(facts), sort_keys=False, width=1000)
    print(text, end="")
    print("task type: Object Detection")
    print("available postprocess versions: Python, Rust")
    print(f"weights: {printable(weights) if weights else f'embedded; {_settings.EMBEDDED_NOTE}'}")


@app.command(
    "bench",
    epilog=f"""Examples:

furiosa-models bench ssd-resnet34 photos/

furiosa-models bench ssd-resnet34 cat.jpg --postprocess python -v

{_WEIGHTS_HELP}

ssd-resnet34 bench measures more: stages, engines, ratios.""",
)
def bench(
    model: Model,
    path: Annotated[str, typer.Argument(metavar="PATH", help="An image or a folder.")],
    postprocess: Postprocess = None,
    devices: Devices = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Engine and percentiles, on stderr.")
    ] = False,
) -> None:
    """Time preprocessing, network and postprocessing over some images."""
    from furiosa.models import _bench
    from furiosa.models.vision import SSDResNet34
    from furiosa.runtime._network import Network
    from furiosa.runtime.sync import Runner
    from ssd_resnet34.cli.inputs import expand

    _check_name(model)
    if not os.path.lexists(path):
        raise UsageError(f"{path}: no such file or folder")
    paths = list(expand([path]))
    if not any(isinstance(one, str) for one in paths):
        complain(f"{paths[0]}")
        raise typer.Exit(FAILED)
    chosen = SSDResNet34(postprocessor_type=postprocess or Platform.RUST)
    network = Network(chosen.model_source(), devices, None, None, None)
    with Runner(network) as runner:
        if verbose:
            complain(network.choice, "detail")
        print(_bench.opening(len(paths)), flush=True)
        with progress("images", len(paths), quiet=False, at_end=True) as ticker:
            times = _bench.measure(chosen, runner, paths, ticker.advance)
    for error in times.refused:
        complain(f"{error.code}: {error}", "refused")
    if not times.samples:
        raise typer.Exit(FAILED)
    print(_bench.report(times))
    if verbose:
        for line in _bench.details(times):
            complain(line, "detail")
    if times.refused:
        raise typer.Exit(SOME_REFUSED)


@app.command(
    "serve",
    epilog=f"""Examples:

furiosa-models serve ssd-resnet34

furiosa-models serve ssd-resnet34 --host 0.0.0.0 --open

curl -F image=@street.jpg http://127.0.0.1:8000/infer

{_WEIGHTS_HELP}

ssd-resnet34 serve has more options.""",
)
def serve(
    model: Model,
    postprocess: Postprocess = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    devices: Devices = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Serve other machines without a token.")
    ] = False,
) -> None:
    """Serve POST /infer, beside all that ssd-resnet34 serve offers.

    With SSD_RESNET34_TOKEN set, requests need it as their bearer token.
    """
    from furiosa.runtime import _devices
    from ssd_resnet34.runtime import cpu

    _check_name(model)
    if postprocess not in (None, Platform.RUST):
        raise UsageError(
            f"--postprocess {postprocess}: the server selects by IoU as it is defined, like the "
            "Rust decoder; leave it out, or postprocess in your own program"
        )
    try:
        from ssd_resnet34.serving.server import Settings, run
        from ssd_resnet34.serving.tasks import Started, WorkerConfig
        from ssd_resnet34.vision.images import Limits

        from . import _serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _PACKAGES:
            raise MissingExtra(
                "serve needs more; in the clone: pip install -c constraints.txt . "
                "'./compat/furiosa[serve]'"
            ) from error
        raise
    placed = _devices.parse(devices)
    threads = None
    if placed.replicas > 1:
        threads = max(1, cpu.available_threads() // placed.replicas)
    token = os.environ.get(TOKEN)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, level=logging.INFO)
    settings = Settings(
        WorkerConfig(_settings.weights(), "auto", placed.device, "auto", threads, Limits()),
        host,
        port,
        placed.replicas,
        token.strip() if token else None,  # a mounted secret often ends with a line feed
        open_,
    )
    for noisy in ("uvicorn", "asyncio", "multipart"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    def announce(address: str, facts: Started) -> None:
        complain(f"{facts.model}, {facts.engine} {facts.precision}", "model")
        note_size(facts.model, facts.trained_size, quiet=False)
        complain(f"{address}{_serve.PATH} (stop with Ctrl-C)", "serving")

    run(settings, announce, wrap=_serve.Infer)


def _check_name(given: str) -> None:
    """Names match on letters and digits, in any case."""
    if "".join(filter(str.isalnum, given)).casefold() != NAME.casefold():
        raise UsageError(f"no model {given!r}; there is {NAME}")


def _without_nulls(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in facts.items()
        if value is not None
    }


def main() -> None:
    """Run the command line; never shows a traceback for an error of these packages."""
    from furiosa.runtime.errors import FuriosaError, InvalidSessionOption

    try:
        app()
    except (InvalidSessionOption, ValueError) as error:  # a UsageError is a ValueError
        complain(str(error))
        sys.exit(BAD_USAGE)
    except (SSDResNet34Error, FuriosaModelException, FuriosaError) as error:
        complain(str(error))
        sys.exit(FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
