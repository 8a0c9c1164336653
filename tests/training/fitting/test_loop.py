"""Runs of a tiny detector: killed, stopped, resumed, on a full disk, and with a NaN."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training
from ssd_resnet34 import weights
from ssd_resnet34.errors import OutputError, TrainingError, UsageError, WeightsError
from ssd_resnet34.training.fitting import state as states
from ssd_resnet34.training.fitting.folder import CHECKPOINT
from ssd_resnet34.training.fitting.journal import STEPS, VALIDATIONS, read
from ssd_resnet34.training.fitting.loop import Score, Step, Watch
from tiny_detector import TinyDetector, TinyExamples
from tiny_training import KEPT, RECIPE, run

PROGRAM = [sys.executable, tiny_training.__file__]
STEPS_OF_A_RUN = 6
"""Six images, four a step, three epochs."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    assert run(out).step == STEPS_OF_A_RUN
    return out


def rows(out: Path) -> list[dict[str, float]]:
    """The log without the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read(out / STEPS)]


def assert_same_run(out: Path, wanted: Path) -> None:
    """Bit for bit: losses, weights, averages, optimiser."""
    assert rows(out) == rows(wanted)
    ours, theirs = (states.load(folder / CHECKPOINT) for folder in (out, wanted))
    for part in ("model", "average"):
        assert all(torch.equal(v, theirs[part][k]) for k, v in ours[part].items())
    for one, other in zip(
        ours["optimizer"]["state"].values(), theirs["optimizer"]["state"].values(), strict=True
    ):
        assert all(torch.equal(v, other[k]) for k, v in one.items())
    ours_kept, theirs_kept = (torch.load(folder / KEPT) for folder in (out, wanted))
    assert all(torch.equal(v, theirs_kept[k]) for k, v in ours_kept.items())


def start(out: Path, *options: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PROGRAM, str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        **more,
    )


# ---------------------------------------------------------------- what is written


def test_every_step_is_logged_with_its_loss_and_rate(uninterrupted: Path) -> None:
    found = read(uninterrupted / STEPS)
    assert [row["step"] for row in found] == list(range(1, STEPS_OF_A_RUN + 1))
    assert found[-1]["loss"] < found[0]["loss"]
    assert all(row["loss"] == pytest.approx(row["classes"] + row["boxes"]) for row in found)
    assert all(row["positives"] > 0 for row in found)
    assert max(row["rate"] for row in found) <= RECIPE.peak
    assert list((uninterrupted / "tensorboard").glob("events.*"))


def test_the_averaged_weights_are_kept_and_batch_norm_is_left_alone(uninterrupted: Path) -> None:
    kept = torch.load(uninterrupted / KEPT)
    last = states.load(uninterrupted / CHECKPOINT)["model"]
    assert not torch.equal(kept["conf.0.weight"], last["conf.0.weight"])
    assert kept["model.1.running_mean"].eq(0).all()
    assert last["model.1.running_var"].eq(1).all()


def test_a_checkpoint_in_the_place_of_weights_is_called_so(uninterrupted: Path) -> None:
    with pytest.raises(WeightsError, match=r"a checkpoint of training.*model\.safetensors beside"):
        weights.load(uninterrupted / CHECKPOINT)


def test_without_initial_weights_batch_norm_follows_the_batches(tmp_path: Path) -> None:
    run(tmp_path, known=False, recipe=replace(RECIPE, epochs=1))
    assert states.load(tmp_path / CHECKPOINT)["model"]["model.1.running_mean"].ne(0).all()


def test_a_frozen_backbone_keeps_its_weights(tmp_path: Path) -> None:
    run(tmp_path, recipe=replace(RECIPE, freeze="backbone", epochs=1))
    found = states.load(tmp_path / CHECKPOINT)["model"]
    fresh = TinyDetector().state_dict()
    changed = {key for key, value in found.items() if not torch.equal(value, fresh[key])}
    assert changed
    assert not {key for key in changed if key.startswith("model.")}


def test_half_precision_forward_passes_learn_the_same_within_their_rounding(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run(tmp_path, recipe=replace(RECIPE, autocast="bf16"))
    for row, wanted in zip(rows(tmp_path), rows(uninterrupted), strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=0.03)
        assert row["loss"] != wanted["loss"]
    kept = states.load(tmp_path / CHECKPOINT)["model"]
    assert all(v.dtype == torch.float32 for v in kept.values() if v.is_floating_point())


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own import
def test_a_compiled_network_learns_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    run(tmp_path, recipe=replace(RECIPE, compile=True))
    for row, wanted in zip(rows(tmp_path), rows(uninterrupted), strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    run(tmp_path, resume=True)  # a checkpoint is the same with and without


# ---------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_at_random_steps_ends_as_one_that_was_not(
    uninterrupted: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    out, step, resume = tmp_path / "run", 0, False
    while (step := step + chance.randint(1, 3)) < STEPS_OF_A_RUN:
        process = start(out, "--kill", str(step), *["--resume"] * resume)
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        resume = (out / CHECKPOINT).exists()
    run(out, resume=resume)
    assert_same_run(out, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_a_checkpoint_of_that_step(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    def on_step(step: Step) -> None:
        if step.step == 3:
            os.kill(os.getpid(), number)

    rare, before = replace(RECIPE, every=1e9), signal.getsignal(number)
    with pytest.raises(TrainingError, match=r"stopped after step 3 of 6.*--resume goes on"):
        run(tmp_path, recipe=rare, watch=Watch(step=on_step))
    assert signal.getsignal(number) is before
    assert states.load(tmp_path / CHECKPOINT)["progress"]["step"] == 3
    run(tmp_path, resume=True)
    assert_same_run(tmp_path, uninterrupted)


def test_a_program_ends_in_order_when_it_is_told_to_with_its_workers(
    uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(out, "--sleep", "0.3", "--workers", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: stopped after step" in complaints
    assert "Traceback" not in complaints
    run(out, resume=True)
    assert_same_run(out, uninterrupted)


def test_a_signal_to_the_whole_group_ends_a_run_in_order_too(
    uninterrupted: Path, tmp_path: Path
) -> None:
    """As torchrun, systemd and Slurm send it: to the processes that prepare images as well."""
    out = tmp_path / "run"
    process = start(out, "--sleep", "0.3", "--workers", "1", start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    os.killpg(process.pid, signal.SIGTERM)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: stopped after step" in complaints
    assert "Traceback" not in complaints
    run(out, resume=True)
    assert_same_run(out, uninterrupted)


def has_worker(pid: int) -> bool:
    """Whether a process that prepares images was begun."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it may be another, and over
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return True
    return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the workers are looked for in /proc")
