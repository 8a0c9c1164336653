"""The recipe's ranges, the schedule, the average, priors of other sizes, what is written down."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssd_resnet34 import artifact, weights
from ssd_resnet34.contract import INPUT_SIZE, LEVELS, Category, Contract
from ssd_resnet34.errors import OutputError, UsageError, WeightsError
from ssd_resnet34.evaluation.dataset import read, scored_categories
from ssd_resnet34.network.module import SSDResNet34Module
from ssd_resnet34.training.data.example import DataSet, Example, Sample
from ssd_resnet34.training.fitting import journal
from ssd_resnet34.training.fitting.average import Average
from ssd_resnet34.training.fitting.output import write_graph, write_weights
from ssd_resnet34.training.fitting.placing import fraction_priors, priors_for, target_of
from ssd_resnet34.training.fitting.recipe import Recipe
from ssd_resnet34.training.fitting.running import digest
from ssd_resnet34.training.fitting.schedule import rate_at
from ssd_resnet34.training.fitting.validation import (
    by_file,
    folder_of,
    scored,
    truth_of,
    write_annotations,
)
from ssd_resnet34.vision.priors import priors
from ssd_resnet34.weights import readers
from tiny_detector import TinyDetector

TWO = Contract((Category(5, "cat"), Category(9, "dog")))


# ---------------------------------------------------------------- recipe and schedule


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 384}, "size: 384 is out of range; give 385 to 1200"),
        ({"rate": math.nan}, "rate: nan is out of range"),
        ({"batch": 0}, "batch: 0 is out of range"),
        ({"at_once": 0}, "at_once: 0 is out of range"),
        ({"average": 1.0}, "average: 1.0 is out of range"),
        ({"freeze": "heads"}, "freeze: 'heads' is unknown; give one of nothing, backbone"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**changed)


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    recipe = Recipe(batch=32, rate=1.0, warmup=10, last_rate=0.1)
    rates = [rate_at(step, 1000, recipe) for step in range(1000)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    middle = 10 + (1000 - 1 - 10) / 2
    assert rates[int(middle)] == pytest.approx(0.55, abs=2e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_short_run_warms_up_for_a_tenth_of_its_steps_and_a_single_step_has_the_peak() -> None:
    recipe = Recipe(batch=32, rate=1.0, warmup=500)
    assert [rate_at(step, 30, recipe) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rate_at(0, 1, recipe) == 1.0


def test_the_rate_goes_with_the_root_of_the_batch() -> None:
    assert Recipe(batch=8, rate=1.0).peak == 0.5


# ---------------------------------------------------------------- average


def test_the_average_is_its_formula_and_counters_are_copied() -> None:
    module = nn.BatchNorm1d(1)
    average = Average(module, 0.3)
    wanted, value = 1.0, 1.0
    for update in range(1, 6):
        value += update
        with torch.no_grad():
            module.weight.fill_(value)
        module.state_dict()["num_batches_tracked"].fill_(update)
        average.update(module)
        decay = min(0.3, (1 + update) / (10 + update))
        wanted = decay * wanted + (1 - decay) * value
    assert average.state["weight"].item() == pytest.approx(wanted)
    assert average.state["num_batches_tracked"].item() == 5
    other = Average(nn.BatchNorm1d(1), 0.3)
    other.load(average.state, average.updates)
    assert other.updates == 5
    assert other.state["weight"].item() == pytest.approx(wanted)


# ---------------------------------------------------------------- priors


def test_whole_images_of_another_size_keep_the_contracts_fractions() -> None:
    maps = [(level.size, level.size) for level in LEVELS]
    found = fraction_priors(600, maps).numpy() / 600
    np.testing.assert_allclose(found, priors(), atol=1e-6)


def test_crops_keep_the_pixels_of_the_layout() -> None:
    tiny = TinyDetector()
    fractions, pixels = (
        priors_for(tiny, Recipe(size=385, priors=rule)) for rule in ("fractions", "pixels")
    )
    assert len(fractions) == len(pixels)
    assert pixels[0].tolist() == [12, 12, 84, 84]
    side = 84 / INPUT_SIZE * 385
    assert fractions[0].tolist() == pytest.approx([385 / 34, 385 / 34, side, side])


def test_an_example_teaches_its_objects_and_says_what_its_source_does_not_label() -> None:
    table = torch.tensor([[50.0, 50.0, 40.0, 40.0], [200.0, 200.0, 40.0, 40.0]])
    example = Example(
        image=np.zeros((300, 300, 3), np.uint8),
        boxes=np.array([[30, 30, 70, 70]], np.float32),
        indices=np.array([2]),
        ignored=np.array([[180, 180, 220, 220]], np.float32),
        unknown=frozenset({1}),
        source=Path("a.png"),
    )
    found = target_of(example, table)
    assert found.classes.tolist() == [2, -1]
    assert found.unknown == {1}


def test_small_priors_inside_a_large_crowd_are_no_background() -> None:
    table = torch.tensor(
        [
            [50.0, 50.0, 40.0, 40.0],  # within the crowd: an IoU of 0.02 with it
            [200.0, 150.0, 40.0, 40.0],  # half in it
            [280.0, 280.0, 20.0, 20.0],  # outside
            [150.0, 100.0, 60.0, 60.0],  # within it, and an object's own
        ]
    )
    example = Example(
        image=np.zeros((300, 300, 3), np.uint8),
        boxes=np.array([[120, 70, 180, 130]], np.float32),
        indices=np.array([2]),
        ignored=np.array([[0, 0, 200, 300]], np.float32),
        unknown=frozenset(),
        source=Path("a.png"),
    )
    assert target_of(example, table).classes.tolist() == [-1, 0, 0, 2]


# ---------------------------------------------------------------- truth and output


def sample(number: int = 0, **changed: Any) -> Sample:
    made = Sample(
        path=Path(f"{number}.png"),
        size=(100, 80),
        boxes=np.array([[10, 20, 30, 60], [0, 0, 50, 50]], np.float32),
        indices=np.array([2, 1]),
        ignored=np.array([False, True]),
    )
    return replace(made, **changed)


def test_the_truth_of_a_validation_is_its_samples_and_what_is_ignored_counts_for_nothing() -> None:
    data = DataSet(TWO, (sample(0), sample(1)))
    truth = truth_of(data, [1])
    assert truth.ids() == (2,)
    assert [one["file_name"] for one in truth.images] == ["1.png"]
    first, second = truth.annotations
    assert (first["category_id"], first["bbox"], first["area"]) == (9, [10, 20, 20, 40], 800)
    assert (first["ignore"], second["ignore"]) == (0, 1)
    row = {"image_id": 2, "category_id": 9, "bbox": [10, 20, 20, 40], "score": 0.9}
    ignored = {"image_id": 2, "category_id": 5, "bbox": [0, 0, 50, 50], "score": 0.9}
    found = scored(data, [row, ignored], [1])
    assert found.numbers["AP"] == pytest.approx(1)


def test_images_are_named_from_the_folder_that_holds_them_all() -> None:
    paths = ("/data/a/1.png", "/data/b/c/2.png")
    data = DataSet(TWO, tuple(sample(path=Path(path)) for path in paths))
    assert folder_of(data) == Path("/data")
    assert [one["file_name"] for one in truth_of(data).images] == ["a/1.png", "b/c/2.png"]


def test_a_data_set_is_told_by_its_boxes_and_names_not_by_its_folder() -> None:
    data = DataSet(TWO, (sample(),))
    same = DataSet(TWO, (sample(path=Path("/elsewhere/0.png")),))
    assert digest(data) == digest(same)
    moved = sample(boxes=sample().boxes + 1)
    for other in (
        sample(1),
        moved,
        sample(unknown=frozenset({1})),
        sample(ignored=~sample().ignored),
    ):
        assert digest(DataSet(TWO, (other,))) != digest(data)


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    state = SSDResNet34Module(3).state_dict()
    path = tmp_path / "model.safetensors"
    write_weights(state, TWO, path)
    good = path.read_bytes()
    state["conf.0.bias"][0] = torch.nan
    with pytest.raises(WeightsError, match=r"NaN or infinity in conf\.0\.bias"):
        write_weights(state, TWO, path)
    assert path.read_bytes() == good


def test_equal_weights_are_equal_bytes_and_tell_how_they_were_trained(tmp_path: Path) -> None:
    state = SSDResNet34Module(3).state_dict()
    facts = {"size": 600, "init": "embedded", "epochs": 3, "epoch": 2, "AP": 0.5}
    paths = [tmp_path / f"{n}.safetensors" for n in range(4)]
    for path in paths:
        write_weights(state, TWO, path, facts)
    assert len({path.read_bytes() for path in paths}) == 1
    text = readers.read_safetensors(paths[0].read_bytes(), "a")[1]["ssd_resnet34.training"]
    assert json.loads(text) == facts
    write_graph(paths[0], tmp_path / "model.onnx")
    graph = (tmp_path / "model.onnx").read_bytes()
    assert json.loads(artifact.metadata(graph)["training"]) == facts
    assert weights.load(paths[0]) == graph  # what every command makes of the other file
    found = readers.read(paths[0])
    assert found.contract == TWO
    assert found.state is not None
    for key, value in state.items():
        assert np.array_equal(found.state[key], value.numpy())


def test_results_go_by_the_ids_of_the_annotation_file() -> None:
    samples = tuple(replace(sample(), image_id=key) for key in (70, 5))
    first, second = TWO.categories
    rows = [
        {"image_id": 2, "category_id": first.category_id, "bbox": [0, 0, 1, 1], "score": 0.5},
        {"image_id": 1, "category_id": second.category_id, "bbox": [0, 0, 1, 1], "score": 0.4},
    ]
    found = by_file(DataSet(TWO, samples, (), {first.label: 31}), rows)
    assert [(row["image_id"], row["category_id"]) for row in found] == [(5, 31)]
    plain = by_file(DataSet(TWO, (sample(), sample())), rows)
    assert plain == rows


def test_written_annotations_have_the_files_image_ids_and_the_models_categories(
    tmp_path: Path,
) -> None:
    """With those of the file, ``eval`` and ``compile`` would refuse the model that was trained."""
    samples = tuple(replace(sample(n), image_id=key) for n, key in enumerate((70, 5)))
    first, second = TWO.categories
    path = write_annotations(DataSet(TWO, samples, (), {first.label: 31}), tmp_path)
    found = read(path)
    assert found.ids() == (70, 5)
    assert {one["image_id"] for one in found.annotations} == {70, 5}
    assert found.labels() == {one.category_id: one.label for one in (first, second)}
    assert scored_categories(found, TWO) == ((first.category_id, second.category_id), [])
    plain = DataSet(TWO, (sample(0), sample(1)))
    assert read(write_annotations(plain, tmp_path)).ids() == (1, 2)


# ---------------------------------------------------------------- journal


def test_rows_after_the_checkpoint_and_half_a_row_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / journal.STEPS
    log.write_text("step,loss\n1,5.0\n2,4.0\n3,3.0\n4,")
    with journal.Journal(tmp_path, 2, 0) as found:
        found.step({"step": 3, "loss": 2.5})
    assert log.read_text() == "step,loss\n1,5.0\n2,4.0\n3,2.5\n"
    assert [row["loss"] for row in journal.read(log)] == [5.0, 4.0, 2.5]


def test_a_log_on_a_full_disk_is_told_of(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    found = journal.Journal(tmp_path, 0, 0)
    found.step({"step": 1, "loss": 1.0})
    found._files[journal.STEPS].close()
    found._files[journal.STEPS] = open("/dev/full", "w")  # noqa: SIM115  # closed below
    found.step({"step": 2, "loss": 1.0})
    with pytest.raises(OutputError, match=r"log\.csv.*No space left.*free space"):
        found.flush()
    with pytest.raises(OutputError):
        found.close()
