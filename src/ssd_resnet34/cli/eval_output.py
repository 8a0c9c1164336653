"""What ``eval`` writes: saved predictions, pages, and the comparison of two files."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..contract import Category
from ..errors import UsageError
from ..evaluation import comparing, comparison_page
from ..evaluation import report as reports
from ..evaluation.bootstrap import difference_intervals, doubts
from ..evaluation.coco import evaluate
from ..evaluation.comparing import Side
from ..evaluation.dataset import Dataset
from ..evaluation.report import Setting
from ..runtime.engines import version_of
from ..vision.writers import open_writer
from . import comparison_report, eval_report
from .eval_inputs import Given
from .eval_report import Found
from .info import platform_facts
from .terminal import complain


def compare_files(
    dataset: Dataset, pair: Sequence[Given], report: Path | None, folder: Path | None, as_json: bool
) -> None:
    """Tables, JSON or a page of where two files differ, on the images that both have.

    Raises:
        UsageError: they have no image in common.
    """
    both = set(pair[0].image_ids) & set(pair[1].image_ids)
    if not both:
        raise UsageError("--compare: the two files have no image in common; give runs over one set")
    scored = dataset.only(both)
    notes = [note for given in pair for note in given.notes]
    for note in notes:
        complain(note, "note")
    notes += doubts(len(both))
    sides = []
    for given in pair:
        results = [one for one in given.results if one["image_id"] in both]
        evaluation = evaluate(scored, results, category_ids=given.category_ids)
        sides.append(Side(given.what, results, evaluation))
    found = comparing.compare(scored, *sides)
    if report is not None:
        setting = _setting(f"Two runs on {dataset.path}", {}, notes)
        comparison_page.write(report, scored, found, setting, folder=folder)
    moved = difference_intervals(*(side.evaluation for side in sides))
    if as_json:
        ranges = {name: asdict(one) for name, one in moved.items()}
        document = comparing.describe(found) | {"intervals": ranges, "notes": notes}
        print(json.dumps(document, indent=2))
    else:
        comparison_report.show(found)
        eval_report.show_differences(found.numbers, moved, len(both))


def save(path: Path, given: Given, dataset: Dataset) -> None:
    """The detections of a run, with the image ids and the categories of the annotations."""
    categories = [Category(one["id"], one["name"]) for one in dataset.categories]
    with open_writer(path, categories=categories) as writer:
        for image_id in given.image_ids:
            writer.write(given.detections[image_id], image_id)


def _setting(title: str, facts: Mapping[str, Any], notes: Sequence[str]) -> Setting:
    """How the numbers came about: the command, the versions, the machine."""
    machine = platform_facts()
    versions = {"ssd-resnet34": machine["version"], "Python": machine["python"]}
    versions["pycocotools"] = version_of("pycocotools")  # it makes the numbers
    versions |= {name: version for name, version in machine["packages"].items() if version}
    known = {**facts, **versions, "system": machine["system"], "CPU": machine["cpu"]["model"]}
    return Setting(
        title=title,
        command=shlex.join(["ssd-resnet34", *sys.argv[1:]]),
        facts={name: str(value) for name, value in known.items()},
        notes=notes,
    )


def write_report(path: Path, found: Found, folder: Path | None) -> None:
    """The page for people."""
    given = found.given
    title = f"{given.what} on {found.dataset.path}"
    notes = [*found.dataset.warnings, *given.notes]
    reports.write(
        path,
        found.dataset,
        given.results,
        found.evaluation,
        _setting(title, given.facts, notes),
        folder=folder,
        intervals=found.intervals,
    )
