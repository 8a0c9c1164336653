"""Rows of a shard as the bytes of a file, and back: Parquet and JSON lines.

The same rows give the same bytes (with one version of pyarrow).
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from typing import Any, Final

import numpy as np

from ..errors import SSDResNet34Error
from ..vision.detections import Detections
from .parquet import arrow, parquet
from .rows import OK, Row, Summary, Timing


class FormError(Exception):
    """Bytes that are not the rows of a shard: cut short, damaged, of another form."""


@dataclass(frozen=True)
class Form:
    """How rows lie in a file.

    Attributes:
        extension: of its name.
        encode: rows, and facts for people that Parquet keeps in its metadata -> bytes.
        decode: bytes -> rows.
        check: bytes, the addresses that they must hold in order, the first id -> their counts,
            without making rows.

    The latter two raise :class:`FormError`.
    """

    extension: str
    encode: Callable[[Sequence[Row], Mapping[str, str]], bytes]
    decode: Callable[[bytes], list[Row]]
    check: Callable[[bytes, Sequence[str], int], Summary]


@cache
def _schema() -> Any:
    pa = arrow()
    detection = pa.struct(
        [
            ("box", pa.list_(pa.float32(), 4)),
            ("score", pa.float32()),
            ("index", pa.int32()),
            ("category_id", pa.int32()),
            ("label", pa.string()),
        ]
    )
    return pa.schema(
        [
            ("id", pa.int64()),
            ("uri", pa.string()),
            ("size", pa.int64()),
            ("hash", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("message", pa.string()),
            ("model", pa.string()),
            ("fingerprint", pa.string()),
            ("detections", pa.list_(detection)),
        ]
    )


def _to_parquet(rows: Sequence[Row], facts: Mapping[str, str]) -> bytes:
    pa = arrow()
    schema = _schema()
    arrays = []
    for one in schema:
        if one.name == "detections":
            arrays.append(_detections(rows, one.type))
        elif one.name in ("width", "height"):
            sides = [None if row.found is None else getattr(row.found, one.name) for row in rows]
            arrays.append(pa.array(sides, one.type))
        else:
            arrays.append(pa.array([getattr(row, one.name) for row in rows], one.type))
    return _written(pa.table(arrays, schema).replace_schema_metadata(dict(facts)))


def _written(table: Any) -> bytes:
    sink = io.BytesIO()
    # Page checksums: a resumed run finds a flipped bit, not only a short file.
    parquet().write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _detections(rows: Sequence[Row], kind: Any) -> Any:
    """A list for each row: its detections in order, none in an error row."""
    pa = arrow()
    found = [row.found for row in rows]
    lengths = [0 if one is None else len(one) for one in found]
    some = [one for one in found if one is not None]

    def joined(name: str, empty: Any) -> Any:
        return np.concatenate([empty, *(getattr(one, name) for one in some)])

    boxes = joined("boxes", np.zeros((0, 4), np.float32)).reshape(-1)
    columns = {
        "box": pa.FixedSizeListArray.from_arrays(pa.array(boxes, pa.float32()), 4),
        "score": pa.array(joined("scores", np.zeros(0, np.float32)), pa.float32()),
        "index": pa.array(joined("indices", np.zeros(0, np.int64)), pa.int32()),
        "category_id": pa.array(joined("category_ids", np.zeros(0, np.int64)), pa.int32()),
        "label": pa.array(list(chain.from_iterable(one.labels for one in some)), pa.string()),
    }
    fields_ = list(kind.value_type)
    arrays = [columns[one.name].cast(one.type) for one in fields_]
    structs = pa.StructArray.from_arrays(arrays, fields=fields_)
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
    return pa.ListArray.from_arrays(offsets, structs).cast(kind)


def _columns(data: bytes) -> dict[str, Any]:
    """The columns by name, each in one piece; every page's checksum is compared."""
    try:
        table = parquet().read_table(io.BytesIO(data), page_checksum_verification=True)
        columns = {one.name: table.column(one.name).combine_chunks() for one in _schema()}
    except (OSError, KeyError, arrow().ArrowException) as error:
        raise FormError(f"not readable as Parquet rows: {error}") from error
    for one in _schema():
        if columns[one.name].type != one.type:
            raise FormError(f"column {one.name} is {columns[one.name].type}, not {one.type}")
    return columns


def _from_parquet(data: bytes) -> list[Row]:
    columns = _columns(data)
    found = _unpacked(columns["detections"])
    plain = {name: col.to_pylist() for name, col in columns.items() if name != "detections"}
    plains = [dict(zip(plain, one, strict=True)) for one in zip(*plain.values(), strict=True)]
    try:
        return [_row(one, *found(n)) for n, one in enumerate(plains)]
    except SSDResNet34Error as error:
        raise FormError(f"not readable as Parquet rows: {error}") from error


