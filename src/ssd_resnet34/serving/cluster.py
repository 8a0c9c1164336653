"""The same application and workers as replicas on a Ray cluster (Ray Serve).

A replica is an actor that holds a pool and the application in front of it; Ray places, replaces and
scales replicas and spreads requests over them. What a request meets inside a replica is what it
meets in the one server: checks, the line with its 429, workers that may die.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import Any, Final

from starlette.types import ASGIApp

from .. import ray_cluster
from ..errors import MissingExtra, ServerError, UsageError
from . import server
from .app import make
from .limits import ServerLimits
from .line import Budget
from .metrics import Metrics
from .pool import Pool
from .server import Settings
from .tasks import Started, WorkerConfig

_LOG = logging.getLogger(__name__)

NAME: Final = "ssd-resnet34"
"""Of the application and of its one deployment."""

_MOST_ONGOING: Final = 1000
"""Requests that Ray hands to a replica at a time. High: the replica's own line says no, and it
answers health and metadata while its workers are busy."""

_MOST_WAITING: Final = 64
"""Requests that wait at Ray's proxy while no replica can take them; the next gets Ray's own 429."""

_WANTED_ONGOING: Final = 2.0
"""Requests of a replica, on average, above which Ray starts another: one runs, one is decoded."""

_HEALTH_SECONDS: Final = 2.0
"""Between two looks at each replica: how soon one that died is replaced."""

_TICK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Scale:
    """Replicas at least and at most, CPUs and GPUs of each, and the cluster.

    Attributes:
        address: ``auto``, ``local`` (Ray on this machine alone), or HOST:PORT.
        patience: seconds of load after which a replica more is started; ten times that of
            idleness, and one is ended.
        start: seconds for ``least`` replicas to become ready, and for one to say what it runs.

    Raises:
        UsageError: not 1 ≤ least ≤ most, or fewer than one CPU.
    """

    least: int = 1
    most: int = 1
    cpus: int = 1
    gpus: float = 0.0
    address: str = "local"
    patience: float = 30.0
    start: float = 600.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise UsageError(f"replicas: {self.least}:{self.most}; give 1 or more, least first")
        if self.cpus < 1 or self.gpus < 0:
            raise UsageError(f"replicas: {self.cpus} CPUs, {self.gpus} GPUs; give CPUs from 1")


class Replica:
    """What Ray makes in each actor: a pool in the actor's event loop, and the application."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it
        self, worker: WorkerConfig, workers: int, limits: ServerLimits, token: str | None
    ) -> None:
        self._limits, self._token = limits, token
        self._pool = Pool(worker, workers, limits)
        self._pool.start()
        while not self._pool.ready and not self._pool.failed.done():
            await asyncio.sleep(0.05)
        if self._pool.failed.done():
            await self._pool.stop()
            self._pool.failed.result()  # raises: Ray shows why
        self._pool.failed.add_done_callback(_end)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        budget = Budget(self._limits.max_queued_bytes)
        metrics = Metrics(self._pool, budget)
        return make(self._pool, self._limits, budget, metrics, self._token)

    def facts(self) -> Started:
        """What runs here."""
        assert self._pool.facts is not None
        return self._pool.facts

    async def drain(self) -> int:
        """Let in nobody else, wait for those inside; how many had to be left unanswered."""
        await self._pool.drain()
        return self._pool.abandon()

    async def __del__(self) -> None:
        """Ray calls this when it takes the replica away, after its requests."""
        if hasattr(self, "_pool"):
            await self._pool.stop()


def _end(failed: "asyncio.Future[None]") -> None:
    """Workers that end one after the other end the server; here, the replica: Ray starts another.

    An error for Ray's health check would do the same, later; meanwhile requests would come in.
    """
    _LOG.error("%s", failed.exception())
    os._exit(1)


def application(settings: Settings, scale: Scale) -> Any:
    """The Ray Serve application: for ``serve.run``, or to be put beside others.

    Raises:
        MissingExtra: Ray Serve is not installed.
    """
    serve, config = _ray_serve()
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        autoscaling_config=config.AutoscalingConfig(
            min_replicas=scale.least,
            max_replicas=scale.most,
            target_ongoing_requests=_WANTED_ONGOING,
            upscale_delay_s=scale.patience,
            downscale_delay_s=10 * scale.patience,
            look_back_period_s=scale.patience,
            metrics_interval_s=scale.patience / 3,
        ),
        max_ongoing_requests=_MOST_ONGOING,
        max_queued_requests=_MOST_WAITING,
        backpressure_config=config.BackpressureConfig(status_code=429, retry_after_s=1),
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        health_check_period_s=_HEALTH_SECONDS,
        max_constructor_retry_count=1,  # wrong weights stay wrong
        graceful_shutdown_wait_loop_s=_TICK,
        graceful_shutdown_timeout_s=settings.limits.drain_seconds,
    )
    return deployment.bind(settings.worker, settings.workers, settings.limits, settings.token)


