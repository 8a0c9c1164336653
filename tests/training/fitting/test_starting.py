"""Initial weights: classes taken over by their labels, published graphs unfolded, refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ssd_resnet34 import artifact, weights
from ssd_resnet34.contract import COCO, LEVELS, Category, Contract
from ssd_resnet34.errors import ArtifactError, UnknownWeights, WeightsError
from ssd_resnet34.network.module import SSDResNet34Module
from ssd_resnet34.training.fitting.output import write_graph, write_weights
from ssd_resnet34.training.fitting.starting import begin, with_classes
from ssd_resnet34.training.fitting.unfolding import unfolded
from ssd_resnet34.weights import embedded, readers

ZOO = Contract((Category(7, "zebra"), Category(1, "person"), Category(3, "unicorn")))
SIZE = 385


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def heads(module: torch.nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        found: list[torch.Tensor] = module.eval()(image)
    return found


# ---------------------------------------------------------------- classes


def test_rows_of_equal_labels_are_taken_over_wherever_they_stand(image: torch.Tensor) -> None:
    start = begin("embedded", ZOO, 0)
    assert (start.taken, start.fresh) == (("zebra", "person"), ("unicorn",))
    old = heads(begin("embedded", COCO, 0).module, image)
    new = heads(start.module, image)
    zebra, person = (COCO.labels.index(label) + 1 for label in ("zebra", "person"))
    for before, after, level in zip(old, new, LEVELS, strict=False):
        before = before.view(81, level.anchors, *before.shape[2:])
        after = after.view(4, level.anchors, *after.shape[2:])
        torch.testing.assert_close(after[:3], before[[0, zebra, person]])
        assert not after[3].any()  # begins at 0, under the background
    for before, after in zip(old[6:], new[6:], strict=True):
        assert torch.equal(before, after)


def test_the_same_classes_are_taken_over_whole() -> None:
    state = embedded.state()
    made = with_classes(state, COCO, COCO)
    assert made.keys() == state.keys()
    assert all(np.array_equal(made[key], value) for key, value in state.items())


def test_the_normalisation_is_that_of_the_weights(tmp_path: Path) -> None:
    known = replace(ZOO, mean=(0.5, 0.5, 0.5))
    write_weights(SSDResNet34Module(4).state_dict(), known, tmp_path / "a.safetensors")
    start = begin(tmp_path / "a.safetensors", COCO, 0)
    assert start.contract == replace(COCO, mean=(0.5, 0.5, 0.5))
    assert start.taken == ("person", "zebra")


def test_from_nothing_all_classes_are_new_and_a_seed_gives_the_same_weights() -> None:
    start, again, other = (begin("none", ZOO, seed) for seed in (1, 1, 2))
    assert (start.taken, start.fresh) == ((), ZOO.labels)
    key = "conf.0.weight"
    assert torch.equal(start.module.state_dict()[key], again.module.state_dict()[key])
    assert not torch.equal(start.module.state_dict()[key], other.module.state_dict()[key])


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("name", ["mlperf_onnx", "mlperf_onnx_anonymous", "mlperf_onnx_bias_add"])
def test_a_published_graph_becomes_a_state_dict_with_the_same_heads(
    name: str, lookalike: Callable[[str], Path], golden: ModuleType, image: torch.Tensor
) -> None:
    module = SSDResNet34Module(81)
    state = {key: torch.from_numpy(np.array(value)) for key, value in golden.state_dict(7).items()}
    module.load_state_dict(state, strict=False)
    start = begin(lookalike(name) / f"{name}.onnx", COCO, 0)
    assert start.taken == COCO.labels
    for ours, theirs in zip(heads(start.module, image), heads(module, image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_a_trained_model_is_a_start_as_safetensors_and_as_onnx(
    tmp_path: Path, image: torch.Tensor
) -> None:
    start = begin("embedded", ZOO, 0)
    a, b = tmp_path / "model.safetensors", tmp_path / "model.onnx"
    write_weights(start.module.state_dict(), start.contract, a)
    write_graph(a, b)
    wanted = heads(start.module, image)
    for path in (a, b):
        again = begin(path, ZOO, 5)
        assert again.fresh == ()
        for ours, theirs in zip(heads(again.module, image), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert readers.read(b).contract == ZOO
    found = unfolded(artifact.load(weights.load(a)), "a")
    assert len(found) == 218


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qdq_onnx", "an operator QuantizeLinear where SSD-ResNet34 of the PyTorch lineage"),
        ("nhwc_onnx", "of the TensorFlow lineage, another network"),
    ],
)
def test_a_graph_that_cannot_be_trained_is_refused(
    name: str, message: str, lookalike: Callable[[str], Path]
) -> None:
    with pytest.raises(WeightsError, match=message):
        begin(lookalike(name) / f"{name}.onnx", COCO, 0)


def test_a_wrong_name_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownWeights, match="did you mean 'embedded'"):
        begin("embeded", COCO, 0)
    with pytest.raises(UnknownWeights, match="no such file"):
        begin(tmp_path / "none.pth", COCO, 0)
    with pytest.raises((WeightsError, ArtifactError), match="name too long"):
        begin("n" * 300 + ".pth", COCO, 0)
    path = tmp_path / "text.onnx"
    path.write_bytes(b"\x08 not a graph")
    with pytest.raises((WeightsError, ArtifactError)):
        begin(path, COCO, 0)
