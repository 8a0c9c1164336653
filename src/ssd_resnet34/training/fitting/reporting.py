"""The page at the end of a run: the evaluation's report of the best epoch."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...evaluation import report
from ...evaluation.bootstrap import intervals
from ...evaluation.report import Setting
from .validation import Validated


def write(
    path: Path,
    best: Validated,
    folder: Path,
    facts: Mapping[str, Any],
    notes: Sequence[str],
    command: str,
) -> None:
    """Curves, classes, confusions, detections and misses of the validation images.

    Args:
        folder: of the images.
        facts: of the run, shown as text.
        notes: what a reader must know, a sentence each.
        command: that makes the run again.

    Raises:
        UsageError, OutputError: ``path`` cannot be written.
        MissingExtra: jinja2 is not installed.
    """
    versions = {
        "ssd-resnet34": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }
    setting = Setting(
        title="A trained model on its validation images",
        command=command,
        facts={name: str(value) for name, value in {**facts, **versions}.items()},
        notes=notes,
    )
    report.write(
        path,
        best.truth,
        best.results,
        best.evaluation,
        setting,
        folder=folder,
        intervals=intervals(best.evaluation),
    )
