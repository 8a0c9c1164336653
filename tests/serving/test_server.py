"""How a server ends, with a played HTTP server and workers: by itself, or when it is told to."""

import asyncio
import signal
from typing import Any

import pytest
import uvicorn

from serving_processes import CONFIG, STARTED, Scripted
from ssd_resnet34.errors import ServerError
from ssd_resnet34.serving.process import OnEnd, OnReport
from ssd_resnet34.serving.server import Settings, run
from ssd_resnet34.serving.tasks import Started, WorkerConfig

SETTINGS = Settings(CONFIG, port=0)


class Ready(Scripted):
    """A worker that is ready at once."""

    def __init__(self, config: WorkerConfig, on_report: OnReport, on_end: OnEnd) -> None:
        super().__init__(config, on_report, on_end)
        asyncio.get_running_loop().call_soon(on_report, STARTED)


def ready() -> type[Ready]:
    """A class of its own for each test."""
    return type("ReadyHere", (Ready,), {"all": []})


def stop_it(address: str, facts: Started) -> None:
    """As soon as it is ready."""
    signal.raise_signal(signal.SIGTERM)


async def broken(*given: Any, **named: Any) -> None:
    raise OSError("no buffers")


async def over(*given: Any, **named: Any) -> None:
    """uvicorn's own loop ends though nobody has told it to."""


@pytest.mark.parametrize(
    ("part", "how", "reason"),
    [
        ("startup", broken, "no buffers"),
        ("main_loop", broken, "no buffers"),
        ("main_loop", over, "without an error"),
    ],
)
def test_an_http_server_that_ends_by_itself_ends_all_of_it_with_the_reason(
    part: str, how: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Server, part, how)
    spawn = ready()
    with pytest.raises(ServerError, match=f"the HTTP server ended by itself .*{reason}"):
        run(SETTINGS, spawn=spawn)
    assert all(process.ended for process in spawn.all), "no process is left behind"


def test_an_http_server_that_fails_while_it_closes_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn.Server, "shutdown", broken)
    with pytest.raises(ServerError, match="no buffers"):
        run(SETTINGS, stop_it, spawn=ready())


def test_a_log_that_nobody_reads_does_not_end_the_server(caplog: pytest.LogCaptureFixture) -> None:
    def announce(address: str, facts: Started) -> None:
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGTERM)
        raise BrokenPipeError

    run(SETTINGS, announce, spawn=ready())
    assert "could not be told" in caplog.text
