"""A page as a strict reader sees it: its elements, what is not closed, and what it would load."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset(("meta", "img", "br", "hr", "link", "input"))


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


class Reader(HTMLParser):
    """Feed it a page; every element in order, with all the text inside it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.faults: list[str] = []
        self._open: list[Element] = []
        self.feed(page)
        self.close()
        self.faults += [f"<{one.tag}> is not closed" for one in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        if len(element.attributes) != len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1].tag if self._open else None}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)

    def all(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]


def strict(page: bytes) -> Reader:
    """The page, after asserting that it is whole, named for screen readers, and loads nothing."""
    reader = Reader(page.decode())
    assert not reader.faults
    tags = {one.tag for one in reader.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "video"}
    for element in reader.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"{element.tag} has {name}"
            assert name != "style"
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value[:60]
    (style,) = reader.all("style")
    css = "".join(style.words)
    assert not re.search(r"url\(|@import|expression", css)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    (policy,) = (m for m in reader.all("meta") if "Policy" in m.attributes.get("http-equiv", ""))
    assert policy.attributes["content"] == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert all(one.attributes.get("alt") for one in reader.all("img"))
    assert len(reader.all("table")) == len(reader.all("caption"))
    targets = {one.attributes["id"] for one in reader.elements if "id" in one.attributes}
    links = {one.attributes["href"].removeprefix("#") for one in reader.all("a")}
    assert links <= targets
    return reader
