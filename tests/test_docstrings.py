"""Every public name says what it is: shapes where there are arrays, errors where it raises them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import ssd_resnet34
from ssd_resnet34 import errors

SOURCE: Final = Path(ssd_resnet34.__file__).parent

Function = ast.FunctionDef | ast.AsyncFunctionDef

FOREIGN: Final = {"main"}
"""Names that mean what they mean everywhere."""

INSIDE: Final = {"serving", "training"}
"""Rooms whose classes nobody else uses: there functions and classes alone need a docstring."""

HELP: Final = {"cli"}
"""The room whose docstrings are the text of ``--help``, and whose errors are exit codes."""

ARRAY: Final = re.compile(r"\b(NDArray|Array|Tensor|ndarray)\b")

SHAPE: Final = re.compile(
    r"[\[(](?:n|N|m|C|H|A|F|B|M|K|k|\d+|rows|recalls|channels)\b[^\])]*[\])]"
    r"|\b(float32|float64|float16|uint8|int64|int8|bool|dtype|shapes?|heads|logits|scalar)\b"
)

ERRORS: Final = {name for name, value in vars(errors).items() if isinstance(value, type)}


@dataclass(frozen=True)
class Name:
    """A public function, method or class, and what its docstring and its owner's say."""

    room: str
    path: str
    qualified: str
    node: Function | ast.ClassDef
    owner: str = ""

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def said(self) -> str:
        return self.docstring + self.owner

    def __str__(self) -> str:
        return f"{self.path}:{self.node.lineno} {self.qualified}"


def names() -> list[Name]:
    return [name for path in sorted(SOURCE.rglob("*.py")) for name in _names(path)]


def _names(path: Path) -> Iterator[Name]:
    place = path.relative_to(SOURCE)
    room = place.parts[0].removesuffix(".py")

    def within(body: list[ast.stmt], prefix: str, owner: str) -> Iterator[Name]:
        for node in body:
            if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
                continue
            if any(ast.unparse(one).endswith("overload") for one in node.decorator_list):
                continue
            name = Name(room, place.as_posix(), prefix + node.name, node, owner)
            yield name
            if isinstance(node, ast.ClassDef):
                yield from within(node.body, f"{name.qualified}.", name.docstring)

    yield from within(ast.parse(path.read_text("utf-8")).body, "", "")


NAMES: Final = names()


def _promised() -> set[str]:
    """Names of methods that a protocol of this package describes for all that have them."""
    return {
        name.qualified.partition(".")[2]
        for owner in NAMES
        if isinstance(owner.node, ast.ClassDef)
        and any("Protocol" in ast.unparse(base) for base in owner.node.bases)
        for name in NAMES
        if name.docstring and name.qualified.startswith(f"{owner.qualified}.")
    }


def test_every_module_has_a_docstring() -> None:
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_every_public_name_has_a_docstring() -> None:
    promised = _promised()
    silent = []
    for name in NAMES:
        _, dot, method = name.qualified.rpartition(".")
        if dot and (name.room in INSIDE or method in promised):
            continue
        if not name.docstring and method not in FOREIGN:
            silent.append(str(name))
    assert not silent
    assert len(NAMES) > 800


def test_where_there_are_arrays_there_are_shapes_or_dtypes() -> None:
    silent = []
    for name in NAMES:
        if name.room in INSIDE or isinstance(name.node, ast.ClassDef) or not name.docstring:
            continue
        arguments = [*name.node.args.args, *name.node.args.kwonlyargs]
        types = [one.annotation for one in arguments] + [name.node.returns]
        has_arrays = any(one is not None and ARRAY.search(ast.unparse(one)) for one in types)
        if has_arrays and not SHAPE.search(name.said):
            silent.append(str(name))
    assert not silent


def _raised(node: ast.AST) -> Iterator[str]:
    """Errors of this package that a function raises itself, and does not catch."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try) and any(
            one.type is not None and ERRORS & {*ast.unparse(one.type).split(" | ")}
            for one in child.handlers
        ):
            continue
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            called = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            if isinstance(called, ast.Name) and called.id in ERRORS:
                yield called.id
        yield from _raised(child)


def test_who_raises_an_error_says_so() -> None:
    promised = _promised()
    silent = []
    for name in NAMES:
        if name.room in INSIDE | HELP or isinstance(name.node, ast.ClassDef):
            continue
        if name.qualified.rpartition(".")[2] in promised:
            continue
        unsaid = [one for one in set(_raised(name.node)) if one not in name.said]
        if unsaid and "Raises" not in name.said:
            silent.append(f"{name}: {', '.join(unsaid)}")
    assert not silent


def test_the_tree_of_the_docstring_is_that_of_the_errors() -> None:
    above: list[str] = []
    told = {}
    tree, _, _ = (errors.__doc__ or "").partition("\n\nEvery message")
    for line in tree.splitlines():
        found = re.fullmatch(r"    ([│├└─ ]*)(\w+) *(.*)", line)
        if found is None:
            continue
        branch, name, about = found.groups()
        above[len(branch) // 4 :] = [name]
        kind = getattr(errors, name)
        assert [kind.__bases__[0].__name__] == (above[-2:-1] or ["Exception"]), line
        if issubclass(kind, errors.ImageError) and kind is not errors.ImageError:
            assert about.split()[:2] == [kind.code, str(kind.status)], line
        told[name] = about
    assert told.keys() == ERRORS, "in errors.py or in the tree of its docstring, not in both"


@pytest.mark.parametrize("text", ["boxes (n, 4)", "[N, 3, 1200, 1200]", "float32", "six heads"])
def test_these_are_shapes(text: str) -> None:
    assert SHAPE.search(text)
    assert not SHAPE.search("an array of numbers (see below)")
