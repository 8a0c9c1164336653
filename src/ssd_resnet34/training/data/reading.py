"""People's data sets, by the name of their form."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Final, Literal, get_args

from ...contract import Contract
from ...errors import UsageError
from . import coco, voc, yolo
from .assembling import PYTHON, Names, Unknown
from .example import DataSet

Format = Literal["coco", "voc", "yolo"]

_READERS: Final[Mapping[str, Callable[..., DataSet]]] = {
    "coco": coco.read,
    "voc": voc.read,
    "yolo": yolo.read,
}


def read(
    path: str | PathLike[str],
    format: Format,
    *,
    images: str | PathLike[str] | None = None,
    split: str | None = None,
    unknown: Unknown = (),
    contract: Contract | None = None,
    also: Sequence[str | PathLike[str]] = (),
    names: Names = PYTHON,
) -> DataSet:
    """A data set where it lies: annotations are read now, images when they are needed.

    Args:
        path: see :func:`.coco.read`, :func:`.voc.read`, :func:`.yolo.read`.
        format: ``"coco"``, ``"voc"`` or ``"yolo"``.
        images: the folder of the images, where the form does not say it.
        split: ``"train"`` by default; a COCO file is one split already.
        unknown: labels of the classes whose objects this source does not label, so that they are
            not taught as background; ``"unlabelled"`` for all without any box.
        contract: the classes, for a validation set those of its training set; by default the
            source's own, and COCO's contract where its labels are exactly COCO's 80.
        also: COCO: folders to look for the images in where the usual places have none.
        names: what messages call these arguments.

    Raises:
        UsageError: an unknown format, or what the form's reader refuses.
    """
    if format not in _READERS:
        raise UsageError(f"format: {format!r} is unknown; give {' or '.join(get_args(Format))}")
    more = {"also": also} if format == "coco" else {}
    return _READERS[format](
        path, images=images, split=split, unknown=unknown, contract=contract, names=names, **more
    )
