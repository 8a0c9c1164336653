"""A bucket as source and place: throttled, broken, slow; nothing is lost and nothing is half."""

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from faulty_s3 import Faults, serving
from small_batch import HASTY, tree, write
from ssd_resnet34.batch import finishing, running
from ssd_resnet34.batch.lock import Lock
from ssd_resnet34.batch.patience import Patience
from ssd_resnet34.batch.place import open_place
from ssd_resnet34.batch.running import Rules
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.errors import OutputError, OutputLocked, UsageError

# s3fs and botocore leave their event loop and sockets to the end of the process.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENT = Patience(20, first=0.01, longest=0.1)
INPUTS = 12


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def address(faults: Faults) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with serving(faults) as found:
        yield found
    logging.getLogger("werkzeug").setLevel(logging.NOTSET)


@pytest.fixture
def bucket(
    address: str, faults: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """``s3://…`` of a bucket with a dozen pictures under ``in/``."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    faults.decide = lambda method, path: None
    faults.met.clear()
    faults.requests.clear()
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3")
    name = f"bucket-{abs(hash(str(tmp_path))) % 10**8}"
    files.mkdir(name)
    for n in range(INPUTS):
        write(tmp_path / "local" / f"{n:02}.png", 20 * n)
    files.put(str(tmp_path / "local") + "/", f"{name}/in/", recursive=True)
    yield f"s3://{name}"
    faults.decide = lambda method, path: None


def stored(place: str) -> dict[str, bytes]:
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    prefix = place.removeprefix("s3://") + "/"
    names = [name for name in files.find(prefix) if "_timings" not in name]
    return {name.removeprefix(prefix): files.cat_file(name) for name in names}


@pytest.mark.usefixtures("same_process")
def test_a_bucket_through_faults_equals_the_same_bucket_without(
    bucket: str, faults: Faults, job: Callable[..., Job]
) -> None:
    running.run(f"{bucket}/calm", Search(f"{bucket}/in"), job(patience=PATIENT), shard_size=5)
    expected = stored(f"{bucket}/calm")
    assert {"_SUCCESS", "_report.json", "part-000002.parquet"} <= set(expected)
    drawn = random.Random(3)
    kinds = ["throttled", "broken", "cut", None, None, None]

    def decide(method: str, path: str) -> str | None:
        fault = drawn.choice(kinds)
        return fault if fault != "cut" or method == "GET" else None

    faults.decide = decide
    outcome = running.run(
        f"{bucket}/storm",
        Search(f"{bucket}/in", patience=PATIENT),
        job(patience=PATIENT),
        shard_size=5,
    )
    faults.decide = lambda method, path: None
    assert not outcome.summary.errors
    assert len(faults.met) > 20
    assert {kind for kind, _, _ in faults.met} == {"throttled", "broken", "cut"}
    assert stored(f"{bucket}/storm") == expected


@pytest.mark.usefixtures("same_process")
def test_an_object_that_is_never_answered_is_an_error_row_that_can_be_done_again(
    bucket: str, faults: Faults, job: Callable[..., Job]
) -> None:
    faults.seconds = 2
    faults.decide = lambda method, path: (
        "slow"
        if path.endswith("03.png") and method == "GET"
        else "broken"
        if path.endswith("05.png")
        else None
    )
    hasty = job(patience=Patience(1.5, first=0.01, longest=0.1))
    outcome = running.run(f"{bucket}/out", Search(f"{bucket}/in"), hasty)
    assert dict(outcome.summary.errors) == {"store_unavailable": 2}
    faults.decide = lambda method, path: None
    again = running.run(
        f"{bucket}/out", Search(f"{bucket}/in"), hasty, rules=Rules(retry_errors=True)
    )
    assert not again.summary.errors
    assert again.resumed == INPUTS - 2


@pytest.mark.usefixtures("same_process")
def test_a_store_that_takes_no_more_ends_the_run_and_committed_shards_stay(
    bucket: str, faults: Faults, job: Callable[..., Job]
) -> None:
    def decide(method: str, path: str) -> str | None:
        return "throttled" if method == "PUT" and "part-000001" in path else None

    faults.decide = decide
    hasty = job(patience=Patience(0.5, first=0.1))
    with pytest.raises(OutputError, match="part-000001"):
        running.run(f"{bucket}/out", Search(f"{bucket}/in"), hasty, shard_size=4)
    faults.decide = lambda method, path: None
    assert "part-000000.parquet" in stored(f"{bucket}/out")
    assert "_SUCCESS" not in stored(f"{bucket}/out")
    outcome = running.run(f"{bucket}/out", Search(f"{bucket}/in"), hasty)
    assert (outcome.summary.rows, outcome.resumed) == (INPUTS, 4)
    assert finishing.is_marked(open_place(f"{bucket}/out"))


@pytest.mark.usefixtures("same_process")
def test_a_shard_is_one_put(bucket: str, faults: Faults, job: Callable[..., Job]) -> None:
    faults.requests.clear()
    running.run(f"{bucket}/out", Search(f"{bucket}/in"), job(patience=PATIENT), shard_size=4)
    writes = [
        (method, path.rpartition("/")[2])
        for method, path in faults.requests
        if method in ("PUT", "POST") and "/part-" in path and "_timings" not in path
    ]
    assert sorted(writes) == [("PUT", f"part-{n:06d}.parquet") for n in range(3)]


def test_a_lock_in_a_bucket_keeps_two_runs_apart(bucket: str) -> None:
    place = open_place(f"{bucket}/out", HASTY)
    with Lock(place), pytest.raises(OutputLocked), Lock(open_place(f"{bucket}/out", HASTY)):
        pass
    assert place.names("_run") == []


def test_an_object_that_changed_since_it_was_planned_is_told(
    bucket: str, job: Callable[..., Job], same_process: Any, tmp_path: Path
) -> None:
    same_process.stop_after = 0
    with pytest.raises(KeyboardInterrupt):
        running.run(str(tmp_path / "out"), Search(f"{bucket}/in"), job(patience=PATIENT))
    same_process.stop_after = None
    name = f"{bucket.removeprefix('s3://')}/in/04.png"
    files = fsspec.filesystem("s3")
    data = bytearray(files.cat_file(name))
    data[-1] ^= 1
    files.pipe_file(name, bytes(data))  # as large as before
    outcome = running.run(str(tmp_path / "out"), Search(f"{bucket}/in"), job(patience=PATIENT))
    assert dict(outcome.summary.errors) == {"changed_file": 1}
    assert tree(tmp_path / "out")


def test_what_is_not_there_or_not_allowed_is_told_at_once(bucket: str) -> None:
    with pytest.raises(UsageError, match="nothing is there"):
        list(Search(f"{bucket}/nothing").inputs())
