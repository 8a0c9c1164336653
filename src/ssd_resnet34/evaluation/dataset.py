"""COCO annotations, read once and checked: what all numbers of an evaluation are about."""

import glob
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeGuard

from ..contract import Contract
from ..errors import UsageError
from ..files import open_regular

_MEND: Final = "give a COCO JSON file with images, annotations and categories"

_SHOWN: Final = 5
"""Ids that a message names before it says how many more there are."""

_LARGEST: Final = 1e37
"""In pixels: the sum of two such numbers, a right border, is finite in float32."""

_OUTLINES: Final = re.compile(rb'"(?:segmentation|counts)"\s*:\s*\[[][\d.,\s+eE-]*\]')
"""A polygon or run lengths: three quarters of COCO's file, and no part of a box. Inside of a JSON
string these quotes would be escaped, so that nothing else can look like it."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and what is known to be in them.

    Attributes:
        path: the file, as it was named.
        images: in the order of the file, which is what a MLPerf log counts by: ``id``,
            ``file_name``, ``width``, ``height`` (pixels).
        annotations: in the order of the file: ``id``, ``image_id``, ``category_id``, ``bbox``
            (left, top, width, height, pixels), ``area``, ``iscrowd`` (0 or 1), and ``ignore`` (0
            or 1; 1 for what the file calls ``ignore`` or ``difficult``): finding such an object
            is neither right nor wrong.
        categories: ``id`` and ``name``, in the order of the file.
        warnings: what was left out or filled in, a sentence each.
    """

    path: str
    images: tuple[Mapping[str, Any], ...]
    annotations: tuple[Mapping[str, Any], ...]
    categories: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()

    def ids(self) -> tuple[int, ...]:
        """Every image's id, in the order of the file."""
        return tuple(image["id"] for image in self.images)

    def ids_by_name(self) -> dict[str, int]:
        """Image ids by file name: as the file has it, and by its last part where that is unique."""
        last = Counter(_last(image["file_name"]) for image in self.images)
        unique = {
            name: image["id"]
            for image in self.images
            if last[name := _last(image["file_name"])] == 1
        }
        return unique | {image["file_name"]: image["id"] for image in self.images}

    def labels(self) -> dict[int, str]:
        """Category id -> name."""
        return {category["id"]: category["name"] for category in self.categories}

    def labelled(self) -> tuple[int, ...]:
        """Ids of the categories that are annotated at all, ascending.

        A set that lists 80 categories and labels 20 of them says nothing of the other 60: they
        are unlabelled, not absent.
        """
        return tuple(sorted({one["category_id"] for one in self.annotations}))

    def annotated(self) -> tuple[int, ...]:
        """Ids of the images with an annotation, in the order of the file: what the PyTorch profile
        of MLPerf's reference runs, 4952 of COCO's 5000."""
        some_in = {one["image_id"] for one in self.annotations}
        return tuple(one for one in self.ids() if one in some_in)

    def only(self, image_ids: Iterable[int]) -> "Dataset":
        """The same set with these images alone, still in the order of the file."""
        wanted = set(image_ids)
        return replace(
            self,
            images=tuple(one for one in self.images if one["id"] in wanted),
            annotations=tuple(one for one in self.annotations if one["image_id"] in wanted),
        )


def read(path: str | PathLike[str]) -> Dataset:
    """COCO annotations from a JSON file.

    Entries without a box are left out and counted in ``warnings``; an ``area`` that is missing
    becomes that of the box.

    Raises:
        UsageError: not readable; not COCO annotations; an id or a file name twice; an annotation
            of an unknown image or category, or with a box that is none; no annotation at all.
    """
    name = fspath(path)
    images, categories, entries = lists(name)
    annotations, warnings = _annotations(name, entries)
    check_unique(name, "annotation id", [one["id"] for one in annotations])
    for field, known in (("image_id", images), ("category_id", categories)):
        check_known(name, annotations, field, {one["id"] for one in known})
    if not annotations:
        raise UsageError(f"{name}: no annotation with a box, so nothing can be scored; {_MEND}")
    return Dataset(name, tuple(images), tuple(annotations), tuple(categories), tuple(warnings))


