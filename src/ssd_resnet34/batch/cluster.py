"""A run over a Ray cluster: the same plan, shards and commits, in actors on many machines.

Ray Data hands out numbers of shards and nothing else. An actor commits a shard by the same code as
a local run, with the same worker process inside it for what crashes or hangs; what comes back is a
line that says so. What Ray loses, repeats or gives up therefore decides nothing: a shard is done
when its file is there, and what is missing after a round is given out in the next. Where error rows
are done again, the file was there before: what stays refused counts once its line has come.
"""

import json
import logging
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, Final

from .. import ray_cluster
from ..errors import BatchError, UsageError
from ..runtime.pipeline import overlapped
from . import finishing, models, shards
from . import manifest as manifests
from .lock import Lock
from .manifest import Manifest
from .place import Place, open_place
from .planning import plan
from .pool import START, Care, Pool
from .running import Outcome, Rules, begin, conclude, process
from .shards import Fault
from .sources import Search
from .watching import Watcher
from .worker import Job, Ready, describe

BLOCKS: Final = 10_000
"""Tasks of a round, at most: more shards than that share tasks."""

RESTARTS: Final = 3
"""Of an actor whose machine is lost, before Ray gives a round up."""

TRIES: Final = 2
"""Of a task whose actor is lost."""


@dataclass(frozen=True)
class Actors:
    """The actors of a run.

    Attributes:
        address: of the cluster: ``auto``, ``local`` (one on this machine), ``host:port``.
        least, most: between which Ray scales their number.
        cpus: CPUs of each, which are its threads.
        gpus: GPUs of each: a whole number, or a part of one, at most four decimals.

    Raises:
        UsageError: out of range.
    """

    address: str = "auto"
    least: int = 1
    most: int = 1
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise UsageError(f"actors: {self.least} to {self.most}; give 1 <= least <= most")
        if self.cpus < 1:
            raise UsageError(f"actors: {self.cpus} CPUs; give a number from 1")
        # What Ray can share out; NaN and infinity are neither.
        part = 0 <= self.gpus < 1 and self.gpus == round(self.gpus, 4)
        if not part and not (self.gpus >= 1 and float(self.gpus).is_integer()):
            raise UsageError(
                f"actors: {self.gpus} GPUs; give a whole number, or a part of one like 0.25"
            )

    @property
    def resources(self) -> dict[str, Any]:
        """As Ray takes them."""
        return {"num_cpus": self.cpus, **({"num_gpus": self.gpus} if self.gpus else {})}


def run(
    target: str,
    search: Search,
    actors: Actors,
    job: Job = Job(),  # noqa: B008  # frozen
    care: Care = Care(),  # noqa: B008  # frozen
    rules: Rules = Rules(),  # noqa: B008  # frozen
    *,
    format: str | None = None,
    shard_size: int | None = None,
    watcher: Watcher = Watcher(),  # noqa: B008  # has no state
) -> Outcome:
    """As :func:`ssd_resnet34.batch.running.run`, by the actors of a Ray cluster.

    ``target``, ``search`` and the weights must name the same on every machine: stores, or folders
    that all of them share. ``care.workers`` is of no meaning: an actor has one worker process.

    Raises:
        MissingExtra: Ray is not installed.
        ClusterError: no cluster answers.
        BatchError: a whole round brought no shard.
        SSDResNet34Error: as for a local run.
    """
    ray = ray_cluster.ray()
    ray_cluster.connect(ray, actors.address)
    place = open_place(target, job.patience)
    with Lock(place, watcher.note) as lock:
        place.sweep()
        made = plan(
            place,
            search,
            format=format,
            shard_size=shard_size,
            force=rules.force,
            watcher=watcher,
        )
        manifest = Manifest(place, made)
        job = replace(job, threads=job.threads or actors.cpus)
        look = ray.remote(**actors.resources)(_describe)
        ready: Ready = _answer(ray, look.remote(job), actors)
        todo, resumed = begin(place, manifest, ready, rules, watcher)
        remaining = set(todo)
        there = remaining & set(shards.committed(place, made)[0]) if rules.retry_errors else set()
        retried = _untold(place, manifest, there, {})
        rows = refused = 0
        while True:
            given = len(remaining)
            told: dict[int, Counter[str]] = {}
            for done in distribute(ray, sorted(remaining), target, job, care, rules, actors):
                lock.check()
                errors = Counter(json.loads(done["errors"]))
                told[int(done["shard"])] = errors
                rows += int(done["rows"])
                refused += errors.total()
                watcher.counted(int(done["rows"]), errors)
                watcher.committed(int(done["shard"]))
                rules.check(rows, refused, ", ".join(errors))
            lock.check()
            # Whatever Ray told or left out: what is there is done, what is not is not.
            summary, faults = finishing.examine(place, manifest)
            retried = _untold(place, manifest, retried, told)
            remaining = {one.shard for one in faults} | retried
            if not remaining:
                break
            if len(remaining) >= given:
                raise BatchError(
                    f"{place.name}: a round over the cluster brought no shard; see Ray's logs"
                )
        conclude(place, made, summary)
        return Outcome(made, summary, resumed)


