"""The plan: the same inputs give the same bytes, damage is found, memory does not grow."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from small_batch import HASTY, tree, write
from ssd_resnet34.batch import manifest as manifests
from ssd_resnet34.batch import planning
from ssd_resnet34.batch.manifest import FOLDER, PLAN, REPEATS, Manifest, Plan, load
from ssd_resnet34.batch.place import LocalPlace, Place
from ssd_resnet34.batch.sorting import Input
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.errors import ManifestError, OutputError

SECONDS = 10
MEGABYTES = 300
"""What planning 100,000 inputs may take."""


def planned(source: Path, out: Path, shard_size: int = 3) -> tuple[Place, Plan]:
    place = LocalPlace(out, HASTY)
    return place, manifests.write(place, Search(str(source)), shard_size=shard_size)


def test_inputs_have_their_size_and_version_and_lie_in_fixed_shards(
    pictures: Path, tmp_path: Path
) -> None:
    place, plan = planned(pictures, tmp_path / "out")
    assert (plan.count, plan.shards, plan.length(3), plan.first_id(3)) == (10, 4, 1, 10)
    found = [one for n in range(4) for one in Manifest(place, plan).shard(n)]
    assert [one.uri for one in found] == sorted(str(path) for path in pictures.iterdir())
    for one in found:
        assert one.size == os.stat(one.uri).st_size
        assert int(one.etag or "", 16) == os.stat(one.uri).st_mtime_ns
    assert load(place) == plan


@pytest.mark.parametrize(
    ("count", "size"), [(1, 16), (208, 16), (512, 16), (513, 17), (5000, 157), (16_384, 512)]
)
def test_a_small_job_is_cut_small_so_that_a_kill_costs_it_little(
    tmp_path: Path, count: int, size: int
) -> None:
    (tmp_path / "list.txt").write_text("".join(f"s3://b/{n:05}\n" for n in range(count)))
    place = LocalPlace(tmp_path / "out", HASTY)
    plan = planning.plan(place, Search(str(tmp_path / "list.txt")))
    assert (plan.shard_size, plan.count) == (size, count)
    found = [one.uri for n in range(plan.shards) for one in Manifest(place, plan).shard(n)]
    assert found == [f"s3://b/{n:05}" for n in range(count)]
    assert load(place) == plan


def test_no_shard_is_larger_than_512_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"s3://b/{n:05}\n" for n in range(20_000)))
    search, place = Search(str(tmp_path / "list.txt")), LocalPlace(tmp_path / "out", HASTY)
    assert manifests.write(place, search).shard_size == 512
    assert manifests.write(place, search, shard_size=4096).shard_size == 4096


def test_a_plan_keeps_its_shards(pictures: Path, tmp_path: Path) -> None:
    place, plan = planned(pictures, tmp_path / "out")
    assert planning.plan(place, Search(str(pictures))) == plan
    with pytest.raises(ManifestError, match="shard_size 3, not 16"):
        planning.plan(place, Search(str(pictures)), shard_size=16)


def test_the_same_inputs_give_the_same_bytes_and_nothing_else_stays(
    pictures: Path, tmp_path: Path
) -> None:
    planned(pictures, tmp_path / "one")
    planned(pictures, tmp_path / "two", 4)
    assert tree(tmp_path / "one") != tree(tmp_path / "two")
    (tmp_path / "two" / FOLDER / "000007-of-a-killed-plan.parquet").write_bytes(b"")
    planned(pictures, tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_many_inputs_are_in_several_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_PART", 10)
    (tmp_path / "list.txt").write_text(
        "".join(f"s3://b/{n:03}\n" for n in range(47)) + "s3://b/000\n"
    )
    place, plan = planned(tmp_path / "list.txt", tmp_path / "out", 4)
    assert [part.inputs for part in plan.parts] == [8] * 5 + [7]
    assert plan.notes == {REPEATS: 1}
    found = [one.uri for n in range(plan.shards) for one in Manifest(place, plan).shard(n)]
    assert found == [f"s3://b/{n:03}" for n in range(47)]


@pytest.mark.parametrize("what", ["cut", "flipped", "missing", "another schema", "sums", "no JSON"])
def test_a_damaged_manifest_is_refused_with_the_mend(
    pictures: Path, tmp_path: Path, what: str
) -> None:
    place, plan = planned(pictures, tmp_path / "out")
    part = tmp_path / "out" / FOLDER / plan.parts[0].name
    file = tmp_path / "out" / PLAN
    data = part.read_bytes()
    if what == "cut":
        part.write_bytes(data[:-9])
    elif what == "flipped":
        part.write_bytes(data[:50] + bytes([data[50] ^ 4]) + data[51:])
    elif what == "missing":
        part.unlink()
    elif what == "another schema":
        file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    elif what == "sums":
        file.write_text(json.dumps({**json.loads(file.read_text()), "count": 99}))
    else:
        file.write_bytes(b"{")
    with pytest.raises(ManifestError, match=r"--force|upgrade"):
        Manifest(place, load(place) or plan).shard(0)


def last_shard(place: Place) -> list[Input]:
    plan = load(place)
    assert plan is not None
    return Manifest(place, plan).shard(plan.shards - 1)


def part_of(plan: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**plan["parts"][0], **fields}


EDITS: Mapping[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a larger count": (
        lambda plan: {"count": 20, "parts": [part_of(plan, inputs=20)]},
        "holds 10 inputs in 4 shards, not 20 in 7",
    ),
    "another shard size": (lambda _: {"shard_size": 2}, "10 inputs in 4 shards, not 10 in 5"),
    "no whole shard size": (lambda _: {"shard_size": 3.0}, "shard_size of the plan is not a whole"),
    "no whole count": (lambda _: {"count": 10.0}, "count of the plan is not a whole number"),
    "too few parts": (lambda _: {"parts": []}, "0 parts do not hold 10 inputs"),
    "too many parts": (
        lambda plan: {"parts": [part_of(plan, inputs=4), part_of(plan, inputs=6)]},
        "2 parts do not hold 10 inputs",
    ),
    "a part of another length": (
        lambda plan: {"parts": [part_of(plan, inputs=9)]},
        "part 0 has 9 inputs where 10 are planned",
    ),
    "fewer than none": (
        lambda plan: {"count": -10, "parts": [part_of(plan, inputs=-10)]},
        "do not hold -10 inputs",
    ),
    "a part elsewhere": (
        lambda plan: {"parts": [part_of(plan, name="../../x")]},
        "is no name of a file",
    ),
    "a part that is a number": (lambda _: {"parts": [7]}, "part 0 has not the fields name"),
    "notes in words": (lambda _: {"notes": {"links": "two"}}, "notes are not all whole numbers"),
    "a source that is none": (lambda _: {"source": 3}, "source of the plan is not text"),
    "a field of one's own": (lambda _: {"mine": 1}, "the plan has not the fields source"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_plan_edited_by_hand_is_refused_with_what_is_wrong_and_the_mend(
    pictures: Path, tmp_path: Path, what: str
) -> None:
    place, _ = planned(pictures, tmp_path / "out")
    file = tmp_path / "out" / PLAN
    plan = json.loads(file.read_text())
    edit, reason = EDITS[what]
    file.write_text(json.dumps({**plan, **edit(plan)}))
    with pytest.raises(ManifestError, match=reason) as refused:
        last_shard(place)
    assert str(refused.value).startswith(f"{file}: ")
    assert "put back the file as it was, or plan again with --force" in str(refused.value)


def test_a_plan_nested_too_deep_is_no_plan(pictures: Path, tmp_path: Path) -> None:
    place, _ = planned(pictures, tmp_path / "out")
    (tmp_path / "out" / PLAN).write_text("[" * 100_000)
    with pytest.raises(ManifestError, match=PLAN):
        load(place)


def test_force_plans_again_where_a_plan_is_damaged(pictures: Path, tmp_path: Path) -> None:
    place, plan = planned(pictures, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out" / PLAN).write_bytes(b"{")
    with pytest.raises(ManifestError):
        planning.plan(place, Search(str(pictures)))
    again = planning.plan(place, Search(str(pictures)), shard_size=3, force=True)
    assert again == plan
    assert tree(tmp_path / "out") == before


def test_a_plan_that_cannot_be_read_is_not_taken_for_none(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = planned(pictures, tmp_path / "out")

    def failing(self: Path) -> bytes:
        raise OSError("input/output error")

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OutputError, match="input/output error"):
        planning.plan(place, Search(str(pictures)))


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads /proc/self/status"
)

CODE = """
import sys, time
from pathlib import Path
from ssd_resnet34.batch import manifest
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.sorting import Input
from ssd_resnet34.batch.sources import Search
began = time.perf_counter()
plan = manifest.write(LocalPlace(Path(sys.argv[2])), Search(sys.argv[1]))
seconds = time.perf_counter() - began
# Not getrusage: its peak is that of the process before exec, too.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(plan.count, seconds, int(status["VmHWM"].split()[0]) / 1024)
"""


def measure(source: Path, out: Path) -> tuple[int, float, float]:
    """Plan in a process of its own: inputs, seconds, peak megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(source), str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, seconds, peak = done.stdout.split()
    return int(count), float(seconds), float(peak)


