"""Every kind of weights file is read, or refused by name; nothing from a file runs."""

import io
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34 import artifact, weights
from ssd_resnet34.contract import COCO, COCO_TENSORFLOW, Category, Contract
from ssd_resnet34.errors import (
    ArtifactError,
    ContractError,
    OutputError,
    SSDResNet34Error,
    UnknownWeights,
    UnsafeWeights,
    WeightsError,
)
from ssd_resnet34.network.layout import parameter_shapes
from ssd_resnet34.weights import embedded, pickles, readers, standins

State = dict[str, NDArray[Any]]

CHECKPOINTS = {
    "pth_dict": "pth_dict.pth",
    "pth_dict_legacy": "pth_dict_legacy.pth",
    "module_pickle": "module_pickle.pytorch",
    "module_pickle_zip": "module_pickle_zip.pytorch",
    "safetensors": "good.safetensors",
}
FINE_TUNED = Contract((Category(3, "bolt"), Category(9, "nut")))


@pytest.fixture(scope="session")
def state(golden: ModuleType) -> State:
    made: State = golden.state_dict(7)
    return made


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(contract: Contract) -> State:
    shapes = parameter_shapes(contract.num_classes)
    return {
        key: np.zeros(shape, np.int64 if key.endswith("tracked") else np.float32)
        for key, shape in shapes.items()
    }


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_checkpoint_gives_the_same_218_arrays(
    name: str, lookalike: Callable[[str], Path], state: State, golden: ModuleType
) -> None:
    read = readers.read(lookalike(name) / CHECKPOINTS[name])
    assert read.state is not None
    assert list(read.state) == list(state)
    assert golden.digest(read.state.values()) == golden.digest(state.values())
    assert read.contract == COCO


def test_a_published_graph_is_cut_and_says_where_it_is_from(
    lookalike: Callable[[str], Path],
) -> None:
    path = lookalike("nhwc_onnx") / "nhwc_onnx.onnx"
    data = weights.load(path)
    model = artifact.load(data)
    artifact.check_heads(model, COCO_TENSORFLOW)
    assert artifact.contract_of(model) == COCO_TENSORFLOW
    entries = artifact.metadata(model)
    assert entries["source_kind"] == "graph"
    assert len(entries["source_sha256"]) == 64


def test_the_same_file_gives_the_same_bytes_and_an_artifact_itself(
    lookalike: Callable[[str], Path],
) -> None:
    path = lookalike("safetensors") / "good.safetensors"
    data = weights.load(str(path))
    assert weights.load(path.read_bytes()) == data
    assert weights.load(data) == data


def test_our_fp16_file_comes_back_with_its_contract(tmp_path: Path) -> None:
    source = small(FINE_TUNED)
    source["conf.0.bias"][:] = 0.1
    source["model.layer1.0.weight"][:] = 0.1
    path = embedded.export(source, FINE_TUNED, tmp_path / "a.safetensors", {"run": "x", "a": "b"})
    again = embedded.export(source, FINE_TUNED, tmp_path / "b.safetensors", {"a": "b", "run": "x"})
    assert path.read_bytes() == again.read_bytes()
    read = readers.read(path)
    assert read.contract == FINE_TUNED
    assert read.state is not None
    assert list(read.state) == list(source)
    assert {value.dtype.name for value in read.state.values()} == {"float32", "int64"}
    assert read.state["conf.0.bias"][0] == np.float32(0.1)  # vectors keep float32
    assert read.state["model.layer1.0.weight"].flat[0] == np.float16(0.1)
    assert artifact.contract_of(weights.load(path)) == FINE_TUNED


def test_what_training_says_of_its_run_survives_into_the_graph(tmp_path: Path) -> None:
    facts = {readers.TRAINING_KEY: '{"size": 600}', "run": "x"}
    path = embedded.export(small(FINE_TUNED), FINE_TUNED, tmp_path / "a.safetensors", facts)
    assert artifact.trained_size(weights.load(path)) == 600
    plain = embedded.export(small(FINE_TUNED), FINE_TUNED, tmp_path / "b.safetensors")
    assert artifact.TRAINING not in artifact.metadata(weights.load(plain))


