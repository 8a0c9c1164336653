"""``ssd-resnet34 weights``: the published weights on this machine."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import weights
from ..errors import WeightsError
from ..weights import store
from ..weights.records import Record
from .options import AsJson, Quiet
from .terminal import show_table

EXAMPLES: Final = """Examples:

ssd-resnet34 weights list

ssd-resnet34 weights fetch mlcommons

ssd-resnet34 weights import mlcommons resnet34-ssd1200.onnx
"""


def _example(arguments: str) -> str:
    return f"Example:\n\nssd-resnet34 weights {arguments}"


app = typer.Typer(
    no_args_is_help=True,
    help="List, fetch, verify and import the published weights.",
    epilog=EXAMPLES,
)

Name = Annotated[str, typer.Argument(help="A record's name; see `weights list`.")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="The hash you trust, for a record without one.")
]


@app.command("list", epilog=_example("list --json"))
def list_(as_json: AsJson = False) -> None:
    """Show every record, what is known of it, and whether it is on this machine."""
    rows = [
        {
            **short(record),
            "lineage": record.lineage,
            "precision": record.precision,
            "size": record.size,
            "sha256": store.known_sha256(record.name),
            "licence": record.licence,
            "summary": record.summary,
        }
        for record in weights.RECORDS.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    show_table(
        ("name", "here", "kind", "mAP", "what"),  # the lineage and all scores are in --json
        [
            (
                row["name"],
                "yes" if row["present"] else "no",
                row["precision"],
                row["mAP"][0]["value"] if row["mAP"] else "–",
                row["summary"],
            )
            for row in rows
        ],
    )


def short(record: Record) -> dict[str, Any]:
    """A record's name, whether its file is on this machine, and its scores."""
    return {
        "name": record.name,
        "present": os.path.isfile(store.path(record.name)),
        "mAP": [{"value": score.map, "by": score.by} for score in record.scores],
    }


@app.command(epilog=_example("fetch mlcommons"))
def fetch(
    name: Name,
    sha256: Sha256 = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only what is here already.")] = False,
    quiet: Quiet = False,
) -> None:
    """Download a record, check its hash, and print where it is."""
    print(store.fetch(name, sha256=sha256, offline=offline or None, progress=not quiet))


@app.command(epilog=_example("verify mlcommons resnet34-ssd1200.onnx"))
def verify(
    name: Name,
    file: Annotated[Path | None, typer.Argument(help="A file to check instead.")] = None,
    sha256: Sha256 = None,
) -> None:
    """Check a record's file (or FILE against the record) and print its sha256."""
    record, place = store.record(name), file or store.path(name)
    if file is None and not os.path.isfile(place):  # a fact of this machine, no bad usage
        raise WeightsError(f"{place}: not there; `ssd-resnet34 weights fetch {name}` gets it")
    print(store.verify(place, record, sha256 or store.known_sha256(name)))


@app.command("import", epilog=_example("import mlcommons resnet34-ssd1200.onnx"))
def import_(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A file that was got elsewhere.")],
    sha256: Sha256 = None,
) -> None:
    """Put FILE into the cache under a record's name, after checking it."""
    print(store.import_file(file, name, sha256))


@app.command(epilog=_example("path mlcommons"))
def path(name: Name) -> None:
    """Print where a record's file lies, or will lie once fetched."""
    print(store.path(name))
