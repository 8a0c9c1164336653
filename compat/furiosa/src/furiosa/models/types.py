"""Types of the model objects: enumerations, metadata, and the abstract model.

The vendor's are pydantic models, these are dataclasses with the same fields.
"""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

__all__ = [
    "Format",
    "Metadata",
    "Model",
    "ModelTaskType",
    "ObjectDetectionModel",
    "Platform",
    "PostProcessor",
    "PreProcessor",
    "Publication",
    "PythonPostProcessor",
    "RustPostProcessor",
    "Tags",
]


class _Named(StrEnum):
    """Looked up by value in any case (0.10), or by number (the IntEnum of 0.8 and 0.9)."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        members = list(cls)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
            return members[value]
        if isinstance(value, str):
            return next((one for one in members if one.value.lower() == value.lower()), None)
        return None

    def __int__(self) -> int:
        return list(type(self)).index(self)


class Platform(_Named):
    """What a decoder is written in; here it chooses whose selection rules are followed."""

    PYTHON = "Python"
    C = "C"
    CPP = "CPP"
    RUST = "Rust"

    def is_native_platform(self) -> bool:
        """Whether it is compiled."""
        return self is not Platform.PYTHON


class ModelTaskType(_Named):
    """What a model is for."""

    OBJECT_DETECTION = "OBJECT_DETECTION"
    IMAGE_CLASSIFICATION = "IMAGE_CLASSIFICATION"


class Format(_Named):
    """Of a model's source."""

    ONNX = "ONNX"
    TFLite = "TFLite"


@dataclass
class Publication:
    """Where a model was published."""

    authors: list[str] | None = None
    title: str | None = None
    publisher: str | None = None
    date: datetime.date | None = None
    url: str | None = None


@dataclass
class Metadata:
    """What a model is."""

    description: str | None = None
    publication: Publication | None = None


@dataclass
class Tags:
    """Free tags of a model."""

    content_type: str | None = None


class PreProcessor(ABC):
    """Images -> (tensor, contexts)."""

    @abstractmethod
    def __call__(self, images: Any) -> tuple[Any, Sequence[Any]]: ...


class PostProcessor(ABC):
    """(Outputs, contexts) -> results."""

    @abstractmethod
    def __call__(self, model_outputs: Any, contexts: Any = None) -> Any: ...


class PythonPostProcessor(PostProcessor):
    """Follows the rules of the vendor's Python decoder."""


class RustPostProcessor(PostProcessor):
    """Follows the rules of the vendor's Rust decoder."""


class Model(ABC):
    """A network's artifacts and metadata, and the two ends around it."""

    name: str
    format: str
    family: str | None
    version: str | None
    metadata: Metadata | None
    tags: Tags | None
    task_type: ModelTaskType
    preprocessor: PreProcessor
    postprocessor: PostProcessor
    postprocessor_map: Mapping[Platform, type[PostProcessor]]

    @abstractmethod
    def preprocess(self, images: Any) -> tuple[Any, Sequence[Any]]:
        """Images -> (tensor, contexts)."""

    @abstractmethod
    def postprocess(self, model_outputs: Any, contexts: Any = None) -> Any:
        """(Outputs, contexts) -> results."""

    @abstractmethod
    def resolve_all(self) -> None:
        """Make or fetch every artifact now."""


class ObjectDetectionModel(Model):
    """A model that finds objects."""

    task_type = ModelTaskType.OBJECT_DETECTION
