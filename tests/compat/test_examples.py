"""The page's snippets, and programs in the documented forms of each release, run unchanged."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manual.blocks import blocks

from conftest import REPOSITORY
from fake_engine import FakeEngine
from fake_network import DETECTIONS
from furiosa.models.vision.postprocess import ObjectDetectionResult
from ssd_resnet34 import SSDResNet34, session

PAGE = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34()
with session.create(resnet34.enf) as sess:
    image = resnet34.preprocess("tests/assets/cat.jpg")
    output = sess.run(image).numpy()
    results = resnet34.postprocess(output)
"""

PAGE_MODULE = """
from furiosa.models.vision import ssd_resnet34
from furiosa.runtime import session

model = ssd_resnet34.SSDResNet34(use_native_post=False)
with session.create(model.enf) as sess:
    image = ssd_resnet34.preprocess(["tests/assets/cat.jpg"])
    output = sess.run(image).numpy()
    results = ssd_resnet34.postprocess(output)
"""

PAGE_REBOUND = """
from furiosa.models.vision import ssd_resnet34
from furiosa.runtime import session

ssd_resnet34 = ssd_resnet34.SSDResNet34(use_native_post=False)
with session.create(ssd_resnet34.enf) as sess:
    image, contexts = ssd_resnet34.preprocess("tests/assets/cat.jpg")
    output = sess.run(image).numpy()
    results = ssd_resnet34.postprocess(output, batch_preproc_params=contexts)
"""

PAGE_NONBLOCKING = """
import asyncio

from furiosa.models.vision import nonblocking, ssd_resnet34
from furiosa.runtime import session

model = asyncio.run(nonblocking.SSDResNet34())
with session.create(model.enf) as sess:
    image, contexts = ssd_resnet34.preprocess(["tests/assets/cat.jpg"])
    results = ssd_resnet34.postprocess(sess.run(image).numpy(), contexts, 0.3)
"""

RELEASE_0_8 = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34.load()
with session.create(resnet34) as sess:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    output = sess.run(image).numpy()
    results = resnet34.postprocess(output, contexts=contexts)
"""

RELEASE_0_8_NATIVE = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34.load(use_native=True, version="cpp")
with session.create(resnet34.enf) as sess:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    output = sess.run(image).numpy()
    results = [resnet34.postprocess(output, context=contexts[0])]
"""

RELEASE_0_8_QUEUE = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34.load()
submitter, queue = session.create_async(resnet34.enf, input_queue_size=2, output_queue_size=2)
image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
with submitter:
    submitter.submit([image], context=contexts)
with queue:
    (context, outputs) = queue.recv(timeout=30_000)
    results = resnet34.postprocess(outputs.numpy(), context)
"""

RELEASE_0_9 = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34.load()
with session.create(resnet34.enf) as sess:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    assert image.dtype == sess.input(0).numpy_dtype
    output = sess.run(image).numpy()
    results = resnet34.postprocess(output, contexts=contexts)
"""

RELEASE_0_9_NATIVE = """
import asyncio

from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = asyncio.run(SSDResNet34.load_async(use_native=True))
with session.create(resnet34.enf) as sess:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    output = sess.run(image).numpy()
    results = [resnet34.postprocess(output, contexts=contexts[0])]
"""

RELEASE_0_9_SOURCE = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import session

resnet34 = SSDResNet34.load()
with session.create(resnet34.source, device="npu0pe0-1", worker_num=1) as sess:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"], with_quantize=True)
    assert image.dtype == sess.input(0).numpy_dtype
    output = sess.run(image).numpy()
    results = resnet34.postprocess(output, contexts=contexts)
"""

RELEASE_0_10 = """
from furiosa.models.vision import SSDResNet34
from furiosa.runtime.sync import create_runner

resnet34 = SSDResNet34(postprocessor_type="Python")
with create_runner(resnet34.model_source()) as runner:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    output = runner.run(image)
    results = resnet34.postprocess(output, contexts=contexts)
"""

RELEASE_0_10_NATIVE = """
from furiosa.models.types import Platform
from furiosa.models.vision import SSDResNet34
from furiosa.runtime.sync import create_runner

resnet34 = SSDResNet34(postprocessor_type=Platform.RUST)
with create_runner(resnet34.model_source(num_pe=1), device="warboy(1)*1") as runner:
    image, contexts = resnet34.preprocess(["tests/assets/cat.jpg"])
    output = runner.run([image])
    results = [resnet34.postprocessor(output, contexts=contexts[0])]