OTHER_INPUTS: Final = "its inputs are not those of the manifest"


def _check_parquet(data: bytes, uris: Sequence[str], first: int) -> Summary:
    """Column by column: a hundred million rows are read back in minutes instead of hours."""
    pa = arrow()
    columns = _columns(data)
    planned = pa.array(range(first, first + len(uris)), pa.int64())
    if not columns["id"].equals(planned) or not columns["uri"].equals(pa.array(uris, pa.string())):
        raise FormError(OTHER_INPUTS)
    if not columns["error"].is_null().equals(pa.compute.equal(columns["status"], OK)):
        raise FormError("status and error of a row contradict each other")
    return Summary(
        rows=len(uris),
        errors=_counts(columns["error"].drop_null()),
        objects=_counts(columns["detections"].flatten().field("label")),
        bytes=pa.compute.sum(columns["size"]).as_py() or 0,
        fingerprints=_counts(columns["fingerprint"]),
    )


def _counts(column: Any) -> Counter[str]:
    return Counter({one["values"]: one["counts"] for one in column.value_counts().to_pylist()})


def _unpacked(lists: Any) -> Callable[[int], tuple[Any, ...]]:
    """``f(n)``: boxes, scores, indices, category_ids, labels of row n."""
    offsets = lists.offsets.to_numpy()
    structs = lists.values
    box, score, index, category, label = (
        structs.field(name) for name in ("box", "score", "index", "category_id", "label")
    )
    boxes = box.values.to_numpy().reshape(-1, 4)
    numbers = [score.to_numpy(), index.to_numpy(), category.to_numpy()]
    labels = label.to_pylist()

    def row(n: int) -> tuple[Any, ...]:
        part = slice(int(offsets[n]), int(offsets[n + 1]))
        return (boxes[part], *(values[part] for values in numbers), tuple(labels[part]))

    return row


def _row(
    plain: Mapping[str, Any], boxes: Any, scores: Any, indices: Any, category_ids: Any, labels: Any
) -> Row:
    names = ("id", "uri", "size", "hash", "fingerprint", "model", "error", "message")
    found = None
    if plain["status"] == OK:
        sides = plain["width"], plain["height"]
        context = (plain["uri"], *sides, plain["model"])
        found = Detections(boxes, scores, indices, category_ids, labels, *context)
    return Row(found=found, **{name: plain[name] for name in names})


def _to_lines(rows: Sequence[Row], facts: Mapping[str, str]) -> bytes:
    return "".join(row.to_json() + "\n" for row in rows).encode()


def _from_lines(data: bytes) -> list[Row]:
    if data and not data.endswith(b"\n"):
        raise FormError("its last line is cut short")
    try:
        return [Row.from_dict(json.loads(line)) for line in data.splitlines()]
    except (ValueError, RecursionError, SSDResNet34Error) as error:
        raise FormError(f"not readable as JSON rows: {error}") from error


def _check_lines(data: bytes, uris: Sequence[str], first: int) -> Summary:
    rows = _from_lines(data)
    if [(row.id, row.uri) for row in rows] != list(enumerate(uris, first)):
        raise FormError(OTHER_INPUTS)
    return Summary.of(rows)


PARQUET: Final = Form(".parquet", _to_parquet, _from_parquet, _check_parquet)
LINES: Final = Form(".jsonl", _to_lines, _from_lines, _check_lines)

FORMS: Final[Mapping[str, Form]] = {"parquet": PARQUET, "jsonl": LINES, "coco": PARQUET}
"""Format of a plan -> form of its shards."""


def timings_to_parquet(timings: Sequence[Timing]) -> bytes:
    """The sidecar of a shard: a row for each :class:`Timing`."""
    names = [one.name for one in fields(Timing)]
    columns = {name: [getattr(one, name) for one in timings] for name in names}
    return _written(arrow().table(columns, _timing_schema()))


@cache
def _timing_schema() -> Any:
    pa = arrow()
    whole = {"id": pa.int64(), "attempts": pa.int64()}
    return pa.schema([(one.name, whole.get(one.name, pa.float64())) for one in fields(Timing)])


def timings_from_parquet(data: bytes) -> list[Timing]:
    """The sidecar back.

    Raises:
        FormError: damaged.
    """
    try:
        table = parquet().read_table(io.BytesIO(data))
        if not table.schema.equals(_timing_schema()):
            raise FormError("other columns than those of timings")
        return [Timing(**one) for one in table.to_pylist()]
    except (OSError, arrow().ArrowException) as error:
        raise FormError(f"not readable as timings: {error}") from error
