"""The parts of ``benchmarks.gpu``: what is measured of one card, each part a function."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
from torch import nn

from ssd_resnet34 import Detector, SSDResNet34, artifact, session
from ssd_resnet34.benchmarking import device_rates, rates
from ssd_resnet34.benchmarking.device_rates import wait
from ssd_resnet34.cli.info import platform_facts
from ssd_resnet34.contract import Contract
from ssd_resnet34.detector import Options
from ssd_resnet34.evaluation.agreement import NOTHING, TOLERANCES, compare, head_difference
from ssd_resnet34.pairs import Percentiles, interleave, percentiles, ratio
from ssd_resnet34.runtime.device.network import DeviceNetwork, Plan
from ssd_resnet34.runtime.device.runner import KINDS
from ssd_resnet34.runtime.precision import Precision
from ssd_resnet34.runtime.session import EngineLike, Session
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.postprocess import rules

STREAMS: Final = 2

Step = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """What is measured, and on what.

    Attributes:
        model: an fp32 artifact. ``network``: the same as a torch module, new at each call.
        card: the device in torch's words. ``device``: in a session's; they differ in tests only.
        images: decoded pictures, and ``files``, encoded ones: all of them are used in turn.
        reference: the engine on the CPU whose fp32 road the card's is compared with.
        plan_batches: batches at which the parts of the plan are compared.
        profiled: batch of the profile and of the stream from files, of ``streamed`` images.
        repeats: calls that warm up, and that are timed at least.
        clock: seconds.
    """

    model: bytes
    network: Callable[[], nn.Module]
    card: str
    images: Sequence[Image]
    files: Sequence[bytes]
    precisions: Sequence[Precision] = ("bf16", "fp16", "fp32")
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    seconds: float = 2.0
    repeats: int = 3
    pairs: int = 15
    engine: EngineLike = "torch"
    device: str = "cuda"
    reference: str = "onnxruntime"
    plan_batches: Sequence[int] = (1, 16)
    profiled: int = 16
    streamed: int = 256
    rate_sizes: dict[str, int] = field(default_factory=dict)
    clock: Callable[[], float] = perf_counter

    @property
    def contract(self) -> Contract:
        """Of the model."""
        return artifact.contract_of(self.model)

    def batch(self, count: int) -> list[Image]:
        """So many images."""
        return list(islice(cycle(self.images), count))

    def open(self, precision: Precision, streams: int = STREAMS) -> Session:
        """A session on the card."""
        return session.create(
            self.model, self.engine, self.device, precision, threads=None, streams=streams
        )


def facts(setting: Setting) -> dict[str, Any]:
    """The machine, the card and the versions."""
    found: dict[str, Any] = {
        **platform_facts(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "card": setting.card,
        "sizes": sorted({(image.width, image.height) for image in setting.images}),
        "operations": rates.work(setting.model),
    }
    if setting.card.startswith("cuda"):
        card = torch.cuda.get_device_properties(setting.card)
        found |= {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "memory": card.total_memory,
            "multiprocessors": card.multi_processor_count,
        }
    return found


def card_rates(setting: Setting) -> dict[str, Any]:
    """The card's own rates: products of large matrices, and the network's main layer."""
    sizes = setting.rate_sizes
    layer = {name: sizes[name] for name in ("batch", "channels", "side") if name in sizes}
    products = device_rates.products(
        setting.card, setting.pairs, size=sizes.get("size", device_rates.MATRIX)
    )
    layers = device_rates.measure(setting.card, setting.pairs, **layer)  # type: ignore[arg-type]
    return {
        "products": [asdict(one) for one in products],
        "convolutions": [asdict(one) for one in layers],
    }


def agreement(setting: Setting, precision: Precision) -> dict[str, Any]:
    """The card's heads and boxes against the CPU's road in fp32: OpenCV, an engine, numpy."""
    model = SSDResNet34(setting.model, "fp32")
    total, heads = NOTHING, 0.0
    with (
        setting.open(precision) as there,
        session.create(setting.model, setting.reference, precision="fp32") as here,
    ):
        chosen = rules(Options.score_threshold, contract=there.contract)
        found = there.detect(list(setting.images), chosen)
        for image, one in zip(setting.images, found, strict=True):
            inputs = model.preprocess(image)
            wanted = here.run(inputs)
            heads = max(heads, head_difference(wanted, there.run(inputs)))
            (expected,) = model.postprocess(wanted, score_threshold=Options.score_threshold)
            total = total + compare(expected, one)
    return {
        "precision": precision,
        "heads": heads,
        **asdict(total),
        "share": total.share,
        "violations": TOLERANCES[precision].violations(heads, total),
    }


def road(setting: Setting, precision: Precision, batch: int) -> dict[str, Any]:
    """From decoded pixels to detections: call after call, and overlapping; and the network alone.

    ``alone`` is of one call at a time and says its latency; ``overlapping`` is what a stream gets.
    """
    _forget_peak(setting)
    with setting.open(precision) as running:
        chosen = rules(contract=running.contract)
        images = setting.batch(batch)

        def call() -> object:
            return running.detect(images, chosen)

        alone = timed(call, setting)
        with ThreadPoolExecutor(STREAMS) as pool:
            overlapping = timed(lambda: list(pool.map(lambda _: call(), range(STREAMS))), setting)
    network = timed(network_alone(setting, precision, batch, Plan()), setting)
    return {
        "precision": precision,
        "batch": batch,
        "latency": asdict(alone),
        "alone": batch / alone.p50,
        "overlapping": STREAMS * batch / overlapping.p50,
        "network": batch / network.p50,
        "memory": _peak(setting),
    }


def plans(setting: Setting, precision: Precision, batch: int) -> list[dict[str, Any]]:
    """What each part of :class:`Plan` is worth to the network alone, in interleaved pairs: seconds
    without it / with it, so above 1 it is worth having."""
    everything = network_alone(setting, precision, batch, Plan())
    found = []
    for name in ("fused", "autotuned", "captured"):
        without = network_alone(setting, precision, batch, replace(Plan(), **{name: False}))
        times = interleave(without, everything, setting.pairs, warm_ups=setting.repeats)
        found.append(
            {"precision": precision, "batch": batch, "plan": name, **asdict(ratio(times))}
            | {"seconds": median(mine for _, mine in times)}
        )
    return found


def stream(setting: Setting, precision: Precision) -> dict[str, Any]:
    """``Detector.stream`` from encoded files: what is left when the CPU decodes."""
    count = setting.streamed
    with session.create(
        setting.model, setting.engine, setting.device, precision, batch=setting.profiled
    ) as running:
        detector = Detector(SSDResNet34(setting.model, "fp32"), running)

        def run() -> None:
            for _ in detector.stream(islice(cycle(setting.files), count)):
                pass

        found = timed(run, setting)
        return {
            "precision": precision,
            "batch": running.batch,
            "threads": running.threads,
            "images_per_second": count / found.p50,
        }


def profile(setting: Setting, precision: Precision, rows: int = 20) -> list[dict[str, Any]]:
    """Where the card's time goes: its kernels, the longest together first."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_card = setting.card.startswith("cuda")
    if on_card:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with setting.open(precision) as running:
        chosen, images = rules(contract=running.contract), setting.batch(setting.profiled)
        for _ in range(setting.repeats):
            running.detect(images, chosen)
        with torch.profiler.profile(activities=activities) as recorded:
            for _ in range(setting.repeats):
                running.detect(images, chosen)
            wait(setting.card)
    # A card's kernels are also counted with the operations that launched them: once is enough.
    spent = [
        (event.self_device_time_total if on_card else event.self_cpu_time_total, event)
        for event in recorded.key_averages()
        if (event.device_type.name == "CUDA") == on_card
    ]
    total = sum(time for time, _ in spent) or 1
    spent.sort(key=lambda one: -one[0])
    return [
        {
            "name": event.key,
            "calls": event.count / setting.repeats,
            "ms": time / 1e3 / setting.repeats,
            "share": time / total,
        }
        for time, event in spent[:rows]
        if time
    ]


def network_alone(setting: Setting, precision: Precision, batch: int, plan: Plan) -> Step:
    """A pass over a batch that lies on the card, to its end."""
    card, kind = torch.device(setting.card), KINDS[precision]
    network = DeviceNetwork(setting.network(), setting.contract.num_classes, card, kind, plan)
    shape = (batch, 3, 1200, 1200)
    image = torch.randn(shape, device=card).to(kind, memory_format=torch.channels_last)

    def run() -> None:
        network(image)
        wait(setting.card)

    return run


def timed(run: Step, setting: Setting) -> Percentiles:
    """Seconds of a call, over so many seconds, after warming up."""
    for _ in range(setting.repeats):
        run()
    times: list[float] = []
    while len(times) < setting.repeats or sum(times) < setting.seconds:
        began = setting.clock()
        run()
        times.append(setting.clock() - began)
    return percentiles(times)


def _forget_peak(setting: Setting) -> None:
    if setting.card.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.card)


def _peak(setting: Setting) -> int | None:
    """Most bytes that tensors held at a time."""
    if not setting.card.startswith("cuda"):
        return None
    return torch.cuda.max_memory_allocated(setting.card)
