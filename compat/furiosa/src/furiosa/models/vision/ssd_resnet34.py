"""The module of the model-zoo page: the model, its two ends, and functions without a model."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, Final, Self, cast

import ssd_resnet34
from furiosa._settings import WEIGHTS, Line, release
from furiosa._settings import weights as default_weights
from furiosa.models.errors import ArtifactNotFound
from furiosa.models.types import (
    Format,
    Metadata,
    ModelTaskType,
    ObjectDetectionModel,
    Platform,
    PostProcessor,
    Publication,
    Tags,
)
from ssd_resnet34.contract import COCO, HEAD_NAMES
from ssd_resnet34.errors import UnknownWeights
from ssd_resnet34.weights import check_name
from ssd_resnet34.weights.records import EMBEDDED

from ._encoder import DefaultBoxes, Encoder, dboxes_R34_coco
from ._processing import (
    ModelInput,
    SSDResNet34NativePostProcessor,
    SSDResNet34PreProcessor,
    SSDResNet34PythonPostProcessor,
)

__all__ = [
    "CLASSES",
    "NUM_OUTPUTS",
    "DefaultBoxes",
    "Encoder",
    "NativePostProcessor",
    "SSDResNet34",
    "SSDResNet34Model",
    "SSDResNet34NativePostProcessor",
    "SSDResNet34PreProcessor",
    "SSDResNet34PythonPostProcessor",
    "dboxes_R34_coco",
    "postprocess",
    "preprocess",
]

CLASSES: Final = ["background", *COCO.labels]
"""Label of each index of the model, 0 is background."""

NUM_OUTPUTS: Final = len(HEAD_NAMES)

_URL: Final = (
    "https://github.com/mlcommons/inference/tree/master/vision/classification_and_detection"
)

_UNSET: Final = cast(Any, object())

_DECODERS: Final[Mapping[Platform, type[PostProcessor]]] = {
    Platform.PYTHON: SSDResNet34PythonPostProcessor,
    Platform.RUST: SSDResNet34NativePostProcessor,
}


class SSDResNet34(ObjectDetectionModel):
    """MLCommons SSD ResNet34 model"""

    # The forms of three release lines meet here. How a model was made says which line it follows;
    # what only the line decides is the dtype of preprocess, the decoder, ``source`` and names.

    def __init__(
        self,
        use_native_post: bool | None = None,
        *,
        postprocessor_type: Platform | str = _UNSET,
        weights: str | PathLike[str] | bytes | None = None,
        precision: str | None = None,
        ranges: Any = None,
    ) -> None:
        """``SSDResNet34(use_native_post=False)`` of the page, or
        ``SSDResNet34(postprocessor_type="Rust")`` of 0.10.

        Args:
            use_native_post: which decoder's rules are followed: False the Python one, True the
                native one.
            postprocessor_type: the same as ``Platform.PYTHON`` or ``RUST``, or their names.
            weights, precision, ranges: of :class:`ssd_resnet34.SSDResNet34`; weights default to
                ``SSD_RESNET34_FURIOSA_WEIGHTS``, else the embedded ones, precision to int8 where
                the weights come with ranges.

        Raises:
            TypeError: both forms at once, or ``use_native_post`` that is no bool.
            ValueError: no such decoder, or a release variable that names no line.
            UnknownWeights: a name that is neither a record nor a file; it is a ``ValueError``.
            AttributeError: ``postprocessor_type=None``.
        """
        page = use_native_post is not None
        if page and not isinstance(use_native_post, bool):
            raise TypeError(
                f"SSDResNet34: {use_native_post!r} by position; write postprocessor_type=…"
            )
        if page and postprocessor_type is not _UNSET:
            raise TypeError(
                "use_native_post (of the page) and postprocessor_type (0.10) are one option; "
                "give one of them"
            )
        line: Line = "0.10"
        if page or (postprocessor_type is _UNSET and release() == "0.8"):
            line = "0.8"
            chosen = Platform.RUST if use_native_post else Platform.PYTHON
        else:
            chosen = (
                Platform.RUST if postprocessor_type is _UNSET else _platform(postprocessor_type)
            )
        self._make(line, chosen, weights, precision, ranges)
        if line == "0.8":
            self.name = "MLCommonsSSDResNet34"
            assert self.metadata is not None
            self.metadata.description = "ResNet34 model for MLCommons v1.1"

    @classmethod
    def load(
        cls, use_native: bool | None = None, *, version: str | None = None, **options: Any
    ) -> Self:
        """The model as 0.8 and 0.9 make it.

        Args:
            use_native: True follows the rules of the native decoder.
            version: ``"cpp"`` or ``"rust"`` (0.8.0); both decode alike here.
            options: ``weights``, ``precision``, ``ranges``, as for the constructor.

        Raises:
            TypeError: ``use_native`` that is no bool.
            ValueError: another ``version``, or one without ``use_native``; and as the constructor.
        """
        if use_native is not None and not isinstance(use_native, bool):
            raise TypeError(f"use_native: {use_native!r} is no bool; give True or False")
        if version is not None:
            if not use_native:
                raise ValueError("version: only native decoders have one; give use_native=True")
            SSDResNet34NativePostProcessor(version=version)  # raises for an unknown one
        model = cls.__new__(cls)
        line: Line = "0.8" if version is not None or release() == "0.8" else "0.9"
        chosen = Platform.RUST if use_native else Platform.PYTHON
        model._make(line, chosen, **{"weights": None, "precision": None, "ranges": None, **options})
        return model

    @classmethod
    async def load_async(cls, use_native: bool | None = None, **options: Any) -> Self:
        """:meth:`load` for asyncio; nothing is waited for, since artifacts are made where they
        are asked for."""
        return cls.load(use_native, **options)

    def _make(
        self,
        line: Line,
        chosen: Platform,
        weights: str | PathLike[str] | bytes | None,
        precision: str | None,
        ranges: Any,
    ) -> None:
        release()  # a wrong variable is told, also where the form decides
        weights = _named(weights)
        if precision is None:  # the vendor's is int8 on every machine
            precision = "int8" if weights == EMBEDDED or ranges is not None else "auto"
        self.native = ssd_resnet34.SSDResNet34(weights, precision, ranges=ranges)
        """The same model by the names of ``ssd_resnet34``."""
        self._line = line
        self.name = "SSDResNet34"
        self.format = Format.ONNX if line == "0.10" else Format.ONNX.lower()
        self.family, self.version = "ResNet", "v1.1"
        self.metadata = Metadata("SSD ResNet34 model for MLCommons v1.1", Publication(url=_URL))
        self.tags: Tags | None = None
        self.task_type = ModelTaskType.OBJECT_DETECTION
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.compiler_config = None
        self.postprocessor_type = chosen
        self.postprocessor_map = dict(_DECODERS)
        if line == "0.8":
            self.postprocessor_map[Platform.CPP] = SSDResNet34NativePostProcessor

    def __repr__(self) -> str:
        return (
            f"SSDResNet34(weights={self.native.name!r}, "
            f"postprocessor_type={self.postprocessor_type.value!r})"
        )

    # The two ends need the contract, and so the weights; a model alone loads nothing.

    @property
    def preprocessor(self) -> SSDResNet34PreProcessor:  # type: ignore[override]
        """What :meth:`preprocess` calls."""
        return SSDResNet34PreProcessor(self._line, self.native.contract)

    @property
    def postprocessor(  # type: ignore[override]
        self,
    ) -> SSDResNet34PythonPostProcessor | SSDResNet34NativePostProcessor:
        """What :meth:`postprocess` calls."""
        if self.postprocessor_type is Platform.PYTHON:
            return SSDResNet34PythonPostProcessor(self.native.contract)
        return SSDResNet34NativePostProcessor(contract=self.native.contract)

    def preprocess(
        self,
        images: Any,
        with_scaling: bool | None = None,
        *,
        with_quantize: bool | None = None,
    ) -> ModelInput:
        """Images -> (tensor, contexts); see :class:`SSDResNet34PreProcessor`."""
        return self.preprocessor(images, with_scaling, with_quantize=with_quantize)

    def postprocess(
        self,
        model_outputs: Any,
        contexts: Any = None,
        confidence_threshold: float = 0.05,
        *,
        batch_preproc_params: Any = None,
        context: Any = None,
    ) -> Any:
        """Heads -> results; see :class:`SSDResNet34PythonPostProcessor`.

        ``batch_preproc_params`` (the page) and ``context`` (examples of 0.8) are other names of
        ``contexts``.
        """
        places = _one_of(contexts, batch_preproc_params, context)
        return self.postprocessor(model_outputs, places, confidence_threshold)

    @property
    def origin(self) -> bytes:
        """The fp32 ONNX (0.10)."""
        return self.native.source

    @property
    def source(self) -> bytes:
        """The ONNX: int8 in 0.8, fp32 in 0.9."""
        return self.native.enf if self._line == "0.8" else self.native.source

    @property
    def enf(self) -> bytes:
        """The compiled model (0.8, 0.9): the artifact of ``ssd_resnet34``."""
        return self.native.enf

    def model_source(self, num_pe: int = 2) -> bytes:
        """The compiled model (0.10).

        Args:
            num_pe: processing elements of the vendor's chip, 1 or 2: the same bytes here.

        Raises:
            ValueError: another number.
        """
        if isinstance(num_pe, bool) or num_pe not in (1, 2):
            raise ValueError(f"num_pe: {num_pe!r} is neither 1 nor 2")
        return self.native.enf

    @property
    def dfg(self) -> bytes:
        """Never there.

        Raises:
            ArtifactNotFound: always.
        """
        raise ArtifactNotFound(
            "a dfg is a program for the vendor's chip, and none exists here; use enf, or source"
        )

    @property
    def tensor_name_to_range(self) -> dict[str, list[float]]:
        """Activation ranges, tensor -> [min, max] (0.10).

        Raises:
            ArtifactNotFound: the weights come without.
        """
        ranges = self.native.ranges
        if ranges is None:
            raise ArtifactNotFound(
                f"{self.native.name} comes without activation ranges; calibrate it: `ssd-resnet34 "
                f"compile --weights {self.native.name} --calibrate IMAGES --save-ranges FILE`, "
                "and give ranges=FILE"
            )
        return {name: [low, high] for name, (low, high) in ranges.items()}

    @property
    def calib_yaml(self) -> str:
        """:attr:`tensor_name_to_range` as YAML (0.9).

        Raises:
            ArtifactNotFound: the weights come without ranges.
        """
        import yaml

        return yaml.safe_dump(self.tensor_name_to_range, sort_keys=False, default_flow_style=None)

    def resolve_all(self) -> None:
        """Load the weights and compile them now; a range file is read where there is one."""
        _ = self.native.ranges, self.native.source, self.native.enf


SSDResNet34Model = SSDResNet34
NativePostProcessor = SSDResNet34NativePostProcessor


def preprocess(
    image_path_list: Any,
    with_scaling: bool | None = None,
    *,
    with_quantize: bool | None = None,
) -> ModelInput:
    """Images -> (tensor, contexts), as the page's function: float32 and normalised unless asked.

    Arguments and errors: :class:`SSDResNet34PreProcessor`.
    """
    return SSDResNet34PreProcessor("0.8")(
        image_path_list, with_scaling, with_quantize=with_quantize
    )


def postprocess(
    model_outputs: Any,
    batch_preproc_params: Any = None,
    confidence_threshold: float = 0.05,
    *,
    contexts: Any = None,
) -> Any:
    """Heads -> results, as the page's function: the rules of the Python decoder.

    Arguments and errors: :class:`SSDResNet34PythonPostProcessor`.
    """
    places = _one_of(batch_preproc_params, contexts)
    return SSDResNet34PythonPostProcessor()(model_outputs, places, confidence_threshold)


def _one_of(*names: Any) -> Any:
    given = [value for value in names if value is not None]
    if len(given) > 1:
        raise TypeError("contexts, batch_preproc_params and context are one argument; give it once")
    return given[0] if given else None


def _platform(given: Platform | str) -> Platform:
    if given is None:
        raise AttributeError("postprocessor_type: None is no decoder; give 'Python' or 'Rust'")
    choices = " or ".join(repr(one.value) for one in _DECODERS)
    try:
        found = Platform(given)
    except ValueError as error:
        raise ValueError(f"postprocessor_type: {error}; give {choices}") from None
    if found not in _DECODERS:
        raise ValueError(f"postprocessor_type: {found.value!r} has no decoder; give {choices}")
    return found


def _named(weights: str | PathLike[str] | bytes | None) -> str | PathLike[str] | bytes:
    """The weights, or those of the environment; a name that says nothing is told at once."""
    where = "weights"
    if weights is None:
        weights, where = default_weights(), WEIGHTS
    try:
        check_name(weights)
    except UnknownWeights as error:
        raise UnknownWeights(f"{where}: {error}") from None
    return weights
