"""Where a run starts: the weights it takes over, and the classes it takes over from them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...contract import LEVELS, Contract
from ...errors import WeightsError
from ...network.builder import check_state
from ...network.module import SSDResNet34Module
from ...weights import readers, store
from ...weights.records import RECORDS
from ..initialisation import initialise
from .folder import NOTHING, check_init
from .unfolding import unfolded

State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Start:
    """A module to train, and where its weights come from.

    Attributes:
        contract: the data's categories with the normalisation of the initial weights.
        taken: labels whose rows of the class heads were taken over.
        fresh: labels that begin from nothing.
    """

    module: SSDResNet34Module
    contract: Contract
    taken: tuple[str, ...]
    fresh: tuple[str, ...]


def begin(init: str | PathLike[str], contract: Contract, seed: int) -> Start:
    """The module for ``contract``'s categories.

    All is loaded but the class heads, whose rows are taken over for background and for labels that
    both contracts have. A class that the weights do not know begins with weights and logits of 0,
    which the background's exceed by some 5 where nothing is and by less on things: about one per
    cent. (The mean of the known classes would begin at −17, as most of the embedded weights' 80
    never occurred in their training; random weights see large features, and begin at ±5.)

    Args:
        init: ``none``, a record's name (``embedded``, ``mlcommons``, …), or a weights file.

    Raises:
        UnknownWeights, WeightsError, ArtifactError: the weights cannot be had, are not this
            network, or of the other lineage.
    """
    module = SSDResNet34Module(contract.num_classes)
    initialise(module, seed)
    if init == NOTHING:
        return Start(module, contract, (), contract.labels)
    state, known = _read(init)
    wanted = replace(contract, mean=known.mean, std=known.std)
    full = with_classes(state, known, wanted)
    module.load_state_dict({key: torch.from_numpy(np.array(v)) for key, v in full.items()})
    taken = tuple(label for label in wanted.labels if label in known.labels)
    fresh = tuple(label for label in wanted.labels if label not in known.labels)
    return Start(module, wanted, taken, fresh)


def with_classes(state: State, known: Contract, wanted: Contract) -> dict[str, NDArray[Any]]:
    """``state`` of ``known`` with the class heads of ``wanted``; new rows are 0."""
    made = dict(state)
    index = {label: i for i, label in enumerate(known.labels, 1)}
    rows = [0, *(index.get(label, -1) for label in wanted.labels)]
    for k, level in enumerate(LEVELS):
        for leaf in ("weight", "bias"):
            key = f"conf.{k}.{leaf}"
            old = np.asarray(state[key], np.float32)
            old = old.reshape(known.num_classes, level.anchors, *old.shape[1:])
            nothing = np.zeros_like(old[0])
            # channel = class · anchors + anchor
            made[key] = np.concatenate([nothing if row < 0 else old[row] for row in rows])
    return made


def _read(init: str | PathLike[str]) -> tuple[State, Contract]:
    """The 218 keys of a record or a file, float32, and its contract."""
    name = str(init)
    if name in RECORDS:
        path = store.fetch(name)
    else:
        check_init(init)
        path = Path(init)
    found = readers.read(path)
    if found.contract.lineage != "pytorch":
        raise WeightsError(
            f"{name}: of the TensorFlow lineage, another network than the one that is trained; "
            "give weights of the PyTorch lineage, such as embedded or mlcommons"
        )
    if found.state is not None:
        return found.state, found.contract
    assert found.model is not None  # one of the two is set
    state = unfolded(found.model, name)
    check_state(state, found.contract.num_classes, name)
    return state, found.contract
