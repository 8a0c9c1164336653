"""COCO's annotations: one JSON file, and a folder of images."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from ...contract import Category, Contract
from ...errors import UsageError
from ...evaluation.dataset import check_known, is_id, lists, marked, some
from .assembling import PYTHON, Found, Names, Unknown, assembled, contract_of, indices_of
from .example import DataSet
from .sizes import MAX_SIDE

_NO_BOX: Final = (float("nan"),) * 4
_IGNORED: Final = ("iscrowd", "ignore", "difficult")


def read(
    path: str | PathLike[str],
    *,
    images: str | PathLike[str] | None = None,
    split: str | None = None,
    unknown: Unknown = (),
    contract: Contract | None = None,
    also: Sequence[str | PathLike[str]] = (),
    names: Names = PYTHON,
) -> DataSet:
    """COCO annotations and where their images lie; no image is opened.

    Objects marked ``iscrowd``, ``ignore`` or ``difficult`` become ignored. Outlines are not read.

    Args:
        path: the JSON file; or a folder with ``annotations/instances_<split>.json`` or
            ``<split>/_annotations.coco.json`` (``valid`` for ``val``, too).
        images: the folder of the images; by default where these layouts have it.
        split: of a folder, ``train`` by default.
        unknown: labels whose objects are not labelled here.
        contract: the classes, by default those of the file in the order of their ids.
        also: folders to look for the images in where the layouts have none.
        names: what messages call these arguments.

    Raises:
        UsageError: no such file or folder, not COCO annotations, ids that occur twice or are not
            listed, no image found, no box that can be learned.
    """
    with _no_collection():
        file = _annotation_file(Path(path), split, names)
        return _read(file, images, unknown, contract, also, names)


def _read(
    file: Path,
    images: str | PathLike[str] | None,
    unknown: Unknown,
    contract: Contract | None,
    also: Sequence[str | PathLike[str]],
    names: Names,
) -> DataSet:
    name = fspath(file)
    entries, categories, annotations = lists(name)
    vast = [one["id"] for one in entries if max(one["width"], one["height"]) > MAX_SIDE]
    if vast:
        raise UsageError(
            f"{name}: image {some(vast)}: a side over {MAX_SIDE} pixels; mend its size"
        )
    listed = [
        Category(one["id"], one["name"]) for one in sorted(categories, key=lambda one: one["id"])
    ]
    made = contract or contract_of(name, listed)
    by_label = {label: n for n, label in enumerate(made.labels, 1)}
    label_of = {one.category_id: one.label for one in listed}
    boxed = [one for one in annotations if one.get("bbox")]
    for number, one in enumerate(boxed):
        if not is_id(one.get("image_id")) or not is_id(one.get("category_id")):
            raise UsageError(
                f"{name}: the annotation {one.get('id', number)!r} has no image_id and "
                "category_id; add them, or remove it"
            )
    position = {entry["id"]: n for n, entry in enumerate(entries)}
    check_known(name, boxed, "image_id", set(position))
    check_known(name, boxed, "category_id", set(label_of))
    if contract is not None:
        indices_of(name, {label_of[one["category_id"]] for one in boxed}, made)
    index = {key: by_label.get(label, 0) for key, label in label_of.items()}
    boxes = np.array([_numbers(one["bbox"]) for one in boxed], np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes[:, 2:] += boxes[:, :2]
    folder = _image_folder(file, entries, images, also, names)
    made_set = assembled(
        Found(
            name,
            _paths(folder, [entry["file_name"] for entry in entries]),
            np.array([(one["width"], one["height"]) for one in entries], np.int64),
            np.array([position[one["image_id"]] for one in boxed], np.int64),
            boxes,
            np.array([index[one["category_id"]] for one in boxed], np.int64),
            np.array([marked(name, one, *_IGNORED) for one in boxed], np.bool_),
            lambda n: f"annotation {boxed[n].get('id', n)!r}",
            _warnings(annotations, boxed, listed, made),
            "left, top, width, height in pixels of the image, not two corners",
        ),
        made,
        unknown,
        names,
    )
    samples = [
        replace(sample, image_id=entry["id"])
        for sample, entry in zip(made_set.samples, entries, strict=True)
    ]
    ids = {one.label: one.category_id for one in listed}
    return replace(made_set, samples=tuple(samples), category_ids=ids)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the cyclic collector, which would look through millions of new dicts and lists again
    and again: half of the time of a large file. None of them is in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _warnings(
    annotations: Sequence[Any],
    boxed: Sequence[Any],
    listed: Sequence[Category],
    contract: Contract,
) -> tuple[str, ...]:
    warnings = []
    if len(boxed) < len(annotations):
        count = len(annotations) - len(boxed)
        warnings.append(
            f"{count:,} of {len(annotations):,} annotations {'has' if count == 1 else 'have'} no "
            "box: left out"
        )
    ids = {one.label: one.category_id for one in contract.categories}
    if any(ids.get(one.label, one.category_id) != one.category_id for one in listed):
        warnings.append("its category ids are not the model's, which go by the names")
    return tuple(warnings)


def _numbers(box: Any) -> tuple[float, ...]:
    """left, top, width, height; NaN for what is none."""
    if not isinstance(box, list) or len(box) != 4:
        return _NO_BOX
    if not all(type(value) is float or is_id(value) for value in box):
        return _NO_BOX
    try:
        return tuple(map(float, box))
    except OverflowError:  # an integer of hundreds of digits
        return _NO_BOX


def _annotation_file(path: Path, split: str | None, names: Names) -> Path:
    if not os.path.isdir(path):
        if split is not None and os.path.exists(path):  # of what is missing, reading it tells
            raise UsageError(
                f"{path}: is one split already; name a folder, or leave out {names.split} "
                f"({split!r})"
            )
        return path
    split = split or "train"
    known = [
        path / "annotations" / f"instances_{split}.json",
        path / split / "_annotations.coco.json",
    ]
    if split == "val":  # as Roboflow calls it
        known.append(path / "valid" / "_annotations.coco.json")
    for file in known:
        if os.path.isfile(file):
            return file
    raise UsageError(
        f"{path}: neither {known[0].relative_to(path)} nor {known[1].relative_to(path)} is in it; "
        f"name the JSON file, and the folder of its images with {names.images}"
    )


def _image_folder(
    file: Path,
    entries: Sequence[Mapping[str, Any]],
    images: str | PathLike[str] | None,
    also: Sequence[str | PathLike[str]],
    names: Names,
) -> Path:
    """The folder that has an image of the file at all: a wrong one is refused at once."""
    if images is not None and not os.path.isdir(images):
        raise UsageError(
            f"{fspath(images)}: no such folder; name the one with the images with {names.images}"
        )
    split = file.stem.removeprefix("instances_")
    own = Path(os.path.abspath(file)).parent  # absolute: of a name alone, too
    base = own.parent
    usual = [base / split, base / "images" / split, base / "images", own]
    folders = [Path(images)] if images is not None else [*usual, *map(Path, also)]
    for folder in folders:
        if os.path.isdir(folder) and any(_inside(folder, entry["file_name"]) for entry in entries):
            return folder
    tried = dict.fromkeys(os.path.abspath(folder) for folder in folders)
    raise UsageError(
        f"{file}: none of its {len(entries):,} images ({entries[0]['file_name']}, …) is in "
        f"{' or '.join(tried)}; name the folder that has them with {names.images}"
    )


def _inside(folder: Path, file_name: str) -> bool:
    return os.path.isfile(_below(folder, file_name)) or os.path.isfile(
        _below(folder, PurePosixPath(file_name).name)
    )


def _below(folder: Path, file_name: str) -> str:
    """The file below the folder; its last part where the name would lead out of it."""
    parts = file_name.split("/")
    if file_name.startswith("/") or ".." in parts or "\0" in file_name:
        return os.path.join(folder, parts[-1].replace("\0", ""))
    return os.path.join(folder, file_name)


def _paths(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The files, by their names, or by the last part of them where only that is there."""
    flat = not any(os.path.isfile(_below(folder, name)) for name in names)
    return tuple(Path(_below(folder, PurePosixPath(n).name if flat else n)) for n in names)
