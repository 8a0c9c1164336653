"""Fixtures: an artifact, engines for workers too, pictures, and runs in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import batch_site
from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_batch import HASTY, SamePool, write
from ssd_resnet34.batch import running
from ssd_resnet34.batch.worker import Job


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the fake network."""
    path = tmp_path_factory.mktemp("artifact") / "fake.onnx"
    path.write_bytes(fake_onnx())
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the metadata of the engines of ``batch_site``."""
    folder = tmp_path_factory.mktemp("site")
    for name, engine in batch_site.ENGINES.items():
        batch_site.install(folder, name, engine)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These engines in this process and in those that it spawns."""
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with ten pictures of different shades and sizes."""
    folder = tmp_path / "pictures"
    for n in range(10):
        write(folder / f"{n:02}.png", 20 * n, 40 + n)
    return folder


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> type[SamePool]:
    """Runs detect in this process. ``.instances`` are the pools they made."""
    monkeypatch.setattr(SamePool, "instances", [])
    monkeypatch.setattr(SamePool, "stop_after", None)
    monkeypatch.setattr(running, "Pool", SamePool)
    return SamePool


@pytest.fixture
def job(artifact: Path) -> Callable[..., Job]:
    """``job(**fields)``: the fake engine itself, for runs in this process."""

    def make(**fields: Any) -> Job:
        return replace(Job(str(artifact), FakeEngine(), patience=HASTY), **fields)

    return make
