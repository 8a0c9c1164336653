"""What a run found, for people: counts, classes, errors and pictures, rates; one HTML file."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import files
from ..errors import ImageError
from ..evaluation import page
from ..evaluation.gallery import SIDE, Picture
from ..evaluation.report import Setting
from ..runtime.pipeline import overlapped
from ..vision.draw import draw, jpeg_uri, shrink
from ..vision.images import DEFAULT_LIMITS
from . import models, shards
from .manifest import Manifest, Plan
from .pace import as_clock
from .patience import Patience
from .place import Place
from .rates import Rates, columns, rates
from .reading import read
from .rows import OUT_OF_MEMORY, TIMED_OUT, WORKER_CRASHED, Row, Summary
from .sorting import Input

PAGES: Final = Path(__file__).parent / "pages"

DANGEROUS: Final = (WORKER_CRASHED, TIMED_OUT, OUT_OF_MEMORY)
"""Inputs that ended workers: the report leaves them closed."""

_SHOWN: Final = 8
"""Pictures with detections, spread over all inputs."""

_EXAMPLES: Final = 5
"""Inputs named for each kind of error."""

_CLASSES: Final = 90


@dataclass(frozen=True, eq=False)
class Findings:
    """A run, read through.

    Attributes:
        plan: of the run.
        summary: counts of all rows that are there.
        missing: shards without rows (not done yet), or with damaged ones.
        rates: what the sidecars say.
        samples: rows with detections, spread evenly.
        refused: code -> the first rows refused for it.
        slow: rows that took longest, with their seconds.
        models: fingerprint -> what it stands for.
    """

    plan: Plan
    summary: Summary
    missing: int
    rates: Rates
    samples: Sequence[Row]
    refused: Mapping[str, Sequence[Row]]
    slow: Sequence[tuple[float, str]]
    models: Mapping[str, Mapping[str, Any]]


def read_through(place: Place, plan: Plan, on_shard: Callable[[], None] = lambda: None) -> Findings:
    """Read all rows and sidecars of a run, complete or not; memory is that of the timings.

    Raises:
        ManifestError, OutputError: the place cannot be read.
    """
    manifest = Manifest(place, plan)
    summary = Summary()
    missing = 0
    samples: list[Row] = []
    refused: dict[str, list[Row]] = defaultdict(list)
    tables = [columns(())]
    every = max(1, plan.count // _SHOWN)
    following = every // 2 + 1

    def one(shard: int) -> tuple[list[Row] | shards.Fault, Any]:
        return shards.read(place, manifest, shard), columns(shards.read_timings(place, shard))

    for rows, table in overlapped(one, range(plan.shards), place.readers):
        on_shard()
        if isinstance(rows, shards.Fault):
            missing += 1
            continue
        summary += Summary.of(rows)
        tables.append(table)
        for row in rows:
            if row.error is not None and len(refused[row.error]) < _EXAMPLES:
                refused[row.error].append(row)
            if row.found is not None and len(row.found) and row.id >= following:
                samples.append(row)
                following = row.id + every
    found = rates(np.concatenate(tables))
    return Findings(
        plan,
        summary,
        missing,
        found,
        samples,
        refused,
        [(seconds, _uri(manifest, id)) for seconds, id in found.slowest],
        models.recorded(place),
    )


def _uri(manifest: Manifest, id: int) -> str:
    shard, offset = divmod(id - 1, manifest.plan.shard_size)
    return manifest.shard(shard)[offset].uri


def write(path: str | PathLike[str], findings: Findings, setting: Setting) -> None:
    """Write the report as one HTML file that opens without network.

    Raises:
        UsageError: ``path`` cannot be written.
        OutputError: the disk is full.
        MissingExtra: jinja2 is not installed.
    """
    summary = findings.summary
    ordered = summary.to_dict()
    most = max(ordered["classes"].values(), default=1)
    root = findings.plan.root
    data = page.render(
        "batch.html",
        folder=PAGES,
        setting=setting,
        plan=findings.plan,
        summary=summary,
        missing=findings.missing,
        detections=ordered["detections"],
        classes=[(name, n, n / most) for name, n in list(ordered["classes"].items())[:_CLASSES]],
        errors=[
            (code, number, [_scene(row, root) for row in findings.refused[code]])
            for code, number in ordered["errors"].items()
        ],
        rates=findings.rates,
        as_clock=as_clock,
        slow=findings.slow,
        samples=[_scene(row, root) for row in findings.samples],
    )
    files.write(path, data)


@dataclass(frozen=True)
class Scene:
    """One input: a picture, or why there is none; ``words`` are its row in words."""

    name: str
    words: str
    pictures: Sequence[Picture]
    reason: str


def _scene(row: Row, root: str | None) -> Scene:
    if row.found is None:
        words = row.message or ""
    else:
        noun = "object" if len(row.found) == 1 else "objects"
        words = f"{row.found.width}×{row.found.height}, {len(row.found)} {noun}"
    if row.error in DANGEROUS:
        return Scene(row.uri, words, (), "left closed: it ended its worker")
    try:
        data = read(Input(row.uri, row.size), DEFAULT_LIMITS, Patience(5), root)
        picture = shrink(data, SIDE)
    except ImageError as error:
        reason = "" if row.error == error.code else str(error)
        return Scene(row.uri, words, (), reason or "it cannot be decoded")
    if row.found is not None:
        picture = draw(picture, row.found, score_threshold=-1)
    title = "As it is" if row.found is None else "Detections"
    shown = Picture(title, f"{row.uri}: {words}", jpeg_uri(picture), *picture.size)
    return Scene(row.uri, words, (shown,), "")
