"""Optimizer: what all update rules share."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, as_array, current, to_device, to_host
from gpucnn.checks import as_number, shape_text
from gpucnn.errors import ArgumentError, DTypeError, StateError
from gpucnn.layers import Parameter
from gpucnn.optim.flat_buffer import FlatBuffer


class Optimizer:
    """Holds parameters, gathered into one flat buffer per device and dtype, and what its update rule remembers of them.

    - `parameters`: parameters of one model, e.g. `model.parameters()`.
    - `lr`: the learning rate, a number >= 0; it may be set anew before every step.

    Subclasses write `update` and `settings`, and name in `remembers` the arrays of the parameter's shape that they keep.
    Raises ArgumentError if there are no parameters, something else is among them, or two have one path (their models then
    belong into one outer layer).
    """

    remembers: tuple[str, ...] = ()
    """The names of the arrays that `update` keeps from step to step."""

    counts_steps: bool = False
    """Whether `settings` depends on the number of steps, so that it belongs to the state."""

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.lr = as_number(lr, "lr")
        self.parameters: dict[str, Parameter] = {}
        self._buffers: list[FlatBuffer] = []
        if not isinstance(parameters, Iterable):
            raise ArgumentError(
                f"{type(self).__name__}: expected parameters, got {type(parameters).__name__}; pass model.parameters()"
            )
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                raise ArgumentError(
                    f"{type(self).__name__}: expected parameters, got {type(parameter).__name__}; pass model.parameters()"
                )
            if parameter.path in self.parameters:
                raise ArgumentError(
                    f"{type(self).__name__}: two parameters have the path {parameter.path!r}; "
                    f"make their models attributes of one Layer, and pass its parameters()"
                )
            self.parameters[parameter.path] = parameter
        if not self.parameters:
            raise ArgumentError(
                f"{type(self).__name__}: got no parameters; pass model.parameters(), fresh for each use"
            )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def gather(self) -> None:
        """Bring parameters and gradients together in flat buffers, and make room for what will be remembered.

        `step` does so by itself; done before, it shows whether all that fits into a GPU's memory.
        """
        for buffer in self._gathered():
            for name in self.remembers:
                buffer.remember(name)

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        self.gather()
        for buffer in self._buffers:
            with current(buffer.device):
                for start, stop, steps in buffer.runs():
                    memory = {name: buffer.remember(name)[start:stop] for name in self.remembers}
                    settings = buffer.hand_over(self.settings(steps))
                    self.update(buffer.data[start:stop], buffer.gradient[start:stop], memory, settings)

    def settings(self, steps: int) -> tuple[float, ...]:
        """The numbers that `update` works with at a parameter's step number `steps`, counted from 1."""
        raise TypeError(f"the class {type(self).__name__} needs a method settings(self, steps)")

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        """Change `data`, a flat array of parameters, in place, element by element.

        `memory` has the arrays of `remembers`, zeros before the first step; `settings`, on the same device and in the
        same dtype, what the method of that name gave.
        """
        raise TypeError(
            f"the class {type(self).__name__} needs a method update(self, data, gradient, memory, settings)"
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all that is remembered, as numpy arrays by "path/name", e.g. "conv1.weight/momentum"."""
        state: dict[str, np.ndarray] = {}
        for buffer in self._buffers:
            for position, path in enumerate(buffer.names):
                if buffer.steps[position]:
                    for name in self.remembers:
                        part = buffer.part(buffer.remember(name), position)
                        state[f"{path}/{name}"] = np.array(to_host(part), order="C")
                    if self.counts_steps:
                        state[f"{path}/steps"] = np.array(buffer.steps[position])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it does not fit these parameters."""
        loaded: dict[str, dict[str, np.ndarray]] = {}
        names = (*self.remembers, *(("steps",) if self.counts_steps else ()))
        for key, value in state.items():
            path, _, name = str(key).rpartition("/")
            if path not in self.parameters or name not in names:
                raise StateError(
                    f"{type(self).__name__} has no place for {key!r}; load the state into the optimizer and model it "
                    f"was saved from"
                )
            loaded.setdefault(path, {})[name] = _checked(
                key, value, () if name == "steps" else self.parameters[path].shape
            )
        for path, memory in loaded.items():
            if missing := set(names) - set(memory):
                raise StateError(f"the state of {path!r} has no {', no '.join(sorted(missing))}")
        self._buffers = []
        for buffer in self._gathered():
            for position, path in enumerate(buffer.names):
                memory = loaded.get(path, {})
                buffer.steps[position] = int(memory.pop("steps", 1 if memory else 0))
                with current(buffer.device):
                    for name, array in memory.items():
                        part = buffer.part(buffer.remember(name), position)
                        part[...] = to_device(array.astype(buffer.dtype), buffer.device)

    def __getstate__(self) -> dict[str, Any]:
        # A copy of views into a buffer would be arrays of their own: the copy makes its own buffers, from the same state.
        return {**vars(self), "_buffers": [], "_carried": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        carried = state.pop("_carried")
        vars(self).update(state)
        if carried:
            self.load_state_dict(carried)

    def _gathered(self) -> list[FlatBuffer]:
        """The buffers, with all parameters in them, and what is remembered, also after a model has moved."""
        homes = {path: (buffer.device, buffer.dtype) for buffer in self._buffers for path in buffer.names}
        now = {path: (parameter.device, parameter.dtype) for path, parameter in self.parameters.items()}
        if homes != now:
            state = self.state_dict()
            self._buffers = [
                FlatBuffer({path: one for path, one in self.parameters.items() if now[path] == kind}, *kind)
                for kind in dict.fromkeys(now.values())
            ]
            if state:
                self.load_state_dict(state)
        for buffer in self._buffers:
            buffer.gather()
        return self._buffers


def _checked(key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One array of a state, on the host. StateError, naming `key`, unless it is of `shape`, and a count where it is ()."""
    try:
        array = to_host(value.data if isinstance(value, Tensor) else as_array(value))
    except DTypeError as error:
        raise StateError(f"{key!r}: {error}") from None
    kind, kind_name = ("i", "integers") if key.endswith("/steps") else ("f", "floats")
    if array.shape != shape or array.dtype.kind != kind:
        raise StateError(
            f"{key!r} must be {kind_name} of shape {shape_text(shape)}, got {array.dtype} of shape {shape_text(array.shape)}"
        )
    if kind == "i" and array < 1:
        raise StateError(f"{key!r} must be at least 1, got {array}")
    return array
