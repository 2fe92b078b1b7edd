"""A second set of weights beside a model's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_device, to_host
from gpucnn.backend.joined import copied
from gpucnn.errors import StateError
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.saved_arrays import fitting_arrays
from gpucnn.optim.numbers import Numbers
from gpucnn.optim.state import as_steps


class SecondWeights:
    """An array for each of some parameters and buffers of a model, equal to them at first: on their device, in their dtype.

    They move with the model, and lie as its arrays do, so that few launches work on all of them. `count` is what a subclass
    counts.
    """

    counter: str
    """The name of the count in the state; a parameter's path has no slash."""
    title: str
    """What messages call a model with these weights."""

    def __init__(self, members: Mapping[str, Parameter]) -> None:
        self.count = 0
        self._members = dict(members)
        arrays = copied(member.array for member in self._members.values())
        self._second = dict(zip(self._members, arrays, strict=True))
        self._laid_out: list[Array] = []
        self._numbers: dict[tuple[Device, np.dtype], Numbers] = {}

    def arrays(self) -> list[Array]:
        """What following writes to."""
        return list(self._second.values())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the second weights as numpy arrays, by the model's paths, and the count."""
        copies = {path: np.array(to_host(array), order="C") for path, array in self._second.items()}
        return {**copies, self.counter: np.array(self.count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. StateError, and no change, if it does not fit the model."""
        if self.counter not in state:
            raise StateError(f"{self.counter!r} is missing; load what state_dict of a {type(self).__name__} gave")
        count = as_steps(self.counter, state[self.counter], least=0)
        arrays = {str(path): array for path, array in state.items() if path != self.counter}
        fitting = fitting_arrays(self.title, self._members, arrays)
        self.count, self._laid_out = count, []
        for path, member in self._members.items():
            self._second[path] = to_device(np.array(to_host(fitting[path]), order="C"), member.device)

    def _lay_out(self) -> None:
        """See both sets as few flat arrays. Where a member's array is another one now, its second follows it."""
        arrays = [member.array for member in self._members.values()]
        if list(map(id, arrays)) == list(map(id, self._laid_out)):
            return
        laid = copied(arrays)
        for path, array in zip(self._members, laid, strict=True):
            with current(device_of(array)):
                array[...] = to_device(self._second[path], device_of(array))
            self._second[path] = array
        self._see(laid, arrays)
        self._laid_out = arrays

    def _see(self, second: list[Array], own: list[Array]) -> None:
        """Where both sets lie now, in the order of the members."""
        raise NotImplementedError

    def _numbers_for(self, array: Array) -> Numbers:
        """What brings numbers to the device of `array`, in its dtype."""
        key = device_of(array), array.dtype
        if key not in self._numbers:
            self._numbers[key] = Numbers(*key)
        return self._numbers[key]

    def __getstate__(self) -> dict[str, Any]:
        # In a copy, what was flat is not any more.
        return {**vars(self), "_laid_out": [], "_numbers": {}}
