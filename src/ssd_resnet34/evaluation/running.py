"""Every image of a data set through the network, or through heads that were kept; resumable.

The road is that of ``detect``: decode, preprocess, ``Session.run``, postprocess, and neighbours
overlap. What differs: boxes are not clipped, and the score threshold is 0.05.
"""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, Protocol

import numpy as np

from .. import __version__
from ..contract import INPUT_SIZE, Contract
from ..errors import HeadsError, ImageError, UnreadableFile, UsageError
from ..model import SSDResNet34
from ..runtime.engines import version_of
from ..runtime.pipeline import overlapped
from ..runtime.session import Outputs, Session
from ..vision.detections import Detections
from ..vision.images import DEFAULT_LIMITS, Image, Limits, decode, printable
from ..vision.postprocess import DEFAULT_SCORE_THRESHOLD, postprocess, rules
from ..vision.preprocess import ImageContext, ModelInput
from ..vision.selection import Nms
from .dataset import Dataset
from .journal import Journal

Resize = Literal["opencv", "pillow"]

Entry = Mapping[str, Any]
"""An image of a data set: ``id``, ``file_name``, ``width``, ``height``."""

_OF_ENTRY: Final = ("id", "file_name", "width", "height")


@dataclass(frozen=True)
class Settings:
    """How heads become detections: arguments of ``postprocess``."""

    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    iou_threshold: float = 0.5
    pre_nms_top_k: int = 200
    top_k: int = 200
    nms: Nms = "exact"


class Heads(Protocol):
    """Where the twelve heads of an image come from: a network, or a folder of files."""

    @property
    def contract(self) -> Contract:
        """What the heads mean."""
        ...

    @property
    def name(self) -> str:
        """The model that made the heads."""
        ...

    @property
    def what(self) -> str:
        """What the heads are, in words."""
        ...

    @property
    def key(self) -> Mapping[str, Any]:
        """All that the heads depend on but the image: equal keys, equal heads."""
        ...

    @property
    def workers(self) -> int:
        """Threads that prepare and finish images at the same time."""
        ...

    def find(self, entry: Entry) -> Path:
        """The file of an image, the picture's or that of its heads.

        Raises:
            UnreadableFile: there is none.
        """
        ...

    def read(self, entry: Entry, path: Path) -> Outputs:
        """The heads of an image [1, C, F, F], with its context. Called from several threads.

        Raises:
            ImageError: the file is refused.
            HeadsError: the file is whole, but holds something else.
        """
        ...


