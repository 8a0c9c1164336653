"""A simulated Ray cluster of two nodes: what Ray loses on the way is not lost at the end."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import batch_site
from small_batch import HASTY, SamePool, tree, write
from ssd_resnet34 import ray_cluster
from ssd_resnet34.batch import cluster, converting, models, planning, running
from ssd_resnet34.batch.cluster import Actors
from ssd_resnet34.batch.place import open_place
from ssd_resnet34.batch.pool import Care
from ssd_resnet34.batch.running import Rules
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.watching import Watcher
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.detector import Options
from ssd_resnet34.errors import BatchError, SettingsConflict, UsageError

MEMORY = 150 << 20

HalfDone = Callable[[Path, Job], Search]


@pytest.fixture(scope="module")
def nodes(site: Path) -> Iterator[Any]:
    """A cluster of a head and one more node, a CPU each."""
    ray: Any = pytest.importorskip("ray", reason="Ray is not installed: the extra [ray]")
    simulated: Any = pytest.importorskip("ray.cluster_utils")
    before = dict(os.environ)
    os.environ.update(batch_site.environment(site))
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1", RAY_DEDUP_LOGS="0")
    made = simulated.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    made.add_node(num_cpus=1, object_store_memory=MEMORY)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two dozen pictures, one of them refused."""
    for n in range(23):
        write(tmp_path / "in" / f"{n:02}.png", 10 * n)
    (tmp_path / "in" / "refused.png").write_bytes(b"")
    return tmp_path / "in"


