"""Sessions: every engine gives the right heads, from any input, from any thread, until closed."""

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_heads, fake_onnx
from small_network import CONTRACT, small_onnx
from ssd_resnet34.contract import COCO, HEAD_NAMES, Category, Contract
from ssd_resnet34.errors import (
    ArtifactError,
    EngineUnavailable,
    InvalidInput,
    SessionClosed,
    SessionError,
    UnsafeWeights,
    UnsupportedPrecision,
    UsageError,
)
from ssd_resnet34.runtime import session
from ssd_resnet34.runtime.cache import Cache
from ssd_resnet34.runtime.session import Session
from ssd_resnet34.runtime.tensors import Array
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.postprocess import rules

REAL = ("openvino", "onnxruntime")
THREE = Contract((Category(7, "cup"), Category(3, "pen"), Category(4, "hat")))


@pytest.fixture(params=[*REAL, "fake"])
def running(request: pytest.FixtureRequest) -> Iterator[Session]:
    engine = FakeEngine() if request.param == "fake" else request.param
    with session.create(fake_onnx(), engine=engine, precision="fp32") as made:
        yield made


def assert_heads(found: list[Array], tensor: Array, within: float = 1e-5) -> None:
    for head, want in zip(found, fake_heads(tensor), strict=True):
        assert head.dtype == np.float32
        np.testing.assert_allclose(head, want, rtol=0, atol=within)


def test_every_engine_gives_the_twelve_heads_of_each_image(
    running: Session, pictures: Array
) -> None:
    outputs = running.run(pictures)
    assert len(outputs) == 12
    assert_heads(outputs, pictures)


@pytest.mark.parametrize("engine", REAL)
def test_an_int8_artifact_runs_in_both_engines(engine: str, pictures: Array) -> None:
    with session.create(fake_onnx(precision="int8"), engine=engine) as sess:
        assert sess.precision == "int8"
        assert_heads(sess.run(pictures[:2]), pictures[:2], within=0.016)  # half a step of 0.03


def test_results_are_not_overwritten_by_later_runs(running: Session, pictures: Array) -> None:
    first = running.run(pictures[:1])
    kept = [head.copy() for head in first]
    running.run(pictures[4:5])
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))
    assert all(head.flags.writeable for head in first)


def test_the_input_array_is_not_changed(running: Session) -> None:
    image = np.full((1, 3, 1200, 1200), 0.5, np.float32)
    running.run(image)
    assert (image == 0.5).all()


@pytest.mark.parametrize("streams", [1, 3])
def test_eight_threads_get_the_results_of_one(
    running: Session, streams: int, pictures: Array
) -> None:
    engine: Any = FakeEngine() if running.engine == "fake" else running.engine
    serial = [running.run(pictures[n : n + 1]) for n in range(5)]
    with (
        session.create(fake_onnx(), engine, precision="fp32", threads=1, streams=streams) as sess,
        ThreadPoolExecutor(8) as pool,
    ):
        numbers = [n % 5 for n in range(160)]
        results = pool.map(lambda n: sess.run(pictures[n : n + 1]), numbers)
        for n, found in zip(numbers, results, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found, serial[n], strict=True))


