"""A run: plan, process what is not committed yet, reconcile, and only then say that it is done.

Running again is resuming: shards that are committed whole are skipped. Every input has exactly one
row at the end, or the run fails and says which shard differs.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from ..errors import ManifestError, TooManyErrors, UsageError
from ..runtime.pipeline import overlapped
from . import converting, finishing, models, shards
from .lock import Lock
from .manifest import Manifest, Plan
from .place import Place, open_place
from .planning import plan
from .pool import Care, Pool
from .rows import Row, Summary, Timing
from .shards import Fault
from .sources import Search
from .watching import Watcher
from .worker import Job, Ready, Task

ENOUGH: Final = 100
"""Inputs after which a run may be stopped for its share of errors."""

_OPEN: Final = 4
"""Shards that may be unfinished at a time: one slow input holds up one of them."""


@dataclass(frozen=True)
class Rules:
    """How a run deals with what it finds.

    Attributes:
        max_error_rate: share of refused inputs, 0..1, above which the run stops.
        force: go on with rows of another model or threshold, or plan again over another source.
        retry_errors: do the error rows of committed shards again.

    Raises:
        UsageError: a rate outside 0..1.
    """

    max_error_rate: float = 0.5
    force: bool = False
    retry_errors: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"max error rate: {self.max_error_rate}; give a share from 0 to 1")

    def check(self, done: int, refused: int, last: str | None) -> None:
        """Stop a run of which so many inputs were refused.

        Raises:
            TooManyErrors: more than ``max_error_rate`` allows.
        """
        if done >= ENOUGH and refused > self.max_error_rate * done:
            raise TooManyErrors(
                f"{refused} of {done} inputs were refused, more than {self.max_error_rate:.0%} "
                f"(the last: {last or 'fine'}); look at the input, or raise --max-error-rate"
            )


@dataclass(frozen=True)
class Outcome:
    """How a run ended: counts over all rows, committed by this run or earlier ones.

    Attributes:
        plan: of the run.
        summary: of all rows.
        resumed: inputs whose rows earlier runs had committed.
        lost: workers that were replaced.
    """

    plan: Plan
    summary: Summary
    resumed: int = 0
    lost: int = 0


def run(
    target: str,
    search: Search,
    job: Job = Job(),  # noqa: B008  # frozen
    care: Care = Care(),  # noqa: B008  # frozen
    rules: Rules = Rules(),  # frozen
    *,
    format: str | None = None,
    shard_size: int | None = None,
    watcher: Watcher = Watcher(),  # noqa: B008  # has no state
) -> Outcome:
    """Detect in every input of a source; every input has exactly one row at the end.

    Call it again after whatever ended it, and it goes on. Worker processes are spawned: a script
    that calls it needs ``if __name__ == "__main__":``.

    Args:
        target: a local folder or a store's URI for the results.
        search: the source. Once it is planned, the plan decides which inputs there are.
        job: the model and its options; its ``root`` is that of the plan.
        care: number of workers, and what each may take.
        rules: when to stop, and what to go on with.
        format: ``parquet``, ``jsonl`` or ``coco``; None for that of the plan, else Parquet.
        shard_size: inputs a shard; None for that of the plan, else by their number: a 32nd of
            it, from 16 to 512.
        watcher: told how it goes.

    Raises:
        UsageError: no such source, or an argument out of range.
        ManifestError: a plan of another source is there, or one that is damaged.
        SettingsConflict: rows of another model or threshold are there, without ``rules.force``.
        TooManyErrors: more inputs were refused than ``rules`` allow.
        Unreconciled: rows and manifest differ at the end.
        OutputLocked: another run is writing there.
        OutputError: the place cannot be read or written.
        SSDResNet34Error: the model cannot be loaded.
    """
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
        with Pool(replace(job, root=made.root), care) as pool:
            todo, resumed = begin(place, manifest, pool.ready, rules, watcher)
            with closing(process(manifest, pool, todo, rules, watcher)) as finished:
                for shard, rows, timings in finished:
                    lock.check()
                    shards.commit(place, made, shard, rows, timings)
                    watcher.committed(shard)
            lost = pool.lost
        lock.check()
        summary = finishing.reconcile(place, manifest)
        conclude(place, made, summary)
        return Outcome(made, summary, resumed, lost)


def begin(
    place: Place, manifest: Manifest, ready: Ready, rules: Rules, watcher: Watcher
) -> tuple[dict[int, Sequence[Row]], int]:
    """What a run has to do: number of each shard -> rows of it that are kept; and how many inputs
    need nothing.

    Raises:
        SettingsConflict: rows of another model or threshold are there, without ``rules.force``.
        ManifestError: a file is there that is of no shard.
        OutputError: the place cannot be read or written.
    """
    models.check(place, ready, rules.force)
    todo, resumed = _remaining(place, manifest, ready, rules, watcher)
    watcher.begin(manifest.plan, ready, manifest.plan.count - resumed)
    if todo:
        finishing.undo(place)
        models.record(place, ready)
    return todo, resumed


def conclude(place: Place, plan: Plan, summary: Summary) -> None:
    """Write what comes last, once rows and manifest were found to agree.

    Raises:
        OutputError: the place cannot be read or written.
    """
    if plan.format == "coco":
        converting.commit_coco(place, plan)
    finishing.mark(place, plan, summary)


@dataclass
class _OpenShard:
    rows: dict[int, Row]
    wanted: int
    timings: list[Timing] = field(default_factory=list)


def process(
    manifest: Manifest,
    pool: Pool,
    todo: Mapping[int, Sequence[Row]],
    rules: Rules = Rules(),  # frozen
    watcher: Watcher = Watcher(),  # noqa: B008  # has no state
) -> Generator[tuple[int, list[Row], list[Timing]]]:
    """Shards as they are complete: number, rows in order of their ids, timings of those done now.

    Args:
        manifest: of the plan.
        pool: ready.
        todo: number of each shard to do -> the rows of it that need not be done.
        rules: when to stop.
        watcher: told of every row.

    Raises:
        TooManyErrors: more inputs were refused than ``rules`` allow.
    """
    plan = manifest.plan
    unfinished: dict[int, _OpenShard] = {}

    def tasks() -> Iterator[Task]:
        for shard in sorted(todo):
            kept = {row.id: row for row in todo[shard]}
            unfinished[shard] = _OpenShard(kept, plan.length(shard))
            for id, one in enumerate(manifest.shard(shard), plan.first_id(shard)):
                if id not in kept:
                    yield Task(id, one)

    refused = 0
    for done, one in enumerate(pool.run(tasks(), ahead=_OPEN * plan.shard_size), 1):
        shard = (one.row.id - 1) // plan.shard_size
        current = unfinished[shard]
        current.rows[one.row.id] = one.row
        current.timings.append(one.timing)
        watcher.done(one)
        refused += one.row.error is not None
        rules.check(done, refused, one.row.message)
        if len(current.rows) == current.wanted:
            del unfinished[shard]
            yield shard, [current.rows[id] for id in sorted(current.rows)], current.timings


def _remaining(
    place: Place, manifest: Manifest, ready: Ready, rules: Rules, watcher: Watcher
) -> tuple[dict[int, Sequence[Row]], int]:
    """Shards to do, with the rows that they keep; and the number of inputs that need nothing."""
    plan = manifest.plan
    found, strange = shards.committed(place, plan)
    if strange:
        raise ManifestError(
            f"{place.name}: {strange[0]} is of no shard of the manifest; remove it and run again"
        )
    todo: dict[int, Sequence[Row]] = dict.fromkeys(range(plan.shards), ())
    resumed = 0
    checks = overlapped(partial(shards.check, place, manifest), found, place.readers)
    for shard, summary in zip(found, checks, strict=True):
        if isinstance(summary, Fault):
            watcher.note(f"{shards.name_of(plan, shard)} is done again: {summary.reason}")
            continue
        others = set(summary.fingerprints) - {ready.fingerprint}
        if others and not rules.force:
            raise models.conflict(place, others.pop(), ready)
        if rules.retry_errors and summary.errors:
            rows = shards.read(place, manifest, shard)
            todo[shard] = [] if isinstance(rows, Fault) else [row for row in rows if not row.error]
            resumed += len(todo[shard])
        else:
            resumed += summary.rows
            del todo[shard]
    return todo, resumed