@pytest.fixture
def expected(source: Path, artifact: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a local run makes of them."""
    job = Job(str(artifact), "fake", threads=1, patience=HASTY)
    running.run(str(tmp_path / "local"), Search(str(source)), job, shard_size=3)
    return tree(tmp_path / "local")


def over_ray(
    source: Path,
    out: Path,
    artifact: Path,
    most: int = 2,
    watcher: Watcher | None = None,
    rules: Rules = Rules(),  # noqa: B008  # frozen
) -> running.Outcome:
    return cluster.run(
        str(out),
        Search(str(source)),
        Actors(most=most, cpus=1),
        Job(str(artifact), "fake", patience=HASTY),
        Care(timeout=60),
        rules,
        shard_size=3,
        watcher=watcher or Watcher(),
    )


class Striking(Watcher):
    """Does something when the second shard is there."""

    def __init__(self, strike: Callable[[], object]) -> None:
        self.strike, self.seen = strike, 0

    def committed(self, shard: int) -> None:
        self.seen += 1
        if self.seen == 2:
            self.strike()


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.usefixtures("installed")
def test_a_cluster_makes_the_same_bytes_as_one_machine_and_skips_what_is_there(
    nodes: Any,
    source: Path,
    artifact: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    outcome = over_ray(source, out, artifact)
    assert (outcome.summary.rows, outcome.summary.refused) == (24, 1)
    assert "rogress bar" not in capfd.readouterr().err, "it shows its own progress"
    assert tree(out) == expected
    (out / "part-000004.parquet").unlink()
    assert over_ray(source, out, artifact).resumed == 21
    assert tree(out) == expected


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("installed")
def test_an_actor_killed_in_the_middle_of_a_shard_loses_nothing(
    nodes: Any, source: Path, artifact: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    def kill() -> None:
        for pid in _actors():
            os.kill(pid, signal.SIGKILL)
            return

    out = tmp_path / "out"
    over_ray(source, out, artifact, watcher=Striking(kill))
    assert tree(out) == expected


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("installed")
def test_a_node_removed_without_grace_loses_nothing(
    nodes: Any, source: Path, artifact: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    extra = nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    removed = threading.Event()

    def remove() -> None:
        nodes.remove_node(extra, allow_graceful=False)
        removed.set()

    out = tmp_path / "out"
    over_ray(source, out, artifact, most=3, watcher=Striking(remove))
    assert removed.is_set()
    assert tree(out) == expected


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("installed")
def test_an_actor_killed_while_error_rows_are_done_again_loses_none(
    nodes: Any, artifact: Path, tmp_path: Path, half_done: HalfDone
) -> None:
    def kill() -> None:
        for pid in _actors():
            os.kill(pid, signal.SIGKILL)

    out = tmp_path / "out"
    listing = half_done(out, Job(str(artifact), "fake", threads=1, patience=HASTY)).source
    rules = Rules(retry_errors=True)
    outcome = over_ray(Path(listing), out, artifact, watcher=Striking(kill), rules=rules)
    assert (outcome.resumed, outcome.summary.rows) == (16, 24)
    assert outcome.summary.errors == {"empty_input": 1}


class Careless:
    """Stands for Ray: one shard of each round is committed and not told of, one is told of but not
    committed, one raises; the others are done as they should be."""

    def __init__(self, give_up: bool = False) -> None:
        self.rounds: list[list[int]] = []
        self.give_up = give_up

    def __call__(
        self, ray: Any, numbers: list[int], target: str, job: Job, care: Care, rules: Rules, _: Any
    ) -> Iterator[Mapping[str, Any]]:
        self.rounds.append(numbers)
        if self.give_up:
            return
        actor = cluster.ShardWorker(target, job, care, rules.retry_errors)
        for n, number in enumerate(numbers):
            if n == 1 and len(numbers) > 2:
                yield {"shard": number, "rows": 3, "errors": "{}"}
                continue
            lines = actor({"shard": np.array([number])})
            again = actor({"shard": np.array([number])})  # a task that Ray repeats
            assert lines["errors"] == again["errors"]
            if n == 2:
                continue
            if n == 4:
                return
            yield {name: values[0] for name, values in lines.items()}


@pytest.fixture
def careless(
    monkeypatch: pytest.MonkeyPatch, same_process: type[SamePool], job: Callable[..., Job]
) -> Careless:
    made = Careless()
    monkeypatch.setattr(ray_cluster, "ray", lambda: SimpleNamespace(remote=lambda **_: _Now))
    monkeypatch.setattr(ray_cluster, "connect", lambda ray, address: None)
    monkeypatch.setattr(cluster, "_answer", lambda ray, promised, actors: promised)
    monkeypatch.setattr(cluster, "distribute", made)
    monkeypatch.setattr(cluster, "Pool", same_process)
    return made


class _Now:
    """A remote function that runs here."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.remote = function


def test_whatever_ray_loses_or_repeats_the_manifest_decides(
    careless: Careless, source: Path, tmp_path: Path, job: Callable[..., Job]
) -> None:
    local, out = tmp_path / "local", tmp_path / "out"
    mine = job(threads=1)
    running.run(str(local), Search(str(source)), mine, shard_size=3)
    outcome = cluster.run(str(out), Search(str(source)), Actors(), mine, shard_size=3)
    assert careless.rounds[0] == list(range(8))
    assert careless.rounds[1] == [1, 5, 6, 7]
    assert outcome.summary.rows == 24
    assert tree(out) == tree(local)
    (out / "part-000004.parquet").unlink()
    careless.rounds.clear()
    assert cluster.run(str(out), Search(str(source)), Actors(), mine).resumed == 21
    assert careless.rounds == [[4]]
    assert tree(out) == tree(local)


def test_error_rows_are_done_again_in_actors(
    careless: Careless, source: Path, tmp_path: Path, job: Callable[..., Job]
) -> None:
    out = tmp_path / "out"
    mine = job(threads=1)
    listing = tmp_path / "list.txt"
    listing.write_text("in/00.png\nin/late.png\n")
    assert cluster.run(str(out), Search(str(listing)), Actors(), mine).summary.refused == 1
    write(source / "late.png")
    rules = Rules(retry_errors=True)
    outcome = cluster.run(str(out), Search(str(listing)), Actors(), mine, rules=rules)
    assert outcome.summary.refused == 0


@pytest.fixture
def half_done(source: Path, tmp_path: Path) -> HalfDone:
    """Makes eight shards in a folder, of which each has one error row; its search."""
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"in/{path.name}\n" for path in sorted(source.iterdir())))

    def make(out: Path, job: Job) -> Search:
        late = {n: source / f"{n:02}.png" for n in range(0, 21, 3)}
        for path in late.values():
            path.unlink(missing_ok=True)
        running.run(str(out), Search(str(listing)), job, shard_size=3)
        for n, path in late.items():
            write(path, 10 * n)
        return Search(str(listing))

    return make


AGAIN = Rules(retry_errors=True)


