"""Joining a Ray cluster: one that is not there is told at once."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssd_resnet34 import ray_cluster
from ssd_resnet34.errors import ClusterError, UsageError


def test_a_cluster_that_does_not_answer_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_: Any) -> None:
        raise AssertionError("Ray would wait without end")

    ray = SimpleNamespace(is_initialized=lambda: False, init=never)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
        for address in (dead, f"ray://{dead}"):
            with pytest.raises(ClusterError, match="no Ray cluster at"):
                ray_cluster.connect(ray, address)
        monkeypatch.setenv("RAY_ADDRESS", dead)
        with pytest.raises(ClusterError, match="no Ray cluster at"):
            ray_cluster.connect(ray, "auto")
        monkeypatch.delenv("RAY_ADDRESS")
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        with pytest.raises(ClusterError, match="no Ray cluster is known here"):
            ray_cluster.connect(ray, "auto")
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(dead)
        with pytest.raises(ClusterError, match="no Ray cluster at"):
            ray_cluster.connect(ray, "auto")
    with pytest.raises(UsageError, match="HOST:PORT"):
        ray_cluster.connect(ray, "nonsense")
    for host in ("a..b", "x" * 300):
        with pytest.raises(ClusterError, match="no Ray cluster at"):
            ray_cluster.connect(ray, f"{host}:6379")
