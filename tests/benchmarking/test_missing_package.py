"""A benchmark whose package is not installed says what to install."""

import subprocess
import sys

import pytest

from conftest import REPOSITORY

HIDDEN = """
import runpy, sys
sys.modules[{package!r}] = None
sys.argv = ["it"]
runpy.run_module("benchmarks.{module}", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "package"),
    [("postprocess", "furiosa_native_postprocess"), ("serving", "httpx"), ("gpu", "torch")],
)
def test_a_missing_package_is_one_line_with_the_mend(module: str, package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN.format(module=module, package=package)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (f"error: {package} is not installed; pip install -c constraints.txt '.[dev]'")


def test_other_errors_keep_their_traceback() -> None:
    code = "import benchmarks; raise ValueError('what it was')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: what it was" in done.stderr