def test_a_signal_while_the_workers_start_ends_a_run_in_order_too(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, "--workers", "1", start_new_session=True)
    while process.poll() is None and not has_worker(process.pid):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: stopped after step 0" in complaints
    assert "Traceback" not in complaints


def test_a_process_that_is_killed_while_the_network_works_ends_the_run_with_a_reason(
    tmp_path: Path,
) -> None:
    def on_step(step: Step) -> None:
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
        time.sleep(1)  # torch tells of it in the midst of whatever is done

    with pytest.raises(TrainingError, match=r"a process that prepares images ended by itself"):
        run(tmp_path, workers=1, watch=Watch(step=on_step))


def test_a_resumed_run_may_change_the_checkpoints_but_not_the_recipe(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, resume=True, recipe=replace(RECIPE, every=99.0))
    with pytest.raises(UsageError, match=r"run with rate 0.01 \(now 0.5\); resume with the same"):
        run(tmp_path, resume=True, recipe=replace(RECIPE, rate=0.5))
    with pytest.raises(UsageError, match=r"run with --init embedded \(now none\)"):
        run(tmp_path, resume=True, known=False)  # batch-norm would begin to follow the batches
    with pytest.raises(UsageError, match="no checkpoint to resume; leave --resume out"):
        run(tmp_path / "elsewhere", resume=True)
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 half a checkpoint")
    with pytest.raises(UsageError, match="not a checkpoint that can be read"):
        run(tmp_path, resume=True)


