"""Optimizer: what all update rules share."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, as_array, to_device, to_host
from gpucnn.checks import as_number, shape_text
from gpucnn.errors import ArgumentError, DTypeError, StateError
from gpucnn.layers import Parameter


class Optimizer:
    """Holds parameters, and for each of them the arrays that its update rule remembers, by the parameter's path.

    - `parameters`: parameters of one model, e.g. `model.parameters()`.
    - `lr`: the learning rate, a number >= 0; it may be set anew before every step.

    Subclasses write `update`. Raises ArgumentError if there are no parameters, something else is among them, or two
    have one path (their models then belong into one outer layer).
    """

    remembers: tuple[str, ...] = ()
    """The names under which `update` keeps arrays of the parameter's shape, or counts, in its memory."""

    counts: tuple[str, ...] = ()
    """Those among them that are counts: host integers of shape ()."""

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.lr = as_number(lr, "lr")
        self.parameters: dict[str, Parameter] = {}
        self.state: dict[str, dict[str, Array]] = {}
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

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        for path, parameter in self.parameters.items():
            if parameter.grad is not None:
                memory = self.state.setdefault(path, {})
                for name in set(memory) - set(self.counts):  # the model may have moved, or changed its dtype
                    memory[name] = to_device(memory[name], parameter.device).astype(parameter.dtype, copy=False)
                self.update(parameter.data, parameter.grad, memory)

    def update(self, data: Array, gradient: Array, memory: dict[str, Array]) -> None:
        """Change one parameter's `data` in place. `memory` starts empty and keeps arrays from step to step."""
        raise TypeError(f"the class {type(self).__name__} needs a method update(self, data, gradient, memory)")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all that is remembered, as numpy arrays by "path/name", e.g. "conv1.weight/momentum"."""
        return {
            f"{path}/{name}": np.array(to_host(array), order="C")
            for path, memory in self.state.items()
            for name, array in memory.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it does not fit these parameters."""
        loaded: dict[str, dict[str, Array]] = {}
        for key, value in state.items():
            path, _, name = str(key).rpartition("/")
            parameter = self.parameters.get(path)
            if parameter is None or name not in self.remembers:
                raise StateError(
                    f"{type(self).__name__} has no place for {key!r}; load the state into the optimizer and model it "
                    f"was saved from"
                )
            try:
                array = to_host(value.data if isinstance(value, Tensor) else as_array(value)).copy()
            except DTypeError as error:
                raise StateError(f"{key!r}: {error}") from None
            shape = () if name in self.counts else parameter.shape
            if array.shape != shape or array.dtype.kind != ("i" if name in self.counts else "f"):
                raise StateError(
                    f"{key!r} must be {'integers' if name in self.counts else 'floats'} of shape {shape_text(shape)}, "
                    f"got {array.dtype} of shape {shape_text(array.shape)}"
                )
            if name in self.counts and array < 1:
                raise StateError(f"{key!r} must be at least 1, got {array}")
            if name not in self.counts:
                array = to_device(array.astype(parameter.dtype), parameter.device)
            loaded.setdefault(path, {})[name] = array
        for path, memory in loaded.items():
            if missing := set(self.remembers) - set(memory):
                raise StateError(f"the state of {path!r} has no {', no '.join(sorted(missing))}")
        self.state = loaded
