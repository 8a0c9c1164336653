"""What else does the same work: other runtimes, another decoder, and the plain way to write it.

A peer whose package is missing says how to install it. None is imported before its turn.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..compiler.export import Export, export
from ..contract import HEAD_NAMES, INPUT_NAME
from ..detector import DEFAULT_SCORE_THRESHOLD, Detector
from ..errors import MissingExtra, UnsupportedPrecision
from ..runtime import cpu
from ..vision.images import decode
from . import literal
from .runs import Contender, Entry, kept_busy, told

PUBLISHED: Final = "onnxruntime, published"
EAGER: Final = "torch, eager"
RUST: Final = "furiosa-native-postprocess"
LITERAL: Final = "literal"
OURS: Final = "ssd-resnet34"

_RUST_CLASSES: Final = 81

_MEND: Final = "leave the peers out"

Array = NDArray[np.float32]


def networks(
    source: Callable[[], bytes], num_classes: int, image: Array, threads: int | None
) -> list[Entry]:
    """Networks, one image a run.

    Args:
        source: gives the fp32 artifact.
        num_classes: background included.
        image: float32 [1, 3, 1200, 1200].
    """
    return [
        Entry(PUBLISHED, lambda: _published(source, image, threads)),
        Entry(
            EAGER,
            lambda: _eager(num_classes, image, threads),
            expected=find_spec("torch") is not None,
        ),
    ]


def decoders(detector: Detector, heads: Sequence[Array]) -> tuple[Contender, list[Entry]]:
    """Our postprocessing of these heads (one image), and other decoders of them."""
    ours = Contender(
        OURS,
        lambda: detector.model.postprocess(heads),
        reason="with its checks, as Detections; score > 0.05",
    )
    num_classes = detector.model.contract.num_classes
    return ours, [
        Entry(RUST, lambda: _rust(heads, num_classes)),
        Entry(LITERAL, lambda: _literal_decoder(heads, detector)),
    ]


def roads(
    detector: Detector, source: Callable[[], bytes], picture: bytes, threads: int | None
) -> tuple[Contender, list[Entry]]:
    """Our way from an encoded image to detections, and the plain one: literal preprocessing, ONNX
    Runtime in fp32, and a loop over the classes in numpy; both for scores above 0.3."""
    session = detector.session
    ours = Contender(
        OURS, lambda: detector(picture), session.engine, session.precision, session.reason
    )
    return ours, [Entry(LITERAL, lambda: _literal_road(detector, source, picture, threads))]


@contextmanager
def _published(
    source: Callable[[], bytes], image: Array, threads: int | None
) -> Iterator[Contender]:
    with told(PUBLISHED, _MEND):
        run = _onnxruntime(export(source(), Export("end-to-end", batch=1)), threads)
        reason = "the same weights as the published model runs: batch 1, NMS in the graph"
        yield Contender(
            PUBLISHED,
            lambda: run(None, {INPUT_NAME: image}),
            "onnxruntime",
            "fp32",
            reason,
            threads=kept_busy(threads),
        )


@contextmanager
def _eager(num_classes: int, image: Array, threads: int | None) -> Iterator[Contender]:
    torch = _package("torch", "ssd-resnet34[torch]")
    from ..network.module import SSDResNet34Module

    before = torch.get_num_threads()
    with told(EAGER, _MEND):
        network = SSDResNet34Module(num_classes).eval()
        batch = torch.from_numpy(image.copy())  # a read-only array would make torch warn

        def run() -> object:
            with torch.inference_mode():
                return network(batch)

        torch.set_num_threads(threads or cpu.available_threads())
        try:
            reason = "the plain PyTorch module; random weights take the same time"
            yield Contender(EAGER, run, "torch", "fp32", reason, threads=kept_busy(threads))
        finally:
            torch.set_num_threads(before)


@contextmanager
def _rust(heads: Sequence[Array], num_classes: int) -> Iterator[Contender]:
    package = _package(
        "furiosa_native_postprocess",
        "furiosa-native-postprocess",
        " (Linux on x86-64, Python up to 3.11)",
    )
    if num_classes != _RUST_CLASSES:
        raise UnsupportedPrecision(
            f"it decodes {_RUST_CLASSES} classes only, these weights have {num_classes}; "
            "use weights of COCO's classes"
        )
    with told(RUST, _MEND):
        decoder = package.ssd_resnet34.RustPostProcessor()
        single = [np.ascontiguousarray(head[0]) for head in heads]
        cls, loc = single[: len(single) // 2], single[len(single) // 2 :]
        yield Contender(RUST, lambda: decoder.eval(loc, cls), reason="the vendor's, in Rust")


@contextmanager
def _literal_decoder(heads: Sequence[Array], detector: Detector) -> Iterator[Contender]:
    contract = detector.model.contract
    with told(LITERAL, _MEND):
        yield Contender(
            LITERAL,
            lambda: literal.postprocess(heads, contract),
            reason="the recipe word by word, as one writes it first: a loop in numpy",
        )


@contextmanager
def _literal_road(
    detector: Detector, source: Callable[[], bytes], picture: bytes, threads: int | None
) -> Iterator[Contender]:
    contract = detector.model.contract
    with told(LITERAL, _MEND):
        network = _onnxruntime(source(), threads)

        def run() -> object:
            pixels = decode(picture, limits=detector.limits).pixels
            tensor = literal.preprocess(pixels, contract)
            heads = network(list(HEAD_NAMES), {INPUT_NAME: tensor})
            return literal.postprocess(heads, contract, DEFAULT_SCORE_THRESHOLD)

        reason = "the recipe word by word: OpenCV, ONNX Runtime in fp32, a loop in numpy"
        yield Contender(LITERAL, run, "onnxruntime", "fp32", reason)


def _onnxruntime(data: bytes, threads: int | None) -> Any:
    """``run`` of an inference session as a newcomer makes it, but for the threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpu.available_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run


def _package(name: str, requirement: str, where: str = "") -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(f"not installed: pip install '{requirement}'{where}") from error
