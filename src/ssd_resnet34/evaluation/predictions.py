"""Detections from a file: COCO results, this package's JSON, MLPerf accuracy logs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import PurePosixPath
from typing import Any, Final

from ..errors import UsageError
from ..files import open_regular
from ..vision.detections import Detections
from . import accuracy_log
from .accuracy_log import Numbering
from .dataset import Dataset, check_unique, checked_box, is_id, is_single, some

_FORMS: Final = (
    "give COCO results (a JSON list of image_id, category_id, bbox, score), the JSON or JSON lines "
    "of `ssd-resnet34 detect`, or a mlperf_log_accuracy.json"
)

_EVALUATION_THRESHOLD: Final = 0.1
"""Lowest score of results that were made for evaluation, with room for a small set."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a file says about the images of a data set.

    Attributes:
        path: the file, as it was named.
        form: which of the forms it has, in words.
        results: COCO results: ``image_id``, ``category_id``, ``bbox`` (left, top, width, height,
            pixels), ``score``.
        image_ids: the images that the file speaks of, in the order of the annotations, with or
            without detections; None for COCO results, which do not name empty images.
        unknown: images of the file that the annotations do not list; nothing of them is in
            ``results``.
        warnings: what was left out or looks wrong, a sentence each.
    """

    path: str
    form: str
    results: list[dict[str, Any]]
    image_ids: tuple[int, ...] | None
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read(
    path: str | PathLike[str],
    dataset: Dataset,
    *,
    order: Sequence[int] | None = None,
    numbering: Numbering | None = None,
) -> Predictions:
    """The predictions in a file, whose form is told by its content.

    Args:
        dataset: the annotations; all ids must be theirs.
        order: image ids by the index that a MLPerf log counts by; default: all, in the order of
            the annotation file.
        numbering: of the classes in a log; default: the one that fits.

    Raises:
        UsageError: not readable, cut short (says at which line), of no known form, with a class
            that the annotations do not list, without any known image, or a log whose classes fit
            both numberings with different meanings.
    """
    name = fspath(path)
    document = _parsed(name)
    if isinstance(document, dict):
        if "annotations" in document:
            return _coco_document(name, document, dataset)
        document = [("entry 1", document)]
    entries: list[tuple[str, Any]] = document
    first = entries[0][1] if entries else {}
    if not isinstance(first, dict):
        raise UsageError(f"{name}: a list of {type(first).__name__}; {_FORMS}")
    if "qsl_idx" in first:
        ids = dataset.ids() if order is None else order
        results, seen, warnings = accuracy_log.read(name, entries, dataset, ids, numbering)
        warnings = [*warnings, *_cut_off(name, results)]
        covered = _in_order(dataset, seen)
        return Predictions(name, "MLPerf accuracy log", results, covered, (), tuple(warnings))
    if "detections" in first:
        return _detections(name, entries, dataset)
    if not entries or "image_id" in first:
        return _coco_results(name, entries, dataset)
    raise UsageError(f"{name}: entries with {', '.join(first) or 'nothing'}; {_FORMS}")


def _parsed(name: str) -> Any:
    """A document, or a list of ("line 3", entry) or ("entry 3", entry)."""
    try:
        with open_regular(name) as file:
            text = _decoded(file.read())
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror or error}); {_FORMS}") from error
    except ValueError as error:  # no Unicode; a NUL in the name
        raise UsageError(f"{name}: not JSON ({error}); {_FORMS}") from error
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise UsageError(f"{name}: nested without end; {_FORMS}") from error
    except ValueError as error:
        if text.lstrip().startswith("{"):
            return _lines(name, text)
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise UsageError(
            f"{name}: not JSON from line {line} on, or cut short there ({error}); write it again, "
            "whole"
        ) from error
    if isinstance(document, list):
        return [(f"entry {number}", entry) for number, entry in enumerate(document, 1)]
    if isinstance(document, dict):
        return document
    raise UsageError(f"{name}: a {type(document).__name__}; {_FORMS}")


def _decoded(data: bytes) -> str:
    """In the encoding that JSON begins with: some shells redirect in UTF-16."""
    return data.decode(json.detect_encoding(data))


def _lines(name: str, text: str) -> list[tuple[str, Any]]:
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entries.append((f"line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{name}: line {number} is not JSON, or cut short ({error}); remove it, or write "
                "the file again"
            ) from error
    return entries


def _coco_results(name: str, entries: Iterable[tuple[str, Any]], dataset: Dataset) -> Predictions:
    known = set(dataset.ids())
    checks = _Checks(name, dataset)
    results, unknown = [], dict[str, None]()
    for where, entry in entries:
        found = checks.result(where, entry)
        if found["image_id"] in known:
            results.append(found)
        else:
            unknown[f"id {found['image_id']}"] = None
    checks.categories()
    _check_some_known(name, bool(results), unknown)
    warnings = [] if results else [f"{name} holds no detection at all"]
    return Predictions(
        name, "COCO results", results, None, tuple(unknown), (*warnings, *_cut_off(name, results))
    )


def _coco_document(name: str, document: Mapping[str, Any], dataset: Dataset) -> Predictions:
    """The form of ``detect --coco``: its image ids are its own, so that file names count."""
    images, annotations = document.get("images"), document["annotations"]
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise UsageError(f"{name}: no lists of images and annotations; {_FORMS}")
    names = _Names(dataset)
    ids, unknown = {}, dict[str, None]()
    for number, entry in enumerate(images, 1):
        entry = entry if isinstance(entry, dict) else {}
        if not is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            raise UsageError(
                f"{name}: image {number} of the list has no id and file_name; {_FORMS}"
            )
        known = names.find(entry["file_name"])
        if known is None:
            unknown[entry["file_name"]] = None
        else:
            ids[entry["id"]] = known
    check_unique(name, "image id", [entry["id"] for entry in images])
    file_names = {image["id"]: image["file_name"] for image in dataset.images}
    check_unique(name, "image", [file_names[known] for known in ids.values()])
    checks = _Checks(name, dataset)
    results = []
    for number, entry in enumerate(annotations, 1):
        found = checks.result(f"annotation {number}", entry)
        if found["image_id"] in ids:
            results.append(found | {"image_id": ids[found["image_id"]]})
    checks.categories()
    _check_some_known(name, bool(ids), unknown)
    covered = _in_order(dataset, ids.values())
    warnings = _cut_off(name, results)
    return Predictions(name, "COCO with scores", results, covered, tuple(unknown), warnings)


def _detections(name: str, entries: Sequence[tuple[str, Any]], dataset: Dataset) -> Predictions:
    names = _Names(dataset)
    labels = dataset.labels()
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset.images}
    results: list[dict[str, Any]] = []
    unknown: dict[str, None] = {}
    seen: dict[int, str] = {}
    checks = _Checks(name, dataset)
    resized = 0
    for where, entry in entries:
        try:
            found = Detections.from_dict(entry)
        except UsageError as error:
            raise UsageError(f"{name}: {where}: {error}") from error
        image = names.find(found.image)
        if image is None:
            unknown[found.image] = None
            continue
        if image in seen:
            raise UsageError(
                f"{name}: {found.image} twice, in {seen[image]} and {where}; its detections would "
                "count twice: remove one"
            )
        seen[image] = where
        resized += (found.width, found.height) != sizes[image]
        for one in found:
            if labels.get(one.category_id, one.label) != one.label:
                raise UsageError(
                    f"{name}: {where}: category_id {one.category_id} is {one.label!r} there "
                    f"and {labels[one.category_id]!r} in {dataset.path}; use annotations with the "
                    "ids of the model"
                )
        checks.seen.update(found.category_ids.tolist())
        results += found.to_coco(image)
    checks.categories()
    _check_some_known(name, bool(seen), unknown)
    warnings = list(_cut_off(name, results))
    if resized:
        warnings.append(
            f"{resized} images have another size in {name} than in the annotations: their boxes "
            "are of another scale"
        )
    covered = _in_order(dataset, seen)
    form = "JSON of detections"
    return Predictions(name, form, results, covered, tuple(unknown), tuple(warnings))


class _Checks:
    """Entries of COCO's form, and the categories that they use."""

    def __init__(self, name: str, dataset: Dataset) -> None:
        self.name, self.dataset = name, dataset
        self.seen: set[int] = set()

    def result(self, where: str, entry: Any) -> dict[str, Any]:
        """The four fields, checked.

        Raises:
            UsageError: one is missing or wrong.
        """
        entry = entry if isinstance(entry, dict) else {}
        ids = {key: entry.get(key) for key in ("image_id", "category_id")}
        score = entry.get("score")
        if not all(map(is_id, ids.values())) or not is_single(score):
            raise UsageError(
                f"{self.name}: {where} has no image_id, category_id and score, all numbers; "
                f"{_FORMS}"
            )
        box = checked_box(self.name, where, entry.get("bbox"))
        self.seen.add(entry["category_id"])
        return {**ids, "bbox": box, "score": score}

    def categories(self) -> None:
        """
        Raises:
            UsageError: a category that the annotations do not list.
        """
        known = self.dataset.labels()
        unknown = sorted(self.seen - set(known))
        if not unknown:
            return
        mend = "give the annotations of the model's categories"
        if all(0 <= one <= len(known) for one in self.seen):
            mend = (
                f"ids up to {max(self.seen)} look like a model's indices: write the category_id "
                "of each class instead"
            )
        raise UsageError(
            f"{self.name}: category {some(unknown)} is not in {self.dataset.path}; {mend}"
        )


class _Names:
    """Image ids by the names that predictions have: paths, of which the end counts."""

    def __init__(self, dataset: Dataset) -> None:
        self._ids = dataset.ids_by_name()

    def find(self, name: str) -> int | None:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        for first in range(len(parts)):
            found = self._ids.get("/".join(parts[first:]))
            if found is not None:
                return found
        return None


def _in_order(dataset: Dataset, ids: Iterable[int]) -> tuple[int, ...]:
    wanted = set(ids)
    return tuple(one for one in dataset.ids() if one in wanted)


def _check_some_known(name: str, any_known: bool, unknown: Mapping[str, None]) -> None:
    if unknown and not any_known:
        raise UsageError(
            f"{name}: none of its images is in the annotations ({some(list(unknown))}); give the "
            "annotations that it was made for"
        )


def _cut_off(name: str, results: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Results that were made for people, not for AP."""
    lowest = min((one["score"] for one in results), default=0.0)
    if lowest <= _EVALUATION_THRESHOLD:
        return ()
    return (
        f"no score in {name} is under {lowest:.2f}: AP also counts what is less certain, so that "
        "it comes out too low; detect with a threshold of 0.05",
    )
