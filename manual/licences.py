"""The licences of every pinned dependency, as the installed distributions state them."""

import re
from importlib import metadata
from pathlib import Path
from typing import Final

from .markdown import table

CONSTRAINTS: Final = Path(__file__).resolve().parent.parent / "constraints.txt"

ELSEWHERE: Final = {
    "furiosa-native-postprocess": "Apache-2.0",
    "mlcommons-loadgen": "Apache-2.0",
    "tzdata": "Apache-2.0",
}
"""Distributions that are not on every platform, and state nothing or are not installed here."""

NOTES: Final = {
    "furiosa-native-postprocess": "states none itself; that of its repository",
    "mlcommons_loadgen": "states none itself; that at the head of its sources (loadgen.h)",
    "opencv-python-headless": "its wheels carry FFmpeg, LGPL-2.1, as libraries of their own",
}


def pinned() -> dict[str, str]:
    """Distribution -> version of ``constraints.txt``."""
    lines = CONSTRAINTS.read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def licence_of(name: str) -> str:
    """The licence of an installed distribution: its expression, else classifiers, else the text.

    Raises:
        PackageNotFoundError: not installed, and not in ``ELSEWHERE``.
    """
    known = ELSEWHERE.get(name.lower().replace("_", "-"))
    if known:
        return known
    facts = metadata.metadata(name).json
    if expression := facts.get("license_expression"):
        return str(expression)
    classified = [
        one.rsplit(" :: ", 1)[-1]
        for one in facts.get("classifier", [])
        if one.startswith("License :: ") and not one.endswith("OSI Approved")
    ]
    if classified:
        return ", ".join(classified)
    stated = str(facts.get("license", "")).strip().split("\n")[0]
    return stated[:60] or "not stated"


FORBIDDEN: Final = re.compile(r"(?<!L)(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
"""Neither GPL nor AGPL; LGPL, as a library of its own, is allowed."""


def licences() -> str:
    """The page ``licences.md``."""
    rows = [
        (name, version, licence_of(name), NOTES.get(name, ""))
        for name, version in sorted(pinned().items(), key=lambda pair: pair[0].lower())
    ]
    return (
        "\n\n".join(
            (
                "# Licences of all dependencies",
                "<!-- written by python -m manual -->",
                "This package is Apache-2.0. Below is everything that its tests and documentation "
                "are built and run with (`constraints.txt`), with the licence that each "
                "distribution states. Nothing is GPL or AGPL; a test sees to it. A plain `pip "
                "install .` brings a small part of it: see [extras](platforms.md#extras).",
                table(("distribution", "version", "licence", "note"), rows),
            )
        )
        + "\n"
    )
