"""Logs of a run that may be killed: CSV files whose first column counts."""

from pathlib import Path

from .. import files


def forget_after(path: Path, last: int) -> None:
    """Drop the rows whose first column is over ``last``, which a killed run wrote after its last
    checkpoint and which come again, and one that is cut short.

    Raises:
        OutputError: a full disk; the old file stays.
    """
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = lines[:1] + [
        line for line in lines[1:] if line.endswith("\n") and int(line.split(",")[0]) <= last
    ]
    files.write(path, "".join(kept).encode())
