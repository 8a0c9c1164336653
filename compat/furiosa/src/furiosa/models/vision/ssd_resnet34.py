"""The module of the model-zoo page: the model, and its functions without a model."""

from typing import Any, Final

import ssd_resnet34
from ssd_resnet34.contract import COCO, HEAD_NAMES
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import preprocess

__all__ = ["CLASSES", "NUM_OUTPUTS", "SSDResNet34", "postprocess", "preprocess"]

CLASSES: Final = ["background", *COCO.labels]
"""Label of each index of the model, 0 is background."""

NUM_OUTPUTS: Final = len(HEAD_NAMES)

_NMS_POSITION: Final = 7
"""Arguments of ``postprocess`` up to and with ``nms``."""


class SSDResNet34(ssd_resnet34.SSDResNet34):
    """:class:`ssd_resnet34.SSDResNet34`, constructed as the page does.

    ``use_native_post`` chooses the vendor's decoder whose selection is repeated: False the Python
    one, whose IoU is not clamped (``nms="mlperf"``), True the native one (``nms="exact"``). The
    other arguments are those of the base class.
    """

    def __init__(self, use_native_post: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._nms = "exact" if use_native_post else "mlperf"

    def postprocess(self, *arguments: Any, **options: Any) -> list[ssd_resnet34.Detections]:
        """As the base class; ``nms`` defaults to the decoder that was chosen."""
        if len(arguments) < _NMS_POSITION:
            options.setdefault("nms", self._nms)
        return super().postprocess(*arguments, **options)
