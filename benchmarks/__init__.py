"""Measurements behind the numbers of the docs; each module is a command of its own."""

import argparse
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

SAMPLE: Final = Path(__file__).resolve().parents[1] / "samples" / "scene.png"
"""The sample picture."""


def command_line(about: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows a module's docstring line by line."""
    return argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A package of the tests that is not here is one line with the mend, and no traceback."""
    if isinstance(error, ModuleNotFoundError):
        mend = "pip install -c constraints.txt '.[dev]'"
        print(f"error: {error.name} is not installed; {mend}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say
