"""The head of a safetensors file: what its own writer leaves to chance, in order."""

import json
from collections.abc import Mapping
from typing import Any, Final

METADATA: Final = "__metadata__"


def encoded(header: Mapping[str, Any]) -> bytes:
    """The bytes before a file's arrays: their length, and ``header`` as JSON.

    safetensors' own writer puts metadata in an order that changes from run to run; here it comes
    first and sorted, so that equal files have equal bytes.

    Args:
        header: metadata under :data:`METADATA`, and name -> dtype, shape, offsets of each array.
    """
    arrays = {name: facts for name, facts in header.items() if name != METADATA}
    ordered = {METADATA: dict(sorted(header[METADATA].items())), **arrays}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
