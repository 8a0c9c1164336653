"""Where ``detect --save`` puts what it draws: a folder, or the one file that it names."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import UsageError
from ..files import check_target
from ..video import capture
from ..vision.detections import Detections
from ..vision.images import EXTENSIONS, Image
from ..vision.writers import IMAGE_EXTENSIONS, save
from .inputs import STDIN
from .terminal import complain

_FILES: Final = EXTENSIONS | capture.EXTENSIONS
"""What names a picture or a video, of any form; a folder has none of these."""


@dataclass(frozen=True)
class Target:
    """What ``--save`` names."""

    path: Path
    is_file: bool


def target_of(path: Path, inputs: Sequence[str], forms: Sequence[str]) -> Target:
    """The file of the one input, where ``path`` has the extension of a picture or video and is no
    folder; else a folder. Folders that are missing are made.

    Args:
        path: of the option.
        inputs: of the command line.
        forms: extensions that can be written.

    Raises:
        UsageError: it cannot be made, is the input, is of another form, or several inputs are to
            be one file.
    """
    extension = path.suffix.lower()
    if path.is_dir() or extension not in _FILES:
        _make_folder(path, path)
        return Target(path, is_file=False)
    if extension not in forms:
        raise UsageError(
            f"--save {path}: cannot be a {extension}; use one of {', '.join(forms)}, or name a "
            "folder"
        )
    if len(inputs) != 1 or _may_be_several(inputs[0]):
        raise UsageError(f"--save {path}: is one file, and several may be drawn; name a folder")
    _make_folder(path.parent, path)
    check_target(path)
    refuse_to_replace(path, inputs[0], path)
    return Target(path, is_file=True)


def refuse_to_replace(target: Path, source: str, named: Path) -> None:
    """Do not draw over what is drawn; ``named`` is what the option says.

    Raises:
        UsageError: ``target`` is the file ``source``.
    """
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise UsageError(f"--save {named}: would replace {source}; name another folder")


class Places:
    """A place for each drawing: the file of ``target``, or a name of its own in its folder.

    ``inputs``: files that are named, and may lie there; of folders and patterns, what lies there is
    passed over.
    """

    def __init__(self, target: Target, inputs: Iterable[str]) -> None:
        self.target = target
        self._inputs = {os.path.realpath(one) for one in inputs}
        # Names, not images: 10,000 of them are about a megabyte. Lower case, since some disks
        # take A.jpg and a.jpg for one file.
        self._used: dict[str, int] = {}

    def of(self, source: str, stem: str, extension: str) -> Path:
        """For the drawing of ``source``: its name, numbered where folders share one.

        Raises:
            UsageError: it would replace the source, or another input.
        """
        if self.target.is_file:
            return self.target.path
        name = first = f"{stem}{extension}"
        while name.lower() in self._used:
            self._used[first.lower()] += 1
            name = f"{stem}-{self._used[first.lower()]}{extension}"
        self._used[name.lower()] = 1
        path = self.target.path / name
        other = path if os.path.realpath(path) in self._inputs else source
        refuse_to_replace(path, str(other), self.target.path)
        return path


class Drawings:
    """Writes drawn pictures, and says where they are unless ``quiet``."""

    def __init__(self, places: Places, threshold: float, *, quiet: bool) -> None:
        self._target, self._threshold, self._quiet = places.target, threshold, quiet
        self._places = places
        self._written = 0
        self._last = self._target.path

    def save(self, found: Detections, image: Image) -> None:
        """Draw ``found`` on its image, under the image's own name where a folder was named.

        Raises:
            UsageError: it would replace an input, or cannot be written.
            OutputError: a full disk.
        """
        stem, extension = os.path.splitext(os.path.basename(found.image))
        extension = extension.lower() if extension.lower() in IMAGE_EXTENSIONS else ".png"
        path = self._places.of(found.image, stem, extension)
        save(path, found, source=image, score_threshold=self._threshold)
        if not self._target.is_file and path.stem != stem and not self._quiet:
            complain(f"{found.image} as {path}", "drawn")
        self._written += 1
        self._last = path

    def tell(self) -> None:
        """Say where the pictures are."""
        if not self._quiet and self._written:
            folder = os.path.join(self._target.path, "")
            one = self._written == 1
            complain(str(self._last) if one else f"{self._written:,} pictures in {folder}", "drawn")


def _may_be_several(source: str) -> bool:
    if source == STDIN:
        return False
    return os.path.isdir(source) or (glob.has_magic(source) and not os.path.lexists(source))


def _make_folder(folder: Path, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--save {named}: cannot be made ({error.strerror}); name a folder you may write to"
        ) from error