def test_an_export_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"before")

    class Unwritable(np.ndarray[Any, Any]):
        def tobytes(self, order: Any = None) -> bytes:
            raise KeyboardInterrupt

    made = np.ascontiguousarray
    monkeypatch.setattr(np, "ascontiguousarray", lambda *given: made(*given).view(Unwritable))
    with pytest.raises(KeyboardInterrupt):
        embedded.export(small(FINE_TUNED), FINE_TUNED, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"before"


def test_an_export_on_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OutputError, match=r"a\.safetensors.*free space"):  # noqa: PT012
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        try:
            embedded.export(small(FINE_TUNED), FINE_TUNED, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"before"


def test_coco_weights_fit_their_budget(state: State, tmp_path: Path) -> None:
    path = embedded.export(state, COCO, tmp_path / "a.safetensors")
    assert path.stat().st_size <= 41_000_000


def test_values_beyond_fp16_are_not_exported(tmp_path: Path) -> None:
    source = small(FINE_TUNED)
    source["conf.0.weight"][0] = 1e5
    with pytest.raises(WeightsError, match=r"conf.0.weight: values up to 100000 do not fit fp16"):
        embedded.export(source, FINE_TUNED, tmp_path / "a.safetensors")


def save(value: Any, legacy: bool = False) -> bytes:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_every_type_and_window_are_read_as_torch_reads_them(legacy: bool) -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "rows": base[1:3],
        "turned": base.t(),
        "every_other": base[:, ::2],
        "half": base.half(),
        "double": base.double(),
        "brain": base.bfloat16(),
        "long": base.long(),
        "flag": base > 3,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    found = pickles.read_pickle(save(tensors, legacy), "x")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.detach().float().numpy())
    assert found["brain"].dtype == np.float32
    assert found["half"].dtype == np.float16


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "net.module."])
@pytest.mark.parametrize("way", ["state_dict", "network"])
def test_prefixes_and_wrappers_do_not_matter(prefix: str, way: str) -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    source = small(FINE_TUNED)
    data = save({"step": 3, way: {f"{prefix}{k}": torch.from_numpy(v) for k, v in source.items()}})
    read = readers.read(data, FINE_TUNED)
    assert read.state is not None
    assert list(read.state) == list(source)


