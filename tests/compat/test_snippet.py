"""The model-zoo page's snippets run unchanged on the distribution in ``compat/furiosa``."""

import importlib.metadata
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import DETECTIONS, fake_onnx
from ssd_resnet34.contract import COCO
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.runtime import engines

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "compat" / "furiosa" / "src"

SNIPPET = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34()
with session.create(resnet34.enf) as sess:
    image = resnet34.preprocess("tests/assets/cat.jpg")
    output = sess.run(image).numpy()
    resnet34.postprocess(output)
"""

MODULE_SNIPPET = """
from furiosa.models.vision import ssd_resnet34
from furiosa.runtime import session

model = ssd_resnet34.SSDResNet34(use_native_post=False)
with session.create(model.enf) as sess:
    image = ssd_resnet34.preprocess(["tests/assets/cat.jpg"])
    output = sess.run(image).numpy()
    found = ssd_resnet34.postprocess(output)
"""


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "furiosa"]:
        del sys.modules[name]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The namespace on the path, the picture that the page names, a fake engine and artifact."""
    monkeypatch.syspath_prepend(str(SOURCE))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "assets").mkdir(parents=True)
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "tests" / "assets" / "cat.jpg")
    engine = FakeEngine()
    # The network is not the subject: any weights and any engine stand for the embedded and best.
    monkeypatch.setattr(SSDResNet34, "enf", fake_onnx())
    monkeypatch.setattr(SSDResNet34, "contract", COCO)
    monkeypatch.setattr(engines, "find", lambda name: engine)
    _forget()
    yield engine
    _forget()


def test_the_snippet_of_the_page_runs_unchanged(page: FakeEngine) -> None:
    names: dict[str, Any] = {}
    exec(SNIPPET, names)
    assert page.runs == [1]
    (found,) = names["resnet34"].postprocess(names["output"])
    assert sorted(found.indices.tolist()) == sorted(index for _, index in DETECTIONS)
    assert (found.width, found.height) == (64, 48)
    assert len(names["output"]) == 12


def test_the_snippet_with_the_module_runs_unchanged(page: FakeEngine) -> None:
    names: dict[str, Any] = {}
    exec(MODULE_SNIPPET, names)
    (found,) = names["found"]
    assert len(found) == len(DETECTIONS)
    module = names["ssd_resnet34"]
    assert module.CLASSES[found.indices[0]] == found.labels[0]
    assert module.CLASSES[0] == "background"
    assert (len(module.CLASSES), module.NUM_OUTPUTS) == (81, 12)


def test_the_page_names_are_those_of_the_core(page: FakeEngine) -> None:
    from furiosa.models import vision
    from furiosa.runtime import session

    assert issubclass(vision.SSDResNet34, ssd_resnet34.SSDResNet34)
    assert session.create is ssd_resnet34.session.create
    with pytest.raises(AttributeError, match="SSDResNet34"):
        vision.SSDResNet50  # noqa: B018  # the access is the test


def test_the_two_decoders_differ_as_the_vendors_do(page: FakeEngine, golden: ModuleType) -> None:
    from furiosa.models.vision import SSDResNet34 as Page

    heads = golden.case("diagonal")  # its boxes meet the reference's IoU error
    found = {
        native: len(Page(use_native_post=native).postprocess(heads)[0]) for native in (False, True)
    }
    assert found == {False: 34, True: 45}


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("furiosa.models.vision", "furiosa-models"),
        ("furiosa.runtime.session", "furiosa-runtime"),
        ("furiosa.runtime.session", "furiosa-sdk"),
    ],
)
def test_the_vendors_distribution_beside_it_is_told(
    module: str, distribution: str, page: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == distribution:
            return "0.10.2"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.warns(UserWarning, match=rf"{distribution} 0\.10\.2 is installed beside"):
        importlib.import_module(module)


def test_without_the_vendor_there_is_no_warning(page: FakeEngine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("furiosa.models.vision")
        importlib.import_module("furiosa.runtime.session")


def test_importing_the_namespace_loads_nothing_heavy() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import furiosa.models.vision; "
        "print(*[m for m in ('numpy', 'cv2', 'onnx', 'torch', 'ssd_resnet34') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_namespace_is_shared() -> None:
    for folder in ("furiosa", "furiosa/models", "furiosa/runtime"):
        assert not (SOURCE / folder / "__init__.py").exists()


def test_the_core_never_imports_it() -> None:
    core = Path(ssd_resnet34.__file__).parent
    for path in core.rglob("*.py"):
        text = path.read_text()
        assert "import furiosa" not in text, path
        assert "from furiosa" not in text, path
