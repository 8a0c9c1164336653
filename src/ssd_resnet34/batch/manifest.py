"""The plan of a run: which inputs there are, in fixed shards; written once, then only read.

``_manifest/plan.json`` names parts, Parquet files of ``uri, size, etag`` sorted by URI; a row group
is a shard. Inputs have ids from 1 in this order. The name of a part holds its hash, so that no part
is ever overwritten by another; the plan, written last, is what makes them count.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, islice
from types import NoneType
from typing import Any, Final

from ..errors import ManifestError, UsageError
from .addresses import local_path, local_uri
from .parquet import arrow, parquet
from .place import Place
from .sorting import Input, Sorting
from .sources import Search

FOLDER: Final = "_manifest"
PLAN: Final = f"{FOLDER}/plan.json"
SCHEMA: Final = 1

FORMATS: Final = ("parquet", "jsonl", "coco")
"""Forms of the results. ``coco`` is Parquet rows, and one COCO document at the end."""

SHARD: Final = 512
"""Inputs a shard, at most, where no number is asked for: what a killed run does again is at most
the few shards that were open."""

_SMALLEST: Final = 16
_WORTH: Final = 32
"""Shards that a small job is cut into, so that a kill costs it little."""

REPEATS: Final = "repeated addresses left out"

_PART: Final = 65_536
"""Inputs a part, about: what planning and reading a shard hold in memory."""

_KEPT: Final = 4


@dataclass(frozen=True)
class Part:
    """One Parquet file of the manifest: its name, number of inputs, SHA-256 in hexadecimal."""

    name: str
    inputs: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """All about a manifest but its inputs.

    Attributes:
        source: as it was searched: an absolute path, or a URI.
        column: of a Parquet source.
        follow_links: links were, and are, followed out of the source.
        root: the local folder that no link may lead out of, None for others.
        format: one of FORMATS.
        shard_size: inputs a shard; the last one may hold fewer.
        count: inputs in all.
        parts: files of the manifest.
        notes: what was passed over: reason -> number.
    """

    source: str
    column: str | None
    follow_links: bool
    root: str | None
    format: str
    shard_size: int
    count: int
    parts: tuple[Part, ...]
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.shard_size)

    def length(self, shard: int) -> int:
        """Inputs of a shard, counted from 0."""
        return min(self.shard_size, self.count - shard * self.shard_size)

    def first_id(self, shard: int) -> int:
        """Id of its first input."""
        return shard * self.shard_size + 1

    @cached_property
    def digest(self) -> str:
        """Equal plans of equal inputs have the same; hexadecimal."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:16]

    def _json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    def to_json(self) -> bytes:
        """As it is written; ASCII."""
        return self._json().encode()


