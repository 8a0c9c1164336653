"""How numbers are written for people."""


def figures(value: float) -> str:
    """A number in three figures, or whole; never with an exponent where it is large."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """``1 image``, ``5,000 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A duration that people can plan with."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
