"""Wheel and sdist are whole: built, installed beside nothing of this repository, and run."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from manual.licences import FORBIDDEN, licence_of, pinned

import ssd_resnet34
from conftest import REPOSITORY
from documentation.reader import photograph, write_network

CLIENT = Path(__file__).with_name("client.py")
FURIOSA = REPOSITORY / "compat" / "furiosa"
SAMPLE = REPOSITORY / "samples" / "scene.png"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; it has to succeed."""
    words = [str(word) for word in command]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    """The two files of a release."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of this tree, and the wheel made from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, REPOSITORY)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Built(sdist, wheel)


def environment(folder: Path, *requirements: str | Path) -> Path:
    """Python of a new environment with these installed."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *requirements)
    return python


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel, and with the dependencies that are here already.

    A path in a ``.pth`` file: ``.pth`` files there, so the editable installation, do not count.
    """
    folder = tmp_path_factory.mktemp("installed")
    python = environment(folder, "--no-deps", built.wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import ssd_resnet34; print(ssd_resnet34.__file__)")
    assert where.startswith(str(site))
    return python


def test_the_wheel_is_the_package_with_its_weights_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
        (facts,) = (name for name in names if name.endswith("METADATA"))
        metadata = message_from_bytes(wheel.read(facts))
    assert {name.split("/")[0] for name in names} == {
        "ssd_resnet34",
        f"ssd_resnet34-{ssd_resnet34.__version__}.dist-info",
    }
    assert "ssd_resnet34/py.typed" in names
    assert "ssd_resnet34/weights/embedded/ssd-resnet34.safetensors" in names
    assert not [name for name in names if "__pycache__" in name or "/test" in name]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert str(metadata.get_payload()).startswith("# ssd-resnet34")
    assert built.wheel.stat().st_size < 50e6


def test_the_sdist_has_what_its_own_suite_needs(built: Built) -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no repository to compare it with")
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    tracked = run("git", "ls-files", cwd=REPOSITORY).splitlines()
    left_out = {name for name in tracked if name not in names and (REPOSITORY / name).exists()}
    assert left_out <= {".ci/run", ".gitignore", ".dockerignore"}


def test_the_installed_command_tells_and_detects(installed: Path, tmp_path: Path) -> None:
    command = installed.with_name("ssd-resnet34")
    assert run(command, "--version").strip() == ssd_resnet34.__version__
    assert "openvino" in run(command, "info")
    photograph(tmp_path / "car.png", 1)
    network = write_network(tmp_path)
    said = run(command, "detect", tmp_path / "car.png", "--weights", network, "--json", "-q")
    assert "car" in {one["label"] for one in json.loads(said)["detections"]}


def test_a_client_is_strictly_typed_against_the_installed_package(
    installed: Path, tmp_path: Path
) -> None:
    options = ("--strict", "--cache-dir", tmp_path / "cache", "--python-executable", installed)
    run(sys.executable, "-m", "mypy", *options, CLIENT, cwd=tmp_path)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import ssd_resnet34\n\nnumber: int = ssd_resnet34.load()('a.jpg')\n")
    with pytest.raises(AssertionError, match="Incompatible types"):
        run(sys.executable, "-m", "mypy", *options, wrong, cwd=tmp_path)


def test_the_distribution_with_the_names_of_the_zoo_is_one_of_its_own(
    installed: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, FURIOSA)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"furiosa"}
    assert "furiosa/__init__.py" not in names  # a namespace that others may share
    run(installed, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    assert "SSDResNet34" in run(installed.with_name("furiosa-models"), "list")


def resolved(python: Path, repository: Path, *words: str) -> dict[str, tuple[str, str]]:
    """Name -> (version, where from) of what ``pip install`` of these words would install.

    From no index, so that what a distribution of this repository asks of another one has to be in
    the repository; what both need from elsewhere is in ``python``'s environment.
    """
    options = ("--quiet", "--dry-run", "--no-index", "--no-build-isolation", "--report", "-")
    said = run(python, "-m", "pip", "install", *options, *words, cwd=repository)
    return {
        one["metadata"]["name"]: (one["metadata"]["version"], one["download_info"]["url"])
        for one in json.loads(said)["install"]
    }


def project_of(folder: Path) -> dict[str, Any]:
    """The table ``project`` of a folder's ``pyproject.toml``."""
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    return dict(project["project"])