def test_error_rows_whose_round_is_lost_are_done_in_the_next_and_no_fine_row_is(
    careless: Careless,
    half_done: HalfDone,
    tmp_path: Path,
    job: Callable[..., Job],
    same_process: type[SamePool],
) -> None:
    local, out = tmp_path / "local", tmp_path / "out"
    mine = job(threads=1)
    running.run(str(local), half_done(local, mine), mine, rules=AGAIN)
    search = half_done(out, mine)
    same_process.instances.clear()
    outcome = cluster.run(str(out), search, Actors(), mine, rules=AGAIN)
    assert outcome.summary.errors == {"empty_input": 1}
    assert careless.rounds == [list(range(8)), [1, 5, 6, 7], [5]]
    assert tree(out) == tree(local)
    done = sorted(id for pool in same_process.instances for id in pool.done)
    # The last one stays refused, in a task that is repeated; the others were done once.
    assert done == [1, 4, 7, 10, 13, 16, 19, 24, 24]


def test_a_round_that_does_no_error_row_again_ends_the_run_and_keeps_what_is_there(
    careless: Careless,
    half_done: HalfDone,
    tmp_path: Path,
    job: Callable[..., Job],
) -> None:
    search = half_done(tmp_path / "out", job(threads=1))
    careless.give_up = True
    with pytest.raises(BatchError, match="brought no shard"):
        cluster.run(str(tmp_path / "out"), search, Actors(), job(threads=1), rules=AGAIN)
    careless.give_up = False
    again = cluster.run(str(tmp_path / "out"), search, Actors(), job(threads=1), rules=AGAIN)
    assert (again.resumed, again.summary.rows, again.summary.refused) == (16, 24, 1)


def test_only_error_rows_are_counted_when_they_are_done_again(
    careless: Careless,
    half_done: HalfDone,
    tmp_path: Path,
    job: Callable[..., Job],
) -> None:
    class Counting(Watcher):
        counts: ClassVar[list[int]] = []

        def counted(self, rows: int, errors: Counter[str]) -> None:
            self.counts.append(rows)

    search = half_done(tmp_path / "out", job(threads=1))
    cluster.run(
        str(tmp_path / "out"), search, Actors(), job(threads=1), rules=AGAIN, watcher=Counting()
    )
    assert Counting.counts[0] == 1


def test_rounds_that_bring_nothing_end_the_run(
    careless: Careless, source: Path, tmp_path: Path, job: Callable[..., Job]
) -> None:
    careless.give_up = True
    with pytest.raises(BatchError, match="brought no shard"):
        cluster.run(str(tmp_path / "out"), Search(str(source)), Actors(), job())
    with pytest.raises(BatchError, match="plan cannot be seen"):
        cluster.ShardWorker(str(tmp_path / "elsewhere"), job(), Care(), False)


def test_an_actor_without_a_run_keeps_the_rules_of_one(
    careless: Careless, source: Path, tmp_path: Path, job: Callable[..., Job]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "elsewhere.png").write_bytes((source / "00.png").read_bytes())
    (source / "00.png").unlink()
    (source / "00.png").symlink_to(tmp_path / "elsewhere.png")
    made = planning.plan(open_place(str(out)), Search(str(source)), shard_size=24)
    actor = cluster.ShardWorker(str(out), job(), Care(), False)
    line = actor({"shard": np.array([0])})
    assert json.loads(line["errors"][0]) == {"unreadable_file": 1, "empty_input": 1}
    (kept,) = models.recorded(actor.place)
    assert {row.fingerprint for row in converting.rows(actor.place, made)} == {kept}
    with pytest.raises(SettingsConflict, match="score_threshold"):
        cluster.ShardWorker(str(out), job(options=Options(score_threshold=0.7)), Care(), False)


def test_actors_are_checked() -> None:
    with pytest.raises(UsageError):
        Actors(least=3, most=2)
    with pytest.raises(UsageError):
        Actors(cpus=0)
    for gpus in (-1, 1.5, 0.00001, float("nan"), float("inf")):  # Ray would fail over them later
        with pytest.raises(UsageError, match="GPUs; give a whole number, or a part"):
            Actors(gpus=gpus)
    assert Actors(gpus=2).resources == {"num_cpus": 1, "num_gpus": 2}
    assert Actors(cpus=2, gpus=0.5).resources == {"num_cpus": 2, "num_gpus": 0.5}


def _actors() -> list[int]:
    """Process ids of the actors that hold shards."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and b"ShardWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    assert found, "no actor is there"
    return found
