"""YOLO's text labels: a ``data.yaml``, folders ``images`` and ``labels``.

The rules are Ultralytics' (https://docs.ultralytics.com/datasets/detect/): ``path`` and the splits
of ``data.yaml``, and the last ``/images/`` of an image's path becoming ``/labels/``.
"""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from ...contract import Category, Contract
from ...errors import ImageError, UsageError
from ...evaluation.dataset import is_id, some
from ...files import open_regular
from .assembling import PYTHON, Found, Names, Unknown, assembled, contract_of, indices_of
from .example import DataSet
from .sizes import displayed_size, images_in

MAX_BYTES: Final = 4 << 20
"""Of ``data.yaml`` or of the labels of one image."""

_READERS: Final = 8
"""Threads that read headers and labels: small files wait for the disk, not for the processor."""


def read(
    path: str | PathLike[str],
    *,
    images: str | PathLike[str] | None = None,
    split: str | None = None,
    unknown: Unknown = (),
    contract: Contract | None = None,
    names: Names = PYTHON,
) -> DataSet:
    """A split of a data set in YOLO's form. Of each image the header is read, for its size.

    A line is ``class cx cy w h``, fractions of the displayed image; a sixth number, the score that
    detectors write, has no meaning here. A line of ``class x1 y1 x2 y2 x3 y3 …`` is an outline and
    becomes the box around it. An image without a label file, or with an empty one, has no object.

    Args:
        path: ``data.yaml``, or the folder with it.
        images: has no meaning here, ``data.yaml`` says where they are: None.
        split: ``train``, ``val`` or another name in ``data.yaml``, ``train`` by default.
        unknown: labels whose objects are not labelled here.
        contract: the classes, by default ``names`` in their order.
        names: what messages call these arguments.

    Raises:
        UsageError: no ``data.yaml`` of this kind, no such split or image, a damaged label file, a
            class without a name, no box that can be learned.
    """
    if images is not None:
        raise UsageError(f"data.yaml says where the images are; leave out {names.images}")
    file = Path(path)
    if os.path.isdir(file):
        file = next(
            (file / n for n in ("data.yaml", "data.yml") if os.path.isfile(file / n)),
            file / "data.yaml",
        )
    settings = _settings(file)
    labels = _names(file, settings)
    split = split or "train"
    name = f"{file} ({split})"
    made = contract or contract_of(name, [Category(n, one) for n, one in enumerate(labels, 1)])
    places = _places(file, settings, split)
    listed = _listed(places)
    with ThreadPoolExecutor(_READERS) as pool:
        known = list(pool.map(_known, listed))
    label_files = [label_file(image) for image in listed]
    if listed and not any(map(os.path.exists, label_files)):
        raise UsageError(
            f"{name}: none of its {len(listed):,} images has a file of labels ({label_files[0]}, "
            "…); put them there"
        )
    paths: list[Path] = []
    sizes, rows = [], []
    warnings = _without_image(places, label_files)
    for image, size, labelled in zip(listed, known, label_files, strict=True):
        if isinstance(size, ImageError):
            warnings.append(f"left out: {size}")
            continue
        for line, number, box in _rows(labelled, len(labels)):
            rows.append((len(paths), labelled, line, labels[number], box))
        paths.append(image)
        sizes.append(size)
    used = {label for _, _, _, label, _ in rows}
    index = indices_of(name, used, made)
    owners = np.array([owner for owner, *_ in rows], np.int64)
    extents = np.array(sizes, np.int64).reshape(-1, 2)
    boxes = np.array([box for *_, box in rows], np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes *= np.tile(extents[owners], 2)
    return assembled(
        Found(
            name,
            paths,
            extents,
            owners,
            boxes,
            np.array([index[label] for _, _, _, label, _ in rows], np.int64),
            np.zeros(len(rows), np.bool_),
            lambda n: f"{rows[n][1].name}, line {rows[n][2]}",
            tuple(warnings),
            "cx cy w h, fractions of the image, neither pixels nor corners",
        ),
        made,
        unknown,
        names,
    )


def label_file(image: Path) -> Path:
    """``…/images/a/b.jpg`` -> ``…/labels/a/b.txt``; beside the image where no ``images`` is."""
    parts = list(image.parts)
    for n in range(len(parts) - 2, -1, -1):
        if parts[n] == "images":
            parts[n] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _without_image(places: Sequence[Path], label_files: Sequence[Path]) -> list[str]:
    """On labels beside those of the images, where the split is folders alone."""
    if not all(map(os.path.isdir, places)):
        return []  # a list leaves images out on purpose
    folders = {label_file(place / "x").parent for place in places}
    known = {os.path.normpath(one) for one in label_files}
    found = sorted(one for folder in folders for one in folder.rglob("*.txt"))
    lost = [one.name for one in found if os.path.normpath(one) not in known]
    lost = [one for one in lost if one != "classes.txt"]  # as LabelImg writes it
    if not lost:
        return []
    which = "1 file of labels has" if len(lost) == 1 else f"{len(lost):,} files of labels have"
    return [f"{which} no image, and no part in this ({some(lost)})"]


def _settings(file: Path) -> Mapping[str, Any]:
    text = _text(file, "write it, for one folder: `train: images` and `names: [bolt, nut]`")
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())  # PyYAML's are of several lines
        raise UsageError(f"{file}: not YAML ({told}); write names, train and val") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{file}: no settings but {type(settings).__name__}; write names, train")
    return settings


