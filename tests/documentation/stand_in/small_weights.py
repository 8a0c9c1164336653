"""In the place of every weights record a small network, in this process and in those it starts.

For documentation: its commands are run as they stand, and the network is not their subject.
"""

import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

ARTIFACT = "DOCUMENTATION_ARTIFACT"
"""Variable: the network's fp32 artifact; beside it lie its ranges, ``ranges.yaml``."""


def install() -> None:
    """Put it there as soon as the weights are imported; nothing is imported for it."""
    if "ssd_resnet34.weights" in sys.modules:
        replace(setattr)
    else:
        sys.meta_path.insert(0, _AtImport())


def replace(put: Callable[[Any, str, Any], None]) -> None:
    """Replace what gives the records' bytes; ``put`` is ``setattr``, or monkeypatch's."""
    from ssd_resnet34 import weights
    from ssd_resnet34.contract import COCO
    from ssd_resnet34.weights import embedded, ranges

    file = Path(os.environ[ARTIFACT])
    real = weights.load

    def load(source: Any, *rest: Any, **options: Any) -> bytes:
        if isinstance(source, str) and source in weights.RECORDS:
            return file.read_bytes()
        return real(source, *rest, **options)

    put(weights, "load", load)
    put(embedded, "contract", lambda: COCO)
    put(embedded, "ranges", lambda: ranges.read(file.with_name("ranges.yaml")))


class _AtImport(MetaPathFinder):
    """Waits for ``ssd_resnet34.weights``, then replaces."""

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "ssd_resnet34.weights":
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            replace(setattr)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