@pytest.mark.parametrize("prefix", ["module.", "net.module."])
def test_prefixes_do_not_matter_in_safetensors(prefix: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    source = small(FINE_TUNED)
    path = tmp_path / "wrapped.safetensors"
    save_file({f"{prefix}{key}": value for key, value in source.items()}, path)
    read = readers.read(path, FINE_TUNED)
    assert read.state is not None
    assert list(read.state) == list(source)


def test_a_key_with_another_prefix_is_unknown(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    source = {f"module.{key}": value for key, value in small(FINE_TUNED).items()}
    source["other.conf.0.bias"] = source.pop("module.conf.0.bias")
    save_file(source, tmp_path / "mixed.safetensors")
    with pytest.raises(WeightsError, match=r"missing conf\.0\.bias.*unknown other\.conf\.0\.bias"):
        readers.read(tmp_path / "mixed.safetensors", FINE_TUNED)


def test_two_sets_of_weights_without_a_name_are_refused() -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    tensors = {k: torch.from_numpy(v) for k, v in small(FINE_TUNED).items()}
    with pytest.raises(WeightsError, match=r"2 sets of weights inside \(first, second\)"):
        readers.read(save({"first": tensors, "second": dict(tensors)}), FINE_TUNED)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing_key", "missing conf.3.bias"),
        ("extra_key", "unknown conf.6.bias"),
        ("bad_shape", r"conf.0.weight has shape \[320, 256, 3, 3\], not \[324, 256, 3, 3\]"),
        ("nan_weights", "NaN or infinity in model.layer2.0.3.conv1.weight, conf.2.bias"),
        ("truncated", "cut short or damaged"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(
    name: str, message: str, kind: str, lookalike: Callable[[str], Path]
) -> None:
    path = lookalike(name) / f"{name}.{kind}"
    with pytest.raises(WeightsError, match=message) as refusal:
        readers.read(path)
    assert str(path) in str(refusal.value)


def test_a_truncated_graph_is_refused(lookalike: Callable[[str], Path]) -> None:
    with pytest.raises(ArtifactError, match="cut short"):
        weights.load(lookalike("truncated") / "truncated.onnx")


def test_external_data_is_refused_naming_tensor_and_place(
    lookalike: Callable[[str], Path],
) -> None:
    message = r"'backbone.model.layer2.0.0.conv1.weight' is stored outside .*'../../secret'"
    with pytest.raises(UnsafeWeights, match=message):
        weights.load(lookalike("external_data_onnx") / "external_data_onnx.onnx")


@pytest.mark.parametrize("name", ["other_network_onnx", "other_ssd300_onnx"])
def test_other_networks_are_refused(name: str, lookalike: Callable[[str], Path]) -> None:
    with pytest.raises(ArtifactError, match=rf"{name}.onnx: another network: image 1x3x"):
        weights.load(lookalike(name) / f"{name}.onnx")


def test_a_payload_is_refused_by_name_and_never_runs(
    lookalike: Callable[[str], Path], in_empty_folder: Path
) -> None:
    with pytest.raises(UnsafeWeights, match=rf"the pickle names {open.__module__}\.open"):
        weights.load(lookalike("pickle_payload") / "pickle_payload.pth")
    assert list(in_empty_folder.iterdir()) == []


class Payload:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "call", [(open, "ran", "w"), (eval, "1"), (getattr, {}, "pop"), (exec, "1")]
)
def test_no_plain_pickle_runs_either(protocol: int, call: Any, in_empty_folder: Path) -> None:
    data = pickle.dumps({"model": Payload(*call)}, protocol)
    with pytest.raises(UnsafeWeights if protocol > 1 else WeightsError):
        readers.read(data)
    assert list(in_empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    "program",
    [
        # BUILD on a rebuilder
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # and on a type
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo index that would reserve gigabytes
        b"\x80\x04cbuiltins\nset.__init__\n.",  # a dotted name
        b"\x80\x02ctorch.nn.modules.conv\nConv2d.x\n)\x81.",
        b"\x80\x02(lp0\n0h\x05.",  # a memo entry that is not there
        b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",  # deep nesting
        b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.",  # a key too deep to hash
        b"\x80\x02})" + b"2\x86" * 99 + b"K\x01s.",  # a key of 2^99 objects
        b"\x80\x02})q\x01" + b"0h\x01h\x01\x86q\x01" * 99 + b"h\x01K\x01s.",  # by the memo
        b"\x80\x02})" + b"2\x86}b" * 99 + b"K\x01s.",  # with BUILD in between
        b"\x80\x02ctorch.nn.modules.x\nX\n)R}X\x01\x00\x00\x00a" + b"(" * 9 + b"s.",
        b"\x80",
        b"\x80\x02",
        b"\x80\xff.",
    ],
)
def test_hostile_programs_end_in_our_error(program: bytes) -> None:
    with pytest.raises(WeightsError):
        readers.read(program)


@given(st.binary(max_size=300))
def test_random_bytes_end_in_our_error(data: bytes) -> None:
    for start in (b"", b"\x80\x02", b"PK\x03\x04", b"\x08", (60).to_bytes(8, "little") + b"{"):
        with pytest.raises(SSDResNet34Error):
            readers.read(start + data)


def zipped(program: bytes, storages: dict[str, bytes]) -> bytes:
    """A file of torch's zip format."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for key, content in storages.items():
            archive.writestr(f"a/data/{key}", content)
    return stream.getvalue()


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85tR"


def test_a_handmade_tensor_is_read() -> None:
    found = pickles.read_pickle(zipped(b"\x80\x02" + TENSOR + b".", {"0": bytes(16)}), "x")
    np.testing.assert_array_equal(found, np.zeros(4, np.float32))


@pytest.mark.parametrize(
    "program",
    [
        # Strides of -1000 would read in front of the storage, into memory of others.
        TENSOR + b"(" + STORAGE + b"K\x00K\x02\x85J\x18\xfc\xff\xff\x85tb",
        STORAGE + b"N}X\x06\x00\x00\x00offsetJ\x18\xfc\xff\xffs\x86b",
        b"ctorch\nFloatStorage\n]X\x01\x00\x00\x00Oab",
    ],
)
def test_a_pickle_cannot_change_what_the_reader_hands_it(program: bytes) -> None:
    with pytest.raises(WeightsError, match="a pickle may not change the reader"):
        readers.read(zipped(b"\x80\x02" + program + b".", {"0": bytes(16)}))


def test_many_tensors_of_one_storage_do_not_multiply_it() -> None:
    # 2,000 tensors of 4 MB in a file of 4 MB.
    count = 10**6
    tensor = TENSOR.replace(b"K\x04", b"J" + count.to_bytes(4, "little"))
    made = b"\x80\x02]q\x01(" + tensor * 2000 + b"e."
    with pytest.raises(WeightsError, match="more bytes than the file can hold"):
        readers.read(zipped(made, {"0": bytes(4 * count)}))


def test_files_that_overlap_in_a_zip_are_refused() -> None:
    data = zipped(b"\x80\x02" + TENSOR + b".", {"0": bytes(16), "1": bytes(16)})
    end = data.rindex(b"PK\x05\x06")
    entry = data.rindex(b"PK\x01\x02", 0, end)
    sizes = (10**6).to_bytes(4, "little") * 2
    with pytest.raises(WeightsError, match="overlap"):
        readers.read(data[: entry + 20] + sizes + data[entry + 28 :])


def test_names_and_entries_without_end_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "_MAX_ENTRIES", 50)
    with pytest.raises(WeightsError, match="x: more than 50 entries; save the state dict alone"):
        list(pickles.state_dicts({str(n): {"a": n} for n in range(99)}, "x"))
    array = np.zeros(1)
    found = dict(pickles.state_dicts({"a" * 300: {"b" * 300: {"c": array}, "d": array}, 7: {}}))
    assert list(found) == ["a" * 300]


def test_a_compressed_zip_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(WeightsError, match="compressed"):
        readers.read(stream.getvalue())


def test_a_tensor_beyond_its_storage_is_refused() -> None:
    storage = standins._Storage("f4", "0", 4, bytes(16))
    for shape, strides, offset in (
        ((5,), (1,), 0),
        ((2, 3), (2, 1), 0),
        ((1,), (1,), 4),
        ((2**20, 2**20), (0, 0), 0),
    ):
        with pytest.raises(EOFError, match="after its storage"):
            pickles._array(standins.Tensor(storage, offset, shape, strides), "<")


def test_a_tensor_in_front_of_its_storage_is_refused() -> None:
    storage = standins._Storage("f4", "0", 4, bytes(16))
    for shape, strides, offset in (((2,), (-1000,), 0), ((4,), (1,), -2), ((-1,), (1,), 0)):
        with pytest.raises(EOFError, match="before its storage"):
            pickles._array(standins.Tensor(storage, offset, shape, strides), "<")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "looks like a web page"),
        (b"GIF89a" + bytes(20), "neither ONNX, safetensors nor a PyTorch file"),
    ],
)
def test_files_that_are_no_weights_are_told_apart(data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        readers.read(data)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownWeights, match=r"gone.pth: no such file"):
        weights.load(tmp_path / "gone.pth")
    with pytest.raises(UnknownWeights, match="not a file"):
        weights.load(tmp_path)
    (tmp_path / "model.onnx").touch()  # as training leaves it
    with pytest.raises(UnknownWeights, match=r"not a file; give .*model\.onnx"):
        weights.load(tmp_path)


def test_an_unknown_name_gets_the_nearest_record() -> None:
    with pytest.raises(UnknownWeights, match="did you mean 'mlcommons'"):
        weights.load("mlcomons")


def test_other_classes_need_a_contract(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "tuned.safetensors"
    save_file(small(FINE_TUNED), path)
    with pytest.raises(WeightsError, match=r"3 classes .* give the contract .*weights\.load"):
        readers.read(path)
    with pytest.raises(WeightsError, match=r"3 classes .* the contract 81"):
        readers.read(path, COCO)
    assert readers.read(path, FINE_TUNED).contract == FINE_TUNED
    artifact.check_heads(artifact.load(weights.load(path, FINE_TUNED)), FINE_TUNED)


def test_an_artifact_keeps_its_contract_and_refuses_another() -> None:
    other = Contract((Category(3, "bolt"), Category(9, "screw")))
    data = weights.load(artifact_of_nothing(FINE_TUNED))
    assert weights.load(data, FINE_TUNED) == data
    with pytest.raises(WeightsError, match="leave the contract out"):
        weights.load(data, other)


def artifact_of_nothing(contract: Contract) -> bytes:
    """An artifact without a network: the right input, outputs and contract."""
    from onnx import helper

    from ssd_resnet34.network.builder import interface

    image, outputs = interface(contract)
    nodes = [helper.make_node("Relu", ["image"], [value.name]) for value in outputs]
    model = helper.make_model(helper.make_graph(nodes, "nothing", [image], outputs))
    artifact.embed(model, contract, {})
    return artifact.serialize(model)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"schema":1,"categories":[{"category_id":1e999}]}'])
def test_a_hostile_contract_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ContractError, match="not a contract"):
        Contract.from_json(text)


def test_a_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.pth"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(artifact, "MAX_BYTES", 99)
    with pytest.raises(WeightsError, match="100 bytes, the limit is 99"):
        readers.read(path)
