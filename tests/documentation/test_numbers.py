"""What the pages quote from the proof is what the proof holds today, as they round it.

After ``make proof`` a failure here names the page and the words to renew.
"""

import re
from collections.abc import Callable

import pytest
from benchmarks import proof

from conftest import REPOSITORY

SECTIONS = proof.sections(proof.REPORT.read_text("utf-8"))

ROAD = r"file to detections.*?ssd-resnet34 +([\d.]+)"
AROUND = r"images/s: ([\d.]+)"
STREAM = r"stream +[\d.]+ images/s: ([\d.]+)"
LITERAL = r"file to detections.*?literal .*? (\d\.\d+) \("
SERVER = r"```text\n.*?([\d.]+)\n"
PLANNED = r"([\d,]+) inputs/s\s+planned"
CHECKED = r"([\d,]+)\s+rows/s\s+checked"
INT8 = r"openvino:int8:1:1 .*?(0\.\d+) \("


def more(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f}"


@pytest.mark.parametrize(
    ("page", "words", "part", "pattern"),
    [
        ("README.md", lambda ms: f"an image takes {ms / 1e3:.2f} s in int8", "int8", ROAD),
        ("README.md", lambda x: f"add {more(x)} % to the network", "int8", AROUND),
        ("README.md", lambda x: f"the server {more(x)} % to all four", "serve", SERVER),
        ("docs/model-card.md", lambda x: f"and AP {x:.3f}", "accuracy-int8", r"\nAP +([\d.]+)"),
        ("docs/model-card.md", lambda x: f"**{x:.3f}** |", "accuracy-fp32", r"\nAP +([\d.]+)"),
        ("docs/serve.md", lambda x: f"postprocessing: {more(x)} %, one request", "serve", SERVER),
        ("docs/speed.md", lambda x: f"| 0.24–0.26 | {x:.3f} |", "engines", INT8),
        ("docs/speed.md", lambda x: f"one by one | ≤ 1.05 | – | {x:.3f} |", "int8", AROUND),
        ("docs/speed.md", lambda x: f"| ≥ 0.98 | – | {x:.3f} |", "int8", STREAM),
        ("docs/speed.md", lambda x: f"the network alone | {x:.1f} |", "int8", LITERAL),
        ("docs/capacity.md", lambda x: f"writes {x:,.0f} inputs a second", "capacity", PLANNED),
        ("docs/capacity.md", lambda x: f"({1e8 / x / 60:.0f} min for a", "capacity", PLANNED),
        ("docs/capacity.md", lambda x: f"({x:,.0f} rows a second", "capacity", CHECKED),
    ],
)
def test_a_number_in_prose_is_the_one_of_the_proof(
    page: str, words: Callable[[float], str], part: str, pattern: str
) -> None:
    found = re.search(pattern, SECTIONS[part], re.DOTALL)
    assert found, f"{part}: the proof has nothing like {pattern}"
    text = " ".join((REPOSITORY / page).read_text("utf-8").split())
    expected = words(float(found[1].replace(",", "")))
    assert expected.strip() in text, f"{page} is older than the proof, where it is: {expected}"


def test_the_categories_of_the_model_card_are_those_of_the_proof() -> None:
    text = " ".join((REPOSITORY / "docs" / "model-card.md").read_text("utf-8").split())
    listed = SECTIONS["accuracy-int8"].partition("AP50 by category\n")[2]
    found = re.findall(r"^  (.+?) +(0\.\d+)$", listed, re.MULTILINE)
    assert len(found) == 12
    assert ", ".join(f"{name} {ap}" for name, ap in found) in text


def test_the_table_of_capacity_is_the_one_of_the_proof() -> None:
    page = (REPOSITORY / "docs" / "capacity.md").read_text("utf-8")
    rows = re.findall(r"^ *([\d,]+ +[\d,]+ +\d+\.\d .*%.*)$", SECTIONS["capacity"], re.MULTILINE)
    assert len(rows) == 5
    shown = page.replace("\N{NO-BREAK SPACE}", " ").replace("**", "").replace(" (default)", "")
    for row in rows:
        shard, files, hours, wasted, tail, _, most, _, resume, end, _ = row.split()
        share = wasted.replace("%", " %")
        checks = f"{resume} min | {end} min"
        line = f"| {shard} | {files} | {hours} | {share} | {tail} h | {most} | {checks} |"
        assert line in shown, f"docs/capacity.md is older than the proof, where it is: {line}"