def test_busy_is_the_time_of_the_engine_alone(
    running: Session, pictures: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([10.0, 12.5, 20.0, 21.0])  # one look before each run, one after
    monkeypatch.setattr(session, "perf_counter", lambda: next(times))
    before = running.busy
    running.run(pictures[:1])
    running.run(pictures[:1])
    assert running.busy - before == 3.5


def test_a_model_may_be_bytes_a_path_or_have_an_enf(tmp_path: Path, pictures: Array) -> None:
    data = fake_onnx()
    path = tmp_path / "artifact.onnx"
    path.write_bytes(data)
    views = (bytearray(data), memoryview(data))
    for model in (data, path, str(path), SimpleNamespace(enf=data), *views):
        with session.create(model, engine=FakeEngine()) as sess:
            assert_heads(sess.run(pictures[:1]), pictures[:1])


def test_contexts_travel_from_the_input_to_the_outputs(running: Session, pictures: Array) -> None:
    context = SimpleNamespace(width=640, height=480)
    for inputs in (
        SimpleNamespace(tensor=pictures[:1], contexts=(context,)),
        (pictures[:1], [context]),
        [(pictures[:1], (context,))],
    ):
        outputs = running.run(inputs)
        assert outputs.contexts == (context,)
        assert outputs.numpy() is outputs
        assert isinstance(outputs.numpy(), list)
    assert running.run(pictures[:1]).contexts is None


def test_a_list_of_preprocessed_images_runs_as_one_batch(pictures: Array) -> None:
    engine = FakeEngine()
    with session.create(fake_onnx(), engine) as sess:
        outputs = sess.run([(pictures[:2], ["a", "b"]), (pictures[2:3], ["c"])])
    assert engine.runs == [3]
    assert outputs.contexts == ("a", "b", "c")
    assert_heads(outputs, pictures[:3])


def test_outputs_keep_their_contexts_when_copied_or_pickled(pictures: Array) -> None:
    with session.create(fake_onnx(), FakeEngine()) as sess:
        outputs = sess.run((pictures[:1], ["a"]))
    for other in (outputs.copy(), pickle.loads(pickle.dumps(outputs))):
        assert other.contexts == ("a",)
        assert all(np.array_equal(a, b) for a, b in zip(other, outputs, strict=True))


def test_the_contract_decides_the_shapes(pictures: Array) -> None:
    for engine in REAL:
        with session.create(fake_onnx(THREE, ((5, 2),)), engine, precision="fp32") as sess:
            assert sess.contract == THREE
            shapes = [desc.shape for desc in sess.outputs()]
            assert [head.shape for head in sess.run(pictures[:1])] == shapes
            assert shapes[0] == (1, 16, 50, 50)


def test_inputs_outputs_and_summary_describe_the_model(running: Session) -> None:
    (image,) = running.inputs()
    assert (image.name, image.shape, image.dtype) == ("image", (1, 3, 1200, 1200), "float32")
    assert (image.length, image.size) == (4_320_000, 17_280_000)
    assert tuple(desc.name for desc in running.outputs()) == HEAD_NAMES
    text = running.summary()
    assert text.index("Inputs:") < text.index('0: TensorDesc(name="image"')
    assert text.index("Outputs:") < text.index('11: TensorDesc(name="loc_5"')
    assert running.engine in text


def test_print_summary_prints_it(running: Session, capsys: pytest.CaptureFixture[str]) -> None:
    running.print_summary()
    assert capsys.readouterr().out == running.summary() + "\n"


# ------------------------------------------------------------------------------- closing


def test_a_closed_session_says_so(running: Session, pictures: Array) -> None:
    running.close()
    running.close()
    assert running.closed
    assert "closed" in repr(running)
    for use in (
        lambda: running.run(pictures[:1]),
        running.inputs,
        running.outputs,
        running.summary,
        running.__enter__,
    ):
        with pytest.raises(SessionClosed, match=r"session\.create"):
            use()


def test_close_waits_for_a_run_and_refuses_those_in_line(pictures: Array) -> None:
    engine = FakeEngine()
    engine.hold = threading.Event()
    sess = session.create(fake_onnx(), engine)
    with ThreadPoolExecutor(4) as pool:
        begun = pool.submit(sess.run, pictures[:1])
        assert engine.begun.acquire(timeout=300)
        waiting = [pool.submit(sess.run, pictures[:1]) for _ in range(2)]
        closing = pool.submit(sess.close)
        for late in waiting:
            assert isinstance(late.exception(timeout=300), SessionClosed)
        assert engine.closed == 0
        engine.hold.set()
        assert len(begun.result(timeout=300)) == 12
        closing.result(timeout=300)
    assert engine.closed == 1


def test_an_error_of_the_engine_does_not_block_the_session(pictures: Array) -> None:
    class Failing(FakeEngine):
        fails = True

        def precisions(self, device: str) -> dict[str, str]:
            return {"fp32": ""}

    engine = Failing([(15129, 1)])
    with session.create(fake_onnx(), engine) as sess:
        engine.detections = [(0, 99)]  # no such class: the fake raises IndexError
        with pytest.raises(IndexError):
            sess.run(pictures[:1])
        engine.detections = []
        assert len(sess.run(pictures[:1])) == 12


# ------------------------------------------------------------------------- the whole road


def test_an_engine_that_runs_the_network_alone_says_so() -> None:
    image = Image(np.zeros((4, 5, 3), np.uint8))
    with session.create(fake_onnx(), FakeEngine()) as sess:
        assert not sess.whole_road
        with pytest.raises(SessionError, match="runs the network alone on cpu; use preprocess"):
            sess.detect([image], rules())


def test_the_whole_road_gives_detections_in_pixels_of_each_image() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    images = [Image(pixels, "wide"), Image(np.ascontiguousarray(pixels.transpose(1, 0, 2)), "tall")]
    chosen = rules(0.3, contract=CONTRACT)
    with session.create(small_onnx(), RoadEngine(), device="cuda") as sess:
        assert sess.whole_road
        free = sess.detect(images, chosen, model="small")
        cut = sess.detect(images, chosen, clip=True)
        with pytest.raises(InvalidInput, match="found none"):
            sess.detect([], chosen)
    assert [(one.image, one.width, one.height) for one in free] == [
        ("wide", 80, 50),
        ("tall", 50, 80),
    ]
    assert free[0].model == "small"
    assert all(len(one) for one in free)
    for a, b in zip(free, cut, strict=True):
        np.testing.assert_allclose(a.clip().boxes, b.boxes, atol=1e-4)
    with pytest.raises(SessionClosed):
        sess.detect(images, chosen)


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((1, 3, 1200, 1200), np.uint8), "found uint8 .*normalised first.*preprocess"),
        (np.zeros((1, 3, 1200, 1200), np.float16), r"found float16 .*astype\(numpy.float32\)"),
        (np.zeros((3, 1200, 1200), np.float32), "batch axis"),
        (np.zeros((1, 1200, 1200, 3), np.float32), "channels come first"),
        (np.zeros((1, 3, 300, 300), np.float32), r"expected .*1200, 1200\]; found .*300, 300"),
        (np.zeros((0, 3, 1200, 1200), np.float32), r"found float32 \[0, 3"),
        ([], "empty list"),
        ([np.zeros((1, 3, 1200, 1200), np.float32)] * 2, "found 2 arrays; .*concatenate"),
        ((np.zeros((1, 3, 1200, 1200), np.float32), []), "found 0 for a batch of 1"),
        ("cat.jpg", "found str; .*preprocess"),
        (["cat.jpg"], "found str inside a list"),
        (None, "found NoneType"),
        ({"image": 1}, "found dict"),
    ],
)
def test_a_wrong_input_says_what_was_expected_and_found(inputs: Any, message: str) -> None:
    with (
        session.create(fake_onnx(), FakeEngine()) as sess,
        pytest.raises(InvalidInput, match=message),
    ):
        sess.run(inputs)


