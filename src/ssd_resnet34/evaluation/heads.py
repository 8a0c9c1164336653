"""Heads that some hardware wrote, one npz file an image, in the place of the network."""

import os
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from .. import npz
from ..contract import COCO, HEAD_NAMES, Contract
from ..errors import HeadsError, UnreadableFile
from ..runtime import cpu
from ..runtime.session import Outputs
from ..vision.images import printable
from ..vision.preprocess import ImageContext
from .running import Entry, find

_POSITIONAL: Final = tuple(f"arr_{n}" for n in range(len(HEAD_NAMES)))
"""The names that ``numpy.savez(file, *heads)`` gives."""

_MAX_BYTES: Final = 1 << 26
"""What one file may unpack to, or twice its heads in float64, 20 MB for 81 classes, if more."""


class HeadFiles:
    """``<image name without extension>.npz`` in a folder, each with the twelve heads of one image.

    The arrays are named ``cls_0..cls_5, loc_0..loc_5``, or stand in that order (``numpy.savez(file,
    *heads)``); floats, NCHW, with a batch axis of 1 or without.
    """

    def __init__(self, folder: Path, contract: Contract = COCO, name: str = "") -> None:
        """``contract`` is that of the model which gave the heads, its classes and its priors;
        ``name`` is the model's."""
        self.folder, self.contract, self.name = folder, contract, name

    @property
    def what(self) -> str:
        return f"heads in {self.folder}"

    @property
    def key(self) -> Mapping[str, Any]:
        return {"heads": str(self.folder.resolve()), "lineage": self.contract.lineage}

    @property
    def workers(self) -> int:
        return cpu.available_threads()

    def find(self, entry: Entry) -> Path:
        """The npz file of an image.

        Raises:
            UnreadableFile: there is none.
        """
        return find(self.folder, f"{os.path.splitext(entry['file_name'])[0]}.npz")

    def read(self, entry: Entry, path: Path) -> Outputs:
        """The heads [1, C, F, F], the size of the image as the annotations have it.

        Raises:
            UnreadableFile: not an npz file, or cut short.
            HeadsError: not the twelve heads of the contract; names the file.
        """
        shown = printable(str(path))
        try:
            _check_size(path, shown, max(_MAX_BYTES, 2 * 8 * _elements(self.contract)))
            with npz.reading(path) as arrays:
                heads = [arrays[name] for name in _names(arrays, shown)]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UnreadableFile(
                f"{shown}: no npz file of arrays, or cut short ({error}); write it again with "
                "numpy.savez(file, **heads)"
            ) from error
        shapes = self.contract.head_shapes()
        batched: list[NDArray[Any]] = []
        for head, (name, shape) in zip(heads, shapes.items(), strict=True):
            one = head[None] if head.shape == shape else head
            if one.shape != (1, *shape):
                raise HeadsError(
                    f"{shown}: {name} has the shape {list(head.shape)} where "
                    f"{[1, *shape]} is needed for {self.contract.num_classes} classes; give raw "
                    "NCHW heads in the contract's order, of one image"
                )
            batched.append(one)
        context = ImageContext(entry["width"], entry["height"], entry["file_name"])
        return Outputs(batched, (context,))


def _elements(contract: Contract) -> int:
    """Numbers in the heads of one image."""
    return sum(prod(shape) for shape in contract.head_shapes().values())


def _check_size(path: Path, shown: str, most: int) -> None:
    """What a small file unpacks to is bounded before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        wanted = {f"{name}.npy" for name in (*HEAD_NAMES, *_POSITIONAL)}
        held = sum(m.file_size for m in archive.infolist() if m.filename in wanted)
    if held > most:
        raise HeadsError(
            f"{shown}: its heads are {held:,} bytes, those of one image at most {most:,}; "
            "give one file an image"
        )


def _names(arrays: Any, shown: str) -> tuple[str, ...]:
    for names in (HEAD_NAMES, _POSITIONAL):
        if all(name in arrays for name in names):
            return names
    found = ", ".join(list(arrays)[:6]) or "nothing"
    raise HeadsError(
        f"{shown}: has {found}, not {HEAD_NAMES[0]} … {HEAD_NAMES[-1]}; name the arrays so, or "
        "save the twelve heads in order"
    )
