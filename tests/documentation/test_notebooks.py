"""The notebooks run from top to bottom: in the suite on a small network, in the proof on ours."""

import asyncio
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import REPOSITORY
from documentation.reader import write_network
from documentation.stand_in import small_weights

NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


def read(path: Path) -> Any:
    """The notebook as nbformat's nodes."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute(path: Path) -> str:
    """Run it where it lies; what it printed."""
    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    with asyncio.Runner() as runner:
        runner.run(client.async_execute())
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def test_there_are_two_and_they_are_kept_without_outputs() -> None:
    names = [path.stem for path in NOTEBOOKS]
    assert names == ["calibrate_and_compare", "detect_and_explore"]
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            assert cell.cell_type == "markdown" or not cell.outputs, f"clear the outputs: {path}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_small_network(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(small_weights.ARTIFACT, str(write_network(tmp_path)))
    here = str(Path(small_weights.__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((here, os.environ.get("PYTHONPATH", ""))))
    said = execute(path)
    assert "car" in said or "detections agree" in said


@pytest.mark.proof
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_whole_network(path: Path) -> None:
    said = execute(path)
    assert "bus" in said or "detections agree" in said
