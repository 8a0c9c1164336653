"""Two processes that share each batch, against one that works on it part by part."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import shared_validation
import tiny_training
from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.fitting import state as states
from ssd_resnet34.training.fitting.folder import CHECKPOINT
from ssd_resnet34.training.fitting.journal import STEPS, read
from ssd_resnet34.training.fitting.loading import Order, Share, share_of
from ssd_resnet34.training.fitting.running import VALIDATION
from tiny_training import run

PROCESSES = 2


def together(*options: str | Path, program: str = tiny_training.__file__) -> None:
    """A program in two processes that talk by gloo."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, f"--nproc-per-node={PROCESSES}", program, *map(str, options)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    run(out)
    return out


def test_two_processes_equal_one_that_adds_up_the_same_two_micro_batches(
    alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    together(out)
    ours, theirs = read(out / STEPS), read(alone / STEPS)
    assert len({row["positives"] for row in theirs}) > 1
    for row, wanted in zip(ours, theirs, strict=True):
        assert row["positives"] == wanted["positives"]
        for key in ("loss", "classes", "boxes", "gradient", "rate"):
            assert row[key] == pytest.approx(wanted[key], rel=1e-5)
    one, other = (states.load(folder / CHECKPOINT) for folder in (out, alone))
    for part in ("model", "average"):
        for key, value in one[part].items():
            torch.testing.assert_close(value, other[part][key], rtol=1e-4, atol=1e-5)


def test_what_two_processes_began_one_may_go_on_with(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    together(out, "--live")
    kept = states.load(out / CHECKPOINT)
    assert kept["progress"]["step"] == kept["progress"]["validated"] * 2
    assert kept["model"]["model.1.running_mean"].isfinite().all()
    assert run(out, resume=True, known=False).step == 6


def test_two_processes_all_learn_the_numbers_of_a_validation_and_what_either_refused(
    tmp_path: Path,
) -> None:
    program, pictures = shared_validation.__file__, tmp_path / "pictures"
    together(pictures, tmp_path / "two", program=program)
    subprocess.run(
        [sys.executable, program, pictures, tmp_path / "one"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=300,
    )
    wanted = json.loads((tmp_path / "one" / "numbers-0.json").read_text())
    assert wanted["refused"] == 1
    for process in range(PROCESSES):
        found = json.loads((tmp_path / "two" / f"numbers-{process}.json").read_text())
        assert found == pytest.approx(wanted)
    one, two = (json.loads((tmp_path / name / VALIDATION).read_text()) for name in ("one", "two"))
    assert one["images"] == two["images"] == [0, 1, 2, 3]
    assert len(one["refused"]) == len(two["refused"]) == 1
    assert len(one["results"]) > 0

    def ordered(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return sorted((row["image_id"], row["category_id"], *row["bbox"]) for row in rows)

    assert ordered(one["results"]) == ordered(two["results"])


@pytest.mark.parametrize("step", [0, 1, 5])
def test_the_shares_of_all_processes_are_the_batch_in_its_order(step: int) -> None:
    order = Order(images=11, batch=8, epochs=4, seed=3)
    for processes, at_once in ((1, 8), (1, 2), (2, 2), (4, 1), (8, 1)):
        shares = [share_of(8, n, processes, at_once, 99) for n in range(processes)]
        shared = [
            key
            for share in shares
            for micro in range(share.micros)
            for key in share.keys(order, step, micro)
        ]
        assert shared == order.keys(step)


def test_an_epoch_shows_every_image_and_no_two_are_alike() -> None:
    order = Order(images=11, batch=4, epochs=2, seed=3)
    assert order.steps == 6
    epochs = [
        [key for step in steps for key in order.keys(step)] for steps in ((0, 1, 2), (3, 4, 5))
    ]
    for epoch, keys in enumerate(epochs):
        assert {number for _, number in keys} == set(range(11))
        assert {one for one, _ in keys} == {epoch}
        assert keys[11] == keys[0]  # filled up from the beginning
    assert [n for _, n in epochs[0]] != [n for _, n in epochs[1]]
    assert Order(images=3, batch=8, epochs=1, seed=0).keys(0).count((0, 0)) >= 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: share_of(7, 0, 2, None, 9), "7 images cannot be shared by 2 processes"),
        (lambda: share_of(8, 0, 2, 3, 9), "3 does not divide the 4 images"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(call: Callable[[], Share], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_by_default_a_device_takes_as_many_images_at_once_as_it_may() -> None:
    assert share_of(12, 0, 2, None, 4) == Share(0, 2, at_once=3, micros=2)
    assert share_of(16, 0, 1, None, 1) == Share(0, 1, at_once=1, micros=16)
    assert share_of(16, 0, 1, None, 16) == Share(0, 1, at_once=16, micros=1)
