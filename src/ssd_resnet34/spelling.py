"""A hint for whoever wrote a name with a slip."""

from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The beginning of a mend, ``did you mean 'auto'? ``; "" where no known name is near."""
    from difflib import get_close_matches  # 14 ms, for a mistake alone

    near = get_close_matches(given, list(known), 1)
    return f"did you mean {near[0]!r}? " if near else ""
