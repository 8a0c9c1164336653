"""The end of a run: all rows read back and compared with the manifest, the report, the mark."""

import json
from functools import partial
from typing import Final

from ..errors import Unreconciled
from ..runtime.pipeline import overlapped
from . import shards
from .manifest import Manifest, Plan
from .place import Place
from .rows import Summary
from .shards import Fault

SUCCESS: Final = "_SUCCESS"
"""The file that says: every input has its row. Written last."""

REPORT: Final = "_report.json"


def mark(place: Place, plan: Plan, summary: Summary) -> None:
    """Write the report, then the mark that all is done. What it says does not depend on time."""
    report = {"manifest": plan.digest, **summary.to_dict()}
    place.write(REPORT, json.dumps(report, indent=1).encode() + b"\n")
    place.write(SUCCESS, b"")


def is_marked(place: Place) -> bool:
    """Whether a run came to its end here."""
    return SUCCESS in place.names()


def undo(place: Place) -> None:
    """Take the mark and the report away: there is work again."""
    for name in (SUCCESS, REPORT):
        place.remove(name)


def reconcile(place: Place, manifest: Manifest) -> Summary:
    """Read all rows back and compare them with the manifest: each input once, and no other.

    Raises:
        Unreconciled: they differ; says where first, and how often.
        OutputError: the place cannot be read.
    """
    summary, faults = examine(place, manifest)
    if faults:
        first = faults[0]
        raise Unreconciled(
            f"{place.name}/{shards.name_of(manifest.plan, first.shard)}: {first.reason} "
            f"({len(faults)} of {manifest.plan.shards} shards differ from the manifest); run again "
            "to mend them"
        )
    return summary


def examine(place: Place, manifest: Manifest) -> tuple[Summary, list[Fault]]:
    """Counts of all rows that are as the manifest says, and the shards that are not.

    Raises:
        Unreconciled: a file is there that is of no shard.
        OutputError: the place cannot be read.
    """
    plan = manifest.plan
    _, strange = shards.committed(place, plan)
    if strange:
        raise Unreconciled(
            f"{place.name}: {strange[0]} is of no shard of the manifest ({len(strange)} such); "
            "remove it and run again"
        )
    summary, faults = Summary(), []
    work = partial(shards.check, place, manifest)
    for found in overlapped(work, range(plan.shards), place.readers):
        if isinstance(found, Fault):
            faults.append(found)
        else:
            summary += found
    return summary, faults
