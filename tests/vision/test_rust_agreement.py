"""Agreement with the vendor's Rust decoder (``furiosa-native-postprocess``) for the same heads.

It differs in three known ways (see ``float64_decoder.RUST``). Each scene is compared twice: ours
with the exact rules in float64, the Rust result with its own rules in float64. If both hold, every
difference between the two decoders is explained by the rules.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.priors import priors
from vision.float64_decoder import RUST, Found, Rules, decode

Heads = Sequence[NDArray[np.float32]]


@pytest.fixture(scope="module")
def rust() -> Any:
    package = pytest.importorskip(
        "furiosa_native_postprocess",
        reason="furiosa-native-postprocess is not installed (Linux, Python up to 3.11)",
        exc_type=ImportError,
    )
    return package.ssd_resnet34.RustPostProcessor()


def by_rust(rust: Any, heads: Heads) -> Found:
    """The heads go in without the batch axis; results come in an order of their own."""
    single = [np.ascontiguousarray(head[0]) for head in heads]
    found = sorted(rust.eval(single[6:], single[:6]), key=lambda one: -one.score)
    boxes = [(one.left, one.top, one.right, one.bottom) for one in found]
    return Found(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array([one.score for one in found]),
        np.array([one.class_id for one in found], np.int64),
    )


def by_us(heads: Heads) -> Found:
    (found,) = postprocess(heads, [(1, 1)])
    return Found(found.boxes.astype(np.float64), found.scores.astype(np.float64), found.indices)


def scene(golden: ModuleType, seed: int) -> Heads:
    """From an empty scene to a crowd in a few classes; every seed another one."""
    objects = (0, 3, 20, 40, 80, 160)[seed % 6]
    classes = (80, 12, 3)[seed % 3]
    heads: Heads = golden.heads(1000 + seed, objects=objects, classes=classes, radius=1 + seed % 2)
    return heads


def assert_same(got: Found, wanted: Found) -> None:
    """Row by row: these scenes have no equal scores."""
    assert np.array_equal(got.classes, wanted.classes)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=2e-6)
    limit = 1e-5 * np.maximum(1, np.abs(wanted.boxes))
    assert (np.abs(got.boxes - wanted.boxes) <= limit).all()


def compare(golden: ModuleType, rust: Any, seeds: range) -> int:
    """Number of detections that only one of the two decoders reports."""
    table = priors().astype(np.float64)
    differences = 0
    for seed in seeds:
        heads = scene(golden, seed)
        ours, theirs = by_us(heads), by_rust(rust, heads)
        assert_same(ours, decode(heads, table, Rules()))
        assert_same(theirs, decode(heads, table, RUST))
        keys = [
            {(int(c), *np.round(b, 4).tolist()) for c, b in zip(f.classes, f.boxes, strict=True)}
            for f in (ours, theirs)
        ]
        differences += len(keys[0] ^ keys[1])
    return differences


def test_twenty_random_scenes_agree(golden: ModuleType, rust: Any) -> None:
    compare(golden, rust, range(20))


@pytest.mark.proof
def test_two_hundred_random_scenes_agree(golden: ModuleType, rust: Any) -> None:
    print("detections of one decoder only:", compare(golden, rust, range(200)))


@pytest.mark.parametrize("name", ["typical", "crowded", "single", "empty", "diagonal", "top200"])
def test_the_golden_scenes_agree_without_any_difference(
    golden: ModuleType, rust: Any, name: str
) -> None:
    heads = golden.case(name)
    assert_same(by_rust(rust, heads), by_us(heads))


def test_huge_logits_overflow_there_and_not_here(golden: ModuleType, rust: Any) -> None:
    """Its third deviation."""
    heads = golden.case("huge_logits")
    assert len(by_rust(rust, heads).scores) == 0
    assert len(by_us(heads).scores) == 37
