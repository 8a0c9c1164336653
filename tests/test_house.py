"""The house: imports go upwards only, a cheap import, and the public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from manual.house import ROOMS, SOURCE

import ssd_resnet34


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """Rooms of this package that a module imports, anywhere in its text."""
    package = ("ssd_resnet34", *path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ssd_resnet34" and len(parts) > 1 and parts[1] in ROOMS:
                found.add(parts[1])
    return found


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_earlier_rooms(path: Path) -> None:
    if path.name == "__init__.py" and path.parent == SOURCE:
        pytest.skip("the package itself names every room, lazily")
    room = _room(path)
    assert room in ROOMS, f"{room} is no room yet: put it into ROOMS of manual/house.py"
    later = {name for name in _imported(path) if ROOMS.index(name) > ROOMS.index(room)}
    assert not later, f"{room} may not import what is below it in ROOMS of manual/house.py"


def test_every_module_is_of_one_size_a_reader_can_hold() -> None:
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in MODULES
        if (lines := len(path.read_text().splitlines())) > 420
    }
    assert not long, "split them by subject"


def test_importing_the_package_loads_no_engine_no_torch_and_no_web_framework() -> None:
    heavy = "torch openvino onnxruntime onnx cv2 numpy PIL fastapi starlette uvicorn ray pandas"
    code = f"import sys, ssd_resnet34; print(*[m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_public_names_are_these() -> None:
    assert sorted(ssd_resnet34.__all__) == [
        "Contract",
        "Detections",
        "Detector",
        "SSDResNet34",
        "SSDResNet34Error",
        "__version__",
        "load",
        "session",
    ]
    for name in ssd_resnet34.__all__:
        assert getattr(ssd_resnet34, name) is not None
    assert set(dir(ssd_resnet34)) == set(ssd_resnet34.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        # The access is the test, and so is the comment: a type checker sees the slip, too.
        ssd_resnet34.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_session_is_a_module_with_create() -> None:
    assert callable(ssd_resnet34.session.create)
