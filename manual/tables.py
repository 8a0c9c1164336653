"""Tables of the documentation, from the code that they describe."""

import inspect
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from ssd_resnet34 import contract, detector, errors
from ssd_resnet34.batch import rows as batch_rows
from ssd_resnet34.cli.serve import TOKEN
from ssd_resnet34.contract import COCO, LEVELS, OFFSETS, SCALES
from ssd_resnet34.runtime.engines import ENTRY_POINTS
from ssd_resnet34.serving.limits import MEBI, ServerLimits
from ssd_resnet34.vision.images import DEFAULT_LIMITS
from ssd_resnet34.vision.postprocess import rules
from ssd_resnet34.weights.records import RECORDS, Record
from ssd_resnet34.weights.store import CACHE_VARIABLE, OFFLINE_VARIABLE

from .house import subjects
from .markdown import table
from .serving import metrics, server_codes, server_limits


def levels() -> str:
    """The six levels: maps, anchors, channels, priors."""
    shapes = COCO.head_shapes()
    return table(
        (
            "level",
            "map",
            "anchors a cell",
            "`cls_k` channels",
            "`loc_k` channels",
            "priors",
            "from",
        ),
        (
            (
                k,
                f"{level.size}×{level.size}",
                level.anchors,
                shapes[f"cls_{k}"][0],
                shapes[f"loc_{k}"][0],
                level.priors,
                OFFSETS[k],
            )
            for k, level in enumerate(LEVELS)
        ),
    )


def priors() -> str:
    """Scales, ratios and steps of each level."""
    return table(
        ("level", "s1, s2 in pixels", "ratios", "step, PyTorch", "step, TensorFlow"),
        (
            (
                k,
                f"{one}, {two}",
                ", ".join(map(str, level.ratios)),
                level.step,
                level.tensorflow_step,
            )
            for k, (level, (one, two)) in enumerate(zip(LEVELS, pairwise(SCALES), strict=True))
        ),
    )


def constants() -> str:
    """Values that whoever writes a decoder of their own has to get right."""
    return table(
        ("what", "value"),
        (
            ("side of the input", f"{contract.INPUT_SIZE} pixels"),
            ("priors", contract.NUM_PRIORS),
            ("mean, RGB of 0..1", ", ".join(map(str, COCO.mean))),
            ("standard deviation", ", ".join(map(str, COCO.std))),
            ("variance of dx, dy", contract.SCALE_XY),
            ("variance of dw, dh", contract.SCALE_WH),
            ("classes of the softmax, with background", COCO.num_classes),
            ("schema of the contract in an artifact", contract.SCHEMA),
        ),
    )


def schema() -> str:
    """The number that artifacts carry."""
    return f"This version writes schema {contract.SCHEMA}."


def selection() -> str:
    """Arguments of the selection with their defaults on the two kinds of road."""
    meaning = {
        "score_threshold": "a score has to be over it, strictly; one number, or one a class",
        "iou_threshold": "a box goes whose IoU with a better one of its class reaches it",
        "pre_nms_top_k": "best of a class that enter NMS",
        "top_k": "best of an image that are returned",
        "nms": "`exact`, or `mlperf` for the public reference's intersection",
        "classes": "only these labels or indices; all by default",
    }
    low = inspect.signature(rules).parameters
    high = inspect.signature(detector.load).parameters
    return table(
        ("argument", "`postprocess`, `eval`, `mlperf`", "`Detector`, `detect`, `serve`", "meaning"),
        (
            (f"`{name}`", f"`{low[name].default}`", f"`{high[name].default}`", text)
            for name, text in meaning.items()
        ),
    )


def records() -> str:
    """The weight records."""

    def sha256(record: Record) -> str:
        if record.sha256:
            return f"`{record.sha256[:8]}…`"
        return "you give it" if record.urls else "–"

    return table(
        ("name", "file", "kind", "mAP, and by whom", "sha256"),
        (
            (
                f"`{record.name}`",
                f"`{record.file}`",
                f"{record.lineage}, {record.precision}",
                "; ".join(f"{score.map} ({score.by})" for score in record.scores) or "–",
                sha256(record),
            )
            for record in RECORDS.values()
        ),
    )


