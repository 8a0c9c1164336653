"""The blocks of code in a page, and what it says about those that are not run.

A comment before a block says so, for the whole block or for the lines with a piece of text:

    <!-- not run: needs a GPU -->
    <!-- not run "s3://": needs a bucket -->

and another one gives it what a reader has already, as Python that is run first:

    <!-- before: paths = ["a.jpg", "b.jpg"] -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHELL: Final = "sh"
PYTHON: Final = "python"

_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)$")
_COMMENT: Final = re.compile(r"^ *<!-- (?P<text>.*) -->$")
_NOT_RUN: Final = re.compile(r'^not run(?: "(?P<part>[^"]+)")?: (?P<reason>.+)$')
_BEFORE: Final = re.compile(r"^before: (?P<code>.+)$")


@dataclass(frozen=True, slots=True)
class NotRun:
    """Why lines with ``part`` are not run; all lines where it is empty."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, its language, its text, what is said before it."""

    page: str
    line: int
    language: str
    text: str
    not_run: tuple[NotRun, ...] = ()
    before: str = ""

    def why_not(self, text: str | None = None) -> str | None:
        """The reason why this block, or a command of it, is not run; None if it is."""
        for one in self.not_run:
            if not one.part or (text is not None and one.part in text):
                return one.reason
        return None

    def commands(self) -> list[str]:
        """The commands of a shell block, continued lines joined, without comments' lines."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(path: Path, name: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown file, in order.

    Raises:
        ValueError: a block without an end, or a comment of this kind that no block follows.
    """
    comments: list[str] = []
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    for number, line in lines:
        if comment := _COMMENT.match(line):
            if comment["text"].startswith(("not run", "before:")):
                comments.append(comment["text"])
            continue
        fence = _FENCE.match(line)
        if fence is None:
            if comments and line.strip():
                raise ValueError(f"{name}:{number}: a comment about a block, and no block")
            continue
        inside = []
        for _, text in lines:
            if text.strip() == "```":
                break
            inside.append(text.removeprefix(fence["indent"]))
        else:
            raise ValueError(f"{name}:{number}: a block without an end")
        text = "\n".join(inside) + "\n"
        yield Block(name, number, fence["language"], text, *_said(comments, f"{name}:{number}"))
        comments = []


def _said(comments: list[str], where: str) -> tuple[tuple[NotRun, ...], str]:
    not_run, before = [], []
    for comment in comments:
        if found := _NOT_RUN.match(comment):
            not_run.append(NotRun(found["part"] or "", found["reason"]))
        elif found := _BEFORE.match(comment):
            before.append(found["code"] + "\n")
        else:
            raise ValueError(f"{where}: {comment!r} says nothing that is understood")
    return tuple(not_run), "".join(before)