def lists(
    name: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Mapping[str, Any]]]:
    """A file's images and categories, checked and without double ids, and its annotations as they
    stand, outlines left out.

    Raises:
        UsageError: as :func:`read`, but for annotations.
    """
    document = _document(name)
    images = [_image(name, n, entry) for n, entry in enumerate(_entries(name, document, "images"))]
    categories = [
        _category(name, n, entry) for n, entry in enumerate(_entries(name, document, "categories"))
    ]
    for what, values in (
        ("image id", [image["id"] for image in images]),
        ("image file_name", [image["file_name"] for image in images]),
        ("category id", [category["id"] for category in categories]),
    ):
        check_unique(name, what, values)
    return images, categories, _entries(name, document, "annotations")


def scored_categories(dataset: Dataset, contract: Contract) -> tuple[tuple[int, ...], list[str]]:
    """The categories that a model can be scored on: those that the set labels and the model knows.

    A category counts as known where its id and its name both are the model's.

    Returns:
        Their ids, ascending; and the names of those that the model does not know at all, which
        have no part in the numbers.

    Raises:
        UsageError: the ids or the names mean something else to the model, or none is known.
    """
    labels = dataset.labels()
    by_id = {one.category_id: one.label for one in contract.categories}
    by_label = {one.label: one.category_id for one in contract.categories}
    known, unknown, contradictions = [], [], []
    for category in dataset.labelled():
        label = labels[category]
        if by_id.get(category) == label:
            known.append(category)
        elif category in by_id:
            contradictions.append(f"{category} is {label!r}, the model's is {by_id[category]!r}")
        elif label in by_label:
            contradictions.append(f"{label!r} is {category}, the model's is {by_label[label]}")
        else:
            unknown.append(label)
    if contradictions or not known:
        found = contradictions or [f"none of {some(unknown)} is a class of the model"]
        raise UsageError(
            f"{dataset.path}: its categories are not the model's: {'; '.join(found[:3])}"
            f"{'; …' if len(found) > 3 else ''}. Give annotations with the model's ids and names, "
            "or the weights that were trained for these"
        )
    return tuple(known), unknown


def _document(name: str) -> Mapping[str, Any]:
    try:
        with open_regular(name) as file:
            document = json.loads(_OUTLINES.sub(b'"_":0', file.read()))
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{name}: cannot be read ({reason}); {_mend_of(name)}") from error
    except (ValueError, RecursionError) as error:  # ValueError: also a NUL in the name
        raise UsageError(f"{name}: not JSON, or cut short ({error}); {_mend_of(name)}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{name}: no COCO annotations but a {type(document).__name__}; {_MEND}")
    return document


def _mend_of(name: str) -> str:
    """What to give instead of a file or folder, which may be a data set in another form."""
    path = PurePath(name)
    form = "yolo" if path.suffix.lower() in (".yaml", ".yml") else None
    if os.path.isdir(name) and any(glob.iglob("*.xml", root_dir=name)):
        form = "voc"
    if form is None:
        return _MEND
    return (
        f"{_MEND}; `ssd-resnet34 train {name} --format {form} --out DIR --check` makes one, "
        "val.json, of its split val or of a share, --hold-out 0.2"
    )


