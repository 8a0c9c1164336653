"""Tables of the server: limits, codes, metrics."""

import asyncio
from collections.abc import Iterator
from dataclasses import fields

from prometheus_client.parser import text_string_to_metric_families

from ssd_resnet34.serving import grpc_service
from ssd_resnet34.serving.grpc_messages import MOST_FIELDS
from ssd_resnet34.serving.inference import MAX_PARTS, MAX_TENSORS
from ssd_resnet34.serving.limits import MEBI, ServerLimits, amount
from ssd_resnet34.serving.line import Budget
from ssd_resnet34.serving.metrics import Metrics
from ssd_resnet34.serving.options import MAX_CLASSES
from ssd_resnet34.serving.pool import Pool
from ssd_resnet34.serving.refusals import CODES
from ssd_resnet34.serving.tasks import WorkerConfig
from ssd_resnet34.serving.tensors import MAX_ELEMENTS
from ssd_resnet34.vision.images import DEFAULT_LIMITS

from .markdown import table

_FIXED = (
    (MAX_TENSORS, "inputs", "of a request", "bad_request"),
    (MAX_ELEMENTS, "elements", "of a BYTES tensor", "bad_request"),
    (MAX_PARTS, "parts", "of JSON: lists, objects, fields, quotes", "bad_request"),
    (MAX_CLASSES, "characters", "of `classes`", "bad_request"),
    (MOST_FIELDS, "fields", "of a gRPC message", "bad_request"),
    (grpc_service.CALLS, "calls", "of gRPC at the same time, of those with a token", "overloaded"),
    (grpc_service.OPEN_CALLS, "calls", "of those that need none", "overloaded"),
    (grpc_service.WATCHES, "calls", "of `Watch`", "overloaded"),
    (grpc_service.CONNECTIONS, "connections", "to the gRPC port, then it takes no other", ""),
)
"""Limits that nobody can set: number, unit, of what, code."""


def server_limits() -> str:
    """What the server sets bounds to, and what is said over them."""
    return table(
        ("limit", "default", "of what", "refused as"),
        ((*row, f"`{code}`" if code else "") for *row, code in _limits()),
    )


def _limits() -> Iterator[tuple[str, str, str, str]]:
    images, server = DEFAULT_LIMITS, ServerLimits()
    size, pixels = _amount(images.max_bytes, "bytes"), _amount(images.max_pixels, "pixels")
    yield "`--max-bytes`", size, "of an encoded image", "too_many_bytes"
    yield "`--max-pixels`", pixels, "of an image, from its header", "too_many_pixels"
    yield "formats", ", ".join(images.formats), "first frame or page", "unsupported_image"
    for one in fields(ServerLimits)[1:]:
        facts = one.metadata
        name = "`--deadline`" if one.name == "deadline" else f"`{one.name}`"
        value = _amount(getattr(server, one.name), facts["unit"])
        yield name, value, facts["meaning"], facts["code"]
    for number, unit, meaning, code in _FIXED:
        yield "fixed", _amount(number, unit), meaning, code


def server_codes() -> str:
    """Why a request is refused, over HTTP and gRPC."""
    return table(
        ("code", "HTTP", "gRPC", "meaning"),
        ((f"`{code.name}`", code.status, code.grpc, code.meaning) for code in CODES.values()),
    )


def metrics() -> str:
    """What ``/metrics`` shows of the server itself."""

    async def text() -> str:
        config = WorkerConfig("embedded", "auto", "cpu", "auto", None, DEFAULT_LIMITS)
        shown = Metrics(Pool(config, 1, ServerLimits()), Budget(1))
        shown.request("detect", 200, 0.1)  # a metric has labels from its first value on
        shown.refused("overloaded")
        shown.stages({"network": 0.1})
        return shown.text().decode()

    found = []
    for family in text_string_to_metric_families(asyncio.run(text())):
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        found.append((f"`{name}`", family.type, shown, family.documentation))
    return table(("name", "kind", "labels", "meaning"), found)


def _amount(value: float, unit: str) -> str:
    if unit == "bytes" and value >= MEBI:
        return amount(int(value))
    return f"{value:,g} {unit}" if isinstance(value, float) else f"{value:,} {unit}"
