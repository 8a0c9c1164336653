"""What a session says of its network."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import NoSuchTensor, WrongShape, WrongType
from .tensor import TensorArray, TensorDesc, allocate

__all__ = ["Model"]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Model:
    """Descriptions of inputs and outputs, for the batch of the session."""

    _inputs: tuple[TensorDesc, ...]
    _outputs: tuple[TensorDesc, ...]

    @property
    def input_num(self) -> int:
        """Number of inputs: 1."""
        return len(self._inputs)

    @property
    def output_num(self) -> int:
        """Number of outputs: 12."""
        return len(self._outputs)

    def input(self, idx: int) -> TensorDesc:
        """An input; IndexError where there is none."""
        return _at(self._inputs, idx, "input")

    def output(self, idx: int) -> TensorDesc:
        """An output; IndexError where there is none."""
        return _at(self._outputs, idx, "output")

    def inputs(self) -> list[TensorDesc]:
        """All inputs."""
        return list(self._inputs)

    def outputs(self) -> list[TensorDesc]:
        """All outputs, cls_0..cls_5, loc_0..loc_5."""
        return list(self._outputs)

    def named(self, names: Sequence[str]) -> list[TensorDesc]:
        """Inputs and outputs by name.

        Raises:
            TensorNameNotFound: no such tensor.
        """
        known = {desc.name: desc for desc in (*self._inputs, *self._outputs)}
        return [_lookup(known, name) for name in names]

    def places(self, names: Any, inputs: Any) -> tuple[list[int], list[Any]]:
        """Numbers of the outputs and the values of all inputs, of a ``run_with(names, inputs)``.

        Raises:
            InvalidInput: no list of names, no mapping, or an input is missing.
            TensorNameNotFound: a name that is no output, or no input.
        """
        if not isinstance(names, Sequence) or isinstance(names, str):
            raise WrongType(f"outputs: {names!r} is no list of names; take those of outputs()")
        if not isinstance(inputs, Mapping):
            raise WrongType(f"inputs: a {type(inputs).__name__}; give {{name: array}}")
        outputs = {desc.name: n for n, desc in enumerate(self._outputs)}
        wanted = [_lookup(outputs, name) for name in names]
        accepted = {desc.name for desc in self._inputs}
        for name in inputs:
            _lookup(dict.fromkeys(accepted), name)
        missing = accepted - inputs.keys()
        if missing:
            raise WrongShape(f"inputs: no {', '.join(sorted(missing))}; give all inputs")
        return wanted, [inputs[desc.name] for desc in self._inputs]

    def summary(self) -> str:
        """Inputs and outputs as text."""
        inputs, outputs = (dict(enumerate(descs)) for descs in (self._inputs, self._outputs))
        return f"Inputs:\n{inputs}\nOutputs:\n{outputs}"

    def print_summary(self) -> None:
        """:meth:`summary` on stdout."""
        print(self.summary())


def _lookup(known: Mapping[str, Found], name: str) -> Found:
    if name not in known:
        raise NoSuchTensor(f"no tensor {name!r}; there are {', '.join(known)}")
    return known[name]


def _at(descs: Sequence[TensorDesc], idx: int, what: str) -> TensorDesc:
    if not 0 <= idx < len(descs):
        raise IndexError(f"{what} {idx}: there are {len(descs)}, counted from 0")
    return descs[idx]


class Described:
    """The members of :class:`Model` on the object itself, as sessions of 0.7–0.9 have them.

    ``_model`` gives the model, or raises SessionClosed.
    """

    _model: Callable[[], Model]

    @property
    def model(self) -> Model:
        """Inputs and outputs (0.10)."""
        return self._model()

    @property
    def input_num(self) -> int:
        """Number of inputs: 1."""
        return self._model().input_num

    @property
    def output_num(self) -> int:
        """Number of outputs: 12."""
        return self._model().output_num

    def input(self, idx: int) -> TensorDesc:
        """An input; IndexError where there is none."""
        return self._model().input(idx)

    def output(self, idx: int) -> TensorDesc:
        """An output; IndexError where there is none."""
        return self._model().output(idx)

    def inputs(self) -> list[TensorDesc]:
        """All inputs."""
        return self._model().inputs()

    def outputs(self) -> list[TensorDesc]:
        """All outputs, cls_0..cls_5, loc_0..loc_5."""
        return self._model().outputs()

    def allocate_inputs(self) -> TensorArray:
        """Tensors of zeros for all inputs."""
        return allocate(self.inputs())

    def allocate_outputs(self) -> TensorArray:
        """Tensors of zeros for all outputs."""
        return allocate(self.outputs())

    def allocate_tensors(self, names: Sequence[str]) -> TensorArray:
        """Tensors of zeros by name; TensorNameNotFound where there is none."""
        return allocate(self._model().named(names))

    create_inputs = allocate_inputs
    create_outputs = allocate_outputs
    create_tensors = allocate_tensors

    def summary(self) -> str:
        """Inputs and outputs as text."""
        return self._model().summary()

    def print_summary(self) -> None:
        """:meth:`summary` on stderr."""
        print(self.summary(), file=sys.stderr)
