"""Engines that are found by name, as those of another distribution are."""

import importlib.metadata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fake_engine import FakeEngine


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``entry_points(engine, …)``: these engines are installed besides the built-in ones."""
    found = importlib.metadata.entry_points

    def use(*engines: FakeEngine) -> None:
        entries = [
            SimpleNamespace(name=one.name, value=one.name, load=lambda one=one: lambda: one)
            for one in engines
        ]

        def listed(**selection: Any) -> Any:
            group = selection.get("group")
            return entries if group == "ssd_resnet34.engines" else found(**selection)

        monkeypatch.setattr(importlib.metadata, "entry_points", listed)

    return use
