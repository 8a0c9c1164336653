"""The command line in this process, with a fake engine and weights."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from command import Result, Run
from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.cli.main import main


@pytest.fixture
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the fake network."""
    path = tmp_path_factory.getbasetemp() / "fake.onnx"
    if not path.exists():
        path.write_bytes(fake_onnx())
    return path


@pytest.fixture
def trained_at_600(weights: Path, tmp_path: Path) -> Path:
    """The fake network as ``train --size 600`` would have left it."""
    model = artifact.load(weights)
    artifact.embed(model, artifact.contract_of(model), {artifact.TRAINING: '{"size": 600}'})
    path = tmp_path / "trained.onnx"
    path.write_bytes(artifact.serialize(model))
    return path


@pytest.fixture
def run(weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """``run("detect", "a.jpg")`` -> :class:`Result`, on the fake engine."""
    found = importlib.metadata.entry_points
    fake = SimpleNamespace(name="fake", value="fake_engine:FakeEngine", load=lambda: FakeEngine)

    def entry_points(**selection: Any) -> Any:
        if selection.get("group") == "ssd_resnet34.engines":
            return [fake]
        return found(**selection)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    def call(*arguments: str | Path, fake: bool = True) -> Result:
        words = [str(argument) for argument in arguments]
        if fake and words[0] == "detect":
            words += ["--engine", "fake", "--weights", str(weights)]
        monkeypatch.setattr(sys, "argv", ["ssd-resnet34", *words])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """``picture("a.jpg", width=64, height=48)`` writes a grey image and gives its path."""

    def write(name: str = "a.jpg", width: int = 64, height: int = 48, shade: int = 128) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width, 3), shade, np.uint8)
        done, data = cv2.imencode(path.suffix, pixels)
        assert done
        path.write_bytes(data.tobytes())
        return path

    return write
