"""Which plan a run follows: the one that is there, a new one, or none where they contradict."""

from ..errors import ManifestError
from . import finishing, shards
from . import manifest as manifests
from .manifest import Plan
from .place import Place
from .sources import Search
from .watching import Watcher


def plan(
    place: Place,
    search: Search,
    *,
    format: str | None = None,
    shard_size: int | None = None,
    force: bool = False,
    watcher: Watcher = Watcher(),  # noqa: B008  # has no state
) -> Plan:
    """The plan that is there, if it is of this source, else a new one. The lock must be held.

    Args:
        place: of the results.
        search: the source.
        format: of the results; None for that of the plan that is there, else Parquet.
        shard_size: inputs a shard; None for that of the plan that is there, else by their
            number: a 32nd of it, from 16 to 512.
        force: plan again where another plan is there.
        watcher: told of every input, or of the plan that is there.

    Raises:
        ManifestError: a plan of another source, format or shard size is there, or rows without
            one, or the plan is damaged; unless ``force``, which plans again. Rows that were made
            by another plan are then removed.
        UsageError: no such source.
        OutputError: the place cannot be read or written.
    """
    new_format = manifests.FORMATS[0] if format is None else format
    manifests.check(new_format, shard_size)
    try:
        known = manifests.load(place)
    except ManifestError:
        if not force:
            raise
        known = None
    wanted = {
        "source": manifests.normalised(search.source),
        "column": search.column,
        "follow_links": search.follow_links or None,
        "format": format,
        "shard_size": shard_size,
    }
    if known is not None:
        given = {name: value for name, value in wanted.items() if value is not None}
        other = {name: was for name in given if (was := getattr(known, name)) != given[name]}
        if not other:
            watcher.known(known, place.modified(manifests.PLAN))
            return known
        if not force:
            told = ", ".join(f"{name} {was!r}, not {wanted[name]!r}" for name, was in other.items())
            raise ManifestError(
                f"{place.name}: was planned with {told}; name another output, or --force to plan "
                "again and remove its rows"
            )
    strangers = [name for name in place.names() if name.startswith("part-")]
    if known is None and strangers and not force:
        raise ManifestError(
            f"{place.name}: has {strangers[0]} but no plan; name another output, or --force to "
            "remove such files"
        )

    def clear(made: Plan) -> None:
        if known is None or made.digest != known.digest:
            finishing.undo(place)
            shards.remove(place, strangers)

    return manifests.write(
        place,
        search,
        format=new_format,
        shard_size=shard_size,
        on_input=watcher.planning,
        before=clear,
    )
