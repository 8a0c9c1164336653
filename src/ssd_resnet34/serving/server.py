"""Start, run and stop: the socket, the workers, the application, and signals."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from ..errors import ServerError, UsageError
from .app import make
from .connection import connection_class
from .limits import ServerLimits
from .line import Budget
from .metrics import Metrics
from .pool import Pool
from .process import Spawn, WorkerProcess
from .tasks import Started, WorkerConfig
from .tokens import refuse_weak

_LOG = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 5
"""For connections to close after the last answer."""


@dataclass(frozen=True)
class Settings:
    """What to serve, where, and for whom.

    Raises:
        UsageError: a port or a number of workers out of range; or, without a token, a host that
            others can reach, unless ``open`` says that this is meant.
    """

    worker: WorkerConfig
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    workers: int = 1
    token: str | None = None
    open: bool = False
    grpc_port: int | None = None
    """Where gRPC is served, too; None for nowhere."""
    limits: ServerLimits = field(default_factory=ServerLimits)

    def __post_init__(self) -> None:
        for port in (self.port, self.grpc_port or 0):
            if not 0 <= port <= 65535:
                raise UsageError(f"port: {port} is out of range; give 0..65535")
        if not 1 <= self.workers <= 64:
            raise UsageError(f"workers: {self.workers} is out of range; give 1..64")
        if self.token is not None:
            refuse_weak(self.token)
        if self.token is None and not self.open and not _is_loopback(self.host):
            raise UsageError(
                f"host {self.host} can be reached from other machines: give a token "
                "(SSD_RESNET34_TOKEN, or --token-file), or say --open if everybody may use this "
                "server"
            )


def run(
    settings: Settings,
    on_ready: Callable[[str, Started], None] = lambda address, facts: None,
    spawn: Spawn = WorkerProcess,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> None:
    """Serve until SIGTERM or SIGINT; accepted requests are answered first.

    ``on_ready`` gets the address and what runs, once, when the first worker is ready; what it
    raises is logged. ``wrap`` may put something in front of the application, such as a route of its
    own.

    Raises:
        ServerError: the port is taken, workers end one after the other, the HTTP server ends by
            itself, or requests were still running when the time to drain was over.
        WeightsError, ArtifactError, SessionError, UsageError: a worker cannot start.
    """
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        asyncio.run(_serve(settings, listener, on_ready, spawn, wrap))


async def _serve(
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[str, Started], None],
    spawn: Spawn,
    wrap: Callable[[ASGIApp], ASGIApp],
) -> None:
    limits = settings.limits
    pool = Pool(settings.worker, settings.workers, limits, spawn)
    budget = Budget(limits.max_queued_bytes)
    metrics = Metrics(pool, budget)
    rpc = None
    if settings.grpc_port is not None:
        from . import grpc_service  # late: most servers are without it

        service = grpc_service.GrpcService(pool, limits, budget, metrics, settings.token)
        address = joined(settings.host, settings.grpc_port)
        rpc, port = await grpc_service.start(service, limits, address)
        _LOG.info("gRPC on port %d", port)
    server = _Server(
        uvicorn.Config(
            wrap(make(pool, limits, budget, metrics, settings.token)),
            http=connection_class(limits, metrics.refused),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # any number works
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve([listener]))
    stopped = asyncio.create_task(server.stopped.wait())
    pool.start()
    announced = asyncio.create_task(_announce(pool, _address(listener), on_ready))
    try:
        await asyncio.wait((serving, stopped, pool.failed), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done() and not pool.failed.done():
            await _drained(pool, server)
        lost = pool.abandon()
        if pool.failed.done():
            pool.failed.result()  # raises
        if serving.done():  # nobody has told it to
            raise _dead(serving) from serving.exception()
        if lost:
            raise ServerError(
                f"requests that were not answered: {lost}; give them {limits.drain_seconds:g} s "
                "and no second signal"
            )
    finally:
        announced.cancel()
        stopped.cancel()
        server.should_exit = True
        # The workers end meanwhile: all of it takes tenths of a second, on a busy machine seconds.
        stopping = asyncio.create_task(pool.stop())
        if rpc is not None:
            await rpc.stop(_CLOSE_SECONDS)
        await asyncio.gather(serving, announced, stopped, return_exceptions=True)
        await stopping
        _LOG.info("stopped")
    if serving.exception() is not None:
        raise _dead(serving) from serving.exception()


def _dead(serving: "asyncio.Task[None]") -> ServerError:
    reason = serving.exception() or "without an error"
    return ServerError(f"the HTTP server ended by itself ({reason!r}); start it again")


async def _drained(pool: Pool, server: "_Server") -> None:
    """Let in nobody else and wait for accepted requests; a second signal ends the wait."""
    _LOG.info("shutting down; requests to finish: %d", pool.line.inside)
    drain = asyncio.create_task(pool.drain())
    forced = asyncio.create_task(server.forced.wait())
    await asyncio.wait((drain, forced), return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    drain.cancel()


async def _announce(pool: Pool, address: str, on_ready: Callable[[str, Started], None]) -> None:
    while pool.facts is None:
        await asyncio.sleep(0.02)
    try:
        on_ready(address, pool.facts)
    except Exception:  # such as a log that nobody reads any more
        _LOG.exception("ready, and that could not be told")


class _Server(uvicorn.Server):
    """uvicorn's server, but signals begin a drain: the socket stays open until that is over."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopped, self.forced = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        _LOG.info("%s", signal.Signals(sig).name)
        event = self.forced if self.stopped.is_set() else self.stopped
        self._loop.call_soon_threadsafe(event.set)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, before any worker is started.

    Raises:
        ServerError: the address is taken, not this machine's, or none at all.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ServerError(
            f"{host}:{port}: cannot listen there ({error.strerror or error}); choose another "
            "--port, or 0 for a free one"
        ) from error
    except UnicodeError as error:
        raise ServerError(
            f"{host}:{port}: cannot listen there, this is no name of a host; choose another --host"
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    return f"http://{joined(*listener.getsockname()[:2])}"


def joined(host: str, port: int) -> str:
    """As in an address: ``HOST:PORT``, ``[HOST]:PORT`` for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: it may be anything
        return False
