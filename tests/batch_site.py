"""The fake engine for worker processes: an installed distribution, as another project's would be.

A test that monkeypatches entry points reaches its own process only; a spawned worker looks at the
metadata on its path.
"""

import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def install(folder: Path, engine: str = "fake_engine:FakeEngine", name: str = "fake") -> str:
    """Write the metadata of a distribution with one engine; the PYTHONPATH that finds it."""
    metadata = folder / f"{name}_engine-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-engine\nVersion: 1\n")
    entry = f"[ssd_resnet34.engines]\n{name} = {engine}\n"
    (metadata / "entry_points.txt").write_text(entry)
    return os.pathsep.join([str(folder), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