def limits() -> str:
    """What an image may be, and a request."""
    images, server = DEFAULT_LIMITS, ServerLimits()
    return table(
        ("limit", "default", "refused as"),
        (
            ("encoded bytes", f"{images.max_bytes // MEBI} MiB", "`too_many_bytes`"),
            ("pixels, from the header", f"{images.max_pixels:,}", "`too_many_pixels`"),
            ("formats", ", ".join(images.formats), "`unsupported_image`"),
            (
                "a request's answer (`serve --deadline`)",
                f"{server.deadline:g} s",
                "`deadline_exceeded`",
            ),
        ),
    )


def codes() -> str:
    """Codes of refused images, the same on every road."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ImageError)
    ]
    return table(
        ("code", "HTTP", "exception", "meaning"),
        (
            (f"`{kind.code}`", kind.status, f"`{kind.__name__}`", first_line(kind))
            for kind in kinds
            if kind is not errors.ImageError
        ),
    )


def row_codes() -> str:
    """Codes that only rows of a batch have."""
    found = (
        batch_rows.WORKER_CRASHED,
        batch_rows.TIMED_OUT,
        batch_rows.OUT_OF_MEMORY,
        batch_rows.INTERNAL_ERROR,
    )
    return ", ".join(f"`{code}`" for code in found)


def error_tree() -> str:
    """The exceptions as a tree."""
    _, _, after = (errors.__doc__ or "").partition("::\n\n")
    tree, _, _ = after.partition("\n\nEvery message")
    return f"```text\n{inspect.cleandoc(tree)}\n```"


def variables() -> str:
    """Environment variables that are read."""
    return table(
        ("variable", "meaning"),
        (
            (f"`{CACHE_VARIABLE}`", "folder for fetched weights, compiled artifacts, journals"),
            (f"`{OFFLINE_VARIABLE}`", "`1`: never download"),
            (f"`{TOKEN}`", "bearer token of the server"),
            (
                "`SSD_RESNET34_FURIOSA_WEIGHTS`",
                "of the [vendor's names](migration.md): a record or file instead of the embedded "
                "weights",
            ),
            (
                "`SSD_RESNET34_FURIOSA_RELEASE`",
                "of the same: `0.8`, `0.9` or `0.10`, the release that is followed",
            ),
        ),
    )


def extras() -> str:
    """The optional dependencies, and what each is for."""
    uses = {
        "torch": "the engine `torch`, GPUs",
        "eval": "`eval`",
        "train": "`train`",
        "mlperf": "`mlperf`",
        "batch": "`batch`",
        "s3": "`s3://` addresses in `batch`",
        "ray": "`batch --ray`, `serve --ray`",
        "serve": "`serve`",
        "pandas": "`Detections.to_pandas()`",
    }
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    return table(
        ("extra", "for", "installs"),
        (
            (f"`[{name}]`", uses[name], ", ".join(f"`{one}`" for one in needs))
            for name, needs in project["project"]["optional-dependencies"].items()
            if name not in ("dev", "docs")
        ),
    )


def rooms() -> str:
    """The rooms of the house, in the order of imports."""
    return table(("room", "subject"), ((f"`{place}`", about) for place, about in subjects()))


def facts() -> str:
    """Names that extensions and integrations write down."""
    return table(
        ("what", "name"),
        (
            ("entry-point group of engines", f"`{ENTRY_POINTS}`"),
            ("metadata key of the contract in an artifact", "`ssd_resnet34.contract`"),
            ("input", f"`{contract.INPUT_NAME}`"),
            ("outputs", ", ".join(f"`{name}`" for name in contract.HEAD_NAMES)),
        ),
    )


def first_line(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0]


TABLES: Final[dict[str, Callable[[], str]]] = {
    "codes": codes,
    "constants": constants,
    "error-tree": error_tree,
    "extras": extras,
    "facts": facts,
    "levels": levels,
    "limits": limits,
    "metrics": metrics,
    "priors": priors,
    "records": records,
    "rooms": rooms,
    "row-codes": row_codes,
    "schema": schema,
    "selection": selection,
    "server-codes": server_codes,
    "server-limits": server_limits,
    "variables": variables,
}
