"""Detections from plain values, and for pandas and supervision."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ..contract import Contract
from ..errors import MissingExtra, UsageError
from .detections import Detections


def fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`Detections` from ``Detections.to_dict``'s form.

    Raises:
        UsageError: a field is missing or of the wrong kind.
    """
    try:
        found = list(data["detections"])
        return {
            # As lists: Detections looks at what they hold before it makes numbers of them.
            "boxes": [one["box"] for one in found],
            "scores": [one["score"] for one in found],
            "indices": [one["index"] for one in found],
            "category_ids": [one["category_id"] for one in found],
            "labels": tuple(one["label"] for one in found),
            **{name: data[name] for name in ("image", "width", "height", "model")},
        }
    except KeyError as error:
        raise UsageError(
            f"not the JSON of detections: {error} is missing; see Detections.to_dict for the fields"
        ) from error
    except TypeError as error:
        raise UsageError(
            f"not the JSON of detections ({error}); see Detections.to_dict for the fields"
        ) from error


def check_contract(detections: Detections, contract: Contract) -> None:
    """Every index, category id and label must be one category of ``contract``.

    Raises:
        UsageError: they are not.
    """
    for found in detections:
        known = found.index < contract.num_classes
        category = contract.categories[found.index - 1] if known else None
        if category is None or (found.category_id, found.label) != (
            category.category_id,
            category.label,
        ):
            raise UsageError(
                f"index {found.index}, category_id {found.category_id}, label {found.label!r} "
                f"contradict the contract, which has {category or 'no such index'}; "
                "read them with the contract of the model that made them"
            )


def to_pandas(detections: Detections) -> Any:
    """See :meth:`Detections.to_pandas`."""
    pandas = _optional("pandas", "ssd-resnet34[pandas]")
    columns = dict(zip(("left", "top", "right", "bottom"), detections.boxes.T.copy(), strict=True))
    return pandas.DataFrame(
        columns
        | {
            "score": detections.scores.copy(),
            "index": detections.indices.copy(),
            "category_id": detections.category_ids.copy(),
            "label": list(detections.labels),
        }
    )


def to_supervision(detections: Detections) -> Any:
    """See :meth:`Detections.to_supervision`."""
    return _optional("supervision", "supervision").Detections(
        xyxy=detections.boxes.copy(),
        confidence=detections.scores.copy(),
        class_id=detections.indices.copy(),
        data={
            "class_name": np.array(detections.labels, dtype=str),
            "category_id": detections.category_ids.copy(),
        },
    )


def _optional(name: str, requirement: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(f"to_{name} needs {name}: pip install '{requirement}'") from error