def _text(file: Path, mend: str) -> str:
    try:
        with open_regular(file) as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{file}: more than {MAX_BYTES >> 20} MiB; {mend}")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not in UTF-8 (byte {error.start}); save it so") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{file}: cannot be read ({reason}); {mend}") from error


def _names(file: Path, settings: Mapping[str, Any]) -> list[str]:
    """Labels by class number: a list, or a table from 0 on."""
    names = settings.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UsageError(f"{file}: names are numbered {some(list(names))}; count 0, 1, 2, …")
        names = [names[n] for n in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UsageError(f"{file}: no names; write the label of each class, in order")
    if not all(isinstance(one, str) or is_id(one) for one in names):
        raise UsageError(f"{file}: names: {some(names)} are not all words; put them in quotes")
    return [str(one).strip() for one in names]


def _places(file: Path, settings: Mapping[str, Any], split: str) -> list[Path]:
    """Folders of images, or text files that name some."""
    entries = settings.get(split)
    entries = entries if isinstance(entries, list) else [entries]
    if not entries or not all(isinstance(one, str) and one for one in entries):
        known = [one for one in ("train", "val", "test") if settings.get(one)]
        raise UsageError(
            f"{file}: no images for {split!r}; name one of {some(known) or 'train and val'}, or "
            "add the line"
        )
    base = settings.get("path") or "."
    if not isinstance(base, str):
        raise UsageError(f"{file}: path: {base!r} is no folder; write its name")
    root = file.parent / _with_slashes(base)
    places = []
    for entry in map(_with_slashes, entries):
        place = root / entry
        if not os.path.exists(place) and entry.startswith("../"):
            place = root / entry[3:]  # as Roboflow writes and Ultralytics reads it
        if not os.path.exists(place):
            raise UsageError(f"{file}: {split}: {place} does not exist; mend path or {split}")
        places.append(place)
    return places


def _listed(places: Sequence[Path]) -> list[Path]:
    """The images of a split."""
    found: list[Path] = []
    for place in places:
        found += images_in(place) if os.path.isdir(place) else _named(place)
    return list(dict.fromkeys(found))


def _with_slashes(path: str) -> str:
    """As Windows writes it, too."""
    return path.replace("\\", "/")


def _named(file: Path) -> list[Path]:
    lines = _text(file, "write the path of an image a line").splitlines()
    names = [_with_slashes(line.strip()) for line in lines if line.strip()]
    return [Path(os.path.normpath(file.parent / name)) for name in names]


def _known(image: Path) -> tuple[int, int] | ImageError:
    try:
        return displayed_size(image)
    except ImageError as error:
        return error


def _rows(file: Path, classes: int) -> list[tuple[int, int, tuple[float, ...]]]:
    """Line, class number, and left, top, right, bottom as fractions."""
    if not os.path.exists(file):
        return []
    mend = "a line is class cx cy w h, fractions of the image"
    rows: list[tuple[int, int, tuple[float, ...]]] = []
    for line, text in enumerate(_text(file, mend).splitlines(), 1):
        fields = text.split()
        if not fields:
            continue
        try:
            number, *values = map(float, fields)
        except ValueError as error:
            raise UsageError(f"{file}, line {line}: {text[:60]!r} is no label; {mend}") from error
        if not (number.is_integer() and 0 <= number < classes):
            raise UsageError(
                f"{file}, line {line}: class {fields[0]} has no name, they are 0..{classes - 1}; "
                "add it to names in data.yaml, or mend the line"
            )
        if len(values) in (4, 5):
            x, y, width, height = values[:4]
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            xs, ys = values[::2], values[1::2]
            box = (min(xs), min(ys), max(xs), max(ys))
            if not all(map(math.isfinite, values)):  # min and max pass over a NaN
                box = (math.nan,) * 4
        else:
            raise UsageError(f"{file}, line {line}: {len(fields)} numbers; {mend}")
        rows.append((line, int(number), box))
    return rows
