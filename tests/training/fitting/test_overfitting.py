"""The whole of training, with the real network: eight images are learnt by heart."""

import numpy as np
import pytest

from html_reading import strict
from rendered_set import SIDE, rendered_set
from ssd_resnet34 import SSDResNet34, artifact
from ssd_resnet34.contract import COCO
from ssd_resnet34.training.fitting import Recipe, Trained, train
from ssd_resnet34.training.fitting.journal import STEPS, VALIDATIONS, read
from ssd_resnet34.weights import readers

RECIPE = Recipe(
    epochs=4, batch=4, at_once=4, size=SIDE, priors="pixels", rate=4.5e-4, warmup=4, average=0.9
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("overfitting")
    data = rendered_set(folder / "images", 8)
    return train(
        data,
        folder / "out",
        validation=data,
        recipe=RECIPE,
        augmentation=None,
        device="cpu",
        command="train by heart",
    )


def test_eight_images_are_learnt_by_heart_within_a_few_steps(trained: Trained) -> None:
    assert trained.numbers["AP50"] >= 0.95
    assert trained.steps == 8
    rows = read(trained.weights.parent / STEPS)
    assert rows[-1]["loss"] < 0.5 * rows[1]["loss"]
    scores = read(trained.weights.parent / VALIDATIONS)
    assert [row["epoch"] for row in scores] == [1, 2, 3, 4]
    best = max(scores, key=lambda row: row["AP"])
    assert (trained.best_epoch, trained.numbers["AP"]) == (best["epoch"], best["AP"])


def test_what_was_trained_goes_wherever_weights_are_named(trained: Trained) -> None:
    for path in (trained.weights, trained.graph):
        model = SSDResNet34(path)
        assert model.contract == COCO
        artifact.check_heads(artifact.load(model.source), COCO)
    found = readers.read(trained.weights)
    assert found.state is not None
    assert len(found.state) == 218
    assert all(np.isfinite(value).all() for value in found.state.values())


def test_the_report_shows_the_best_epoch_and_how_it_came_about(trained: Trained) -> None:
    assert trained.report is not None
    page = trained.report.read_bytes()
    strict(page)
    for part in ("train by heart", "best epoch", f"{trained.numbers['AP50']:.3f}", "embedded"):
        assert part in page.decode()
    assert page.count(b"data:image/") >= 8


def test_a_small_size_and_a_validation_on_what_was_learnt_are_told_of(trained: Trained) -> None:
    size, seen = trained.notes
    assert "385×385; every command runs the network at 1200×1200" in size
    assert "8 of 8 validation images trained on too" in seen
