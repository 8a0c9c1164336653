"""Fixtures of every test: the shared reference data, read in this one place."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# No test asserts a time: what a busy machine takes longer for is no failure.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SSD_RESNET34_SHARED", REPOSITORY.parent / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers, look-alike generators and real images."""
    if not (SHARED / "golden" / "generate.py").is_file():
        pytest.skip(f"no reference data at {SHARED}; set SSD_RESNET34_SHARED to its folder")
    return SHARED


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a package imported anew; what was imported before is back when the test ends.

    Also as attributes of the packages: an import sets those too, and ``from package import module``
    takes the attribute where there is one.
    """

    def forgotten(package: str) -> None:
        for name in sorted(sys.modules, reverse=True):  # children before their parents
            if name == package or name.startswith(f"{package}."):
                parent, _, child = name.rpartition(".")
                if hasattr(sys.modules[parent], child):
                    monkeypatch.delattr(sys.modules[parent], child)
                monkeypatch.delitem(sys.modules, name)

    return forgotten


def _load(path: Path) -> ModuleType:
    name = path.stem
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden(shared: Path) -> ModuleType:
    """``golden/generate.py``: deterministic heads, weights and pictures."""
    return _load(shared / "golden" / "generate.py")


@pytest.fixture(scope="session")
def lookalikes(golden: ModuleType, shared: Path) -> ModuleType:
    """``golden/lookalikes.py``: files that look like the published ones."""
    return _load(shared / "golden" / "lookalikes.py")


@pytest.fixture(scope="session")
def golden_npz(shared: Path) -> Callable[[str], Any]:
    """Arrays of ``golden/<name>``, by key."""
    return lambda name: np.load(shared / "golden" / name)


@pytest.fixture(scope="session")
def lookalike(
    golden: ModuleType, lookalikes: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``lookalike(name)``: the folder with the file or files of that look-alike, made once."""
    root = tmp_path_factory.mktemp("lookalikes")
    state = golden.state_dict(7)

    def make(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            lookalikes.FILES[name](folder, state)
        return folder

    return make


@pytest.fixture(autouse=True)
def _private_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or fills the user's cache, or reaches the network."""
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
