"""The distribution shares the namespace, loads nothing early, and says where the vendor's is."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ssd_resnet34

REPOSITORY = Path(__file__).resolve().parents[2]
COMPAT = REPOSITORY / "compat" / "furiosa"
SOURCE = COMPAT / "src"


def _python(code: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_namespace_is_shared() -> None:
    assert not (SOURCE / "furiosa" / "__init__.py").exists()
    # Another distribution adds to the same namespace.
    printed = _python(
        "import os, tempfile; folder = tempfile.mkdtemp(); os.mkdir(f'{folder}/furiosa')\n"
        "open(f'{folder}/furiosa/device.py', 'w').write('here = True')\n"
        "sys.path.append(folder)\n"
        "import furiosa.device, furiosa.models; print(furiosa.device.here)"
    )
    assert printed == "True"


def test_importing_the_namespace_loads_nothing_heavy() -> None:
    modules = "numpy cv2 onnx torch pandas yaml starlette ssd_resnet34"
    printed = _python(
        "import furiosa.models.vision, furiosa.models.types, furiosa.models.errors\n"
        "import furiosa.runtime\n"
        f"print(*[m for m in {modules.split()} if m in sys.modules])"
    )
    assert printed == ""


def test_the_core_never_imports_it() -> None:
    core = Path(ssd_resnet34.__file__).parent
    for path in core.rglob("*.py"):
        text = path.read_text()
        assert "import furiosa\n" not in text, path
        assert "import furiosa." not in text, path
        assert "from furiosa " not in text, path
        assert "from furiosa." not in text, path


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("furiosa.models.vision", "furiosa-models"),
        ("furiosa.runtime", "furiosa-runtime"),
        ("furiosa.runtime", "furiosa-sdk"),
        ("furiosa.quantizer", "furiosa-quantizer"),
        ("furiosa.optimizer", "furiosa-optimizer"),
    ],
)
def test_the_vendors_distribution_beside_it_is_told(module: str, distribution: str) -> None:
    printed = _python(
        "import importlib.metadata as metadata, warnings\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name.startswith('furiosa'):\n"
        f"        if name == {distribution!r}: return '0.10.2'\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        f"    import {module}\n"
        "print(*[one.message for one in told if 'furiosa' in str(one.message)])"
    )
    assert f"{distribution} 0.10.2 is installed beside ssd-resnet34-furiosa" in printed
    assert "uninstall one of the two" in printed


def test_without_the_vendor_there_is_no_warning() -> None:
    printed = _python(
        "import warnings; warnings.simplefilter('error')\n"
        "import furiosa.models.vision, furiosa.runtime.session, furiosa.runtime.sync\n"
        "import furiosa.quantizer, furiosa.optimizer, furiosa.runtime.profiler\n"
        "print(furiosa.models.__version__, furiosa.runtime.is_legacy)"
    )
    assert printed == "0.10.2+ssd.resnet34 False"


@pytest.mark.parametrize("module", ["furiosa.models", "furiosa.models.vision", "furiosa.runtime"])
def test_a_wrong_name_is_told_with_the_right_ones(module: str) -> None:
    printed = _python(
        f"import {module} as module\n"
        "try: module.SSDResNet50\n"
        "except AttributeError as error: print(error)\n"
        "try: exec(f'from {module.__name__} import SSDResNet50')\n"
        "except ImportError: print('ImportError')"
    )
    assert "no attribute 'SSDResNet50'; it has ['" in printed
    assert printed.endswith("ImportError")


def test_the_distribution_has_the_command_and_its_own_version() -> None:
    facts = tomllib.loads((COMPAT / "pyproject.toml").read_text())["project"]
    assert facts["scripts"] == {"furiosa-models": "furiosa.models.command:main"}
    assert facts["name"] == "ssd-resnet34-furiosa"
    assert "pydantic" not in str(facts["dependencies"])
