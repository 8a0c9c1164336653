"""The trainer: blocks left out and put back, checkpoints, resuming."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fake_scenes import fake_scenes
from full_disk import full_disk
from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import OutputError, UsageError
from ssd_resnet34.network.builder import check_state
from ssd_resnet34.network.layout import parameter_shapes
from ssd_resnet34.network.module import SSDResNet34Module
from ssd_resnet34.training.initialisation import initialise
from ssd_resnet34.training.pixels import normalised
from ssd_resnet34.training.trainer import (
    IDENTITIES,
    STAGES,
    Run,
    _rows,
    complete,
    shallow,
    train,
)

PATCHES = replace(STAGES["patches"], steps=4, batch=2, size=48)
CROPS = replace(STAGES["crops"], steps=2, batch=1, size=385)
"""385 pixels are the fewest that leave something of all six maps."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread_and_fake_scenes() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    with fake_scenes():
        yield
    torch.set_num_threads(threads)


def written(out: Path, stage: str) -> dict[int, dict[str, float]]:
    """The log by step, without the clock."""
    with (out / f"{stage}.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return {int(row["step"]): {k: v for k, v in row.items() if k != "seconds"} for row in rows}


def stored(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


# ---------------------------------------------------------------- shallow and complete


@pytest.fixture(scope="module")
def shallow_module() -> SSDResNet34Module:
    """A module without the five blocks, with batch-norm statistics of some data."""
    module = SSDResNet34Module(COCO.num_classes)
    initialise(module, 5)
    shallow(module)
    with torch.no_grad():
        module.model.train()(torch.randn(2, 3, 96, 96))
    return module.eval()


def test_a_completed_state_has_the_218_keys_and_loads_strictly(
    shallow_module: SSDResNet34Module,
) -> None:
    state = shallow_module.state_dict()
    assert len(state) < 218
    full = complete(state)
    wanted = parameter_shapes(COCO.num_classes)
    assert list(full) == list(SSDResNet34Module(COCO.num_classes).state_dict())
    assert {key: tuple(value.shape) for key, value in full.items()} == wanted
    check_state({key: value.numpy() for key, value in full.items()}, COCO.num_classes)
    for key, value in state.items():
        assert torch.equal(full[key], value)


def test_the_blocks_put_back_change_nothing(shallow_module: SSDResNet34Module) -> None:
    module = SSDResNet34Module(COCO.num_classes)
    module.load_state_dict(complete(shallow_module.state_dict()))
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(module.eval().model(image), shallow_module.model(image))


def test_the_blocks_put_back_can_learn(shallow_module: SSDResNet34Module) -> None:
    module = SSDResNet34Module(COCO.num_classes)
    module.load_state_dict(complete(shallow_module.state_dict()))
    module.eval().model(torch.randn(1, 3, 96, 96)).square().mean().backward()
    for key in IDENTITIES:
        gain = module.get_parameter(f"{key}.bn2.weight")
        assert not gain.any()
        assert gain.grad is not None
        assert gain.grad.abs().sum() > 0


def test_completing_a_complete_state_leaves_it_alone() -> None:
    module = SSDResNet34Module(COCO.num_classes)
    state = module.state_dict()
    full = complete(state)
    assert all(torch.equal(full[key], state[key]) for key in state)


def test_a_fresh_network_takes_most_priors_for_background_whatever_its_classes() -> None:
    contract = Contract((Category(1, "cat"), Category(2, "dog")))
    for classes in (COCO.num_classes, contract.num_classes):
        module = SSDResNet34Module(classes)
        initialise(module, 0)
        with torch.no_grad():
            heads = module.eval()(torch.zeros(1, 3, 385, 385))
        share = heads[0].reshape(1, classes, -1).softmax(1)[0, 0]
        assert share.mean() > 0.8


def test_images_are_normalised_as_the_contract_says() -> None:
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    found = normalised(pixels)
    rgb = pixels.numpy()[..., ::-1].astype(np.float64) / 255
    wanted = ((rgb - COCO.mean) / COCO.std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)


def test_training_on_your_own_data_loads_no_renderer_of_scenes() -> None:
    code = "import sys, ssd_resnet34.training.fitting.running; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "ssd_resnet34.training.multibox" in loaded
    assert not {"ssd_resnet34.training.scenes", "ssd_resnet34.training.trainer"} & set(loaded)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    train(out, PATCHES)
    return out


def begin(out: Path, stage: Any, saved: int, lost: int) -> None:
    """Train as a killed run does: ``saved`` steps, a checkpoint, and ``lost`` steps more."""
    run = Run(out, stage)
    rows = _rows(run)
    assert len(list(islice(rows, saved))) == saved
    run.save()
    list(islice(rows, lost))


def assert_same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_ends_as_the_uninterrupted_one(uninterrupted: Path, tmp_path: Path) -> None:
    begin(tmp_path, PATCHES, saved=2, lost=1)
    train(tmp_path, PATCHES)
    wanted, found = (written(out, "patches") for out in (uninterrupted, tmp_path))
    assert sorted(wanted) == [1, 2, 3, 4]
    assert sorted(found) == [3, 4]
    for step, row in found.items():
        assert row == pytest.approx(wanted[step], rel=1e-6)
    first, second = (stored(out / "patches.pt") for out in (uninterrupted, tmp_path))
    assert first["step"] == second["step"] == 4
    for key, value in first["model"].items():
        assert_same(second["model"][key], value)


def test_a_run_of_another_length_is_not_resumed(tmp_path: Path) -> None:
    train(tmp_path, replace(PATCHES, steps=1))
    with pytest.raises(UsageError, match="run of 1 steps, not 4"):
        train(tmp_path, PATCHES)


def test_rows_logged_after_the_last_checkpoint_are_dropped_when_resumed(tmp_path: Path) -> None:
    train(tmp_path, replace(PATCHES, steps=1))
    log = tmp_path / "patches.csv"
    head, row = log.read_text().splitlines()
    log.write_text(f"{head}\n{row}\n2{row[1:]}\n")  # killed between step 2 and its checkpoint
    train(tmp_path, replace(PATCHES, steps=1))
    assert log.read_text().splitlines() == [head, row]


def test_a_finished_run_does_nothing_more(
    uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "batches", None)  # not even a process that prepares some
    before = stored(uninterrupted / "patches.pt")
    log = (uninterrupted / "patches.csv").read_text()
    train(uninterrupted, PATCHES)
    after = stored(uninterrupted / "patches.pt")
    assert (uninterrupted / "patches.csv").read_text() == log
    assert all(torch.equal(after["model"][key], v) for key, v in before["model"].items())


def test_a_stage_starts_from_the_one_before_and_is_not_reset_when_resumed(
    uninterrupted: Path, tmp_path: Path
) -> None:
    start = uninterrupted / "patches.pt"
    run = Run(tmp_path, PATCHES)
    run.start_from(start)
    taken = stored(start)["model"]
    assert all(torch.equal(v, taken[k]) for k, v in run.module.state_dict().items())
    run.step = 1
    with torch.no_grad():
        run.module.loc[0].bias.fill_(7.0)  # type: ignore[operator]  # a Conv2d
    run.start_from(start)
    assert run.module.state_dict()["loc.0.bias"].eq(7).all()


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    uninterrupted: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "patches.pt"
    checkpoint.write_bytes((uninterrupted / "patches.pt").read_bytes())
    before = checkpoint.read_bytes()
    run = Run(tmp_path, PATCHES)
    with full_disk(len(before) // 2), pytest.raises(OutputError, match=r"patches\.pt.*free space"):
        run.save()
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["patches.pt"]


# ---------------------------------------------------------------- the stages with boxes


def test_crops_resume_as_they_were_and_all_six_levels_take_part(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    parts.mkdir()
    train(whole, CROPS)
    begin(parts, CROPS, saved=1, lost=0)
    train(parts, CROPS)
    wanted, found = written(whole, "crops"), written(parts, "crops")
    assert sorted(wanted) == [1, 2]
    assert found[2] == pytest.approx(wanted[2], rel=1e-6)
    assert wanted[1]["positives"] > 0
    run = Run(whole, CROPS)
    maps = [17, 9, 5, 3, 1, 1]
    assert len(run.priors) == sum(
        side**2 * anchors for side, anchors in zip(maps, (4, 6, 6, 6, 4, 4), strict=True)
    )


def test_a_frozen_backbone_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    stage = replace(CROPS, name="heads", steps=1, batch=2, frozen="backbone", fresh=1)
    run = Run(tmp_path, stage)
    before = {key: value.clone() for key, value in run.module.state_dict().items()}
    assert len(list(_rows(run))) == 1
    changed = {k for k, v in run.module.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not {key for key in changed if key.startswith("model.")}
