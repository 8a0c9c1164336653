"""How one request wants its detections chosen, from a query string or OIP parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..contract import Contract
from ..detector import DEFAULT_SCORE_THRESHOLD
from ..errors import UsageError
from ..vision.labels import resolve
from .refusals import bad_request

NAMES: Final = ("score_threshold", "classes")

MAX_CLASSES: Final = 32 << 10
"""Characters of ``classes``: looking up each takes microseconds in which nobody else is served."""


@dataclass(frozen=True, slots=True)
class Selection:
    """``classes`` are model indices, None for all."""

    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    classes: tuple[int, ...] | None = None


def read(values: Mapping[str, str | int | float | bool], contract: Contract) -> Selection:
    """``score_threshold`` (0..1) and ``classes`` (labels with commas between); others are ignored.

    Raises:
        Refused: out of range, or a class that the model has not.
    """
    threshold = _threshold(values.get("score_threshold", DEFAULT_SCORE_THRESHOLD))
    classes = values.get("classes")
    if classes is None:
        return Selection(threshold)
    text = str(classes)
    if len(text) > MAX_CLASSES:
        raise bad_request(f"classes has {len(text)} characters; at most {MAX_CLASSES}")
    names = [name for name in dict.fromkeys(map(str.strip, text.split(","))) if name]
    if not names:
        raise bad_request("classes is empty; name at least one, like classes=car,bus")
    try:
        return Selection(threshold, resolve(names, contract))
    except UsageError as error:
        raise bad_request(str(error)) from None


def _threshold(value: str | int | float | bool) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise bad_request(f"score_threshold is {value!r:.40}; give a number from 0 to 1")
    return number
