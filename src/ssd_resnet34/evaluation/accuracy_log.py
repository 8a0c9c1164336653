"""LoadGen's accuracy log -> COCO results.

A record is ``{"seq_id", "qsl_idx", "data"}``; ``data`` are the hexadecimal bytes of little-endian
float32 rows ``[index, ymin, xmin, ymax, xmax, score, class]``, boxes as fractions of the image.
Source of the form and of the arithmetic (float32 to the end, boxes without + 1, the first of
repeated records): accuracy-coco.py of MLPerf Inference.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .dataset import Dataset, is_id, some

Numbering = Literal["category_id", "index"]
"""What a log calls a class: COCO's id (1..90), or the position among the sorted ids (1..80), which
is what the public reference writes."""

Rows = NDArray[np.float32]

_ROW: Final = 7
"""Numbers a detection."""

_BEYOND: Final = 1e31
"""Larger than any fraction of an image that is decoded; in pixels still finite in float32."""

_WORDS: Final[Mapping[Numbering, str]] = {
    "category_id": "category ids",
    "index": "positions among the sorted category ids, as the public reference writes them",
}


def read(
    name: str,
    entries: Iterable[tuple[str, Any]],
    dataset: Dataset,
    order: Sequence[int],
    numbering: Numbering | None = None,
) -> tuple[list[dict[str, Any]], set[int], list[str]]:
    """COCO results, the images that the log has a record of, and what to warn of.

    Args:
        name: of the file, for messages.
        entries: where in the file (for messages), and the record.
        dataset: the annotations.
        order: image ids by sample index.
        numbering: of the classes; default: the one that fits.

    Raises:
        UsageError: no record of a log, a sample outside ``order``, an unknown class, or classes
            that fit both numberings with different meanings.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset.images}
    rows: dict[int, Rows] = {}
    repeated = disagreeing = 0
    for where, entry in entries:
        index, values = _record(name, where, entry)
        if not 0 <= index < len(order):
            raise UsageError(
                f"{name}: {where} is of sample {index}, the set has samples "
                f"0..{len(order) - 1}; give the annotations that the run used, and --images mlperf "
                "where it left out the images without objects"
            )
        if order[index] in rows:
            repeated += 1  # MultiStream pads its last query
            continue
        rows[order[index]] = values
        disagreeing += bool(len(values)) and bool((values[:, 0] != index).any())
    every = np.concatenate([*rows.values(), np.empty((0, _ROW), np.float32)])
    meaning, chosen = _classes(name, every[:, 6], dataset, numbering)
    results = []
    for image, values in rows.items():
        width, height = (np.float32(size) for size in sizes[image])
        left, right = values[:, 2] * width, values[:, 4] * width
        top, bottom = values[:, 1] * height, values[:, 3] * height
        boxes = np.stack([left, top, right - left, bottom - top], axis=1)
        results += [
            {"image_id": image, "category_id": meaning[int(kind)], "bbox": box, "score": score}
            for kind, box, score in zip(
                values[:, 6].tolist(), boxes.tolist(), values[:, 5].tolist(), strict=True
            )
        ]
    warnings = [f"its classes are read as {_WORDS[chosen]}"]
    if repeated:
        warnings.append(f"{repeated} records repeat a sample and are left out")
    if disagreeing:
        warnings.append(
            f"{disagreeing} records hold rows of another sample than their qsl_idx, which counts"
        )
    return results, set(rows), warnings


def _record(name: str, where: str, entry: Any) -> tuple[int, Rows]:
    """Sample index, and float32 (n, 7)."""
    try:
        index, data = entry["qsl_idx"], bytes.fromhex(entry["data"])
        if not is_id(index):
            raise ValueError(f"qsl_idx {index!r}")
        values = np.frombuffer(data, "<f4")
        if len(values) < _ROW:  # an image without detections
            return index, np.empty((0, _ROW), np.float32)
        values = values.reshape(-1, _ROW)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{name}: {where} is none of an accuracy log ({error}); a record has qsl_idx and data, "
            "the hexadecimal bytes of float32 rows of 7"
        ) from error
    # Not so for a NaN.
    if not (np.abs(values) < _BEYOND).all() or (values[:, 6] % 1 != 0).any():
        raise UsageError(
            f"{name}: {where} has NaN, infinity, a number beyond any box or a fraction for a "
            "class; rows are index, ymin, xmin, ymax, xmax, score, class"
        )
    return index, values


def _classes(
    name: str, classes: Rows, dataset: Dataset, numbering: Numbering | None
) -> tuple[dict[int, int], Numbering]:
    """Class of the log -> category id, for those that occur."""
    seen = {int(value) for value in np.unique(classes)}
    ids = sorted(dataset.labels())
    tables: dict[Numbering, dict[int, int]] = {
        "category_id": {one: one for one in ids},
        "index": dict(enumerate(ids, 1)),
    }
    fitting: dict[Numbering, dict[int, int]] = {
        key: {one: table[one] for one in seen}
        for key, table in tables.items()
        if seen <= set(table) and numbering in (None, key)
    }
    if not fitting:
        chosen = tuple(tables) if numbering is None else (numbering,)
        strange = sorted(seen.difference(*(tables[key] for key in chosen)))
        strange = strange or sorted(seen - set(tables[chosen[0]]))
        raise UsageError(
            f"{name}: class {some(strange)} is none of {' or '.join(_WORDS[key] for key in chosen)}"
            f" of {dataset.path}; give the annotations of the model's categories"
        )
    (first, table), *others = fitting.items()
    if any(other != table for _, other in others):
        raise UsageError(
            f"{name}: its classes fit category ids as well as positions among them, with different "
            "meanings; say --log-classes category_id or --log-classes index"
        )
    return table, first
