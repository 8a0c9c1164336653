"""Scenes that cost milliseconds instead of a second: noise, and boxes that say nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from ssd_resnet34.training import examples, parks
from ssd_resnet34.training.objects import DRAWERS
from ssd_resnet34.training.scenes import Scene


class FakeRenderer:
    """Stands for ``render_scene``; remembers the seeds that were asked for."""

    def __init__(self) -> None:
        self.seeds: list[tuple[int, ...]] = []

    def __call__(self, seed: tuple[int, ...], size: int = 1200, **_: Any) -> Scene:
        self.seeds.append(seed)
        rng = np.random.default_rng([len(seed), *seed])
        corner = rng.uniform(0, size - 340, (30, 2))
        extent = rng.uniform(24, 330, (30, 2))
        return Scene(
            image=np.frombuffer(rng.bytes(size * size * 3), np.uint8).reshape(size, size, 3),
            boxes=np.concatenate([corner, corner + extent], 1).astype(np.float32),
            labels=tuple(rng.choice(sorted(DRAWERS), 30).tolist()),
            visible=np.ones(30, np.float32),
        )


@contextmanager
def fake_scenes() -> Iterator[FakeRenderer]:
    """The trainer's pictures are fakes inside this context, also in its worker processes."""
    renderer = FakeRenderer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "render_scene", renderer)
        patch.setattr(examples, "park_scene", lambda *seed: renderer((parks.STREAM, *seed)))
        examples.crowd.cache_clear()
        yield renderer
    examples.crowd.cache_clear()
