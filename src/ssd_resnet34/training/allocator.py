"""How the C library deals with the memory that a step of training frees."""

import contextlib
import ctypes


def keep_memory() -> None:
    """Let glibc keep freed blocks: fresh pages for each large tensor cost a third of a step."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        allocator.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
