"""Optimizer: what all update rules share."""

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gpucnn.autograd.torch_words import OPTIMIZER_ARGUMENTS
from gpucnn.backend import Array, Device, current, device_of, to_device, to_host
from gpucnn.backend.joined import joined
from gpucnn.checks import as_flag, as_number, check_keywords, check_set_to_none, unknown_name
from gpucnn.errors import ArgumentError, StateError
from gpucnn.kernels.gradients import clear_unless_finite
from gpucnn.layers import Parameter
from gpucnn.optim.clip import limit_norm
from gpucnn.optim.flat_buffer import FlatBuffer
from gpucnn.optim.group import Group, GroupSettings, Rates, ToLearn, as_group, as_list, as_parameters, numbers_text
from gpucnn.optim.state import as_floats, as_steps

ELSEWHERE = {
    "state": "state_dict()",
    "defaults": "param_groups[0]",
    "learning_rate": "lr",
    "minimize": "zero_grad(), loss.backward() and step()",
    "apply_gradients": "step(), after loss.backward()",
}
"""What other libraries' optimizers have, and what does the same here."""


class Optimizer:
    """Holds parameters, in a flat buffer per device, dtype and group, and what its update rule remembers of them.

    - `parameters`: parameters of one model, e.g. `model.parameters()`, or groups of them, see `Group`, or both. A group may be a
      dict, {"params": model.head.parameters(), "lr": 0.01, "weight_decay": 0.1}.
    - `lr`: the learning rate, a number >= 0; it may be set anew before every step.
    - `weight_decay`: how fast parameters shrink, a number >= 0; it may be set anew, too.
    - `decay_vectors`: False leaves parameters of one axis (biases, and the scales of norms) without decay, in all groups.

    A step is two things, of which a step that is recorded, see `gpucnn.backend.graph`, has the second in its recording: `advance`
    counts it, before each replay; `apply` changes the parameters.

    Subclasses write `update` and `settings`, and name in `remembers` the arrays of the parameter's shape that they keep.
    Raises ArgumentError if there are no parameters, something else is among them, one is there twice, or two have one path
    (their models then belong into one outer layer).
    """

    remembers: tuple[str, ...] = ()
    """The names of the arrays that `update` keeps from step to step."""

    initial: float = 0.0
    """What these arrays are full of before the first step."""

    counts_steps: bool = False
    """Whether `settings` depends on the number of steps, so that it belongs to the state."""

    def __new__(cls, *_: Any, **options: Any) -> Self:
        """An optimizer, of which no argument has another name here."""
        check_keywords(cls, options, OPTIMIZER_ARGUMENTS)
        return super().__new__(cls)

    def __init__(self, parameters: ToLearn, lr: float, weight_decay: float, decay_vectors: bool) -> None:
        self.lr, self.weight_decay = as_number(lr, "lr"), as_number(weight_decay, "weight_decay")
        self._decay_vectors = as_flag(decay_vectors, "decay_vectors")
        self.parameters: dict[str, Parameter] = {}
        self._rates: dict[str, Rates] = {}
        self._groups, others = [], Group(())
        self._buffers: list[FlatBuffer] = []
        for item in as_list(parameters):
            if isinstance(item, Group | Mapping):
                self.add_param_group(item)
                continue
            for parameter in as_parameters([item], type(self).__name__):
                self._add(parameter, others.rates)
                others.parameters.append(parameter)
        self._groups += [others] if others.parameters else []
        if not self.parameters:
            raise ArgumentError(
                f"{type(self).__name__}: got no parameters; pass model.parameters(), fresh for each use"
            )

    def _add(self, parameter: Parameter, rates: Rates) -> None:
        if parameter.ndim < 2 and not self._decay_vectors:
            rates = rates._replace(weight_decay=0.0)
        known = self.parameters.get(parameter.path)
        if known is not None:
            twice = f"the parameter {parameter.path!r} is there twice; give each to one group"
            alike = f"two parameters have the path {parameter.path!r}; make their models attributes of one Layer, and pass its parameters()"
            raise ArgumentError(f"{type(self).__name__}: {twice if known is parameter else alike}")
        self.parameters[parameter.path], self._rates[parameter.path] = parameter, rates

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients. ArgumentError unless `set_to_none`."""
        check_set_to_none(set_to_none)
        for parameter in self.parameters.values():
            parameter.grad = None

    def gather(self) -> None:
        """Bring parameters and gradients together in flat buffers, and allocate what will be remembered.

        `step` does so by itself; done before, it shows whether all that fits into a GPU's memory.
        """
        for buffer in self.flat_buffers():
            for name in self.remembers:
                buffer.remember(name)

    def step(self) -> None:
        """Change every parameter that has a gradient, in place: `advance`, then `apply`."""
        self.advance()
        self.apply()

    def advance(self) -> None:
        """Count a step for every parameter that has a gradient. The device does nothing for it."""
        self.gather()  # what finds no room for its memory is not counted
        for buffer in self._buffers:
            buffer.advance()

    def apply(self) -> None:
        """Change every parameter that has a gradient, in place, in the step that `advance` has counted.

        A recorded one finds `lr`, `weight_decay` and the counts of each replay's own time.
        """
        self.gather()
        for buffer in self._buffers:
            with current(buffer.device):
                for stretch, first in buffer.alike():
                    memory = {name: buffer.remember(name)[stretch] for name in self.remembers}
                    settings = buffer.numbers(functools.partial(self._settings_of, buffer, first))
                    self.update(buffer.data[stretch], buffer.gradient[stretch], memory, settings)

    def _settings_of(self, buffer: FlatBuffer, position: int) -> tuple[float, ...]:
        """The numbers for the parameter at `position`, and those that have taken as many steps, as things are now."""
        rates = buffer.rates
        weight_decay = self.weight_decay if rates.weight_decay is None else rates.weight_decay
        # A recording may be made before the first step is counted.
        return self.settings(max(buffer.steps[position], 1), self.lr * rates.lr_factor, weight_decay)

    def settings(self, steps: int, lr: float, weight_decay: float) -> tuple[float, ...]:
        """The numbers that `update` works with at a parameter's step number `steps`, counted from 1.

        `lr` and `weight_decay` are those of the parameter's group.
        """
        raise TypeError(f"the class {type(self).__name__} needs a method settings(self, steps, lr, weight_decay)")

    def update(self, data: Array, gradient: Array, memory: dict[str, Array], settings: Array) -> None:
        """Change `data`, a flat array of parameters, and `memory` in place, element by element: bind no new arrays.

        `memory` has the arrays of `remembers`, full of `initial` before the first step; `settings`, on the same device and
        in the same dtype, what the method of that name gave.
        """
        raise TypeError(
            f"the class {type(self).__name__} needs a method update(self, data, gradient, memory, settings)"
        )

    def clip_norm(self, most: float) -> Array:
        """Scale all gradients so that their norm is `most` at most, as `clip_gradient_norm` does, and wait for nothing.

        Returns the norm before: an array () in float64 on the first gradient's device.
        """
        return limit_norm(self._gradients(), as_number(most, "most"))

    def gradients_are_finite(self) -> Array:
        """Whether no gradient has a NaN or an infinity: a bool array () on the first parameter's device, not waited for.

        A parameter without a gradient does not count.
        """
        device = self.flat_buffers()[0].device
        with current(device):
            flag = device.xp.ones((), np.int32)
            self.clear_unless_finite(flag)
            return flag != 0

    def clear_unless_finite(self, flag: Array, loss: Array | None = None) -> None:
        """Set `flag`, int32 () on any device, to 0, in place, if a gradient, or `loss` () beside it, is not finite.

        One launch for each flat buffer on a GPU, and nothing is waited for.
        """
        device = device_of(flag)
        for (gradient,) in joined(self._gradients()):
            with current(device_of(gradient)):
                if device_of(gradient) == device:
                    clear_unless_finite(flag, gradient, loss)
                    loss = None
                else:
                    own = device_of(gradient).xp.ones((), np.int32)
                    clear_unless_finite(own, gradient, None)
                    flag &= to_device(own, device)
        if loss is not None:
            clear_unless_finite(flag, loss, None)

    def add_param_group(self, group: Group | Mapping[str, Any]) -> None:
        """Let more parameters learn. ArgumentError, and no change, if they are no group, see `as_group`, or there already."""
        new, before = as_group(group, self.lr, type(self).__name__), (dict(self.parameters), dict(self._rates))
        try:
            for parameter in new.parameters:
                self._add(parameter, new.rates)
        except ArgumentError:
            self.parameters, self._rates = before
            raise
        self._groups.append(new)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups as PyTorch shows them, to be read: "params", "lr", "weight_decay", and the optimizer's other settings."""
        found: list[dict[str, Any]] = []
        for group in self._groups:
            decay = self.weight_decay if group.rates.weight_decay is None else group.rates.weight_decay
            own = {"params": group.parameters, "lr": self.lr * group.rates.lr_factor, "weight_decay": decay}
            found.append(GroupSettings({**self._asked_for(), **own}))
        return found

    def _asked_for(self) -> dict[str, Any]:
        """The settings beside parameters, as they are now, in the order of the arguments."""
        names = {
            name: f"_{name}" if name == "decay_vectors" else name for name in inspect.signature(type(self)).parameters
        }
        own = {name: vars(self)[kept] for name, kept in names.items() if kept in vars(self)}
        return {name: value for name, value in own.items() if name != "parameters"}

    def __repr__(self) -> str:
        defaults = {name: one.default for name, one in inspect.signature(type(self)).parameters.items()}
        settings = [
            f"{name}={f'{value:g}' if isinstance(value, float) else value}"
            for name, value in self._asked_for().items()
            if name == "lr" or value != defaults[name]
        ]
        groups = f"{len(self._groups)} groups, " if len(self._groups) > 1 else ""
        return f"{type(self).__name__}({', '.join(settings)}; {groups}{numbers_text(self.parameters.values())})"

    if not TYPE_CHECKING:  # of what is not there, type checkers tell themselves

        def __getattr__(self, name: str) -> Any:
            raise unknown_name(type(self).__name__, name, dir(self), ELSEWHERE)

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
            loaded.setdefault(path, {})[name] = (
                np.array(as_steps(key, value, least=1))
                if name == "steps"
                else as_floats(key, value, self.parameters[path].shape)
            )
        for path, memory in loaded.items():
            if missing := set(names) - set(memory):
                raise StateError(f"the state of {path!r} has no {', no '.join(sorted(missing))}")
        self._buffers = []
        for buffer in self.flat_buffers():
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

    def flat_buffers(self) -> list[FlatBuffer]:
        """The buffers, with all parameters in them, and what is remembered, also after a model has moved."""
        homes = {path: (buffer.device, buffer.dtype) for buffer in self._buffers for path in buffer.names}
        now = {path: (parameter.device, parameter.dtype) for path, parameter in self.parameters.items()}
        if homes != now:
            state = self.state_dict()
            members: dict[tuple[Device, np.dtype, Rates], dict[str, Parameter]] = {}
            for path, parameter in self.parameters.items():
                members.setdefault((*now[path], self._rates[path]), {})[path] = parameter
            self._buffers = [FlatBuffer(own, *kind, self.initial) for kind, own in members.items()]
            if state:
                self.load_state_dict(state)
        for buffer in self._buffers:
            buffer.gather()
        return self._buffers

    def _gradients(self) -> list[Array]:
        return [buffer.gradient[stretch] for buffer in self.flat_buffers() for stretch in buffer.filled()]