# ---------------------------------------------------------------- trouble


def test_a_full_disk_ends_the_run_and_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = b""

    def on_step(step: Step) -> None:
        nonlocal good
        if step.step == 3:
            good = (tmp_path / CHECKPOINT).read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, hard))

    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OutputError, match=rf"{CHECKPOINT}.*cannot be written.*free space"):
            run(tmp_path, watch=Watch(step=on_step))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / CHECKPOINT).read_bytes() == good
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_files(
    uninterrupted: Path, tmp_path: Path
) -> None:
    class Poisoned(TinyExamples):
        def example(self, epoch: int, number: int) -> Any:
            made = super().example(epoch, number)
            if (epoch, number) == (1, 3):
                made.image[:] = 128  # see TinyDetector
            return made

    with pytest.raises(TrainingError, match=r"not finite for .*1-3\.png.*checkpoint stays"):
        run(tmp_path, examples=Poisoned())
    kept = states.load(tmp_path / CHECKPOINT)
    assert 2 <= kept["progress"]["step"] < 4
    assert all(v.isfinite().all() for v in kept["model"].values())
    run(tmp_path, resume=True)  # with images that are whole
    assert_same_run(tmp_path, uninterrupted)


# ---------------------------------------------------------------- validation


def test_some_epochs_may_go_without_a_validation_but_not_the_last(tmp_path: Path) -> None:
    seen: list[int] = []

    def validate(*_: Any) -> Score:
        return Score(0.5, {"AP": 0.5})

    watch = Watch(validation=lambda epoch, *_: seen.append(epoch))
    recipe = replace(RECIPE, epochs=5, val_every=2)
    run(tmp_path / "a", recipe=recipe, validate=validate, watch=watch)
    assert seen == [2, 4, 5]
    assert [row["epoch"] for row in read(tmp_path / "a" / VALIDATIONS)] == [2, 4, 5]
    run(tmp_path / "b", recipe=replace(recipe, val_every=9), validate=validate, watch=watch)
    assert seen == [2, 4, 5, 5]


def test_the_best_epoch_is_kept_and_a_killed_validation_comes_again(tmp_path: Path) -> None:
    scores = {1: 0.2, 2: 0.5, 3: 0.3}
    seen: list[tuple[int, bool]] = []
    kept: list[int] = []
    stop_at = 2

    def validate(module: Any, priors: Any, on_image: Any) -> Score:
        epoch = len(seen) + 1
        if epoch == stop_at and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        on_image()
        assert not module.training
        return Score(scores[epoch], {"AP": scores[epoch]}, lambda: kept.append(epoch))

    watch = Watch(validation=lambda epoch, _, better: seen.append((epoch, better)))
    with pytest.raises(TrainingError, match="stopped after step 4"):
        run(tmp_path, validate=validate, watch=watch)
    progress = run(tmp_path, validate=validate, watch=watch, resume=True)
    assert seen == [(1, True), (2, True), (3, False)]
    assert kept == [1, 2]
    assert (progress.best, progress.best_epoch) == (0.5, 2)
    assert [(row["epoch"], row["AP"]) for row in read(tmp_path / VALIDATIONS)] == [
        (1, 0.2),
        (2, 0.5),
        (3, 0.3),
    ]


def test_of_epochs_that_score_alike_the_last_is_kept(tmp_path: Path) -> None:
    def validate(*_: Any) -> Score:
        return Score(0.0, {"AP": 0.0})

    assert run(tmp_path, validate=validate).best_epoch == RECIPE.epochs


def test_no_image_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image to train on"):
        run(tmp_path, examples=TinyExamples(0))
