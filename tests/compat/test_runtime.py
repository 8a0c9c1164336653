"""Sessions of 0.7–0.9, runners of 0.10: tensors, descriptions, options, errors."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_heads, fake_onnx
from furiosa.models.vision import SSDResNet34
from furiosa.runtime import create_runner as create_async_runner
from furiosa.runtime import errors, session, sync, tensor
from furiosa.runtime.tensor import Axis, DataType, Tensor, TensorArray
from ssd_resnet34 import session as core
from ssd_resnet34.contract import HEAD_NAMES
from ssd_resnet34.errors import SessionError
from ssd_resnet34.vision.preprocess import preprocess

FLOATS = np.zeros((1, 3, 1200, 1200), np.float32)
PIXELS = np.full((1, 3, 1200, 1200), 7, np.uint8)


@pytest.fixture
def sess(engine: FakeEngine) -> Iterator[session.Session]:
    with session.create(fake_onnx()) as made:
        yield made


@pytest.fixture
def runner(engine: FakeEngine) -> Iterator[sync.Runner]:
    with sync.create_runner(fake_onnx()) as made:
        yield made


def test_a_run_gives_the_twelve_heads(sess: session.Session) -> None:
    for inputs in (FLOATS, [FLOATS], np.asfortranarray(FLOATS)):
        outputs = sess.run(inputs)
        assert isinstance(outputs, TensorArray)
        assert [one.desc.name for one in outputs] == list(HEAD_NAMES)
        for found, wanted in zip(outputs.numpy(), fake_heads(FLOATS), strict=True):
            assert np.array_equal(found, wanted)


def test_pixels_are_normalised_as_the_core_does(engine: FakeEngine, cat: Path) -> None:
    """The one doubt of 0.8 against 0.9, resolved: both dtypes give the same detections."""
    model = SSDResNet34()
    with session.create(model.enf) as sess:
        as_pixels = sess.run(model.preprocess(str(cat)).tensor).numpy()
        as_floats = sess.run(model.preprocess(str(cat), with_scaling=True).tensor).numpy()
        for one, other in zip(as_pixels, as_floats, strict=True):
            assert np.allclose(one, other, atol=1e-6)
        noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
        exact = preprocess(noise, colour="rgb").tensor
        pixels = np.ascontiguousarray(noise.transpose(2, 0, 1))[None]
        for one, other in zip(sess.run(pixels).numpy(), fake_heads(exact), strict=True):
            assert np.array_equal(one, other)


def test_what_preprocess_gave_is_taken_whole(engine: FakeEngine, cat: Path) -> None:
    model = SSDResNet34()
    inputs = model.preprocess(str(cat))
    with session.create(model) as sess, sync.create_runner(model.model_source()) as runner:
        assert sess.run(inputs).numpy().contexts == (inputs.contexts[0],)
        assert runner.run(inputs).contexts == (inputs.contexts[0],)
        # And by the sessions and preprocessing of the core.
        (context,) = sess.run(model.native.preprocess(cat)).contexts or ()
        assert context.width == 64
    with core.create(fake_onnx()) as native:
        floats = model.preprocess(str(cat), with_scaling=True)
        assert native.run(floats).contexts == (inputs.contexts[0],)


def test_run_with_names_any_outputs_in_any_order(
    sess: session.Session, runner: sync.Runner
) -> None:
    names = ["loc_0", "cls_3", "loc_0"]
    heads = dict(zip(HEAD_NAMES, fake_heads(FLOATS), strict=True))
    found = sess.run_with(names, {"image": FLOATS})
    assert [one.desc.name for one in found] == names
    for one, other, name in zip(
        found.view(), runner.run_with(names, {"image": FLOATS}), names, strict=True
    ):
        assert np.array_equal(one, heads[name])
        assert np.array_equal(other, heads[name])


HEADLESS = errors.TensorNameNotFound
WRONG: dict[str, tuple[Any, type[Exception], type[Exception]]] = {
    "shape": (FLOATS[0], errors.InvalidInput, ValueError),
    "batch": (np.repeat(FLOATS, 2, axis=0), errors.InvalidInput, ValueError),
    "layout": (FLOATS.transpose(0, 2, 3, 1), errors.InvalidInput, ValueError),
    "empty array": (FLOATS[:0], errors.InvalidInput, ValueError),
    "float64": (FLOATS.astype(np.float64), errors.InvalidInput, TypeError),
    "float16": (FLOATS.astype(np.float16), errors.InvalidInput, TypeError),
    "int8": (PIXELS.astype(np.int8), errors.InvalidInput, TypeError),
    "objects": (np.array([None]), errors.InvalidInput, TypeError),
    "text array": (np.array("x"), errors.InvalidInput, TypeError),
    "no tensor": ([], errors.InvalidInput, ValueError),
    "two tensors": ([FLOATS, FLOATS], errors.InvalidInput, ValueError),
    "nothing": (None, errors.UnsupportedTensorType, TypeError),
    "text": ("image", errors.UnsupportedTensorType, TypeError),
    "bytes": (b"image", errors.UnsupportedTensorType, TypeError),
    "number": (7, errors.UnsupportedTensorType, TypeError),
    "list of text": (["image"], errors.UnsupportedTensorType, TypeError),
}


@pytest.mark.parametrize("case", WRONG)
def test_garbage_is_refused_with_the_error_of_the_release(
    case: str, sess: session.Session, runner: sync.Runner, engine: FakeEngine
) -> None:
    inputs, of_session, of_runner = WRONG[case]
    with pytest.raises(of_session) as raised:
        sess.run(inputs)
    assert isinstance(raised.value, errors.FuriosaError)
    with pytest.raises(of_runner):
        runner.run(inputs)
    with pytest.raises(of_runner):
        asyncio.run(_run_async(inputs))
    assert not engine.runs


async def _run_async(inputs: Any) -> Any:
    async with create_async_runner(fake_onnx()) as made:
        return await made.run(inputs)


def test_a_tuple_is_refused_by_sessions_and_taken_by_runners(
    sess: session.Session, runner: sync.Runner
) -> None:
    with pytest.raises(errors.UnsupportedTensorType, match="tuple"):
        sess.run((FLOATS,))
    with pytest.raises(errors.UnsupportedTensorType):
        sess.run((FLOATS, [{"width": 4, "height": 3}]))
    assert len(runner.run((FLOATS,))) == 12
    assert len(runner.run(iter([FLOATS]))) == 12


@pytest.mark.parametrize(
    ("names", "inputs", "error"),
    [
        (["cls_9"], {"image": FLOATS}, errors.TensorNameNotFound),
        (["cls_9"], {"image": FLOATS}, errors.InvalidInput),
        (["cls_9"], {"image": FLOATS}, ValueError),
        (["cls_0"], {"picture": FLOATS}, errors.TensorNameNotFound),
        (["cls_0"], {}, errors.InvalidInput),
        (["cls_0"], {}, ValueError),
        (None, {"image": FLOATS}, errors.InvalidInput),
        (None, {"image": FLOATS}, TypeError),
        ("cls_0", {"image": FLOATS}, TypeError),
        (["cls_0"], FLOATS, TypeError),
    ],
)
def test_wrong_names_are_refused_with_the_errors_of_all_releases(
    names: Any, inputs: Any, error: Any, sess: session.Session, runner: sync.Runner
) -> None:
    for one in (sess, runner):
        with pytest.raises(error):
            one.run_with(names, inputs)


def test_use_after_close_is_an_error(engine: FakeEngine) -> None:
    sess, runner = session.create(fake_onnx()), sync.create_runner(fake_onnx())
    sess.close()
    sess.close()
    assert runner.close()
    assert runner.close()
    calls: list[Callable[[], Any]] = [
        lambda: sess.run(FLOATS),
        lambda: sess.run(None),
        lambda: sess.run_with(["cls_0"], {}),
        sess.inputs,
        sess.summary,
        sess.allocate_inputs,
        lambda: sess.input_num,
        lambda: sess.output(0),
    ]
    for call in calls:
        with pytest.raises(errors.SessionClosed):
            call()
    with pytest.raises(sync.FuriosaRuntimeError):
        runner.run(FLOATS)
    assert engine.closed == 2


def test_a_session_that_is_dropped_closes(engine: FakeEngine) -> None:
    made = [session.create(fake_onnx()), sync.create_runner(fake_onnx())]
    assert engine.closed == 0
    made.clear()
    assert engine.closed == 2


def test_a_session_is_safe_from_threads_and_close_waits(engine: FakeEngine) -> None:
    engine.hold = threading.Event()
    sess = session.create(fake_onnx(), worker_num=2)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(sess.run(FLOATS)))) for _ in range(2)
    ]
    for one in threads:
        one.start()
    for _ in threads:
        assert engine.begun.acquire(timeout=30)
    closing = threading.Thread(target=sess.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    engine.hold.set()
    for one in (*threads, closing):
        one.join(30)
        assert not one.is_alive()
    assert found == [12, 12]


def test_an_engine_that_fails_is_an_error_of_the_runtime(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise SessionError("out of memory")

    with session.create(fake_onnx()) as sess:
        monkeypatch.setattr("fake_engine.fake_heads", fail)
        with pytest.raises(errors.InternalError, match="out of memory"):
            sess.run(FLOATS)


@pytest.mark.parametrize(("batch", "wanted"), [(None, 1), (1, 1), (4, 4)])
def test_batch_size_multiplies_every_first_dimension(
    batch: int | None, wanted: int, engine: FakeEngine
) -> None:
    with session.create(fake_onnx(), batch_size=batch) as sess:
        assert sess.input(0).shape == (wanted, 3, 1200, 1200)
        assert [one.shape[0] for one in sess.outputs()] == [wanted] * 12
        assert sess.run(np.repeat(PIXELS, wanted, axis=0))[0].shape[0] == wanted
        for other in (wanted - 1, wanted + 1):
            with pytest.raises(errors.InvalidInput, match="batch_size"):
                sess.run(np.repeat(PIXELS, other, axis=0))


def test_descriptions_are_the_documented_ones(sess: session.Session, runner: sync.Runner) -> None:
    desc = sess.input(0)
    assert (sess.input_num, sess.output_num) == (1, 12)
    assert (desc.name, desc.ndim, desc.shape) == ("image", 4, (1, 3, 1200, 1200))
    assert (desc.dim(2), desc.axis(1), desc.format) == (1200, Axis.CHANNEL, "NCHW")
    assert [desc.stride(n) for n in range(4)] == [4320000, 1440000, 1200, 1]
    assert (desc.length, desc.size) == (4320000, 17280000)
    assert desc.dtype == DataType.FLOAT32
    assert desc.numpy_dtype is np.float32
    assert desc.quantization_parameter is None
    assert sess.outputs()[6] == sess.output(6)
    for wrong in (-1, 12):
        with pytest.raises(IndexError):
            sess.output(wrong)
    with pytest.raises(IndexError):
        sess.input(1)
    assert sess.model == runner.model
    assert runner.model.input_num == 1


def test_the_summary_is_the_documented_text(
    sess: session.Session, runner: sync.Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = sess.summary().splitlines()
    assert lines[:3] == [
        "Inputs:",
        '{0: TensorDesc(name="image", shape=(1, 3, 1200, 1200), dtype=FLOAT32, format=NCHW, '
        "size=17280000, len=4320000)}",
        "Outputs:",
    ]
    assert lines[3].startswith('{0: TensorDesc(name="cls_0", shape=(1, 324, 50, 50), dtype=FLOAT')
    assert "11: TensorDesc" in lines[3]
    sess.print_summary()
    runner.model.print_summary()
    out, err = capsys.readouterr()
    assert out == err == sess.summary() + "\n"


@pytest.mark.parametrize(
    ("release", "precision", "dtype"),
    [("0.8", "int8", "float32"), ("0.9", "int8", "uint8"), ("0.10", "fp32", "float32")],
)
def test_the_input_is_described_as_the_release_compiles_it(
    release: str, precision: Any, dtype: str, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_RELEASE", release)
    with session.create(fake_onnx(precision=precision)) as sess:
        assert sess.input(0).dtype.numpy == dtype
        assert sess.allocate_inputs()[0].view().dtype == dtype
        assert len(sess.run(FLOATS)) == len(sess.run(PIXELS)) == 12  # either is taken


def test_tensors_are_filled_compared_and_copied(sess: session.Session) -> None:
    inputs, others = sess.allocate_inputs(), sess.create_inputs()
    assert len(inputs) == len(inputs[0:1]) == 1
    assert not inputs.is_empty()
    assert inputs[0] == others[0]
    assert inputs[0] != FLOATS
    inputs[0] = FLOATS + 1
    assert inputs[0] != others[0]
    others[0].copy_from(FLOATS + 1)
    assert inputs[0] == others[0]
    copy = inputs[0].numpy()
    inputs[0].view()[...] = 0
    assert copy.min() == 1
    assert np.asarray(inputs[0]).max() == 0
    assert np.sum(inputs[0]) == 0
    assert (inputs[0].shape, inputs[0].dtype) == (FLOATS.shape, DataType.FLOAT32)
    assert inputs[0].numpy_dtype is np.float32
    assert (len(inputs[0]), inputs[0][0, 0, 0, 0]) == (1, 0)
    assert 'name="image"' in repr(inputs[0])
    assert np.array_equal(sess.run(inputs)[0].numpy(), fake_heads(FLOATS)[0])
    for wrong, error in (
        (FLOATS[0], errors.InvalidInput),
        (PIXELS, errors.InvalidInput),
        ([1.0], errors.UnsupportedTensorType),
    ):
        with pytest.raises(error):
            inputs[0] = wrong
    with pytest.raises(TypeError):
        inputs[0:1] = [FLOATS]
    with pytest.raises(IndexError):
        inputs[1]


def test_tensors_are_allocated_by_name(sess: session.Session) -> None:
    names = ["loc_5", "image"]
    assert [one.desc.name for one in sess.allocate_tensors(names)] == names
    assert [one.shape for one in sess.create_tensors(["cls_1"])] == [(1, 486, 25, 25)]
    assert len(sess.allocate_outputs()) == len(sess.create_outputs()) == 12
    with pytest.raises(errors.TensorNameNotFound, match="cls_6"):
        sess.allocate_tensors(["cls_6"])


def test_the_functions_of_tensors(sess: session.Session) -> None:
    desc = sess.output(0)
    assert tensor.zeros(desc).shape == desc.shape
    assert not tensor.zeros(desc).any()
    assert 0 <= tensor.rand(desc).min() < tensor.rand(desc).max() <= 1
    pixels = tensor.TensorDesc("image", (1, 3, 40, 40), DataType.UINT8)
    assert tensor.rand(pixels).dtype == np.uint8
    assert tensor.rand(pixels).max() > 200
    for value in (desc, desc.dtype, sess.allocate_outputs()[0], FLOATS, FLOATS[0, 0, 0, 0]):
        assert np.dtype(tensor.numpy_dtype(value)) == np.float32
    with pytest.raises(TypeError):
        tensor.numpy_dtype("float32")
    assert TensorArray().is_empty()
    assert isinstance(sess.run(FLOATS)[0], Tensor)


def test_data_types_come_from_numbers_and_from_numpy() -> None:
    names = ["FLOAT32", "UINT8", "INT8", "INT32", "INT64", "BFLOAT16"]
    assert [DataType(n).name for n in range(6)] == names
    assert DataType(np.float32) is DataType(FLOATS) is DataType.FLOAT32
    assert DataType(np.dtype("int16")) is DataType.INT16
    assert DataType.FLOAT16.numpy == np.float16
    assert (DataType.UINT8.numpy_dtype, repr(DataType.UINT8)) == (np.uint8, "UINT8")
    with pytest.raises(ValueError, match="BFLOAT16"):
        _ = DataType.BFLOAT16.numpy
    for wrong in (99, "float1", np.complex64):
        with pytest.raises(ValueError, match="not a valid DataType"):
            DataType(wrong)
    assert [repr(one) for one in Axis] == ["W", "H", "C", "N", "Wo", "Ho", "Co", "No", "?"]


def test_a_model_comes_in_every_form(engine: FakeEngine, tmp_path: Path) -> None:
    class Graph:
        def __bytes__(self) -> bytes:
            return fake_onnx()

    path = tmp_path / "model.enf"
    path.write_bytes(fake_onnx())
    data = bytearray(fake_onnx())
    for model in (fake_onnx(), str(path), path, Graph(), data, memoryview(data), SSDResNet34()):
        with session.create(model) as sess:
            assert sess.output_num == 12
    for wrong in (None, 7, ["model"]):
        with pytest.raises(TypeError, match="__bytes__"):
            session.create(wrong)


@pytest.mark.parametrize("wrong", [b"", b"garbage", "no/such/file.onnx"])
def test_what_is_no_model_is_incompatible(wrong: Any, any_engine: FakeEngine) -> None:
    for create in (session.create, sync.create_runner, session.create_async):
        with pytest.raises(errors.IncompatibleModel) as raised:
            create(wrong)
        assert isinstance(raised.value, sync.FuriosaRuntimeError)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"device": "gpu"}, errors.InvalidSessionOption, "is no device"),
        ({"worker_num": 0}, errors.InvalidSessionOption, "1 to 64"),
        ({"worker_num": 1.5}, errors.InvalidSessionOption, "1 to 64"),
        ({"worker_num": True}, errors.InvalidSessionOption, "1 to 64"),
        ({"batch_size": 0}, errors.InvalidSessionOption, "1 to 1024"),
        ({"batch_size": "two"}, errors.InvalidSessionOption, "1 to 1024"),
        ({"device": "warboy*8", "worker_num": 9}, errors.InvalidSessionOption, "at a time"),
        ({"compiler_config": {"remove_lower": True}}, errors.InvalidCompilerConfig, "vendor's com"),
        ({"compiler_config": "remove_lower"}, errors.InvalidCompilerConfig, "leave it out"),
    ],
)
def test_an_option_without_meaning_is_refused_with_a_reason(
    options: dict[str, Any], error: Any, text: str, engine: FakeEngine
) -> None:
    for create in (session.create, session.create_async, sync.create_runner, sync.create_queue):
        with pytest.raises(error, match=text) as raised:
            create(fake_onnx(), **options)
        assert isinstance(raised.value, errors.NativeException)
        assert raised.value.native_error() is None
    assert not engine.requests


def test_options_of_sessions_alone(engine: FakeEngine) -> None:
    with pytest.raises(errors.InvalidSessionOption, match="compiler_hints"):
        session.create(fake_onnx(), compiler_hints="yes")
    with pytest.raises(errors.InvalidSessionOption, match="context_ty"):
        session.create_async(fake_onnx(), context_ty=5)
    for size in (0, 2**31, -1, 1.5, True):
        for name in ("input_queue_size", "output_queue_size"):
            with pytest.raises(errors.InvalidSessionOption, match=name):
                session.create_async(fake_onnx(), **{name: size})
            with pytest.raises(errors.InvalidSessionOption, match=name):
                sync.create_queue(fake_onnx(), **{name: size})
    with pytest.raises(TypeError, match="one option"):
        session.create(fake_onnx(), compiler_config={}, compile_config={})
    with pytest.raises(errors.InvalidCompilerConfig):
        session.create(fake_onnx(), compile_config={"a": 1})
    session.create(fake_onnx(), compiler_config={}).close()
    session.create(fake_onnx(), None, None, None, None, True).close()


def test_workers_and_devices_become_streams_that_share_the_threads(engine: FakeEngine) -> None:
    for options, streams in (
        ({}, 1),
        ({"worker_num": 3}, 3),
        ({"device": "warboy(2)*2"}, 2),
        ({"device": "npu:0:0-1,npu:1:0", "worker_num": 2}, 4),
        ({"device": "cpu"}, 1),
    ):
        session.create(fake_onnx(), **options).close()
        request = engine.requests[-1]
        assert request.streams == streams
        assert request.device == "cpu"
        assert 1 <= request.threads * streams <= max(streams, engine.requests[0].threads)


def test_hints_say_what_was_chosen(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "furiosa.runtime")
    session.create(fake_onnx(), compiler_hints=False).close()
    assert not caplog.records
    session.create(fake_onnx()).close()
    assert "Engine: fake, fp32" in caplog.text


def test_a_runtime_closes_what_it_made(engine: FakeEngine) -> None:
    with sync.Runtime() as runtime:
        runner = runtime.create_runner(fake_onnx())
        submitter, receiver = runtime.create_queue(fake_onnx())
        assert len(runner.run(FLOATS)) == 12
    for call in (
        lambda: runner.run(FLOATS),
        lambda: submitter.submit(FLOATS),
        receiver.recv,
        lambda: runtime.create_runner(fake_onnx()),
        lambda: runtime.create_queue(fake_onnx()),
    ):
        with pytest.raises(sync.FuriosaRuntimeError):
            call()
    assert engine.closed == 2


def test_what_is_no_artifact_is_read_as_weights(
    any_engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resnet34-ssd1200.onnx"
    path.write_bytes(b"a published graph")
    seen: list[Any] = []

    def load(weights: Any) -> bytes:
        seen.append(weights)
        return fake_onnx()

    monkeypatch.setattr("ssd_resnet34.weights.load", load)
    with session.create(path) as sess:
        assert sess.output(11).shape == (1, 16, 3, 3)
    assert seen == [path]
