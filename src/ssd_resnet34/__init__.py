"""SSD-ResNet34 1200×1200 object detection: load, run, quantize, evaluate.

    import ssd_resnet34

    detector = ssd_resnet34.load()
    for found in detector("street.jpg"):
        print(found.label, found.score, found.box)

The parts behind it::

    from ssd_resnet34 import SSDResNet34, session

    model = SSDResNet34(weights="mlcommons", precision="auto")
    with session.create(model.enf) as sess:
        inputs = model.preprocess("car.jpg")
        detections, = model.postprocess(sess.run(inputs).numpy())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import Contract
    from .detector import Detector, load
    from .errors import SSDResNet34Error
    from .model import SSDResNet34
    from .runtime import session
    from .vision.detections import Detections

__version__ = "0.1.0"

__all__ = [
    "Contract",
    "Detections",
    "Detector",
    "SSDResNet34",
    "SSDResNet34Error",
    "__version__",
    "load",
    "session",
]

# Loaded at first use: importing the package costs no engine, no OpenCV and no ONNX.
_HOMES = {
    "Contract": ".contract",
    "Detections": ".vision.detections",
    "Detector": ".detector",
    "SSDResNet34": ".model",
    "SSDResNet34Error": ".errors",
    "load": ".detector",
    "session": ".runtime.session",
}


if not TYPE_CHECKING:  # to a type checker a misspelt name would be one more that is there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(_HOMES[name], __name__)
        value = home if name == "session" else getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
