"""Fake engines for other processes: installed distributions, as another project's would be.

A test that monkeypatches entry points reaches its own process only; a spawned worker looks at the
metadata on its path.
"""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent

ENGINES = {
    "fake": "fake_engine:FakeEngine",
    "poison": "poison_engine:PoisonEngine",
    "slow": "poison_engine:SlowEngine",
    "none": "poison_engine:NoEngine",
}


def install(folder: Path, name: str, engine: str) -> None:
    """Write the metadata of a distribution with one engine."""
    metadata = folder / f"{name}_engine-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-engine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[ssd_resnet34.engines]\n{name} = {engine}\n")


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command that finds what is installed in ``folder``."""
    paths = [str(folder), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
