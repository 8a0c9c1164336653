"""The documented recipe for Spark as it stands on the page, in another place, by a fake engine."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from manual.blocks import blocks

import batch_site
from conftest import REPOSITORY
from small_batch import HASTY, tree, write
from ssd_resnet34.batch import planning, running
from ssd_resnet34.batch.place import open_place
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job

SHARD = 3


@pytest.fixture
def java() -> None:
    """Skips where the recipe cannot run."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("PySpark is not installed: pip install pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java here, which Spark needs")


def recipe(**changes: str) -> str:
    """The block of the page, each of its pieces that is named replaced."""
    page = REPOSITORY / "docs" / "batch.md"
    (text,) = [one.text for one in blocks(page, page.name) if "mapInPandas" in one.text]
    for piece, other in changes.items():
        assert piece in text
        text = text.replace(piece, other)
    return text


@pytest.mark.usefixtures("java", "installed")
def test_the_recipe_for_spark_makes_the_same_bytes_as_a_local_run(
    site: Path, artifact: Path, tmp_path: Path
) -> None:
    for n in range(11):
        write(tmp_path / "in" / f"{n:02}.png", 10 * n)
    (tmp_path / "in" / "refused.png").write_bytes(b"")
    search, job = (
        Search(str(tmp_path / "in")),
        Job(str(artifact), "fake", threads=1, patience=HASTY),
    )
    local, out = tmp_path / "local", tmp_path / "out"
    running.run(str(local), search, job, shard_size=SHARD)
    made = planning.plan(open_place(str(out)), search, shard_size=SHARD)
    program = recipe(
        **{
            "s3://bucket/found": str(out),
            "Job(threads=2)": f"Job({str(artifact)!r}, 'fake', threads=1)",
            "1954, 400": f"{made.shards}, 2",
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **batch_site.environment(site),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "sum(rows)=12" in done.stdout
    outcome = running.run(str(out), search, job)
    assert (outcome.resumed, outcome.summary.refused) == (12, 1)
    assert tree(out) == tree(local)
