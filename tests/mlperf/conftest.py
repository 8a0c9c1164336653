"""Fixtures: LoadGen's settings in a folder, and small samples instead of images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import batch_site
from fake_network import fake_onnx
from mlperf_answers import answers
from ssd_resnet34.mlperf import settings
from ssd_resnet34.mlperf.library import Library
from ssd_resnet34.mlperf.rounds import Scenario, get
from ssd_resnet34.mlperf.settings import Measured, Mode
from ssd_resnet34.mlperf.system import Record, System

QUICK = Measured(latency=0.002, rate=500)


@dataclass
class Bench:
    """LoadGen in this process, on samples that are their own index.

    ``most`` is how many samples were in memory at once; ``seen`` the indices that were detected.
    """

    folder: Path
    most: int = 0
    seen: list[int] = field(default_factory=list)

    def run(
        self,
        scenario: Scenario,
        mode: Mode = "performance",
        *,
        total: int = 100,
        detect: Callable[[Sequence[int]], Sequence[Record]] = answers,
        prepare: Callable[[int], Any] = lambda index: index,
        workers: int = 2,
        batch: int = 1,
        round_name: str = "v2.0",
        quick: bool = True,
    ) -> System:
        from ssd_resnet34.mlperf.loadgen import Test

        self.folder.mkdir(exist_ok=True)
        chosen = get(round_name)
        layers = settings.layers(chosen, scenario, QUICK, quick=quick, user=None)
        settings.write(layers, self.folder)
        test = Test(layers, self.folder, chosen, scenario, mode)
        self.library: Library[Any] = Library(prepare, threads=2)

        def watched(indices: Sequence[int]) -> Sequence[Record]:
            self.most = max(self.most, len(self.library))
            self.seen += [self.library[index] for index in indices]
            return detect(indices)

        system = System(watched, test.complete, workers, batch, lambda _: self.library.cancel())
        test.run(system, self.library, total)
        system.close()
        return system


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")
    return Bench(tmp_path / "logs")


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the fake network."""
    path = tmp_path_factory.mktemp("artifact") / "fake.onnx"
    path.write_bytes(fake_onnx())
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the metadata of the engines ``fake``, ``poison`` and ``none``."""
    folder = tmp_path_factory.mktemp("site")
    for name, engine in batch_site.ENGINES.items():
        batch_site.install(folder, name, engine)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These engines in this process and in those that it spawns."""
    monkeypatch.syspath_prepend(str(site))