def shard_size_for(count: int) -> int:
    """Inputs a shard where none are asked for: 32 shards, of 16 to 512 inputs."""
    return min(SHARD, max(_SMALLEST, -(-count // _WORTH)))


def check(format: str, shard_size: int | None) -> None:
    """Refuse what no plan can have.

    Raises:
        UsageError: an unknown format, a shard size out of range.
    """
    if format not in FORMATS:
        raise UsageError(f"format: {format!r} is unknown; give one of {', '.join(FORMATS)}")
    if shard_size is not None and not 1 <= shard_size <= _PART:
        raise UsageError(f"shard size: {shard_size} is out of range; give 1..{_PART}")


def normalised(source: str) -> str:
    """A source's name in a plan: the same from every folder."""
    path = local_path(source)
    return source.rstrip("/") if path is None else local_uri(path)


def write(
    place: Place,
    search: Search,
    *,
    format: str = "parquet",
    shard_size: int | None = None,
    on_input: Callable[[], None] = lambda: None,
    before: Callable[[Plan], None] = lambda _: None,
) -> Plan:
    """Find all inputs of a source and write the manifest; the plan takes the place of an old one.

    Memory does not grow with the inputs (a store's largest single folder is held).

    Args:
        place: of the results, with its lock held.
        search: the source.
        format: of the results, one of FORMATS.
        shard_size: inputs a shard, 1..65536; None for what :func:`shard_size_for` their number is.
        on_input: told of every input.
        before: called with the plan before it counts.

    Raises:
        UsageError: no such source, or an argument out of range.
        OutputError: the place cannot be written.
    """
    check(format, shard_size)

    def told() -> Iterator[Input]:
        for one in search.inputs():
            on_input()
            yield one

    inputs = Sorting(told())
    remaining = iter(inputs)
    if shard_size is None:
        # No more need be counted, nor held: from here on it is the largest.
        counted = list(islice(remaining, _WORTH * SHARD))
        shard_size = shard_size_for(len(counted))
        remaining = chain(counted, remaining)
    a_part = _shards_of_a_part(shard_size) * shard_size
    parts: list[Part] = []
    while True:
        first = list(islice(remaining, shard_size))
        if not first:
            break
        more = islice(remaining, a_part - len(first))
        data, count = _encoded(first, more, shard_size)
        digest = hashlib.sha256(data).hexdigest()
        parts.append(Part(f"{len(parts):06d}-{digest[:12]}.parquet", count, digest))
        place.write(f"{FOLDER}/{parts[-1].name}", data)
    notes = Counter(search.notes)
    if inputs.repeats:
        notes[REPEATS] = inputs.repeats
    plan = Plan(
        source=normalised(search.source),
        column=search.column,
        follow_links=search.follow_links,
        root=search.root,
        format=format,
        shard_size=shard_size,
        count=sum(part.inputs for part in parts),
        parts=tuple(parts),
        notes=dict(notes),
    )
    before(plan)
    place.write(PLAN, plan.to_json())
    kept = {PLAN.rpartition("/")[2], *(part.name for part in parts)}
    for name in place.names(FOLDER):
        if name not in kept:  # of an older plan, or of a planning that was killed
            place.remove(f"{FOLDER}/{name}")
    return plan


def _encoded(first: list[Input], more: Iterator[Input], size: int) -> tuple[bytes, int]:
    """Parquet bytes, a row group for each ``size`` inputs; and their number."""
    pa, pq = arrow(), parquet()
    schema = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
    sink = io.BytesIO()
    count = 0
    group = first
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while group:
            columns = [list(column) for column in zip(*group, strict=True)]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema), row_group_size=size)
            count += len(group)
            group = list(islice(more, size))
    return sink.getvalue(), count


def load(place: Place) -> Plan | None:
    """The plan that is there, None where there is none.

    Raises:
        ManifestError: it is damaged, or of a newer version.
        OutputError: the place cannot be read.
    """
    try:
        data = place.read(PLAN)
    except FileNotFoundError:
        return None
    try:
        fields: Any = json.loads(data)
        schema = fields.pop("schema", None) if isinstance(fields, dict) else None
        if schema != SCHEMA:
            raise ManifestError(
                f"{place.name}/{PLAN}: schema {schema!r}, this version knows {SCHEMA}; upgrade "
                "ssd-resnet34, or plan again with --force"
            )
        _check_fields(fields, _FIELDS, "the plan")
        for n, part in enumerate(fields["parts"]):
            _check_fields(part, _PART_FIELDS, f"part {n}")
        plan = Plan(**{**fields, "parts": tuple(Part(**part) for part in fields["parts"])})
        check(plan.format, plan.shard_size)
        _check_parts(plan)
    except (ValueError, UsageError, RecursionError) as error:
        raise _damaged(place, PLAN, error) from error
    return plan


_TEXT: Final[tuple[str, tuple[type, ...]]] = "text", (str,)
_TEXT_OR_NULL: Final[tuple[str, tuple[type, ...]]] = "text or null", (str, NoneType)
_WHOLE: Final[tuple[str, tuple[type, ...]]] = "a whole number", (int,)

_FIELDS: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "source": _TEXT,
    "column": _TEXT_OR_NULL,
    "follow_links": ("true or false", (bool,)),
    "root": _TEXT_OR_NULL,
    "format": _TEXT,
    "shard_size": _WHOLE,
    "count": _WHOLE,
    "parts": ("a list", (list,)),
    "notes": ("a table", (dict,)),
}
_PART_FIELDS: Final = {"name": _TEXT, "inputs": _WHOLE, "sha256": _TEXT}


