"""A worker process, from the server's side: how it ends."""

import asyncio
from pathlib import Path

import pytest

from fake_network import fake_onnx
from running_server import SECONDS, environment
from ssd_resnet34.serving import process
from ssd_resnet34.serving.process import WorkerProcess
from ssd_resnet34.serving.tasks import WorkerConfig
from ssd_resnet34.vision.images import Limits


def test_a_worker_that_still_loads_is_ended_without_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path, 600).items():  # the first run takes 600 s
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "_PATIENCE", 3600.0)
    weights = tmp_path / "fake.onnx"
    weights.write_bytes(fake_onnx())

    async def main() -> str:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        config = WorkerConfig(str(weights), "serving", "cpu", "fp32", 1, Limits())
        worker = WorkerProcess(config, lambda report: pytest.fail(str(report)), ended.set_result)
        worker.start()
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.to_thread(worker.stop)
                return await ended
        finally:
            worker.kill()

    assert asyncio.run(main()) == "SIGKILL"
