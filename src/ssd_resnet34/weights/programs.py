"""A look at a pickle program before it runs: what would hang or crash the unpickler is refused.

The restricted unpickler (:mod:`.pickles`) decides which names a program may use; nothing in it can
stop a program of a few bytes that reserves gigabytes, or whose tuples hold one another so often
that hashing one never ends (or, nested deeply, overflows the C stack). This module counts instead
of running: each value on the stack is its weight, the number of objects that hashing it visits.
"""

import io
import pickle
import pickletools
from typing import Any, Final

MAX_PROGRAM: Final = 4 * 1024**2
"""Largest pickle program in front of the tensors, bytes; checkpoints have 0.1 to 0.5 million."""

MAX_WEIGHT: Final = 1000
"""Most objects in a tuple, those inside its tuples included; a tensor's arguments are 20."""

_IN_PLACE: Final = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
"""Operations that leave the object they change on the stack."""

_MARK: Final = 0
"""Weight of a mark; everything else weighs 1 or more."""


def check_program(stream: io.BytesIO) -> None:
    """Read the program at the stream's position, which is the same afterwards.

    Raises:
        pickle.UnpicklingError: too long, or it would take time or memory out of proportion.
        ValueError, IndexError: cut short or damaged.
    """
    start = stream.tell()
    stack: list[int] = []
    memo: dict[int, int] = {}
    for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
        if position is not None and position - start > MAX_PROGRAM:
            raise pickle.UnpicklingError(f"a program of more than {MAX_PROGRAM:,} bytes")
        if opcode.name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif "PUT" in opcode.name:
            # An index far beyond the number of operations makes the unpickler reserve gigabytes.
            if not isinstance(argument, int) or argument > count + 1:
                raise pickle.UnpicklingError("a memo index out of proportion")
            memo[argument] = stack[-1]
        elif "GET" in opcode.name:
            stack.append(memo[int(argument)])  # type: ignore[arg-type]  # a GET has an index
        elif opcode.name == "DUP":
            stack.append(stack[-1])
        else:
            _step(opcode, stack)
    stream.seek(start)


def _step(opcode: Any, stack: list[int]) -> None:
    """Take what the operation takes from the stack and put back its results."""
    before, after = opcode.stack_before, opcode.stack_after
    taken: list[int] = []
    if pickletools.markobject in before:
        while stack[-1] != _MARK:
            taken.append(stack.pop())
        stack.pop()
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    if opcode.name in _IN_PLACE:
        stack.append(taken[-1])
        return
    weight = 1 if opcode.name in ("LIST", "DICT") else 1 + sum(taken)  # those have no hash
    if after and weight > MAX_WEIGHT:
        raise pickle.UnpicklingError(f"a tuple of more than {MAX_WEIGHT:,} objects")
    stack += [_MARK if kind is pickletools.markobject else weight for kind in after]
