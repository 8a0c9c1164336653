"""Names of classes as people type them -> model indices."""

from collections.abc import Iterable
from operator import index as as_integer

from ..contract import Contract
from ..errors import UsageError


def resolve(classes: Iterable[str | int] | str | int, contract: Contract) -> tuple[int, ...]:
    """Model indices (1..number of categories) of ``classes``, in the given order, each once.

    Args:
        classes: labels or model indices (not COCO's ``category_id``), mixed as you like; one
            alone may stand without a list.
        contract: whose categories they are.

    Raises:
        UsageError: an unknown label (near matches are named) or an index out of range.
    """
    return tuple(dict.fromkeys(_resolve_one(name, contract) for name in listed(classes)))


def listed(classes: Iterable[str | int] | str | int) -> list[str | int]:
    """Classes as a list, also one that stands alone."""
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        return [classes]
    return list(classes)


def _resolve_one(name: str | int, contract: Contract) -> int:
    if isinstance(name, str):
        return _index_of_label(name, contract)
    count = len(contract.categories)
    try:
        if isinstance(name, bool):
            raise TypeError
        number = as_integer(name)
    except TypeError:
        raise UsageError(
            f"class {name!r} is neither a label nor an index; use a label such as "
            f"{contract.labels[0]!r} or an index in 1..{count}"
        ) from None
    if not 1 <= number <= count:
        raise UsageError(
            f"class index {number} is out of range; this model's classes are 1..{count} "
            "(model indices, not category ids)"
        )
    return number


def _index_of_label(label: str, contract: Contract) -> int:
    if label in contract.labels:
        return contract.labels.index(label) + 1
    from difflib import get_close_matches  # 14 ms, for a mistake alone

    known = {one.lower(): one for one in contract.labels}  # "rbc" for "RBC"
    near = get_close_matches(label.strip().lower(), known, n=3, cutoff=0.6)
    if near:
        mend = "did you mean " + " or ".join(repr(known[match]) for match in near) + "?"
    else:
        shown = ", ".join(contract.labels[:5])
        more = ", …" if len(contract.labels) > 5 else ""
        mend = f"this model knows {len(contract.labels)} labels: {shown}{more}"
    raise UsageError(f"class {label!r} is unknown; {mend}")
