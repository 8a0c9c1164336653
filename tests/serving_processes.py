"""Worker processes without a process: one scripted, one with a real worker in a thread."""

import asyncio
import queue
import threading
from typing import Any

from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34.contract import COCO
from ssd_resnet34.detector import load
from ssd_resnet34.serving.process import OnEnd, OnReport
from ssd_resnet34.serving.tasks import Cancel, Done, Order, Report, Started, WorkerConfig
from ssd_resnet34.serving.worker import Worker
from ssd_resnet34.vision.images import Limits

CONFIG = WorkerConfig("fake.onnx", "fake", "cpu", "fp32", 1, Limits())
STARTED = Started(COCO, "fake.onnx", "fake", "fp32", "cpu", 1, 1, 2, 0.01, "summary", None)


class Scripted:
    """Every process that a pool starts is appended to ``all``; the test plays the worker."""

    all: "list[Scripted]"

    def __init__(self, config: WorkerConfig, on_report: OnReport, on_end: OnEnd) -> None:
        self.report, self._on_end = on_report, on_end
        self.received: list[Order | Cancel | None] = []
        self.started = self.ended = self.killed = False
        self._loop = asyncio.get_running_loop()
        self.all.append(self)

    def start(self) -> None:
        self.started = True

    def send(self, message: Order | Cancel | None) -> None:
        self.received.append(message)

    def kill(self) -> None:
        self.killed = True
        self.die("SIGKILL")

    def stop(self) -> None:
        self.ended = True

    def die(self, how: str = "SIGSEGV") -> None:
        self.ended = True
        self._loop.call_soon(self._on_end, how)

    @property
    def orders(self) -> list[Order]:
        return [one for one in self.received if isinstance(one, Order)]

    def finish(self, order: Order, result: Any = b"{}", seconds: float = 0.01) -> None:
        self.report(Done(order.number, result, {"network": seconds}, 0.0))


def scripted() -> type[Scripted]:
    """A class of its own for each test."""
    return type("ScriptedHere", (Scripted,), {"all": []})


class Inline:
    """The real worker, its detector on the fake engine, in a thread of this process."""

    engine = FakeEngine()

    def __init__(self, config: WorkerConfig, on_report: OnReport, on_end: OnEnd) -> None:
        self._config, self._on_report, self._on_end = config, on_report, on_end
        self._loop = asyncio.get_running_loop()
        self._orders: queue.Queue[Order | Cancel | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, message: Order | Cancel | None) -> None:
        self._orders.put(message)  # both directions of the pipe are these two methods

    def recv(self) -> Order | Cancel | None:
        return self._orders.get()

    def kill(self) -> None:
        raise AssertionError("an inline worker cannot be killed")

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        with load(fake_onnx(), engine=self.engine, limits=self._config.images) as detector:
            Worker(_Pipe(self), detector).serve()  # type: ignore[arg-type]

    def report(self, report: Report) -> None:
        self._loop.call_soon_threadsafe(self._on_report, report)


class _Pipe:
    """The worker's end."""

    def __init__(self, process: Inline) -> None:
        self.recv, self.send = process.recv, process.report
