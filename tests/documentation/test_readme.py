"""What README.md lists by hand is what the code has."""

import re
import tomllib

from manual.blocks import blocks
from manual.commands import HOW_TO

from conftest import REPOSITORY
from ssd_resnet34.cli.main import COMMANDS
from ssd_resnet34.vision.images import REFUSALS
from ssd_resnet34.weights.records import RECORDS

README = (REPOSITORY / "README.md").read_text("utf-8")


def test_the_readme_names_every_extra() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"dev", "docs"}
    (line,) = (line for line in README.splitlines() if "with extras" in line)
    assert set(re.findall(r"`\[(\w+)\]`", line)) == extras, "Install: name these extras"


def test_the_readme_has_a_line_for_every_command() -> None:
    lines = [
        line
        for block in blocks(REPOSITORY / "README.md", "README.md")
        for line in block.text.splitlines()
    ]
    for name in COMMANDS:
        line = f"ssd-resnet34 {name} "
        assert any(one.startswith(line) for one in lines), f"On the command line: add {line!r}"


def test_the_readme_leads_to_the_page_of_every_command() -> None:
    for name in COMMANDS:
        link = f"[{name}](docs/{HOW_TO.get(name, name)}.md)"
        assert link in README, f"Documentation, each command: add {link}"


def test_the_readme_names_every_weights_record() -> None:
    _, _, part = README.partition("## Weights")
    part, _, _ = part.partition("\n## ")
    for name, record in RECORDS.items():
        names = {f"`{name}`", f"`{name.removeprefix('onnx-zoo-ssd')}`"}
        assert any(one in part for one in names), f"Weights: add a row for `{name}`"
        for score in record.scores[:1]:
            assert f"{score.map}" in part, f"Weights: add the {score.map} of `{name}`"


def test_the_readme_names_every_code_of_an_image_by_itself() -> None:
    for kind in REFUSALS:
        assert f"`{kind.code}`" in README, f"On the command line: add `{kind.code}`"
