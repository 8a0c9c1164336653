"""Calibration: the histogram of every activation over a stream of images, in one pass.

One pass serves every method, and its statistics are a file: a killed pass goes on from it, and
many compilations share it. Memory does not grow with the number of images.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import artifact, files, npz
from ..contract import INPUT_NAME
from ..errors import CalibrationError, ImageError, UsageError
from ..runtime import cpu
from ..vision.images import DEFAULT_LIMITS, Image, Limits, decode
from ..vision.preprocess import preprocess
from .histogram import BINS, Histogram
from .quantization import activations
from .ranges import DEFAULT_PERCENTAGE, Method, find_range

SAVED_EVERY: Final = 20
"""Images between two writings of the statistics."""

MAX_BYTES: Final = 256 * 1024**2
"""Largest statistics that are read, bytes unpacked; this network's take 9 million, and 100 an
image."""

_FORM: Final = "ssd-resnet34 calibration statistics 1"

# What zipfile, json and our own reading raise of a damaged file.
_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


@dataclass
class Statistics:
    """What a pass has seen: a histogram a tensor, and which images (SHA-256 of their pixels)."""

    source: str
    """SHA-256 of the fp32 artifact, hexadecimal."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)

    def ranges(
        self,
        method: Method = "min-max",
        *,
        symmetric: bool = False,
        percentage: float = DEFAULT_PERCENTAGE,
    ) -> dict[str, tuple[float, float]]:
        """The range of every tensor by one method; see :func:`.ranges.find_range`.

        Raises:
            CalibrationError: no image was seen.
            UsageError: unknown method, or percentage out of range.
        """
        if not self.images:
            raise CalibrationError(
                "no calibration image was seen: none was given, or all were refused; give some "
                "that can be read, a few dozen are best"
            )
        return {
            name: find_range(histogram, method, symmetric=symmetric, percentage=percentage)
            for name, histogram in self.histograms.items()
        }

    @property
    def images_sha256(self) -> str:
        """Digest of the list of images: the SHA-256 of their own, a line each, in order."""
        return hashlib.sha256("".join(f"{one}\n" for one in self.images).encode()).hexdigest()

    def save(self, path: str | PathLike[str]) -> None:
        """Write an ``.npz`` file, whole or not at all.

        Raises:
            UsageError, OutputError: it cannot be written.
        """
        names = list(self.histograms)
        facts = [
            {key: value for key, value in asdict(histogram).items() if np.isscalar(value)}
            for histogram in self.histograms.values()
        ]
        head = {"form": _FORM, "source": self.source, "images": self.images, "bins": BINS}
        text = json.dumps(head | {"tensors": dict(zip(names, facts, strict=True))})
        counts = np.array([h.counts for h in self.histograms.values()], np.int64)
        shares = np.array([h.shares for h in self.histograms.values()], np.float64)
        packed = io.BytesIO()  # zipfile, cut off by a full disk, would write on when collected
        np.savez_compressed(packed, head=np.array(text), counts=counts, shares=shares)
        files.write(path, packed.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Statistics":
        """Read what :meth:`save` wrote.

        Raises:
            CalibrationError: not readable, or not such a file.
        """
        mend = "name another file, or remove it to calibrate anew"
        try:
            if Path(path).exists() and not Path(path).is_file():  # a pipe may never end
                raise ValueError("not a regular file")
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
                if size > MAX_BYTES:  # a small file may unpack to more than all memory
                    raise ValueError(f"{size:,} bytes unpacked, the limit is {MAX_BYTES:,}")
            with npz.reading(Path(path)) as stored:
                head = json.loads(str(stored["head"]))
                counts, shares = stored["counts"], stored["shares"]
            if head["form"] != _FORM or head["bins"] != BINS:
                raise ValueError("another form or version")
            wanted = (len(head["tensors"]), BINS)
            if head["images"] and (counts.shape != wanted or shares.shape != wanted):
                raise ValueError(f"histograms of shape {counts.shape}, not {wanted}")
            if counts.dtype != np.int64 or shares.dtype != np.float64:
                raise ValueError(f"histograms of {counts.dtype} and {shares.dtype}")
            histograms = {
                name: Histogram(
                    exponent=int(facts["exponent"]),
                    counts=count,
                    shares=share,
                    zeros=int(facts["zeros"]),
                    lowest=float(facts["lowest"]),
                    highest=float(facts["highest"]),
                )
                for (name, facts), count, share in zip(
                    head["tensors"].items(), counts, shares, strict=True
                )
            }
            return cls(str(head["source"]), histograms, [str(one) for one in head["images"]])
        except _UNREADABLE as error:
            raise CalibrationError(
                f"{path}: no calibration statistics ({error}); {mend}"
            ) from error


def calibrate(
    source: bytes,
    images: Iterable[Any],
    *,
    path: str | PathLike[str] | None = None,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_image: Callable[[ImageError | None], None] = lambda _: None,
) -> Statistics:
    """Run an fp32 artifact over images and count the values of every tensor that int8 rounds.

    Args:
        source: canonical fp32 ONNX.
        images: paths, bytes, PIL images or :class:`~ssd_resnet34.vision.images.Image`; each is
            decoded, seen and forgotten. An :class:`~ssd_resnet34.errors.ImageError` among them
            stands for an image that was refused before.
        path: where the statistics are kept, each 20 images and at the end. A file that is there
            already is gone on from: its images are decoded and compared, not run again.
        threads: of ONNX Runtime; default: what affinity and control groups allow.
        on_image: called after each image with None, or with why it was refused.

    Returns:
        The statistics, of no image if all were refused. At most 2.5 GB and 3 to 6 s an image on two
        cores, whatever their number.

    Raises:
        ArtifactError, UsageError: ``source`` is not an fp32 artifact.
        CalibrationError: the file at ``path`` is of another artifact or of other images, or the
            network made NaN of an image.
    """
    model = artifact.load(source)
    if artifact.precision_of(model) != "fp32":
        raise UsageError("the artifact is int8 already; calibrate the fp32 one it was made from")
    contract = artifact.contract_of(model)
    digest = hashlib.sha256(source).hexdigest()
    statistics = Statistics(digest)
    if path is not None and Path(path).exists():
        statistics = Statistics.load(path)
        if statistics.source != digest:
            raise CalibrationError(
                f"{path}: statistics of another network (its SHA-256 is {statistics.source[:12]}…, "
                f"not {digest[:12]}…); name another file"
            )
    known = list(statistics.images)
    watched: Observer | None = None  # an all-known list of images needs no session
    seen = 0
    for image in readable(images, on_image, limits):
        fingerprint = _fingerprint(image)
        if seen < len(known):
            if known[seen] != fingerprint:
                raise CalibrationError(
                    f"{path}: statistics of other images (number {seen + 1} differs); give the "
                    "same images in the same order, or name another file"
                )
        else:
            watched = watched or Observer(source, threads or cpu.available_threads())
            name = image.name or f"image {seen + 1}"
            watched.observe(preprocess(image, contract).tensor, statistics.histograms, name)
            statistics.images.append(fingerprint)
            if path is not None and len(statistics.images) % SAVED_EVERY == 0:
                statistics.save(path)
        seen += 1
    if seen < len(known):
        raise CalibrationError(
            f"{path}: statistics of {len(known)} images, {seen} were given; give the same ones and "
            "more, or name another file"
        )
    if path is not None and watched is not None:
        statistics.save(path)
    return statistics


def readable(
    images: Iterable[Any],
    on_image: Callable[[ImageError | None], None] = lambda _: None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Image]:
    """Those of ``images`` that can be decoded; arguments as for :func:`calibrate`.

    ``on_image`` is called with None when the caller asks for the next one.
    """
    for item in images:
        try:
            if isinstance(item, ImageError):
                raise item
            image = item if isinstance(item, Image) else decode(item, limits=limits)
        except ImageError as error:
            on_image(error)
            continue
        yield image
        on_image(None)


def _fingerprint(image: Image) -> str:
    """SHA-256 of the size and the pixels."""
    digest = hashlib.sha256(f"{image.pixels.shape}".encode())
    digest.update(np.ascontiguousarray(image.pixels).data)
    return digest.hexdigest()


class Observer:
    """The network with every tensor that needs a range as an output."""

    def __init__(self, source: bytes, threads: int) -> None:
        import onnx
        import onnxruntime

        model = artifact.load(source)
        self.names = activations(source)
        known = {value.name for value in (*model.graph.input, *model.graph.output)}
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in self.names
            if name not in known
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Each tensor is asked for, so none may be reused; the arena would keep the largest sum.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self.session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
            artifact.serialize(model), options, providers=["CPUExecutionProvider"]
        )

    def observe(
        self, tensor: NDArray[np.float32], histograms: dict[str, Histogram], name: str = ""
    ) -> None:
        """Run float32 [N, 3, 1200, 1200] and count; ``name`` is the image's, for messages.

        Raises:
            CalibrationError: NaN or infinity somewhere.
        """
        import onnxruntime

        given = onnxruntime.OrtValue.ortvalue_from_numpy(tensor)
        wanted = [name for name in self.names if name != INPUT_NAME]
        found = self.session.run_with_ort_values(wanted, {INPUT_NAME: given})
        values = dict(zip(wanted, found, strict=True)) | {INPUT_NAME: given}
        del found, given
        seen: dict[str, Histogram] = {}
        for key in self.names:  # one tensor at a time leaves the engine's memory
            histogram = histograms.get(key, Histogram())
            seen[key] = histogram
            try:
                histogram.observe(values.pop(key).numpy())
            except ValueError as error:
                raise CalibrationError(
                    f"{name}: {key} cannot be counted: {error}; the weights or the image are "
                    "damaged"
                ) from error
        histograms.update(seen)
