"""The page in a real browser: looked at, used by keyboard, and nothing asked for elsewhere."""

import base64
import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from browser import Browser, View, opened
from running_server import Server, running
from serving_engine import picture
from ssd_resnet34.vision.colours import colour_of

TOKEN = "0123456789abcdef"


class Page:
    """The page of a server in a browser; waits for what it is asked to wait for."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.browser, self.server = browser, server

    def open(self, width: int = 1280, dark: bool = False, ready: bool = True) -> None:
        self.browser.open(f"{self.server.url}/", width, dark=dark)
        if ready:
            self.wait("document.getElementById('model')?.textContent.includes('running on')")

    def ask(self, expression: str) -> Any:
        return self.browser.page.evaluate(expression)

    def wait(self, condition: str) -> None:
        end = time.monotonic() + 60
        while not self.ask(condition):
            assert time.monotonic() < end, condition
            self.browser.page.wait_for_timeout(50)

    def text(self, name: str) -> str:
        return str(self.browser.page.text_content(f"#{name}"))

    def press(self, key: str) -> None:
        self.browser.page.keyboard.press(key)

    def focus_by_tab(self, name: str) -> None:
        for _ in range(60):
            if self.ask(f"document.activeElement === document.getElementById('{name}')"):
                return
            self.press("Tab")
        raise AssertionError(f"{name} cannot be reached with the Tab key")

    def choose(self, path: Path) -> None:
        self.browser.page.set_input_files("#file", path)

    def found(self) -> None:
        self.wait("document.getElementById('count').textContent !== ''")

    def rows(self) -> list[list[str]]:
        rows = self.browser.page.locator("#rows tr")
        return [row.locator("td, th").all_text_contents() for row in rows.all()]

    def view(self) -> View:
        """What the browser has complained about and asked for since the page was opened."""
        return self.browser.view


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), deadline=60.0) as started:
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(browser: Browser, server: Server) -> Page:
    return Page(browser, server)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_sample_is_found_at_every_width_and_in_both_colours(
    page: Page, width: int, dark: bool, tmp_path: Path
) -> None:
    page.open(width, dark)
    page.ask("document.getElementById('sample').click()")
    page.found()
    assert page.text("count") == "3 objects"
    assert {row[0] for row in page.rows()} == {"dog", "person", "car"}
    assert page.ask("document.documentElement.scrollWidth") <= width
    background = page.ask("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 22, 26)" if dark else "rgb(255, 255, 255)")
    view = page.view()
    assert view.complaints == []
    assert all(url.startswith((page.server.url, "blob:")) for url in view.requests)
    assert page.ask("document.querySelectorAll('#bar span').length") == 7


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    page.open()
    page.focus_by_tab("file")
    page.focus_by_tab("sample")
    page.press("Enter")
    page.found()
    page.focus_by_tab("threshold")
    for _ in range(5):
        page.press("ArrowRight")
    assert page.text("threshold-value") == "0.35"
    page.press("End")
    assert page.text("threshold-value") == "0.99"
    page.focus_by_tab("none")
    page.press("Enter")
    assert page.text("count") == "0 objects"
    page.focus_by_tab("copy")
    page.focus_by_tab("download")


def test_threshold_and_classes_choose_without_asking_the_server_again(
    page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "grey.jpg"
    path.write_bytes(picture(90, 400, 300))
    page.open()
    page.choose(path)
    page.found()
    asked = len([url for url in page.view().requests if "/detect" in url])
    page.ask("document.querySelector('#class-list input').click()")
    assert page.text("count") == "2 objects"
    assert page.text("status") == "2 objects over 0.30", "told to a screen reader"
    slider = "document.getElementById('threshold')"
    page.ask(f"{slider}.value = 99; {slider}.dispatchEvent(new Event('input'))")
    assert page.ask(f"{slider}.getAttribute('aria-valuetext')") == "0.99"
    assert len([url for url in page.view().requests if "/detect" in url]) == asked == 1
    assert page.text("caption") == "grey.jpg, 400 × 300"


def test_a_screen_reader_is_told_everything(page: Page) -> None:
    page.open()
    page.ask("document.getElementById('sample').click()")
    page.found()
    names: dict[str, list[str]] = {}
    for node in page.browser.accessible():
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
        if not node["ignored"]:
            names.setdefault(role, []).append(name)
    for role in ("image", "table", "region", "button", "slider", "checkbox", "link"):
        assert all(names.get(role, [])), (role, names.get(role))
    assert any(name.startswith("sample.jpg with 1 ") for name in names["image"])
    assert "Classes" in names["group"]
    assert "Least score" in names["slider"]
    assert sorted(name.split()[0] for name in names["checkbox"]) == ["car", "dog", "person"]
    assert names["heading"] == ["Find objects in a picture"]


def test_copied_json_is_the_common_json_of_what_is_shown(page: Page) -> None:
    page.open()
    page.ask("document.getElementById('sample').click()")
    page.found()
    page.ask("navigator.clipboard.writeText = async text => { window.copied = text; }")
    label = page.rows()[0][0]
    page.ask("document.querySelector('#class-list input').click()")
    page.ask("document.getElementById('copy').click()")
    page.wait("window.copied !== undefined")
    copied = json.loads(page.ask("window.copied"))
    with httpx.Client(trust_env=False) as client:
        sample = client.get(f"{page.server.url}/static/sample.jpg").content
        wanted = client.post(
            f"{page.server.url}/detect", files={"image": ("sample.jpg", sample)}
        ).json()
    wanted["detections"] = [one for one in wanted["detections"] if one["label"] != label]
    assert copied == wanted
    assert page.text("status") == "Copied."


def test_the_downloaded_picture_has_the_boxes_at_full_size(page: Page) -> None:
    page.open(390)
    page.ask("document.getElementById('sample').click()")
    page.found()
    page.ask(
        "URL.createObjectURL = blob => { const reader = new FileReader(); reader.onload = () => "
        "{ window.saved = reader.result; }; reader.readAsDataURL(blob); return 'blob:x'; }; "
        "HTMLAnchorElement.prototype.click = function () { window.name_ = this.download; };"
    )
    page.ask("document.getElementById('download').click()")
    page.wait("window.saved !== undefined")
    data = page.ask("window.saved")
    image = Image.open(BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")
    assert image.size == (1600, 1200)
    assert page.ask("window.name_") == "sample-objects.png"
    pixels = np.asarray(image).reshape(-1, 3).astype(int)
    for index in (17, 1, 3):
        near = (pixels == colour_of(index)).all(axis=1)
        assert near.sum() > 500, f"the colour of class {index}, as the command line draws it"


def test_a_tiff_which_the_browser_cannot_show_is_shown_by_the_server(
    page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "grey.tiff"
    Image.new("RGB", (300, 200), (10, 200, 90)).save(path)
    page.open()
    page.choose(path)
    page.found()
    assert page.text("count") == "3 objects"
    assert page.view().complaints == []


def test_a_refusal_is_told_in_words_and_can_be_tried_again(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("this is not a picture")
    page.open()
    page.choose(path)
    page.wait("!document.getElementById('error').hidden")
    assert "text is not accepted" in page.text("error-text")
    assert page.ask("document.getElementById('error').getAttribute('role')") == "alert"
    path.write_bytes(picture())
    page.choose(path)
    page.found()
    assert page.ask("document.getElementById('error').hidden")


def test_pasting_and_dropping_a_picture_work(page: Page) -> None:
    data = base64.b64encode(picture()).decode()
    page.open()
    page.ask(
        f"window.file = new File([Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))], 'p.jpg');"
        "window.transfer = new DataTransfer(); transfer.items.add(file);"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: transfer}))"
    )
    page.found()
    assert page.text("caption") == "p.jpg, 64 × 48"
    page.open()
    page.ask(
        f"window.file = new File([Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))], 'd.jpg');"
        "window.transfer = new DataTransfer(); transfer.items.add(file);"
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true}))"
    )
    page.found()
    assert page.text("caption") == "d.jpg, 64 × 48"


def test_a_server_with_a_token_asks_for_it(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path_factory.mktemp("guarded"), token=TOKEN) as server:
        page = Page(browser, server)
        page.open(ready=False)
        page.wait("document.getElementById('token-form')?.hidden === false")
        assert page.text("model") == "", "it asks for the token and for nothing else"
        assert page.text("curl").startswith('curl -H "Authorization: Bearer $TOKEN" --data-binary')
        assert page.ask("document.getElementById('links').hidden"), "a link carries no token"
        page.ask(
            "document.getElementById('token').value = 'another';"
            "document.getElementById('token-form').requestSubmit()"
        )
        page.wait("document.getElementById('model').textContent !== ''")
        assert page.text("model") == "This is not the server's token."
        page.ask(
            f"document.getElementById('token').value = '{TOKEN}';"
            "document.getElementById('token-form').requestSubmit()"
        )
        page.wait("document.getElementById('model').textContent.includes('running on')")
        page.ask("document.getElementById('sample').click()")
        page.found()
        assert TOKEN not in page.text("curl"), "a screen may be seen by others"
        page.browser.page.reload()
        page.wait("document.getElementById('model').textContent.includes('running on')")
        assert page.ask("document.getElementById('token-form').hidden")
        assert page.ask("document.getElementById('links').hidden")


def test_a_server_without_a_token_shows_its_links_and_a_command_that_works(page: Page) -> None:
    page.open()
    links = page.browser.page.locator("#links a")
    for address in [link.get_attribute("href") for link in links.all()]:
        assert httpx.get(f"{page.server.url}{address}", trust_env=False).status_code == 200
    assert links.count() == 3
    assert not page.ask("document.getElementById('links').hidden")
    assert page.text("curl") == f"curl --data-binary @picture.jpg {page.server.url}/detect"


def test_the_policy_allows_nothing_but_the_servers_own_files(server: Server) -> None:
    with server.client() as client:
        answer = client.get("/")
        again = client.get("/", headers={"if-none-match": answer.headers["etag"]})
    policy = dict(
        part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert (again.status_code, again.content) == (304, b"")