@pytest.mark.parametrize("extra", ["", "[serve]"])
def test_the_documented_line_installs_both_distributions_of_this_tree(
    extra: str, installed: Path
) -> None:
    lines = {
        line
        for page in ("docs/migration.md", "compat/furiosa/README.md")
        for line in re.findall(
            r"^ *pip install (.* \./compat/furiosa)\b", (REPOSITORY / page).read_text("utf-8"), re.M
        )
    }
    (line,) = lines  # both say the same
    assert resolved(installed, REPOSITORY, *f"{line}{extra}".split()) == {
        "ssd-resnet34": (ssd_resnet34.__version__, REPOSITORY.as_uri()),
        "ssd-resnet34-furiosa": (project_of(FURIOSA)["version"], FURIOSA.as_uri()),
    }


def test_two_distributions_that_do_not_belong_together_are_not_installed(
    installed: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "furiosa"
    shutil.copytree(FURIOSA, newer)
    project, (needed,) = newer / "pyproject.toml", project_of(FURIOSA)["dependencies"]
    text = project.read_text("utf-8")
    project.write_text(text.replace(f'"{needed}"', '"ssd-resnet34>=99"'), "utf-8")
    with pytest.raises(AssertionError, match="ResolutionImpossible"):
        resolved(installed, REPOSITORY, ".", str(newer))


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "docs/migration.md", "compat/furiosa/README.md"]
)
def test_the_pages_say_which_versions_belong_together(page: str) -> None:
    project = project_of(FURIOSA)
    (needed,) = project["dependencies"]
    name, _, least = needed.partition(">=")
    said = f"`{project['name']}` {project['version']} needs `{name}` {least} or newer"
    assert said in " ".join((REPOSITORY / page).read_text("utf-8").split())


@pytest.mark.proof
def test_an_empty_environment_gets_all_it_needs_from_the_index(
    built: Built, tmp_path: Path
) -> None:
    constraints = ("--constraint", REPOSITORY / "constraints.txt")
    python = environment(tmp_path / "empty", *constraints, f"{built.wheel}[serve]")
    command = python.with_name("ssd-resnet34")
    assert "int8" in run(command, "info")
    run(python, "-c", "import ssd_resnet34.serving.server")
    assert "traffic light" in run(command, "detect", SAMPLE, "--json", "-q")
    code = "import sys, ssd_resnet34 as s; print(s.load()(sys.argv[1]).labels)"
    assert "car" in run(python, "-c", code, SAMPLE)


def test_one_version_everywhere() -> None:
    version = ssd_resnet34.__version__
    assert f'image.version="{version}"' in (REPOSITORY / "Dockerfile").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == "Unreleased" or headings[0].startswith(version)


def test_every_dependency_states_a_licence_and_none_is_gpl() -> None:
    for name in pinned():
        licence = licence_of(name)
        assert licence != "not stated", name
        assert not FORBIDDEN.search(licence), f"{name}: {licence}"


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-or-later", "AGPL-3.0", "GNU General Public License v2 (GPLv2)"]
)
def test_a_copyleft_licence_is_seen(licence: str) -> None:
    assert FORBIDDEN.search(licence)
    assert not FORBIDDEN.search("LGPL-2.1-or-later")
    assert not FORBIDDEN.search("GNU Lesser General Public License v3 (LGPLv3)")


def test_every_dependency_that_the_tests_have_is_pinned() -> None:
    project = project_of(REPOSITORY)
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for name in extras for one in extras[name])]
    names = {re.split(r"[^\w.-]", one)[0] for one in asked}
    pins = {_normal(name) for name in pinned()}
    itself = {"ssd-resnet34"}
    assert {_normal(name) for name in names} - pins == itself, "pin them in constraints.txt"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_pinned_dependency_of_an_extra_is_installed_at_its_pin() -> None:
    from importlib import metadata

    for name, version in pinned().items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # not for this platform
        assert here.partition("+")[0] == version, name
