"""The namespace on the path, and a model whose network costs nothing."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34.contract import COCO
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.runtime import engines

SOURCE = Path(__file__).resolve().parents[2] / "compat" / "furiosa" / "src"

sys.path.insert(0, str(SOURCE))  # as an installation would


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine decides anything."""
    for name in (
        "SSD_RESNET34_FURIOSA_RELEASE",
        "SSD_RESNET34_FURIOSA_WEIGHTS",
        "SSD_RESNET34_TOKEN",
        "FURIOSA_DEVICES",
        "NPU_DEVNAME",
    ):
        monkeypatch.delenv(name, raising=False)
    from furiosa import _settings

    _settings._warn_of_embedded.cache_clear()


@pytest.fixture
def any_engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A fake engine in the place of each."""
    made = FakeEngine()
    monkeypatch.setattr(engines, "find", lambda name: made)
    return made


@pytest.fixture
def engine(any_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A fake engine in the place of each, and a fake network as the embedded weights.

    The network is not the subject: any weights and any engine stand for the embedded and best.
    """
    monkeypatch.setattr(SSDResNet34, "enf", fake_onnx(precision="int8"))
    monkeypatch.setattr(SSDResNet34, "source", fake_onnx())
    monkeypatch.setattr(SSDResNet34, "contract", COCO)
    return any_engine


@pytest.fixture
def cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The picture that the page and the examples name, in the working folder; 64×48."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tests" / "assets" / "cat.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 48), "grey").save(path)
    return path