def run(
    settings: Settings,
    scale: Scale,
    on_ready: Callable[[str, Started], None] = lambda address, facts: None,
) -> None:
    """Serve on the cluster until SIGTERM or SIGINT; accepted requests are answered first.

    Requests come in at the cluster's head. ``on_ready`` gets the address there and what runs, once,
    when ``scale.least`` replicas are ready.

    Raises:
        MissingExtra: Ray Serve is not installed.
        ClusterError: no cluster answers.
        UsageError: gRPC, or port 0.
        ServerError: the cluster serves something already, the port is taken, no replica could
            start, or requests were not answered when the time to drain was over.
    """
    if settings.grpc_port is not None:
        raise UsageError("gRPC is not served over Ray; leave --grpc-port out, or --ray")
    if settings.port == 0:
        raise UsageError("port: 0; over Ray, give a number")
    serve, config = _ray_serve()
    # A cluster that is started here takes this over. Five seconds, Ray's own, are too few for a
    # proxy on a busy machine: it is killed before it listens.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if scale.address == "local":  # before Ray is started, which takes a while
        server.listen(settings.host, settings.port).close()
    ray = ray_cluster.ray()
    ray_cluster.connect(ray, scale.address)
    try:
        if serve.status().proxies:
            raise ServerError(
                "this cluster runs Ray Serve already; put ssd_resnet34.serving.cluster.application "
                "beside what is there, or end that with `serve shutdown`"
            )
        with _signals() as stopped:
            try:
                _open(ray, serve, config, settings)
                _serve_until(stopped, serve, settings, scale, on_ready)
            finally:
                with contextlib.redirect_stdout(None):  # Ray is astonished by its own kill
                    serve.shutdown()
    finally:
        with contextlib.redirect_stdout(None):
            ray.shutdown()


def _open(ray: Any, serve: Any, config: Any, settings: Settings) -> None:
    """Start Ray Serve, and its proxy at the head."""
    limits = settings.limits
    options = config.HTTPOptions(
        host=settings.host,
        port=settings.port,
        request_timeout_s=limits.upload_seconds + limits.deadline,
        keep_alive_timeout_s=math.ceil(limits.idle_seconds),
    )
    try:
        serve.start(proxy_location="HeadOnly", http_options=options)
    except ray.exceptions.RayError as error:
        place = server.joined(settings.host, settings.port)
        raise ServerError(
            f"{place}: Ray's proxy cannot listen there, at the head of the cluster "
            f"({_last_line([str(error)])}); choose another --port, or, if the machine is busy, "
            "start the cluster with RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60"
        ) from error


def _serve_until(
    stopped: "Callable[[], bool]",
    serve: Any,
    settings: Settings,
    scale: Scale,
    on_ready: Callable[[str, Started], None],
) -> None:
    target = serve.RunTarget(application(settings, scale), name=NAME, route_prefix="/")
    serve.run_many(
        [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
    )
    if not _started(stopped, serve, scale.start):
        return
    handle = serve.get_app_handle(NAME)
    try:
        facts = handle.facts.remote().result(timeout_s=scale.start)
    except TimeoutError:
        raise ServerError(
            f"the replica that was ready says nothing within {scale.start:g} s; start it again"
        ) from None
    on_ready(f"http://{server.joined(settings.host, settings.port)}", facts)
    while not stopped():
        time.sleep(_TICK)
    _LOG.info("shutting down")
    # Not serve.delete alone: it would take the routes away at once, health among them.
    patience = settings.limits.drain_seconds + 5
    left = handle.broadcast("drain").results(timeout_s=patience, return_exceptions=True)
    serve.delete(NAME)
    lost = sum(number for number in left if isinstance(number, int))
    if lost:
        raise ServerError(
            f"requests that were not answered: {lost}; give them "
            f"{settings.limits.drain_seconds:g} s and no second signal"
        )


def _started(stopped: Callable[[], bool], serve: Any, seconds: float) -> bool:
    """Whether the application runs; False where it is to stop before that."""
    end = time.monotonic() + seconds
    while not stopped():
        found = serve.status().applications[NAME]
        if found.status == "RUNNING":
            return True
        reasons = [found.message, *(one.message for one in found.deployments.values())]
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise ServerError(f"no replica could start: {_last_line(reasons)}")
        if time.monotonic() > end:
            raise ServerError(
                f"not enough replicas were ready within {seconds:g} s; ask for fewer or smaller "
                f"ones, or add machines ({_last_line(reasons)})"
            )
        time.sleep(_TICK)
    return False


def _last_line(texts: list[str]) -> str:
    """Of what Ray says, the line with the reason: the last of a traceback."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "Ray's logs say more"


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT came; the second of them does not wait."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        _LOG.info("%s", signal.Signals(number).name)
        came.append(number)
        if len(came) > 1:
            raise ServerError("ended by a second signal; requests may have been left unanswered")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ray_serve() -> tuple[Any, Any]:
    """Ray Serve, and its configuration's classes."""
    try:
        return import_module("ray.serve"), import_module("ray.serve.config")
    except ImportError as error:
        raise MissingExtra(
            "a cluster needs Ray Serve: pip install 'ssd-resnet34[serve,ray]'"
        ) from error
