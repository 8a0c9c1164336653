"""From a request's bytes to the workers' results: look first, then run, unless the client goes."""

import asyncio
import time
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request

from ..errors import TooManyBytes
from ..vision.header import read_header
from ..vision.images import Limits
from . import options
from .inference import InferRequest
from .limits import ServerLimits, amount
from .line import Place
from .metrics import Metrics
from .models import HEADS, Model
from .pool import Pool
from .tasks import THE_IMAGE, Done, Infer, RunHeads, Started, Task
from .tensors import OutputTensor, join


async def look(data: bytes, name: str, limits: Limits) -> None:
    """Check an image as far as its header shows, before it may enter the line.

    Raises:
        ImageError: refused; the same verdict as on every other road.
    """
    if len(data) > limits.max_bytes:
        most = amount(limits.max_bytes)
        raise TooManyBytes(
            f"{name}: more than {most}; save it smaller, or start the server with more --max-bytes"
        )
    # In a thread: a malicious header takes a tenth of a second.
    await asyncio.to_thread(read_header, data, name, limits.formats, limits.max_pixels)


async def tasks_of(
    asked: InferRequest, model: Model, facts: Started, limits: ServerLimits
) -> list[Task]:
    """One task for each image of an inference request, in order.

    Raises:
        Refused: not what the model takes. ImageError: an image is refused by its header.
    """
    wanted = model.wanted(asked)
    payloads = model.payloads(asked, limits.max_batch)
    if model.name == HEADS:
        return [RunHeads(tensor, wanted) for tensor in payloads]
    selection = options.read(asked.parameters, facts.contract)
    count = len(payloads)
    tasks: list[Task] = []
    for number, data in enumerate(payloads, 1):
        label = THE_IMAGE if count == 1 else f"image {number} of {count}"
        await look(data, label, limits.images)
        tasks.append(Infer(data, selection, wanted, label))
    return tasks


def outputs_of(done: Sequence[Done]) -> list[OutputTensor]:
    """The outputs of a request from those of its images."""
    results: list[tuple[OutputTensor, ...]] = [one.result for one in done]  # type: ignore[misc]
    return [join(parts) for parts in zip(*results, strict=True)]


async def run(
    request: Request,
    pool: Pool,
    metrics: Metrics,
    tasks: Sequence[Task],
    place: Place,
    began: float,
    timeout: float | None = None,
) -> list[Done]:
    """The results of one request's tasks; when its client goes away, they leave the line.

    ``place`` was kept for them; a request that runs a second time finds it gone. ``began`` is when
    the request had arrived (``time.perf_counter``): its deadline, and ``timeout``, count from then.

    Raises:
        ClientDisconnect: it went.
        Refused: see :meth:`Pool.run`.
    """
    spent = time.perf_counter() - began
    work = asyncio.ensure_future(pool.run(tasks, timeout, place, spent))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        done = work.result()
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
        del work, gone  # an error leads to this frame, and would hold itself by what it came from
    for one in done:
        metrics.stages(one.seconds)
    return done


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