def _entries(name: str, document: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    entries = document.get(what)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{name}: no COCO annotations, it has no list of {what}; {_MEND}")
    if not entries:
        raise UsageError(f"{name}: its list of {what} is empty; {_MEND}")
    return entries


def _image(name: str, number: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    _check_id(name, f"image {number}", entry)
    if not isinstance(entry.get("file_name"), str):
        raise UsageError(f"{name}: image {number} of the list has no file_name; {_MEND}")
    if not all(is_id(size := entry.get(side)) and size > 0 for side in ("width", "height")):
        raise UsageError(
            f"{name}: image {entry['id']} has no width and height in pixels; add them to its entry"
        )
    sizes = {key: entry[key] for key in ("width", "height")}
    return {"id": entry["id"], "file_name": _with_slashes(entry["file_name"]), **sizes}


def _check_id(name: str, what: str, entry: Mapping[str, Any]) -> None:
    if not is_id(entry.get("id")):
        raise UsageError(
            f"{name}: {what} of the list has the id {entry.get('id')!r:.40}; give whole numbers, "
            "in the annotations too"
        )


def _with_slashes(file_name: str) -> str:
    """A path as Windows writes it, in the form that is looked for: without its drive."""
    if "\\" not in file_name:
        return file_name
    return file_name.removeprefix(PureWindowsPath(file_name).drive).replace("\\", "/")


def _category(name: str, number: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    _check_id(name, f"category {number}", entry)
    if not isinstance(entry.get("name"), str):
        raise UsageError(f"{name}: category {number} of the list has no name; {_MEND}")
    return {"id": entry["id"], "name": entry["name"]}


def _annotations(
    name: str, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries with a box, checked and filled in; and what to warn of."""
    made = []
    boxless = no_area = empty = 0
    for number, entry in enumerate(entries):
        if not all(is_id(entry.get(key)) for key in ("id", "image_id", "category_id")):
            raise UsageError(
                f"{name}: annotation {number} of the list has no id, image_id and category_id; "
                f"{_MEND}"
            )
        if not entry.get("bbox"):
            boxless += 1
            continue
        box = checked_box(name, f"annotation {entry['id']}", entry["bbox"])
        area = entry.get("area")
        if not is_number(area):
            no_area += 1
            area = box[2] * box[3]
        empty += box[2] == 0 or box[3] == 0
        made.append(
            {
                "id": entry["id"],
                "image_id": entry["image_id"],
                "category_id": entry["category_id"],
                "bbox": box,
                "area": area,
                "iscrowd": int(marked(name, entry, "iscrowd")),
                "ignore": int(marked(name, entry, "ignore", "difficult")),
            }
        )
    warnings = [
        f"{count} of {len(entries)} annotations {what}"
        for count, what in (
            (boxless, "have no box and are left out"),
            (empty, "have a box of no area, which no detection can match"),
            (no_area, "have no area; that of the box decides between small, medium and large"),
        )
        if count
    ]
    return made, warnings


def marked(name: str, entry: Mapping[str, Any], *marks: str) -> bool:
    """Whether an annotation has one of these marks, each 0, 1, false, true, null, or not there.

    Raises:
        UsageError: text, for one: "0", as converters take it from XML, is not "no" to Python.
    """
    for mark in marks:
        value = entry.get(mark)
        if value is not None and not isinstance(value, bool | int | float):
            raise UsageError(
                f"{name}: annotation {entry.get('id')!r} has the {mark} {value!r:.60}; give 0 or "
                "1, a number"
            )
    return any(entry.get(mark) for mark in marks)


def checked_box(name: str, where: str, value: Any) -> list[float]:
    """left, top, width, height, as they stand in the entry ``where`` of the file ``name``.

    Raises:
        UsageError: not four numbers that float32 holds, or a negative size.
    """
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_single, value)):
        raise UsageError(
            f"{name}: {where} has the bbox {value!r:.60}; give left, top, width, height"
        )
    if value[2] < 0 or value[3] < 0:
        raise UsageError(
            f"{name}: {where} has the bbox {value}: a negative size; COCO's is left, top, width, "
            "height, not two corners"
        )
    return value


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value of JSON is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number that a float can hold."""
    if is_id(value):
        return -sys.float_info.max <= value <= sys.float_info.max
    return isinstance(value, float) and math.isfinite(value)


def is_single(value: Any) -> bool:
    """Whether a value of JSON is a number that float32 holds, and the sum of two such."""
    return is_number(value) and abs(value) <= _LARGEST


def _last(file_name: str) -> str:
    return PurePosixPath(file_name).name


def check_unique(name: str, what: str, values: Sequence[Hashable]) -> None:
    """Refuse a file in which one of the ``values``, which are ``what``, occurs twice.

    Raises:
        UsageError: names the first of them.
    """
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UsageError(
            f"{name}: {what} {some(twice)} more than once; ids must be unique: repair the file, or "
            "number the entries again"
        )


def check_known(
    name: str, annotations: Sequence[Mapping[str, Any]], field: str, known: set[int]
) -> None:
    """Refuse annotations whose ``field`` names an image or a category that is not ``known``.

    Raises:
        UsageError: names the first of them.
    """
    unknown = sorted({one[field] for one in annotations} - known)
    if unknown:
        what = field.removesuffix("_id")
        count = sum(one[field] in set(unknown) for one in annotations)
        raise UsageError(
            f"{name}: {count} annotations are of {what} {some(unknown)}, which the file does not "
            "list; add it, or remove those annotations"
        )


def some(values: Sequence[Any]) -> str:
    """The first few of ``values``, and how many more there are."""
    shown = ", ".join(f"{value}" for value in values[:_SHOWN])
    more = len(values) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
