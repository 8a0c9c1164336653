"""Checkpoints: all that a run needs to go on as if it had not been interrupted."""

from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch

from ...contract import Contract
from ...errors import UsageError
from .. import checkpoints
from .output import WEIGHTS
from .recipe import Recipe

VERSION: Final = 1

FREE: Final = frozenset({"every", "val_every", "at_once", "compile", "channels_last"})
"""What a resumed run may change: it does not change what is learnt, but for rounding."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. ``step``: optimiser steps done; ``validated``: epochs validated; ``best``:
    the best score so far and its epoch; ``seconds``: of training so far."""

    step: int = 0
    validated: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0


def save(
    path: Path,
    *,
    recipe: Recipe,
    init: str,
    contract: Contract,
    data: str,
    progress: Progress,
    model: dict[str, Any],
    optimizer: dict[str, Any],
    average: dict[str, Any],
    updates: int,
) -> None:
    """Write a checkpoint; a reader, or a crash, sees the old or the new one, never half.

    Args:
        init: name of the initial weights: that there were none decides on batch-norm.
        data: a digest of images, boxes and augmentation; a run is resumed on the same only.

    Raises:
        OutputError: a full disk; the old checkpoint stays.
    """
    state = {
        "version": VERSION,
        "recipe": asdict(recipe),
        "init": init,
        "contract": contract.to_json(),
        "data": data,
        "progress": asdict(progress),
        "model": model,
        "optimizer": optimizer,
        "average": average,
        "updates": updates,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    checkpoints.write(path, state)


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        UsageError: there is none, it is damaged, or of another version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no checkpoint to resume; leave --resume out") from error
    except Exception as error:  # whatever torch and pickle make of a damaged file
        raise UsageError(
            f"{path}: not a checkpoint that can be read ({type(error).__name__}); start again in "
            "another folder"
        ) from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UsageError(
            f"{path}: no checkpoint of this version of training; start again in another folder"
        )
    return state


def check_same(
    path: Path, state: dict[str, Any], recipe: Recipe, init: str, contract: Contract, data: str
) -> None:
    """Refuse to go on with another recipe, start, other classes or other images.

    Raises:
        UsageError: names what differs.
    """
    wanted = asdict(recipe)
    names = [field.name for field in fields(recipe) if field.name not in FREE]
    other = [
        f"{name} {state['recipe'].get(name)} (now {wanted[name]})"
        for name in names
        if state["recipe"].get(name) != wanted[name]
    ]
    if state.get("init", init) != init:  # checkpoints had none at first
        other.append(f"--init {state['init']} (now {init})")
    if Contract.from_json(state["contract"]) != contract:
        other.append("other classes")
    if state["data"] != data:
        other.append("other images, boxes or augmentation")
    if other:
        raise UsageError(
            f"{path}: of a run with {', '.join(other)}; resume with the same, or begin in another "
            f"folder, from what was learnt with --init {path.parent / WEIGHTS}"
        )


def restore_random(state: dict[str, Any]) -> None:
    """Set torch's random states back to those of a saved state."""
    torch.set_rng_state(state["random"])
    if state["random_cuda"] and len(state["random_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["random_cuda"])