def _check_fields(found: Any, kinds: Mapping[str, tuple[str, tuple[type, ...]]], what: str) -> None:
    """Refuse a table that has not these fields, each of its kind (to Python a bool is an int)."""
    if not isinstance(found, dict) or set(found) != set(kinds):
        raise ValueError(f"{what} has not the fields {', '.join(kinds)}")
    for name, (words, types) in kinds.items():
        if type(found[name]) not in types:
            raise ValueError(f"{name} of {what} is not {words}")


def _check_parts(plan: Plan) -> None:
    """Refuse parts in which a shard would not be found."""
    a_part = _shards_of_a_part(plan.shard_size) * plan.shard_size
    if plan.count < 0 or len(plan.parts) != -(-plan.count // a_part):
        raise ValueError(
            f"{len(plan.parts)} parts do not hold {plan.count} inputs in shards of "
            f"{plan.shard_size}"
        )
    for n, part in enumerate(plan.parts):
        wanted = min(a_part, plan.count - n * a_part)
        if part.inputs != wanted:
            raise ValueError(f"part {n} has {part.inputs} inputs where {wanted} are planned")
        if "/" in part.name or "\0" in part.name:
            raise ValueError(f"part {n}: {part.name!r} is no name of a file")
    if not all(type(number) is int for number in plan.notes.values()):
        raise ValueError("notes are not all whole numbers")


def _shards_of_a_part(shard_size: int) -> int:
    return max(1, _PART // shard_size)


class Manifest:
    """The inputs of a plan, shard by shard; a few parts are kept in memory. Safe in threads."""

    def __init__(self, place: Place, plan: Plan) -> None:
        self.place, self.plan = place, plan
        self._open = lru_cache(_KEPT)(self._read)

    def shard(self, number: int) -> list[Input]:
        """The inputs of a shard, counted from 0, in order of their ids.

        Raises:
            ManifestError: the part is missing or damaged.
            OutputError: it cannot be read.
        """
        index, group = divmod(number, _shards_of_a_part(self.plan.shard_size))
        part = self.plan.parts[index]
        try:
            data, metadata = self._open(part)
            # A reader for each call: one reader is not for several threads, bytes are.
            reader = parquet().ParquetFile(arrow().BufferReader(data), metadata=metadata)
            table = reader.read_row_group(group)
            columns = [table.column(name).to_pylist() for name in Input._fields]
        except (OSError, KeyError, arrow().ArrowException) as error:
            raise _damaged(self.place, f"{FOLDER}/{part.name}", error) from error
        inputs = [Input(*fields) for fields in zip(*columns, strict=True)]
        if len(inputs) != self.plan.length(number):
            raise _damaged(self.place, f"{FOLDER}/{part.name}", "its rows do not add up")
        return inputs

    def _read(self, part: Part) -> tuple[bytes, Any]:
        name = f"{FOLDER}/{part.name}"
        try:
            data = self.place.read(name)
        except FileNotFoundError as error:
            raise _damaged(self.place, name, "missing") from error
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise _damaged(self.place, name, "not the bytes that were planned")
        metadata = parquet().read_metadata(io.BytesIO(data))
        planned = part.inputs, -(-part.inputs // self.plan.shard_size)
        if (metadata.num_rows, metadata.num_row_groups) != planned:  # by its hash the part is right
            raise _damaged(
                self.place,
                PLAN,
                f"{part.name} holds {metadata.num_rows} inputs in {metadata.num_row_groups} "
                f"shards, not {planned[0]} in {planned[1]}",
            )
        return data, metadata


def _damaged(place: Place, name: str, reason: object) -> ManifestError:
    return ManifestError(
        f"{place.name}/{name}: {reason}; put back the file as it was, or plan again with --force"
    )
