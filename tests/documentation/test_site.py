"""The site builds without network and without a warning, and says what the code says."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from manual import figures
from manual.blocks import blocks
from manual.pages import DOCS, filled, wanted

from browser import opened
from conftest import REPOSITORY
from ssd_resnet34.vision.selection import suppress

NARROW = sorted(page for page in DOCS.rglob("*.md") if page.stem != "proof")
"""Pages whose code is to be read without scrolling."""


class _Config(yaml.SafeLoader):
    """mkdocs.yml without what its own tags would load."""


_Config.add_multi_constructor("", lambda loader, suffix, node: None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "http_proxy": nowhere,
            "https_proxy": nowhere,
            "NO_MKDOCS_2_WARNING": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    loads = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?(https?:)?//[^>]*>")
    for page in pages:
        for found in loads.finditer(page.read_text("utf-8")):
            assert 'rel="canonical"' in found[0], f"{page.name} loads {found[0]}"


def test_a_backslash_at_the_end_of_a_line_breaks_the_line(site: Path) -> None:
    for page in site.rglob("*.html"):
        prose = re.sub(r"<(pre|script)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"\\\n", prose), page.name


def test_no_page_scrolls_sideways_on_a_telephone(site: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as browser:
        for page in sorted(site.rglob("*.html")):
            browser.open(page.resolve().as_uri(), 390)
            width = browser.page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, f"{page.name}: {width} pixels"


def test_an_option_in_a_sentence_is_not_broken_after_its_hyphens(site: Path) -> None:
    page = (site / "detect.html").read_text("utf-8")
    assert '<code><span class="whole">--weights</span></code>' in page
    assert '<code><span class="whole">--nms</span> mlperf</code>' in page
    assert "<code>classes</code>" in page


def test_every_benchmark_is_on_its_page() -> None:
    page = (DOCS / "benchmarks.md").read_text("utf-8")
    for script in sorted((REPOSITORY / "benchmarks").glob("*.py")):
        if 'if __name__ == "__main__":' in script.read_text("utf-8"):
            row = f"python -m benchmarks.{script.stem}"
            assert row in page, f"add `{row}` to the table of docs/benchmarks.md"


def test_every_figure_has_a_line_that_says_what_is_to_be_seen() -> None:
    figures_of_pages = 0
    for page in DOCS.rglob("*.md"):
        paragraphs = page.read_text("utf-8").split("\n\n")
        for one, after in pairwise([*paragraphs, ""]):
            if one.startswith("!["):
                figures_of_pages += 1
                assert re.fullmatch(r"\*[^*]+\*\n?", after), f"{page.name}: {one}"
    assert figures_of_pages > len(figures.FIGURES)


def test_a_link_into_a_page_is_also_right_on_github() -> None:
    """There each space and each dash of a heading counts; the site makes one dash of many."""

    def anchors(page: Path) -> set[str]:
        headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
        texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
        return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}

    for page in (*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")):
        for name, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)]+)\)", page.read_text("utf-8")):
            target = page.parent / name if name else page
            assert anchor in anchors(target), f"{page.name}: {name}#{anchor}"


@pytest.mark.parametrize("page", NARROW, ids=lambda page: page.stem)
def test_code_is_no_wider_than_the_page_on_a_laptop(page: Path) -> None:
    """At 1280 pixels this many characters of ``site.css``'s size are seen without scrolling."""
    for block in blocks(page, page.name):
        for line in block.text.splitlines():
            assert len(line) <= 97, f"{block.page}:{block.line}: {line}"


def test_the_reference_has_the_public_names_with_their_docstrings(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text("utf-8")
    for name in ("load", "Detector", "SSDResNet34", "Detections", "Contract", "create"):
        assert re.search(rf'id="ssd_resnet34\.[a-z_.]*{name}"', page), name
    assert "A ready detector" in page
    assert "<code>ssd_resnet34.session.create</code>" in page
    assert not re.search(r":(func|class|meth):", page)


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [page for one in inner for page in pages(one)]

    config = yaml.load((REPOSITORY / "mkdocs.yml").read_text("utf-8"), _Config)
    listed = pages(config["nav"])
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert there == set(listed), "list every page in the nav of mkdocs.yml"


def test_tables_figures_and_lists_are_those_of_the_code() -> None:
    stale = [
        str(path.relative_to(REPOSITORY))
        for path, data in wanted().items()
        if not path.is_file() or path.read_bytes() != data
    ]
    assert not stale, "run .venv/bin/python -m manual, or make docs"


def test_a_page_gets_the_table_that_it_asks_for() -> None:
    page = "a\n<!-- generated: levels -->\nold\n<!-- end -->\nb"
    assert "| 0 | 50×50 | 4 | 324 | 16 | 10000 | 0 |" in filled(page)
    assert filled(filled(page)) == filled(page)
    assert filled(page).startswith("a\n")
    assert filled(page).endswith("\nb")
    with pytest.raises(KeyError):
        filled("<!-- generated: nothing -->\n<!-- end -->")


def test_figures_are_small() -> None:
    assert {path.stem for path in (DOCS / "figures").iterdir()} == set(figures.FIGURES)
    for path in (DOCS / "figures").iterdir():
        assert path.stat().st_size < 100_000, path.name


@pytest.mark.parametrize("gap", [-0.5, -0.2, 0.5, 0.8, 0.83, 1.0, 1.4, 1.43])
def test_the_figure_of_both_modes_shows_what_the_selection_does(gap: float) -> None:
    boxes = np.array([[0, 0, 1, 1], [1 + gap, 1 + gap, 2 + gap, 2 + gap]]) / 10
    for clamped, mode in ((True, "exact"), (False, "mlperf")):
        iou = figures.overlap(gap, clamped=clamped)
        kept = suppress(boxes, np.array([1, 1]), 0.5, mode)  # type: ignore[arg-type]
        assert len(kept) == (1 if iou >= 0.5 else 2), (mode, gap, iou)
