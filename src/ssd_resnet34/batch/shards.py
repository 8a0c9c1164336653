"""Shards in their place: committed whole, and found again only if they hold what was planned."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .forms import FORMS, OTHER_INPUTS, FormError, timings_from_parquet, timings_to_parquet
from .manifest import Manifest, Plan
from .place import Place
from .rows import Row, Summary, Timing

TIMINGS: Final = "_timings"

_NAME: Final = re.compile(r"part-(\d{6,})\.(?:parquet|jsonl)")


def name_of(plan: Plan, shard: int) -> str:
    """The file of a shard, counted from 0: a repeated commit writes the same one."""
    return f"part-{shard:06d}{FORMS[plan.format].extension}"


def timings_of(shard: int) -> str:
    """Its sidecar."""
    return f"{TIMINGS}/part-{shard:06d}.parquet"


def committed(place: Place, plan: Plan) -> tuple[list[int], list[str]]:
    """Shards of the plan that have a file, and names of files that are of no shard of it."""
    found, strange = [], []
    for name in place.names():
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        shard = int(match[1])
        if shard < plan.shards and name == name_of(plan, shard):
            found.append(shard)
        else:
            strange.append(name)
    return sorted(found), strange


@dataclass(frozen=True)
class Fault:
    """Why the file of a shard does not count."""

    shard: int
    reason: str


def check(place: Place, manifest: Manifest, shard: int) -> Summary | Fault:
    """Counts of a committed shard, if its rows are exactly those of the manifest, in order.

    Raises:
        ManifestError, OutputError: the manifest or the place cannot be read.
    """
    plan = manifest.plan
    try:
        data = place.read(name_of(plan, shard))
        uris = [one.uri for one in manifest.shard(shard)]
        return FORMS[plan.format].check(data, uris, plan.first_id(shard))
    except FileNotFoundError:
        return Fault(shard, "missing")
    except FormError as error:
        return Fault(shard, str(error))


def read(place: Place, manifest: Manifest, shard: int) -> list[Row] | Fault:
    """The rows of a committed shard, under the same condition.

    Raises:
        ManifestError, OutputError: the manifest or the place cannot be read.
    """
    plan = manifest.plan
    try:
        rows = FORMS[plan.format].decode(place.read(name_of(plan, shard)))
    except FileNotFoundError:
        return Fault(shard, "missing")
    except FormError as error:
        return Fault(shard, str(error))
    planned = [(id, one.uri) for id, one in enumerate(manifest.shard(shard), plan.first_id(shard))]
    return rows if [(row.id, row.uri) for row in rows] == planned else Fault(shard, OTHER_INPUTS)


def commit(
    place: Place, plan: Plan, shard: int, rows: Sequence[Row], timings: Iterable[Timing]
) -> None:
    """Write the sidecar, then the rows: a shard with rows is whole.

    Raises:
        OutputError: the place cannot be written; what was committed before stays.
    """
    ordered = sorted(timings, key=lambda one: one.id)
    place.write(timings_of(shard), timings_to_parquet(ordered))
    facts = {"ssd_resnet34": json.dumps({"shard": shard, "manifest": plan.digest})}
    place.write(name_of(plan, shard), FORMS[plan.format].encode(rows, facts))


def read_timings(place: Place, shard: int) -> list[Timing]:
    """The sidecar of a shard; none where it is missing or damaged."""
    try:
        return timings_from_parquet(place.read(timings_of(shard)))
    except (FileNotFoundError, FormError):
        return []


def remove(place: Place, names: Collection[str]) -> None:
    """Remove files of shards by name, and their sidecars."""
    for name in names:
        place.remove(name)
        place.remove(f"{TIMINGS}/{name.rpartition('.')[0]}.parquet")
