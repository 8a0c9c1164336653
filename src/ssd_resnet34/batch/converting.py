"""The rows of a run in the forms of training tools: one COCO document, YOLO's texts, one table.

Images are named relative to the folder that all of them share.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..errors import BatchError, UsageError
from ..files import told
from ..vision.annotations import yolo
from ..vision.writers import open_writer
from . import models, shards
from .addresses import local_path
from .manifest import Manifest, Plan
from .place import Place
from .rows import Row

COCO: Final = "detections.coco.json"
"""The document of a run with the format ``coco``, beside its rows."""

TARGETS: Final = ("coco", "yolo", "csv", "jsonl")


def rows(place: Place, plan: Plan) -> Iterator[Row]:
    """All rows in order of their ids, a shard at a time in memory.

    Raises:
        BatchError: a shard is missing or damaged.
        OutputError: the place cannot be read.
    """
    manifest = Manifest(place, plan)
    for shard in range(plan.shards):
        found = shards.read(place, manifest, shard)
        if isinstance(found, shards.Fault):
            raise BatchError(
                f"{place.name}/{shards.name_of(plan, shard)}: {found.reason}; run it again to the "
                "end first"
            )
        yield from found


def common_folder(place: Place, plan: Plan) -> str:
    """The folder that all inputs share, with its last slash; "" where they share none.

    The addresses are sorted: what the first and the last share, all share.
    """
    if plan.count == 0:
        return ""
    manifest = Manifest(place, plan)
    first = manifest.shard(0)[0].uri
    last = manifest.shard(plan.shards - 1)[-1].uri
    shared = os.path.commonprefix([first, last])  # noqa: RUF071 (addresses may be no paths)
    return shared[: shared.rfind("/") + 1]


def convert(place: Place, plan: Plan, to: str, target: Path) -> tuple[int, int]:
    """Write all rows in another form; how many images it holds, and how many rows were refused.

    Args:
        place: of the run.
        plan: of the run.
        to: ``coco``, ``csv`` or ``jsonl``, one file, or ``yolo``: a folder with ``labels/``, a
            text for each image, and ``classes.txt``.
        target: the file, or the folder, which must not be there yet.

    Raises:
        UsageError: an unknown form, or a target that cannot be written.
        BatchError: the run is not complete.
        OutputError: a full disk; nothing is left behind.
    """
    if to not in TARGETS:
        raise UsageError(f"{to!r} is no form to convert to; give one of {', '.join(TARGETS)}")
    folder = common_folder(place, plan)
    if to == "yolo":
        return _to_yolo(place, plan, folder, target)
    extension = {"coco": ".coco.json", "csv": ".csv", "jsonl": ".jsonl"}[to]
    written = refused = 0
    with open_writer(target, extension) as writer:
        for row in rows(place, plan):
            if row.found is None:
                refused += 1
                continue
            writer.write(replace(row.found, image=row.uri.removeprefix(folder)), row.id)
            written += 1
    return written, refused


def commit_coco(place: Place, plan: Plan) -> None:
    """The COCO document of a run in its place; an image's id is the id of its row.

    Raises:
        OutputError: it cannot be written.
    """
    with told("temporary files (TMPDIR)"):
        opened = tempfile.TemporaryDirectory()
    with opened as folder:
        document = Path(folder) / COCO
        convert(place, plan, "coco", document)
        place.upload(COCO, document)


def _to_yolo(place: Place, plan: Plan, shared: str, target: Path) -> tuple[int, int]:
    if target.exists():
        raise UsageError(f"{target}: is there already; name a new folder")
    written = refused = 0
    labels = _labels(place, plan)
    name = os.fspath(target)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be made ({error.strerror}); name a folder you may write to"
        ) from error
    try:
        for row in rows(place, plan):
            if row.found is None:
                refused += 1
                continue
            path = made / "labels" / _relative(row.uri.removeprefix(shared))
            if path.exists():  # a.jpg and a.png
                path = path.with_name(f"{path.stem}-{row.id}.txt")
            with told(name):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(yolo(row.found))
            written += 1
        with told(name):
            (made / "classes.txt").write_text("".join(f"{one}\n" for one in labels), "utf-8")
            made.chmod(0o755)
            made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return written, refused


def _labels(place: Place, plan: Plan) -> list[str]:
    """Names of the classes 1, 2, … of the models that ran here: the same for all of them."""
    known = [list(facts["labels"]) for facts in models.recorded(place).values()]
    if any(labels != known[0] for labels in known):
        raise BatchError(
            f"{place.name}: has rows of models with different classes, which cannot share numbers; "
            "convert to coco, or run again with one model"
        )
    if not known and plan.count:
        raise BatchError(
            f"{place.name}/{models.FOLDER}: no record of the classes can be read; put it back, or "
            "convert to coco"
        )
    return known[0] if known else []


def _relative(name: str) -> Path:
    """A path inside a folder for any address: no step leads out of it."""
    path = local_path(name) or name.partition("://")[2]
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return Path(*parts).with_suffix(".txt")
