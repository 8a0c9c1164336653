"""A real browser that looks at a page: Debian's Chromium, headless, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60


@dataclass
class View:
    """What the browser says of one page at one width."""

    complaints: list[str] = field(default_factory=list)
    """Console messages, exceptions and refusals by the page's policy."""
    requests: list[str] = field(default_factory=list)
    """Addresses asked for, ``data:`` left out."""
    scroll_width: int = 0
    background: str = ""
    broken_images: int = 0
    unnamed: list[str] = field(default_factory=list)
    """Roles of images and tables that a screen reader has no name for."""


class Browser:
    """One Chromium with one page at a time; ``look`` opens a file in it."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._context: BrowserContext | None = None

    page: Page
    view: View
    """What the browser says of the page that is open."""

    def open(self, address: str, width: int, *, dark: bool = False) -> None:
        """Go to an address at a width in CSS pixels; returns when it is loaded."""
        if self._context is not None:
            self._context.close()
        self._context = self._chromium.new_context(
            viewport={"width": width, "height": 900},
            is_mobile=width < 600,
            color_scheme="dark" if dark else "light",
        )
        self.page, self.view = self._context.new_page(), View()
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda message: self.view.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.view.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(address)

    def look(
        self,
        path: Path,
        width: int,
        *,
        dark: bool = False,
        picture: Path | None = None,
    ) -> View:
        """Open the file at a width in CSS pixels; ``picture`` is where its PNG goes."""
        self.open(path.resolve().as_uri(), width, dark=dark)
        view = self.view
        view.scroll_width = self.page.evaluate("document.documentElement.scrollWidth")
        view.background = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        view.broken_images = self.page.evaluate(
            "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
        )
        for node in self.accessible():
            role = node.get("role", {}).get("value")
            named = role in ("image", "table", "region")
            if named and not node["ignored"] and not node.get("name", {}).get("value"):
                view.unnamed.append(role)
        if picture is not None:
            self.page.screenshot(path=picture, full_page=True)
        return view

    def accessible(self) -> list[dict[str, Any]]:
        """Nodes of the accessibility tree, as a screen reader gets them."""
        tools = self.page.context.new_cdp_session(self.page)
        nodes: list[dict[str, Any]] = tools.send("Accessibility.getFullAXTree")["nodes"]
        return nodes

    def print_pages(self, path: Path) -> bytes:
        """The page that was looked at last, as PDF on A4."""
        return self.page.pdf(path=path, format="A4")

    def _asked(self, url: str) -> None:
        if not url.startswith("data:"):
            self.view.requests.append(url)


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its files in ``folder``; the test skips where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here; install the package chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program,
            chromium_sandbox=False,
            args=["--disable-gpu"],
            downloads_path=folder,
        )
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
