"""Pascal VOC's folders: ``Annotations``, ``JPEGImages``, ``ImageSets/Main``; or XML files beside
their images, as LabelImg and Roboflow write them.

An XML file is data from elsewhere. Python's expat (2.4.1 and later) stops entities that grow a
hundredfold beyond 8 MiB; no annotation needs any entity, so a document type is refused at once
here, and so is a file of more than :data:`MAX_BYTES`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final, NoReturn
from xml.etree import ElementTree

import numpy as np

from ...contract import Category, Contract
from ...errors import ImageError, UsageError
from ...evaluation.dataset import some
from ...files import open_regular
from ...vision.images import EXTENSIONS
from ...wording import counted
from .assembling import PYTHON, Found, Names, Unknown, assembled, contract_of, indices_of
from .example import DataSet
from .sizes import MAX_SIDE, displayed_size, images_in

MAX_BYTES: Final = 4 << 20
"""Of one XML file: some ten thousand objects."""

VOC_LABELS: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The challenge's 20 classes, in its order."""

_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Annotation:
    """``size``: width and height, None where the file has none; ``rows``: label, corners as they
    stand, difficult."""

    file_name: str
    size: tuple[int, int] | None
    rows: Sequence[tuple[str, tuple[float, ...], bool]]


def read(
    path: str | PathLike[str],
    *,
    images: str | PathLike[str] | None = None,
    split: str | None = None,
    unknown: Unknown = (),
    contract: Contract | None = None,
    names: Names = PYTHON,
) -> DataSet:
    """A split of a folder in VOC's layout. Images are opened only where an XML has no size.

    Corners count pixels from 1, both inside the box: ``left = xmin - 1``, ``right = xmax``.
    Objects marked ``difficult`` become ignored. Parts of objects (``<part>``) are not read.

    Args:
        path: ``VOC2007``, or the folder with it alone (``VOCdevkit``); or one with XML files, in it
            or in a folder for each split.
        images: another folder than ``JPEGImages``, or than that of the XML files.
        split: the name of a list in ``ImageSets/Main``, or of a folder of XML files (``valid`` for
            ``val``, too); ``train`` by default, which is all where there is one folder alone.
        unknown: labels whose objects are not labelled here.
        contract: the classes; by default the challenge's 20 where no other is found, else those
            found in this split, by name.
        names: what messages call these arguments.

    Raises:
        UsageError: no such layout or split, an XML file that is missing, unsafe or damaged, no box
            that can be learned.
    """
    split = split or "train"
    if (beside := _beside(Path(path), split)) is not None:
        root, place, own = Path(path), beside, beside
        listed = sorted(file.stem for file in _xml_files(beside))
    else:
        root = _root(Path(path))
        place, own = root / "Annotations", root / "JPEGImages"
        listed = _listed(root, split)
    folder = Path(images) if images is not None else own
    if not os.path.isdir(folder):
        raise UsageError(
            f"{folder}: no such folder; name the one with the images with {names.images}"
        )
    paths: list[Path] = []
    sizes, rows, warnings = [], [], []
    described: set[Path] = set()
    for name in listed:
        file = place / f"{name}.xml"
        annotation = _annotation(file)
        image = _image(folder, name, annotation.file_name)
        described.add(image)
        try:
            size = annotation.size or displayed_size(image)
        except ImageError as error:
            warnings.append(f"left out, neither its XML nor the image gives a size: {error}")
            continue
        rows += [(len(paths), file, n, *row) for n, row in enumerate(annotation.rows, 1)]
        paths.append(image)
        sizes.append(size)
    if place == folder:
        there = [one for one in images_in(folder) if one.parent == folder]  # not other splits
        spare = [one.name for one in there if one not in described]
        if spare:
            warnings.append(f"{counted(len(spare), 'image')} without XML, left out ({some(spare)})")
    name = f"{root} ({split})"
    labels = {label for _, _, _, label, _, _ in rows}
    made = contract or contract_of(name, _categories(labels))
    index = indices_of(name, labels, made)
    boxes = np.array([corners for _, _, _, _, corners, _ in rows], np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    return assembled(
        Found(
            name,
            paths,
            np.array(sizes, np.int64).reshape(-1, 2),
            np.array([owner for owner, *_ in rows], np.int64),
            boxes,
            np.array([index[label] for _, _, _, label, _, _ in rows], np.int64),
            np.array([difficult for *_, difficult in rows], np.bool_),
            lambda n: f"{rows[n][1].name}, object {rows[n][2]}",
            tuple(warnings),
            "xmin, ymin, xmax, ymax in pixels of the image",
        ),
        made,
        unknown,
        names,
    )


def _categories(labels: set[str]) -> list[Category]:
    ordered = VOC_LABELS if labels <= set(VOC_LABELS) else sorted(labels)
    return [Category(n, label) for n, label in enumerate(ordered, 1)] if labels else []


def _xml_files(folder: Path) -> list[Path]:
    return [one for one in folder.glob("*.xml") if os.path.isfile(one)]


def _beside(path: Path, split: str) -> Path | None:
    """The folder with the XML files of a split, where they lie in one as such."""
    if not os.path.isdir(path) or os.path.isdir(path / "Annotations"):
        return None
    names = [split, "valid"] if split == "val" else [split]
    for folder in (path / name for name in names):
        if os.path.isdir(folder) and _xml_files(folder):
            return folder
    if not _xml_files(path):
        return None
    if split != "train":
        raise UsageError(
            f"{path}: is one split, all of its XML files, without {split!r}; move them into "
            f"folders, train and {split}"
        )
    return path


def _root(path: Path) -> Path:
    if os.path.isdir(path / "Annotations"):
        return path
    inside = path.iterdir() if os.path.isdir(path) else ()
    below = sorted(one for one in inside if os.path.isdir(one / "Annotations"))
    if len(below) == 1:
        return below[0]
    what = f"{some([one.name for one in below])} are in it" if below else "no Annotations is in it"
    raise UsageError(
        f"{path}: {what}; name one folder with Annotations, JPEGImages and ImageSets, or one with "
        "XML files beside their images"
    )


def _listed(root: Path, split: str) -> list[str]:
    """Names of the images of a split. A list of one class has -1, 0 or 1 in a second column."""
    folder = root / "ImageSets" / "Main"
    file = folder / f"{split}.txt"
    try:
        with open_regular(file) as stream:
            lines = stream.read().decode().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        there = sorted(one.stem for one in folder.glob("*.txt") if "_" not in one.stem)
        mend = f"name one of {some(there)}" if there else "write the names of its images there"
        raise UsageError(f"{file}: cannot be read ({reason}); {mend}") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise UsageError(f"{file}: no image in this split; write the names of some")
    outside = [name for name in names if PurePosixPath(name).name != name or name in (".", "..")]
    if outside:
        raise UsageError(f"{file}: {some(outside)} is no name of an image; write names alone")
    return list(dict.fromkeys(names))


def _image(folder: Path, name: str, file_name: str) -> Path:
    """The file that the XML names, or one that is called like the XML; by default the first."""
    wanted = PureWindowsPath(file_name).name  # of either kind of path
    names = [wanted] if wanted else []
    names += [f"{name}{ending}" for ending in (".jpg", *sorted(EXTENSIONS - {".jpg"}))]
    return next((folder / one for one in names if os.path.isfile(folder / one)), folder / names[0])


class _Plain(ElementTree.TreeBuilder):
    """A tree of a document without a type, and so without entities of its own."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ElementTree.ParseError("a document type, where entities can be defined")


def _annotation(file: Path) -> _Annotation:
    try:
        with open_regular(file) as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{file}: more than {MAX_BYTES >> 20} MiB; split it, an image a file")
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_Plain()))
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror or error}); each image of a split has an "
            "XML file, without objects if there are none"
        ) from error
    # LookupError: an encoding that is none; ValueError: one that is refused.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UsageError(
            f"{file}: no VOC annotation ({error}); write it again, in UTF-8"
        ) from error
    if root.tag != "annotation":
        raise UsageError(f"{file}: no VOC annotation but <{root.tag}>; give one XML file an image")
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    stated = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE  # neither holds for NaN
    return _Annotation(
        (root.findtext("filename") or "").strip(),
        (int(width), int(height)) if stated else None,
        [_row(file, n, one) for n, one in enumerate(root.findall("object"), 1)],
    )


def _row(file: Path, number: int, one: ElementTree.Element) -> tuple[str, tuple[float, ...], bool]:
    label = (one.findtext("name") or "").strip()
    if not label:
        raise UsageError(f"{file}: object {number} has no name; add it, or remove the object")
    corners = tuple(_number(one.findtext(f"bndbox/{corner}")) for corner in _CORNERS)
    return label, corners, _number(one.findtext("difficult") or "0") != 0


def _number(text: str | None) -> float:
    """NaN for what is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