"""

RELEASE_0_10_ASYNC = """
import asyncio

from furiosa.models.vision import SSDResNet34
from furiosa.runtime import create_runner

resnet34 = SSDResNet34()


async def main():
    async with create_runner(resnet34.model_source()) as runner:
        image, contexts = resnet34.preprocess("tests/assets/cat.jpg")
        return resnet34.postprocess(await runner.run(image), contexts)


results = asyncio.run(main())
"""

RELEASE_0_10_QUEUES = """
import asyncio

from furiosa.models.vision import SSDResNet34
from furiosa.runtime import Runtime

resnet34 = SSDResNet34()


async def main():
    async with Runtime() as runtime:
        async with runtime.create_queue(resnet34.model_source()) as (submitter, receiver):
            image, contexts = resnet34.preprocess("tests/assets/cat.jpg")
            await submitter.submit(image, contexts)
            await submitter.close()
            async for contexts, outputs in receiver:
                return resnet34.postprocess(outputs, contexts)


results = asyncio.run(main())
"""

PROGRAMS = {
    name: value for name, value in globals().items() if name.startswith(("PAGE", "RELEASE"))
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("release", ["0.8", "0.9", "0.10"])
def test_the_program_runs_unchanged(
    name: str, release: str, engine: FakeEngine, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_RELEASE", release)
    names: dict[str, Any] = {}
    exec(textwrap.dedent(PROGRAMS[name]), names)
    (found,) = names["results"]
    assert engine.runs == [1]
    assert sorted(one.index for one in found) == sorted(index for _, index in DETECTIONS)
    for one in found:
        assert isinstance(one, ObjectDetectionResult)
        assert 0.9 < one.score < 1
        assert one.label != "background"
        left, top, right, bottom = one.boundingbox
        # A prior of the 1200 layout, in pixels of a 64×48 picture.
        assert -10 < left < right < 74
        assert -10 < top < bottom < 58


def test_the_page_needs_no_contexts_and_gets_pixels_of_the_picture(
    engine: FakeEngine, cat: Path
) -> None:
    names: dict[str, Any] = {}
    exec(PAGE, names)
    assert names["image"].contexts == [{"width": 64, "height": 48}]
    assert names["output"].contexts == ({"width": 64, "height": 48},)
    given = names["resnet34"].postprocess(names["output"], [{"width": 64, "height": 48}])
    assert given == names["results"]
    # Bare arrays carry none: pixels of the network's own picture.
    bare = names["resnet34"].postprocess(list(names["output"]))
    first, scaled = names["results"][0][0].boundingbox, bare[0][0].boundingbox
    assert np.allclose(list(scaled), np.array(list(first)) / (64, 48, 64, 48) * 1200, rtol=1e-5)


@pytest.mark.proof
def test_the_page_finds_what_the_core_finds_with_the_embedded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's snippet, word for word, on real weights and a real engine."""
    scene = Path(__file__).resolve().parents[2] / "samples" / "scene.png"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "assets").mkdir(parents=True)
    (tmp_path / "tests" / "assets" / "cat.jpg").write_bytes(scene.read_bytes())
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_RELEASE", "0.8")  # the page's: floats
    names: dict[str, Any] = {}
    exec(PAGE, names)
    native = SSDResNet34(precision="int8")
    with session.create(native.enf) as sess:
        (wanted,) = native.postprocess(sess.run(native.preprocess(scene)), nms="mlperf")
    (found,) = names["results"]
    assert len(wanted) > 20
    assert [one.score for one in found[::-1]] == [one.score for one in wanted]
    assert [list(one.boundingbox) for one in found[::-1]] == [list(one.box) for one in wanted]


@pytest.mark.proof
def test_the_readme_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its program that reads the sample, on real weights and a real engine."""
    monkeypatch.chdir(REPOSITORY)
    readme = blocks(REPOSITORY / "compat" / "furiosa" / "README.md", "README.md")
    _, program, said = (block for block in readme if block.language in ("python", "text"))
    exec(program.text, {})
    for found, wanted in zip(
        capsys.readouterr().out.splitlines(), said.text.splitlines(), strict=True
    ):
        label, *box = found.rsplit(" ", 4)
        expected, *corners = wanted.rsplit(" ", 4)
        assert label == expected
        assert np.allclose(np.array(box, int), np.array(corners, int), atol=3)
