"""Archives of arrays (numpy's npz) that may be damaged or of somebody else."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_DAMAGED: Final = (
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,  # numpy parses the head of an array as Python
    TypeError,
    UserWarning,  # that the head is of Python 2, where warnings are errors
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The archive, whose arrays are read when they are asked for; no pickles.

    What a small file unpacks to is bounded by the caller, who knows how much is right. Checksums
    are looked at first, so that what is read is what was written.

    Raises:
        ValueError: no archive of arrays, or damaged, also where an array is read.
        OSError: the file cannot be read.
    """
    import numpy as np

    try:
        with path.open("rb") as file:  # numpy leaves a file of its own open where it fails
            # numpy stops reading before zipfile would compare an array's checksum.
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"{damaged} is damaged")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays
    except _DAMAGED as error:
        raise ValueError(str(error)) from error