def test_a_tensor_of_another_library_is_sent_to_numpy() -> None:
    foreign = SimpleNamespace(numpy=lambda: None)
    with (
        session.create(fake_onnx(), FakeEngine()) as sess,
        pytest.raises(InvalidInput, match=r"call \.numpy\(\) on it first"),
    ):
        sess.run(foreign)


def test_arrays_that_are_not_contiguous_or_read_only_run(running: Session) -> None:
    image = np.zeros((1, 1200, 1200, 3), np.float32)
    image[..., 0] = 3
    planes = image.transpose(0, 3, 1, 2)
    assert_heads(running.run(planes), planes)
    frozen = np.ascontiguousarray(planes)
    frozen.setflags(write=False)
    assert_heads(running.run(frozen), planes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads: 0 is outside 1 to 1024"),
        ({"threads": True}, "threads: expected an integer"),
        ({"threads": 1.5}, "threads: expected an integer"),
        ({"streams": 65}, "streams: 65 is outside 1 to 64"),
        ({"batch": 0}, "batch: 0 is outside 1 to 256"),
        ({"batch": 2}, "batch: 2 has no effect, since engine openvino takes"),
        ({"device": "CPU 0"}, "device 'CPU 0' is not a device"),
        ({"device": "cpu:0"}, "device 'cpu:0' is not a device; use 'cpu'"),
        ({"precision": "fp64"}, "precision 'fp64' is unknown; use auto, fp32, bf16, fp16, int8"),
        ({"engine": 3}, "a int is no engine; it needs name"),
    ],
)
def test_an_argument_outside_its_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        session.create(fake_onnx(), **arguments)


