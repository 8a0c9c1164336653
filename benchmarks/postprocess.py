"""Postprocess against the vendor's Rust decoder (``furiosa-native-postprocess``), one process.

    python -m benchmarks.postprocess            ratios > 1: ours is faster

Both get the golden heads in memory, float32, one image; ours also checks them and builds
``Detections``. Runs are interleaved in pairs; the median of the pairs' ratios counts.
"""

import importlib
import importlib.util
import os
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.pairs import report
from ssd_resnet34.pairs import Comparison, compare
from ssd_resnet34.vision.postprocess import postprocess

CASES = ("typical", "crowded", "empty")
SHARED = Path(os.environ.get("SSD_RESNET34_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def golden() -> ModuleType:
    """``golden/generate.py`` of the reference data."""
    path = SHARED / "golden" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"no reference data at {SHARED}; set SSD_RESNET34_SHARED to its folder")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(pairs: int) -> list[Comparison]:
    """One comparison a golden case."""
    vendor: Any = importlib.import_module("furiosa_native_postprocess")
    rust = vendor.ssd_resnet34.RustPostProcessor()
    results = []
    for case in CASES:
        heads = golden().case(case)
        single = [np.ascontiguousarray(head[0]) for head in heads]
        cls, loc = single[:6], single[6:]
        results.append(
            compare(
                f"postprocess, golden {case}, Rust / ours",
                partial(rust.eval, loc, cls),
                partial(postprocess, heads),
                pairs,
            )
        )
    return results


if __name__ == "__main__":
    report(measure, __doc__)
