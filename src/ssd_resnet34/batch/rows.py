"""One row for every input: what was found, or why nothing could be."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final

from ..errors import UsageError
from ..vision.detections import Detections

OK: Final = "ok"
ERROR: Final = "error"

WORKER_CRASHED: Final = "worker_crashed"
"""Reading this input ended its worker process twice."""
TIMED_OUT: Final = "timed_out"
"""It was not done within the time for one image, twice."""
OUT_OF_MEMORY: Final = "out_of_memory"
"""It needed more memory than a worker may have, twice."""
INTERNAL_ERROR: Final = "internal_error"
"""A defect of this package or of an engine; the message has the exception."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What became of one input.

    Attributes:
        id: its number in the manifest, from 1.
        uri: its address, as in the manifest.
        size: encoded bytes as read; of the plan where it could not be read; None if neither knows.
        hash: SHA-256 of these bytes, hexadecimal; None where they were not read.
        fingerprint: of model, engine, thresholds and limits: see ``worker.describe``.
        model: name of the model.
        found: detections; None where the input was refused. Their image is ``uri``.
        error: None, or the code of a refusal.
        message: None, or what was wrong and what to do.
    """

    id: int
    uri: str
    size: int | None
    hash: str | None
    fingerprint: str
    model: str
    found: Detections | None = None
    error: str | None = None
    message: str | None = None

    @property
    def status(self) -> str:
        """``ok`` or ``error``."""
        return OK if self.error is None else ERROR

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the row, and the common JSON of detections (None, [] in an error row)."""
        found: Mapping[str, Any] = {
            "image": self.uri,
            "width": None,
            "height": None,
            "model": self.model,
            "detections": [],
        }
        return {
            "id": self.id,
            "uri": self.uri,
            "size": self.size,
            "hash": self.hash,
            "status": self.status,
            "error": self.error,
            "message": self.message,
            "fingerprint": self.fingerprint,
            **(found if self.found is None else self.found.to_dict()),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Row":
        """The row back from :meth:`to_dict`.

        Raises:
            UsageError: a field is missing or of the wrong kind.
        """
        try:
            plain = {name: data[name] for name in _KINDS}
            for name, value in plain.items():
                if type(value) not in _KINDS[name]:
                    raise TypeError(f"{name} is {value!r}")
            if data["status"] != (OK if plain["error"] is None else ERROR):
                raise TypeError("status and error contradict each other")
            found = Detections.from_dict(data) if data["status"] == OK else None
            return cls(found=found, **plain)
        except (KeyError, TypeError) as error:
            raise UsageError(f"not a row of a batch run ({error}); run that shard again") from error

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of ASCII."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (int,),
    "uri": (str,),
    "size": (int, NoneType),
    "hash": (str, NoneType),
    "fingerprint": (str,),
    "model": (str,),
    "error": (str, NoneType),
    "message": (str, NoneType),
}
"""Fields of a row but its detections, and what each may be."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one input went, seconds; 0 where it did not get so far.

    Attributes:
        id: of the row.
        read: bytes from disk or store.
        decode: bytes to pixels.
        detect: preprocessing, waiting for the network, the network, postprocessing.
        attempts: 1, or 2 where a worker was lost over it.
        ended: Unix time, seconds.
    """

    id: int
    read: float = 0.0
    decode: float = 0.0
    detect: float = 0.0
    attempts: int = 1
    ended: float = 0.0


@dataclass
class Summary:
    """Counts over rows; add them up with ``+=``.

    Attributes:
        rows: all.
        errors: code -> rows.
        objects: label -> detections.
        bytes: encoded, of the rows that know their size.
        fingerprints: fingerprint -> rows.
    """

    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    fingerprints: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Summary":
        """The counts of these rows."""
        made = cls()
        for row in rows:
            made.rows += 1
            made.bytes += row.size or 0
            made.fingerprints[row.fingerprint] += 1
            if row.error is not None:
                made.errors[row.error] += 1
            if row.found is not None:
                made.objects.update(row.found.labels)
        return made

    def __iadd__(self, other: "Summary") -> "Summary":
        self.rows += other.rows
        self.bytes += other.bytes
        self.errors += other.errors
        self.objects += other.objects
        self.fingerprints += other.fingerprints
        return self

    @property
    def refused(self) -> int:
        """Error rows."""
        return sum(self.errors.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the commonest first (equal counts by name)."""
        return {
            "inputs": self.rows,
            "ok": self.rows - self.refused,
            "refused": self.refused,
            "errors": _ordered(self.errors),
            "detections": sum(self.objects.values()),
            "classes": _ordered(self.objects),
            "bytes": self.bytes,
            "fingerprints": _ordered(self.fingerprints),
        }


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