def test_a_model_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match="found int"):
        session.create(42)


def test_a_model_that_is_no_artifact_never_reaches_an_engine(tmp_path: Path) -> None:
    from onnx import TensorProto

    from ssd_resnet34 import artifact

    outside = artifact.load(fake_onnx())
    tensor = outside.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    bare = artifact.load(fake_onnx())
    del bare.metadata_props[:]
    engine = FakeEngine()
    for model, kind, message in (
        (artifact.serialize(outside), UnsafeWeights, "external data"),
        (artifact.serialize(bare), ArtifactError, "no ssd_resnet34.contract"),
        (fake_onnx(shapes="wrong"), ArtifactError, "output cls_0"),
        (fake_onnx()[:100_000], ArtifactError, "cut short"),
        (b"", ArtifactError, "empty"),
        (b"not a model", ArtifactError, "not an ONNX model"),
        (tmp_path / "missing.onnx", ArtifactError, "missing.onnx: cannot be read"),
        (tmp_path, ArtifactError, r"cannot be read \(Is a directory\)"),
        ("nul\0", ArtifactError, "cannot be read"),
    ):
        with pytest.raises(kind, match=message):
            session.create(model, engine=engine)
    assert engine.requests == []


def test_float_of_an_int8_artifact_and_int8_of_a_float_one_are_refused_with_the_mend() -> None:
    for precision in ("fp32", "bf16"):
        with pytest.raises(UnsupportedPrecision, match=r"int8 artifact.*compiled from"):
            session.create(fake_onnx(precision="int8"), precision=precision)
    with pytest.raises(UnsupportedPrecision, match="fp32 artifact; make an int8 one first"):
        session.create(fake_onnx(), precision="int8")


def test_an_engine_says_why_it_cannot_do_a_precision_or_a_device() -> None:
    with pytest.raises(UnsupportedPrecision, match="onnxruntime cannot run in bf16: its CPU"):
        session.create(fake_onnx(), "onnxruntime", precision="bf16")
    with pytest.raises(EngineUnavailable, match="not on cuda; use device cpu"):
        session.create(fake_onnx(), "openvino", device="cuda")
    with pytest.raises(EngineUnavailable, match="does not run on device 'npu'; use 'cpu', 'cuda'"):
        session.create(fake_onnx(), "onnxruntime", device="npu")
    with pytest.raises(EngineUnavailable, match=r"no engine works|no engine can run"):
        session.create(fake_onnx(), device="npu")


def test_wrong_outputs_of_an_engine_are_laid_at_its_door(pictures: Array) -> None:
    contract = Contract(COCO.categories[:-1])
    engine = FakeEngine([])
    with session.create(fake_onnx(contract, ()), engine) as sess:
        object.__setattr__(engine.requests[0], "contract", COCO)
        # The fake now follows another contract than the session does.
        sess._request = type(engine.requests[0])(
            contract, "fp32", "cpu", 1, 1, "", Cache(Path("unused"))
        )
        with pytest.raises(SessionError, match="engine fake gave cls_0 as float32"):
            sess.run(pictures[:1])
