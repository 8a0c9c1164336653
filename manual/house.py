"""The rooms of the house, in the order of imports: of this one list are the page and the test."""

import ast
from pathlib import Path
from typing import Final

import ssd_resnet34

SOURCE: Final = Path(ssd_resnet34.__file__).parent

ROOMS: Final = (
    "errors",
    "contract",
    "files",
    "artifact",
    "npz",
    "pairs",
    "spelling",
    "wording",
    "processes",
    "ray_cluster",
    "vision",
    "network",
    "weights",
    "runtime",
    "compiler",
    "model",
    "detector",
    "video",
    "evaluation",
    "benchmarking",
    "mlperf",
    "training",
    "batch",
    "serving",
    "cli",
    "__main__",
)
"""Folders and modules of the package; a room imports only from those above it."""


def subjects() -> list[tuple[str, str]]:
    """Each room's folder or file, and the first line of its docstring."""
    found = []
    for name in ROOMS:
        folder = SOURCE / name
        file = folder / "__init__.py" if folder.is_dir() else SOURCE / f"{name}.py"
        docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        place = f"{name}/" if folder.is_dir() else f"{name}.py"
        found.append((place, docstring.split("\n")[0]))
    return found