def make_many(folder: Path, count: int) -> None:
    """Links to one picture cost a tenth of files, and are listed as such."""
    one = write(folder / "000" / "0.jpg")
    for n in range(1, count):
        sub = folder / f"{n // 1000:03}"
        sub.mkdir(exist_ok=True)
        os.link(one, sub / f"{n % 1000:03}-of-a-longer-name.jpg")


@needs_proc
def test_five_thousand_inputs_are_planned_in_bounded_memory(tmp_path: Path) -> None:
    make_many(tmp_path / "in", 5000)
    count, _, peak = measure(tmp_path / "in", tmp_path / "out")
    assert count == 5000
    assert peak < MEGABYTES


@needs_proc
@pytest.mark.proof
def test_a_hundred_thousand_inputs_are_planned_in_ten_seconds_and_300_megabytes(
    tmp_path: Path,
) -> None:
    make_many(tmp_path / "in", 60_000)  # a file takes 65,000 links at most
    make_many(tmp_path / "in" / "more", 40_000)
    count, seconds, peak = measure(tmp_path / "in", tmp_path / "out")
    print(f"{count:,} inputs planned in {seconds:.1f} s, peak {peak:.0f} MB")
    assert count == 100_000
    assert peak < MEGABYTES
    assert seconds < SECONDS
