"""Every block of Python and every command of the documentation runs, or says why not.

The weights are those of a small network (``stand_in``), for the network is not the subject; the
commands and programs are the page's, run in a folder that has what a reader would have.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from manual.blocks import PYTHON, SHELL, Block, blocks
from manual.pages import DOCS

from conftest import REPOSITORY
from documentation.reader import furnish, write_network
from documentation.stand_in import small_weights
from ssd_resnet34 import SSDResNet34, session
from ssd_resnet34.cli.main import main

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "compat" / "furiosa" / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if path.name != "proof.md"),
]
"""All but the report of ``make proof``, whose blocks are outputs."""

NEITHER = {"text", "json", "toml", "yaml", "ini", "nginx"}
"""Languages of blocks that are no program; json, toml and yaml are parsed, all in test_deploy."""

MAY_FAIL = {
    r"^ssd-resnet34 compile ": "the small network is not faster in int8",
}
"""Commands whose exit code may be 1 here, and why; none of them may say nothing."""

SHORTER = {"bench": ["--pairs", "1"]}
"""Options that make a command short; for its length is all that they change."""

SECONDS = 60


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def read(page: Path) -> list[Block]:
    return list(blocks(page, name_of(page)))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    furnish(folder, network)
    return folder


@pytest.fixture
def folder(furnished: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reader's folder as the current one, with small weights in all processes."""
    place = tmp_path / "here"
    shutil.copytree(furnished, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv(small_weights.ARTIFACT, str(network))
    compat = REPOSITORY / "compat" / "furiosa" / "src"
    here = Path(small_weights.__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, compat, REPOSITORY))))
    monkeypatch.setenv(
        "PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    )
    monkeypatch.setenv("COLUMNS", "120")
    small_weights.replace(monkeypatch.setattr)
    return place


class Reader:
    """Runs the blocks of a page, one after the other, and keeps what went wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self.ran: Counter[str] = Counter()
        self.url = ""
        self.servers = contextlib.ExitStack()

    def read(self, block: Block) -> None:
        if block.why_not():
            return
        where = f"{block.page}:{block.line}"
        if block.language == SHELL:
            for command in block.commands():
                if block.why_not(command) is None:
                    self.do(command, f"{where}: {command}")
        elif block.language == PYTHON:
            self.run(block, where)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)

    def run(self, block: Block, where: str) -> None:
        """The program in a process of its own where it says so, else in this one."""
        self.ran[PYTHON] += 1
        code = self.here(block.before + block.text)
        if "__main__" in code or "furiosa" in code:
            self.shell([sys.executable, "-W", "error", "-c", code], where)
            return
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(code, where, "exec"), {"__name__": "__main__"})
        except Exception:
            self.wrong.append(f"{where}\n{traceback.format_exc(limit=-3)}")

    def do(self, command: str, where: str) -> None:
        self.ran[SHELL] += 1
        words = shlex.split(command, comments=True)
        if words[:2] == ["pip", "install"]:
            self.look_up(words[2:], where)
        elif words[:2] == ["ssd-resnet34", "serve"]:
            self.serve(words, where)
        elif words[0] == "ssd-resnet34" and not set(words) & {"|", "&&", "<"}:
            self.command(words[1:], where)
        else:
            self.shell(["bash", "-euo", "pipefail", "-c", self.here(command)], where)

    def command(self, words: list[str], where: str) -> None:
        """A command of this package, in this process."""
        target = None
        if len(words) > 2 and words[-2] == ">":
            target, words = words[-1], words[:-2]
        with pytest.MonkeyPatch.context() as patch, (self.folder / ".out").open("w+") as out:
            patch.setattr(sys, "argv", ["ssd-resnet34", *words, *SHORTER.get(words[0], [])])
            patch.setattr(sys, "stdout", out)
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
            out.flush()
        shutil.copy(self.folder / ".out", self.folder / (target or ".last"))
        allowed = {0, 1} if _may_fail(f"ssd-resnet34 {shlex.join(words)}") else {0}
        if code not in allowed:
            self.wrong.append(f"{where}\nexit code {code}")

    def look_up(self, words: list[str], where: str) -> None:
        """What an installation names is there: folder, project, extras, file of versions."""
        for n, word in enumerate(words):
            if word == "-c" and (REPOSITORY / words[n + 1]).is_file():
                words = words[:n] + words[n + 2 :]
                break
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
        for word in words:
            name, _, extras = word.removesuffix("]").partition("[")
            known = (
                name in (".", project["name"]) or (REPOSITORY / name / "pyproject.toml").exists()
            )
            wrong = set(filter(None, extras.split(","))) - set(project["optional-dependencies"])
            if not known or wrong:
                self.wrong.append(f"{where}\nno such project or extra: {word}")

    def serve(self, words: list[str], where: str) -> None:
        """Start it, at any free port; the first one of a page stays for the rest of it."""
        opened = self.servers.enter_context(contextlib.ExitStack())
        said = self.folder / ".said"
        process = opened.enter_context(_started([*words, "--port", "0", "--threads", "1"], said))
        end = time.monotonic() + SECONDS
        found = None
        while found is None and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            found = re.search(r"http://[^/\s]+(?=/ )", said.read_text())
        if found is None:
            self.wrong.append(f"{where}\n{said.read_text()}")
        elif not self.url:
            self.url = found[0]
            return
        opened.close()

    def shell(self, words: list[str], where: str) -> None:
        done = subprocess.run(
            words, capture_output=True, timeout=SECONDS, cwd=self.folder, check=False
        )
        if done.returncode:
            said = (done.stdout[-800:] + done.stderr[-1600:]).decode(errors="replace")
            self.wrong.append(f"{where}\n{said}")

    def here(self, code: str) -> str:
        """With the address of the server that runs instead of the documented one."""
        address = self.url.removeprefix("http://")
        return code.replace("127.0.0.1:8000", address) if address else code


@contextlib.contextmanager
def _started(words: list[str], said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with said.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(SECONDS) == 0, said.read_text()
            finally:
                process.kill()


def _may_fail(command: str) -> bool:
    return any(re.search(pattern, command) for pattern in MAY_FAIL)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_runs(page: Path, folder: Path) -> None:
    commands = [
        line for block in read(page) if block.language == SHELL for line in block.commands()
    ]
    if any(line.startswith("curl ") for line in commands) and shutil.which("curl") is None:
        pytest.skip("no curl here")
    reader = Reader(folder)
    with reader.servers:
        for block in read(page):
            reader.read(block)
    assert not reader.wrong, "\n\n".join(reader.wrong)


def test_the_recipe_without_the_package_finds_what_the_package_finds(folder: Path) -> None:
    (recipe,) = (one for one in read(DOCS / "export.md") if "import cv2" in one.text)
    assert "import ssd" not in recipe.text
    assert "from ssd" not in recipe.text
    reader = Reader(folder)
    reader.command(shlex.split("export -o detector.onnx --end-to-end -t 0.5 --precision fp32"), "")
    assert not reader.wrong
    done: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(recipe.text, done)
    model = SSDResNet34()
    inputs = model.preprocess("street.jpg")
    assert np.abs(done["image"] - inputs.tensor).max() < 1e-5
    with session.create(model.source, "onnxruntime") as made:
        (expected,) = model.postprocess(made.run(inputs), score_threshold=0.5)
    assert len(expected) > 0
    lines = [line.rsplit(maxsplit=5) for line in out.getvalue().splitlines()]
    assert [line[0] for line in lines] == list(expected.labels)
    shown = np.array([line[2:] for line in lines], float)
    assert np.abs(shown - expected.boxes).max() < 0.01


def test_every_block_has_a_language() -> None:
    for page in PAGES:
        for block in read(page):
            where = f"{block.page}:{block.line}"
            assert block.language in {SHELL, PYTHON, *NEITHER}, f"{where}: {block.language!r}"


def test_most_of_what_the_pages_show_is_run() -> None:
    run: Counter[str] = Counter()
    not_run = 0
    for page in PAGES:
        for block in read(page):
            if block.language not in (SHELL, PYTHON):
                continue
            for text in block.commands() if block.language == SHELL else [block.text]:
                if block.why_not(text):
                    not_run += 1
                else:
                    run[block.language] += 1
            for one in block.not_run:
                assert one.part in block.text, f"{block.page}:{block.line}: no line has {one.part}"
    assert run[PYTHON] >= 20
    assert run[SHELL] >= 50
    assert not_run < run.total()


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```sh\nls\n", "without an end"),
        ("<!-- not run: why -->\nwords\n", "no block"),
        ("<!-- not run it -->\n```sh\nls\n```\n", "nothing that is understood"),
    ],
)
def test_a_page_that_is_not_understood_is_refused(
    page: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)
    with pytest.raises(ValueError, match=complaint):
        list(blocks(path, "page.md"))


def test_a_block_knows_its_commands_and_which_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        '<!-- not run "s3://": a bucket -->\n<!-- before: x = 1 -->\n'
        "```sh\na \\\n  b  # why\n\n# only words\nc s3://d\n```\n"
    )
    (block,) = blocks(path, "page.md")
    assert block.commands() == ["a    b  # why", "c s3://d"]
    assert [block.why_not(command) for command in block.commands()] == [None, "a bucket"]
    assert (block.line, block.before, block.why_not()) == (3, "x = 1\n", None)


def test_a_program_that_fails_and_a_command_that_fails_are_told(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(
        "```python\n1 / 0\n```\n```sh\nssd-resnet34 detect nothing.jpg\nfalse\n"
        "pip install 'ssd-resnet34[nothing]'\n```\n```python\nprint(1)\n```\n"
    )
    reader = Reader(folder)
    for block in blocks(page, "page.md"):
        reader.read(block)
    assert len(reader.wrong) == 4
    assert "ZeroDivisionError" in reader.wrong[0]
    assert "exit code 3" in reader.wrong[1]
    assert reader.ran == {PYTHON: 2, SHELL: 3}