class Network:
    """The heads that a session gives for the images of a folder."""

    def __init__(
        self,
        model: SSDResNet34,
        session: Session,
        folder: Path,
        *,
        resize: Resize = "opencv",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.model, self.session, self.folder = model, session, folder
        self.resize, self.limits = resize, limits

    @property
    def contract(self) -> Contract:
        return self.session.contract

    @property
    def name(self) -> str:
        """The weights' name."""
        return self.model.name

    @property
    def what(self) -> str:
        return f"{self.name}, {self.session.precision} in {self.session.engine}"

    @property
    def key(self) -> Mapping[str, Any]:
        return {
            "weights": self.name,
            "artifact": self.session.sha256,
            "engine": f"{self.session.engine} {version_of(self.session.engine)}",
            "precision": self.session.precision,
            "device": self.session.device,
            "resize": self.resize,
            "folder": str(self.folder.resolve()),
        }

    @property
    def workers(self) -> int:
        return self.session.streams + 1

    def find(self, entry: Entry) -> Path:
        """The file of an image.

        Raises:
            UnreadableFile: there is none.
        """
        return find(self.folder, entry["file_name"])

    def read(self, entry: Entry, path: Path) -> Outputs:
        """The heads of an image: twelve float32 arrays [1, C, F, F], with its size as context.

        Raises:
            ImageError: it was refused.
        """
        image = decode(path, limits=self.limits)
        context = ImageContext(image.width, image.height, image.name)
        if self.resize == "pillow":
            image = resized_by_pillow(image)
        tensor, _ = self.model.preprocess(image)
        return self.session.run(ModelInput(tensor, (context,)))


def resized_by_pillow(image: Image) -> Image:
    """1200×1200 by Pillow's bilinear filter in 8 bits, which unlike OpenCV's averages what it
    shrinks: the resize rule of some published evaluations."""
    from PIL import Image as Pillow

    size = (INPUT_SIZE, INPUT_SIZE)
    square = Pillow.fromarray(image.pixels).resize(size, Pillow.Resampling.BILINEAR)
    return Image(np.asarray(square, np.uint8), image.name)


def find(folder: Path, file_name: str) -> Path:
    """The file of that name in ``folder``, or, where the name has folders, of its last part.

    Raises:
        UnreadableFile: there is none.
    """
    name = PurePosixPath(file_name)
    inside = not name.is_absolute() and ".." not in name.parts
    for candidate in ([folder / name] if inside else []) + [folder / name.name]:
        if os.path.isfile(candidate):  # Path.is_file raises where the name is too long
            return candidate
    raise UnreadableFile(
        f"{printable(str(folder / name.name))}: missing; put the image there, or name the folder "
        "that holds it"
    )


def check_files(find: Callable[[Entry], Path], folder: Path, dataset: Dataset) -> None:
    """Refuse a wrong folder, or one file for two images, before the first is read.

    Raises:
        UsageError: ``find`` knows none of the images, or takes one file for two of them; ``folder``
            is where it looked.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises where it may not look
        raise UsageError(f"{folder}: no such folder; name the one with the files of the images")
    found: dict[Path, str] = {}
    for entry in dataset.images:
        name = entry["file_name"]
        try:
            path = find(entry)
        except UnreadableFile as error:
            missing = error
            continue
        other = found.setdefault(path, name)
        if other != name:
            raise UsageError(
                f"{printable(str(path))}: would be taken for {printable(other)} and for "
                f"{printable(name)}; name the folder that has both, or rename one"
            )
    if not found:
        raise UsageError(
            f"{folder}: has none of the {len(dataset.images)} images of {dataset.path}; the last "
            f"one looked for: {missing}"
        )


@dataclass(frozen=True, eq=False)
class Done:
    """One image: its ``value`` (None where it was refused), or the ``error``; and whether an
    earlier run had done it."""

    entry: Entry
    value: Any = None
    error: ImageError | None = None
    resumed: bool = False


def over(
    heads: Heads,
    entries: Sequence[Entry],
    work: Callable[[Entry, Outputs], Any],
    journal: Journal,
) -> Generator[Done]:
    """Every image's ``work(entry, outputs)``, in order, in bounded memory.

    Args:
        heads: where the heads come from.
        entries: the images.
        work: gives plain JSON values, so that the journal can keep them; called in threads.
        journal: what it has is not computed again, if the file is the same (size and time); what
            is computed is added. Refused images are tried again each time.

    Raises:
        HeadsError, SessionError: the network or the files are wrong, not one image.
    """

    def one(entry: Entry) -> Done:
        try:
            path = heads.find(entry)
            stamp = _stamp(path)
            known = journal.found.get(entry["id"])
            if known is not None and known[0] == stamp:
                return Done(entry, known[1], resumed=True)
            outputs = heads.read(entry, path)
        except ImageError as error:
            return Done(entry, error=error)
        try:
            value = work(entry, outputs)
        except HeadsError as error:  # NaN, for one: of which image?
            raise HeadsError(f"{printable(str(path))}: {error}") from error
        journal.add(entry["id"], stamp, value)
        return Done(entry, value)

    yield from overlapped(one, entries, heads.workers)


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableFile(f"{printable(str(path))}: {error.strerror}; check it") from error
    return [status.st_size, status.st_mtime_ns]


@dataclass(frozen=True, eq=False)
class Run:
    """All images of a data set, run.

    Attributes:
        detections: by image id, in the order of the file; those of refused images are absent.
        refused: images without detections (missing, damaged), and why.
        resized: images whose size is not the one that the annotations give: name -> (width,
            height) of the file.
        resumed: images that an earlier run had done.
    """

    detections: Mapping[int, Detections]
    refused: tuple[tuple[Entry, ImageError], ...]
    resized: Mapping[str, tuple[int, int]]
    resumed: int

    def results(self) -> list[dict[str, Any]]:
        """All detections as COCO results."""
        return [one for image, found in self.detections.items() for one in found.to_coco(image)]


def run(
    heads: Heads,
    dataset: Dataset,
    journal: Journal,
    settings: Settings = Settings(),  # frozen
    *,
    on_image: Callable[[Done], None] = lambda _: None,
) -> Run:
    """Detect in every image of ``dataset``; boxes are in pixels of the image and not clipped.

    Args:
        heads: a :class:`Network`, or files of heads.
        journal: made with :func:`journal_key` of the same arguments; it is the caller who finishes
            it, when the results are safe.
        on_image: told of every image, in order.

    Raises:
        UsageError: a setting out of range.
        HeadsError, SessionError: the network or the files are wrong, not one image.
    """
    rules(**asdict(settings), contract=heads.contract)  # refuse wrong settings now, not later

    def work(_: Entry, outputs: Outputs) -> Any:
        (found,) = postprocess(
            outputs, None, **asdict(settings), contract=heads.contract, model=heads.name
        )
        return found.to_dict()

    def read(done: Done) -> Detections:
        return Detections.from_dict(done.value, heads.contract)

    return gathered(over(heads, dataset.images, work, journal), read, on_image)


def gathered(
    done: Generator[Done], read: Callable[[Done], Detections], on_image: Callable[[Done], None]
) -> Run:
    """What became of the images that :func:`over` gives.

    Args:
        done: closed at the end, whatever happens.
        read: the detections of an image that was not refused.
        on_image: told of every image, in order.
    """
    detections: dict[int, Detections] = {}
    refused: list[tuple[Entry, ImageError]] = []
    resized: dict[str, tuple[int, int]] = {}
    resumed = 0
    with closing(done) as images:
        for one in images:
            entry = one.entry
            on_image(one)
            if one.error is not None:
                refused.append((entry, one.error))
                continue
            found = detections[entry["id"]] = read(one)
            resumed += one.resumed
            if (found.width, found.height) != (entry["width"], entry["height"]):
                resized[entry["file_name"]] = (found.width, found.height)
    return Run(detections, tuple(refused), resized, resumed)


def journal_key(heads: Heads, dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """What a journal is kept by: another model, setting or set of images is another run."""
    return {
        "version": __version__,
        "heads": dict(heads.key),
        "contract": heads.contract.to_json(),
        "settings": asdict(settings),
        "images": [[one[part] for part in _OF_ENTRY] for one in dataset.images],
    }
