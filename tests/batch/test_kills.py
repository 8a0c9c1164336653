"""SIGKILL at any moment, then run again: as if nothing had happened."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import batch_site
from small_batch import tree, write
from ssd_resnet34.batch.forms import FORMS
from ssd_resnet34.batch.manifest import Manifest, load
from ssd_resnet34.batch.place import open_place

INPUTS = 24
SHARD = 3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two dozen pictures, one of them refused."""
    folder = tmp_path / "in"
    for n in range(INPUTS - 1):
        write(folder / f"{n:02}.png", 10 * n, 30 + n)
    (folder / "refused.png").write_bytes(b"no picture")
    return folder


def command(source: Path, out: Path, artifact: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "ssd_resnet34", "batch", "run", str(source), "-o", str(out)),
        *("--engine", "slow", "--weights", str(artifact), "--shard-size", str(SHARD), "-q", *more),
    ]


def check_visible(out: Path) -> int:
    """Whatever is there under its own name is whole; the number of committed shards."""
    complete = (out / "_SUCCESS").exists()  # looked at first: it is written last
    names = [path.name for path in out.glob("part-*")]
    for name in names:
        rows = FORMS["parquet" if name.endswith("parquet") else "jsonl"].decode(
            (out / name).read_bytes()
        )
        assert len(rows) == SHARD
    place = open_place(str(out))
    plan = load(place)
    if plan is not None:
        assert len(Manifest(place, plan).shard(0)) == SHARD
    if complete:
        assert len(names) == INPUTS // SHARD
    return len(names)


def kill_and_resume(
    moments: int, format: str, source: Path, site: Path, artifact: Path, tmp_path: Path
) -> list[int]:
    """Kill a run at so many random moments and finish it each time; shards there when killed."""
    environment = batch_site.environment(site)
    whole = tmp_path / "whole"
    done = subprocess.run(
        command(source, whole, artifact, "--format", format), env=environment, capture_output=True
    )
    assert done.returncode == 3, done.stderr.decode()
    expected = tree(whole)
    drawn = random.Random(5)
    found = []
    for moment in range(moments):
        out = tmp_path / f"killed-{moment}"
        # The moments cover the whole run: its start, every shard, its end; whatever its speed.
        wanted = moment * (INPUTS // SHARD + 1) // moments
        pause = drawn.random() * (2.0 if wanted == 0 else 0.2)
        running = subprocess.Popen(
            command(source, out, artifact, "--format", format),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 300
        while time.monotonic() < end and running.poll() is None:
            if check_visible(out) >= wanted:
                time.sleep(pause)
                break
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait()
        found.append(check_visible(out))
        resumed = subprocess.run(
            command(source, out, artifact, "--format", format),
            env=environment,
            capture_output=True,
            text=True,
        )
        assert resumed.returncode == 3, resumed.stderr
        assert tree(out) == expected
        # Sidecars too: one timing for every input.
        assert len(list((out / "_timings").iterdir())) == INPUTS // SHARD
        assert not list(out.rglob("*.tmp"))
    return found


def test_a_run_killed_and_run_again_equals_an_uninterrupted_one(
    source: Path, site: Path, artifact: Path, tmp_path: Path
) -> None:
    kill_and_resume(2, "parquet", source, site, artifact, tmp_path)


@pytest.mark.proof
@pytest.mark.parametrize("format", ["parquet", "jsonl", "coco"])
def test_runs_killed_at_twenty_moments_equal_an_uninterrupted_one(
    source: Path, site: Path, artifact: Path, tmp_path: Path, format: str
) -> None:
    found = kill_and_resume(20, format, source, site, artifact, tmp_path)
    print(f"{format}: killed at 20 moments, with {found} of {INPUTS // SHARD} shards committed")
    assert len(set(found)) > 3  # the moments were spread over the run


def test_workers_do_not_outlive_a_killed_run(
    source: Path, site: Path, artifact: Path, tmp_path: Path
) -> None:
    running = subprocess.Popen(
        command(source, tmp_path / "out", artifact),
        env=batch_site.environment(site),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children: list[int] = []
    end = time.monotonic() + 60
    while not children and time.monotonic() < end:
        time.sleep(0.05)
        children = [pid for pid in _children(running.pid) if "multiprocessing" in _words(pid)]
    running.kill()
    running.wait()
    assert children
    while any(_words(pid) for pid in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in children if _words(pid)]


def test_a_stopped_run_says_so_and_gives_its_lock_back(
    source: Path, site: Path, artifact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = subprocess.Popen(
        command(source, out, artifact),
        env=batch_site.environment(site),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not list(out.glob("part-*")) and time.monotonic() < end:
        time.sleep(0.02)
    running.terminate()
    _, told = running.communicate(timeout=60)
    if running.returncode != 3:  # it may have been at its end
        assert running.returncode == 1
        assert told.strip().endswith("run the same command again to go on")
    assert not (out / "_run" / "lock").exists()


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.mark.proof
def test_with_the_real_engine_a_resumed_run_agrees_with_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    sample = Path(__file__).resolve().parents[2] / "samples" / "scene.png"
    picture = cv2.imdecode(np.frombuffer(sample.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    (tmp_path / "in").mkdir()
    for n, width in enumerate((1200, 800, 640, 500)):
        height = round(width * picture.shape[0] / picture.shape[1])
        assert cv2.imwrite(str(tmp_path / "in" / f"{n}.png"), cv2.resize(picture, (width, height)))
    words = [sys.executable, "-m", "ssd_resnet34", "batch", "run", str(tmp_path / "in"), "-q"]
    more = ["--shard-size", "1", "-o"]
    subprocess.run([*words, *more, str(tmp_path / "whole")], check=True, capture_output=True)
    out = tmp_path / "out"
    killed = subprocess.Popen([*words, *more, str(out)], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while len(list(out.glob("part-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    subprocess.run([*words, "-o", str(out)], check=True, capture_output=True)
    for n in range(4):
        one, other = (
            FORMS["parquet"].decode((folder / f"part-{n:06d}.parquet").read_bytes())[0].found
            for folder in (tmp_path / "whole", out)
        )
        assert one is not None
        assert other is not None
        assert len(one) > 3
        assert one.labels == other.labels
        assert np.abs(one.boxes - other.boxes).max() < 1
        assert np.abs(one.scores - other.scores).max() < 0.01
    same = tree(tmp_path / "whole") == tree(out)
    print(f"real engine, killed and resumed: {'the same bytes' if same else 'within tolerance'}")
