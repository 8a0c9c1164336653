"""A real browser that looks at a page: headless Chromium, driven through the DevTools pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

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
    """One Chromium; ``look`` opens a page in it."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": values}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser is gone"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def look(
        self,
        path: Path,
        width: int,
        *,
        dark: bool = False,
        picture: Path | None = None,
    ) -> View:
        """Open the file at a width in CSS pixels; ``picture`` is where its PNG goes."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self._size(width, 900)
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive())
        view = View()
        view.scroll_width = self._ask("document.documentElement.scrollWidth")
        view.background = self._ask("getComputedStyle(document.body).backgroundColor")
        view.broken_images = self._ask(
            "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
        )
        for node in self.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            named = role in ("image", "table", "region")
            if named and not node["ignored"] and not node.get("name", {}).get("value"):
                view.unnamed.append(role)
        if picture is not None:
            self._size(width, min(16000, self._ask("document.documentElement.scrollHeight")))
            shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
            picture.write_bytes(base64.b64decode(shot["data"]))
        for event in self._events:
            self._note(event["method"], event["params"], view)
        return view

    def print_pages(self, path: Path) -> bytes:
        """The page that was looked at last, as PDF on A4."""
        data = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
        path.write_bytes(base64.b64decode(data))
        return path.read_bytes()

    def _note(self, method: str, values: dict[str, Any], view: View) -> None:
        if method == "Runtime.consoleAPICalled":
            view.complaints.append(str(values["args"]))
        elif method == "Runtime.exceptionThrown":
            view.complaints.append(str(values["exceptionDetails"]))
        elif method == "Log.entryAdded":
            view.complaints.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if not url.startswith("data:"):
                view.requests.append(url)

    def _size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def _ask(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression)["result"]["value"]


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in ``folder``; the test skips where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here; install the package chromium")
    ours = os.pipe(), os.pipe()
    (to_browser, write), (read, from_browser) = ours
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
        "--disable-background-networking --disable-component-update --remote-debugging-pipe"
    )
    command = [program, *flags.split(), f"--user-data-dir={folder}", "about:blank"]
    # The browser reads commands from descriptor 3 and answers on 4.
    shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Browser(read, write)
    finally:
        process.terminate()
        process.wait(SECONDS)
        os.close(read)
        os.close(write)
