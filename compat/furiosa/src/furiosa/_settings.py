"""Two choices that unchanged code cannot make, from the environment."""

import logging
import os
import re
from functools import cache
from typing import Final, Literal, cast

Line = Literal["0.8", "0.9", "0.10"]

RELEASE: Final = "SSD_RESNET34_FURIOSA_RELEASE"
WEIGHTS: Final = "SSD_RESNET34_FURIOSA_WEIGHTS"

LATEST: Final[dict[Line, str]] = {"0.8": "0.8.2", "0.9": "0.9.1", "0.10": "0.10.2"}
"""Release line -> its last release."""

EMBEDDED_NOTE: Final = (
    "the embedded weights know twelve categories of rendered scenes and are not for photographs; "
    f"{WEIGHTS}=mlcommons takes the published ones (80 MB, fetched once)"
)


def release() -> Line:
    """The line that decides where code does not show by its form which one it was written for.

    ``0.10`` unless ``SSD_RESNET34_FURIOSA_RELEASE`` says ``0.8`` (which the model-zoo page belongs
    to) or ``0.9``; a full version counts as its line.

    Raises:
        ValueError: another value.
    """
    text = os.environ.get(RELEASE, "0.10")
    found = re.fullmatch(r"(0\.8|0\.9|0\.10)(\.\d+)?", text)
    if not found:
        raise ValueError(f"{RELEASE}={text!r} is no release line; use {', '.join(LATEST)}")
    return cast(Line, found[1])


def version() -> str:
    """The release that is followed, marked as not the vendor's own."""
    return f"{LATEST[release()]}+ssd.resnet34"


def weights() -> str:
    """The weights of every model that does not name its own: the embedded ones, unless
    ``SSD_RESNET34_FURIOSA_WEIGHTS`` names a record or a file. Where nobody chose, a warning of the
    logger ``furiosa`` says once what they are."""
    if chosen := chosen_weights():
        return chosen
    _warn_of_embedded()
    return "embedded"


def chosen_weights() -> str | None:
    """What ``SSD_RESNET34_FURIOSA_WEIGHTS`` names."""
    return os.environ.get(WEIGHTS) or None


@cache
def _warn_of_embedded() -> None:
    """Once a process: what they say of a photograph looks like a detector at fault."""
    logging.getLogger("furiosa").warning("%s", EMBEDDED_NOTE)
