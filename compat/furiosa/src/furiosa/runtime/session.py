"""``furiosa.runtime.session`` on the engines of ``ssd_resnet34``."""

from furiosa._neighbours import warn_of
from ssd_resnet34.runtime.session import Session, create

__all__ = ["Session", "create"]

warn_of("furiosa-runtime", "furiosa-sdk")
