"""The annotation forms that hold one image: YOLO's text and Pascal VOC's XML."""

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from .detections import Detections

# Everything but the characters of XML 1.0, section 2.2.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def yolo(detections: Detections) -> str:
    """YOLO's text: a line ``class cx cy w h score`` for each box, class = index - 1.

    Fractions of the image, 0..1, of the box inside the image; a box wholly outside is left out.
    """
    lines = []
    inside = detections.clip()
    for found in inside:
        left, top, right, bottom = found.box
        width, height = (right - left) / inside.width, (bottom - top) / inside.height
        if width <= 0 or height <= 0:
            continue
        centre_x, centre_y = (left + right) / 2 / inside.width, (top + bottom) / 2 / inside.height
        lines.append(
            f"{found.index - 1} {centre_x:.6f} {centre_y:.6f} {width:.6f} {height:.6f} "
            f"{found.score:.6f}\n"
        )
    return "".join(lines)


def voc(detections: Detections) -> str:
    """Pascal VOC's XML. Corners are whole pixels counted from 1, both inside the box.

    A box is cut off at the borders of the image; one wholly outside is left out. Each object has
    its score as ``confidence``.
    """
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
        child = ElementTree.SubElement(parent, tag)
        child.text = _NOT_XML.sub("\ufffd", printable_utf8(text))
        return child

    add(root, "filename", Path(detections.image).name)
    if detections.image:
        add(root, "path", detections.image)
    size = add(root, "size")
    for tag, value in (("width", detections.width), ("height", detections.height), ("depth", 3)):
        add(size, tag, str(value))
    add(root, "segmented", "0")
    inside = detections.clip()
    cut = (inside.boxes != detections.boxes).any(axis=1).tolist()
    for found, truncated in zip(inside, cut, strict=True):
        left, top, right, bottom = found.box
        if right <= left or bottom <= top:
            continue
        item = add(root, "object")
        add(item, "name", found.label)
        add(item, "pose", "Unspecified")
        add(item, "truncated", str(int(truncated)))
        add(item, "difficult", "0")
        add(item, "confidence", str(found.score))
        corners = add(item, "bndbox")
        xmin = min(round(left) + 1, inside.width)
        ymin = min(round(top) + 1, inside.height)
        for tag, corner in (
            ("xmin", xmin),
            ("ymin", ymin),
            ("xmax", max(xmin, round(right))),
            ("ymax", max(ymin, round(bottom))),
        ):
            add(corners, tag, str(corner))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def printable_utf8(text: str) -> str:
    r"""Half surrogates (a file name that is not UTF-8) as visible escapes: ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()
