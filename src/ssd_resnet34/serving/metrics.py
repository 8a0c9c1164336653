"""Counters and gauges in the Prometheus text format."""

from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from .line import Budget
from .pool import Pool

_PREFIX = "ssd_resnet34"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Everything ``/metrics`` shows of one server."""

    media = CONTENT_TYPE_LATEST

    def __init__(self, pool: Pool, budget: Budget) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(pool, budget))
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            f"{_PREFIX}_requests",
            "Requests by route and status; 499 and CANCELLED: the client was gone.",
            ("route", "status"),
            registry=self._registry,
        )
        self._refusals = Counter(
            f"{_PREFIX}_refusals", "Refused requests by code.", ("code",), registry=self._registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            f"{_PREFIX}_stage_seconds",
            "Stages of a task in its worker.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def request(self, route: str, status: int | str, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        self._refusals.labels(code).inc()

    def stages(self, seconds: Mapping[str, float]) -> None:
        for stage, value in seconds.items():
            self._stages.labels(stage).observe(value)

    def text(self) -> bytes:
        return generate_latest(_WithoutTimes(self._registry))


class _WithoutTimes(Collector):
    """What a registry has, but not ``…_created``, when each series began, as series of their own.

    The library's switch for them is of the whole process, which may have metrics of others.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric


class _State(Collector):
    """What the pool knows of itself, read when it is asked for."""

    def __init__(self, pool: Pool, budget: Budget) -> None:
        self._pool, self._budget = pool, budget

    def collect(self) -> Iterable[Metric]:
        pool = self._pool
        for name, value, meaning in (
            ("workers_ready", pool.ready_workers, "Workers that can take a task."),
            ("queue_waiting", pool.line.waiting, "Tasks that wait for a worker."),
            ("queue_inside", pool.line.inside, "Tasks that wait or run."),
            ("queue_arriving", pool.line.arriving, "Places kept for bodies on their way."),
            ("queue_capacity", pool.line.capacity, "Tasks that may be inside."),
            ("held_bytes", self._budget.used, "Bytes of all requests in the server."),
            ("service_seconds", pool.line.service or 0, "Mean time of a task in its worker."),
            ("quarantined_inputs", len(pool.quarantine), "Inputs that are not run again."),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, value=value)
        for name, count, meaning in (
            ("worker_restarts", pool.restarts.count, "Workers that ended and were started again."),
            ("dropped_tasks", pool.dropped, "Tasks that left the queue without having run."),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name}", meaning, value=count)
