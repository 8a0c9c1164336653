"""A real browser that looks at a page: Debian's Chromium, headless, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

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
    """One Chromium with one page; ``look`` opens a file in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.view = View()
        """Of the page since it was opened."""
        self._tools = page.context.new_cdp_session(page)
        page.set_default_timeout(SECONDS * 1000)
        page.on("console", lambda message: self.view.complaints.append(message.text))
        page.on("pageerror", lambda error: self.view.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def open(self, address: str, width: int, *, dark: bool = False) -> None:
        """Go to an address at a width in CSS pixels; returns when it is loaded."""
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self._size(width, 900)
        self.view = View()
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
        nodes: list[dict[str, Any]] = self._tools.send("Accessibility.getFullAXTree")["nodes"]
        return nodes

    def print_pages(self, path: Path) -> bytes:
        """The page that was looked at last, as PDF on A4."""
        return self.page.pdf(path=path, format="A4")

    def _asked(self, url: str) -> None:
        if not url.startswith("data:"):
            self.view.requests.append(url)

    def _size(self, width: int, height: int) -> None:
        # Playwright fixes whether a page is a phone's when it makes its context.
        self._tools.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in ``folder``; the test skips where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here; install the package chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, chromium_sandbox=False, args=["--disable-gpu"]
        )
        try:
            yield Browser(context.pages[0])
        finally:
            context.close()