def _untold(
    place: Place, manifest: Manifest, numbers: Collection[int], told: Mapping[int, Counter[str]]
) -> set[int]:
    """Those of the shards that have error rows which no line told of: not done again yet."""
    ordered = sorted(numbers)
    found = overlapped(partial(shards.check, place, manifest), ordered, place.readers)
    return {
        number
        for number, one in zip(ordered, found, strict=True)
        if not isinstance(one, Fault) and one.errors and one.errors != told.get(number)
    }


def distribute(
    ray: Any,
    numbers: list[int],
    target: str,
    job: Job,
    care: Care,
    rules: Rules,
    actors: Actors,
) -> Iterator[Mapping[str, Any]]:
    """One round: a line (``shard``, ``rows``, ``errors`` as JSON) for each shard that Ray tells of.

    A failure of Ray's ends the round, not the run.

    Raises:
        BatchError, UsageError: of an actor, such as a plan that it cannot see.
    """
    if not numbers:
        return
    data = import_module("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else each round tells its plan
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that it has no bars
    with warnings.catch_warnings():
        # Both limits are to go in Ray 2.64, which has no other place for them yet; without them a
        # shard that loses its machine each time is repeated for ever.
        warnings.simplefilter("ignore", DeprecationWarning)
        made = data.from_items(
            [{"shard": number} for number in numbers],
            override_num_blocks=min(len(numbers), BLOCKS),
        ).map_batches(
            ShardWorker,
            fn_constructor_args=(target, job, replace(care, workers=1), rules.retry_errors),
            batch_size=1,
            compute=data.ActorPoolStrategy(min_size=actors.least, max_size=actors.most),
            max_restarts=RESTARTS,
            max_task_retries=TRIES,
            **actors.resources,
        )
    try:
        yield from made.iter_rows()
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, BatchError | UsageError):
            raise cause from error


class ShardWorker:
    """An actor (of Ray, or whatever calls it): a place, a plan, and a pool of one worker process.

    Args:
        target: of the results; a plan must be there.
        job: the model and its options; its ``root`` is that of the plan.
        care: of the worker process.
        retry_errors: do the error rows of committed shards again.

    Raises:
        BatchError: the plan cannot be seen from its machine.
        SettingsConflict: rows of another model or threshold are there.
        SSDResNet34Error: the model cannot be loaded.
    """

    def __init__(self, target: str, job: Job, care: Care, retry_errors: bool) -> None:
        self.place = open_place(target, job.patience)
        made = manifests.load(self.place)
        if made is None:
            raise BatchError(
                f"{target}: the plan cannot be seen from here; name a place that every machine has"
            )
        self.manifest = Manifest(self.place, made)
        self.retry_errors = retry_errors
        with ExitStack() as opened:
            self.pool = opened.enter_context(Pool(replace(job, root=made.root), care))
            self._settle()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """End the worker process."""
        self._opened.close()

    def _settle(self) -> None:
        """Refuse to mix models, record ours: a run over Ray did that before, Spark has no run."""
        ready = self.pool.ready
        models.check(self.place, ready, force=False)
        if ready.fingerprint not in models.recorded(self.place):
            models.record(self.place, ready)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Commit the shards of a batch: ``shard``, an array of their numbers; a line for each.

        Returns:
            ``shard``, ``rows`` (inputs done, those that were kept left out), ``errors`` (JSON:
            code -> number), a list of each.
        """
        lines: dict[str, list[Any]] = {"shard": [], "rows": [], "errors": []}
        for number in batch["shard"].tolist():
            rows, errors = self._commit(number)
            lines["shard"].append(number)
            lines["rows"].append(rows)
            lines["errors"].append(json.dumps(errors))
        return lines

    def _commit(self, shard: int) -> tuple[int, Counter[str]]:
        summary = shards.check(self.place, self.manifest, shard)
        kept = []
        if not isinstance(summary, Fault):
            if not self.retry_errors:  # a task that Ray repeats
                return summary.rows, summary.errors
            rows = shards.read(self.place, self.manifest, shard)
            kept = [] if isinstance(rows, Fault) else [row for row in rows if row.error is None]
        errors: Counter[str] = Counter()
        everything = Rules(max_error_rate=1.0)  # the driver sees all shards, and decides
        for number, rows, timings in process(self.manifest, self.pool, {shard: kept}, everything):
            shards.commit(self.place, self.manifest.plan, number, rows, timings)
            errors.update(row.error for row in rows if row.error is not None)
        return self.manifest.plan.length(shard) - len(kept), errors


def _describe(job: Job) -> Ready:
    with job.load() as running:
        return describe(running)


def _answer(ray: Any, promised: Any, actors: Actors) -> Any:
    """What a task returns; its own exception where it raised one."""
    try:
        return ray.get(promised, timeout=START)
    except ray.exceptions.GetTimeoutError as error:
        raise BatchError(
            f"no machine of the cluster had {actors.cpus} CPUs and {actors.gpus:g} GPUs free for "
            f"{START:g} s; ask for less, or add machines"
        ) from error
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from error
