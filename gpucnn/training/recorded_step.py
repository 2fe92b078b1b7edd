"""A step that was recorded, with all that it goes by."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, as_array, current, device_of, overwrite, to_host
from gpucnn.layers import Layer, Parameter
from gpucnn.layers.structure import Structure
from gpucnn.optim.flat_buffer import FlatBuffer

Result = TypeVar("Result")


def _nothing(result: object) -> None:
    """Nothing is counted."""


class Work(NamedTuple, Generic[Result]):
    """What is done with a batch, in two ways that give the same."""

    recorded: Callable[..., Result]
    """Of the inputs: what can be recorded. On the host it changes gradients, and what a forward pass changes, alone."""
    as_it_is: Callable[..., Result]
    """Of the inputs: that, and what the host does beside it."""
    count_up: Callable[[Result], None] = _nothing
    """What the host does before a replay, given the result that it will fill."""
    settings: Hashable = None
    """What `recorded` goes by, beside inputs, model and arrays."""
    held: Mapping[str, Array] = MappingProxyType({})
    """Arrays, by name, that `recorded` finds and changes, beside those of model and optimizer."""
    shapes: Sequence[tuple[int, ...]] = ()
    """Of images and labels, where they are not the inputs."""


class Recording(Protocol):
    """Operations on fixed arrays."""

    def replay(self) -> None:
        """Do them once more, with what they are fed now."""


@dataclass
class Recorded(Generic[Result]):
    """A recording, and what belongs to it on the host."""

    recording: Recording
    inputs: Sequence[Array]
    result: Result
    gradients: Sequence[tuple[Parameter, Array | None]]
    """What each parameter has as `grad` after the step."""
    together: Sequence[tuple[FlatBuffer, slice]]
    """Positions of parameters that are updated as one, as they have taken equally many steps."""
    counting: Sequence[Layer]
    """Layers whose counters a replay counts up."""
    statistics: Sequence[Array]
    """Those of the model's buffers, where they must be as before after a replay that is taken back."""
    _before: "_Before | None" = None

    def counts_alike(self) -> bool:
        """Whether those that are updated as one still have taken equally many steps."""
        return all(len(set(buffer.steps[positions])) == 1 for buffer, positions in self.together)

    def replay(self, inputs: Sequence[Array], count: Callable[[Result], None]) -> Result:
        """The step with these inputs, after the host's `count`. If that fails, nothing has been counted."""
        self._before = _Before(self)
        for array, place in zip(inputs, self.inputs, strict=True):
            put(array, place)
        for parameter, gradient in self.gradients:
            if parameter.grad is not gradient:
                parameter.grad = gradient
        try:
            count(self.result)
            self.recording.replay()
        except Exception:
            self.take_back()
            raise
        return self.result

    def take_back(self) -> None:
        """Make layers, and counts of steps, as they were before the last replay; weights stay as they are."""
        assert self._before is not None
        self._before.restore()


class _Before:
    """What a replay changes beside weights, and what an optimizer remembers."""

    def __init__(self, recorded: Recorded[Any]) -> None:
        self._states = [(layer, layer.forward_state()) for layer in recorded.counting]
        self._steps = [(buffer, list(buffer.steps)) for buffer in {buffer: None for buffer, _ in recorded.together}]
        self._statistics = [(array, array.copy()) for array in recorded.statistics]

    def restore(self) -> None:
        for layer, state in self._states:
            layer.set_forward_state(state)
        for buffer, steps in self._steps:
            buffer.steps[:] = steps
        for array, values in self._statistics:
            array[...] = values


@dataclass
class Kind(Generic[Result]):
    """Steps that are alike but for the numbers in arrays, and those that are fed."""

    settings: Hashable
    held: Mapping[str, Array]
    structure: Structure
    times: int = 0
    """How many of them there have been."""
    refused: bool = False
    """Whether they cannot be recorded."""
    undeclared: Sequence[str] = ()
    """What a forward pass was seen to change in Python, where a replay changes nothing."""
    recorded: Recorded[Result] | None = None

    def fits(self, settings: Hashable, held: Mapping[str, Array]) -> bool:
        """Whether a step with these is one of them."""
        return (
            self.settings == settings
            and self._holds(held)
            and (self.recorded is None or held.keys() == self.held.keys())
            and self.structure.is_unchanged()
            and (self.recorded is None or self.recorded.counts_alike())
        )

    def is_outdated(self, held: Mapping[str, Array]) -> bool:
        """Whether an array that a recording would write to is left for good."""
        return not (self._holds(held) and self.structure.has_its_arrays())

    def _holds(self, held: Mapping[str, Array]) -> bool:
        return all(held.get(name, array) is array for name, array in self.held.items())


def as_batch(*parts: Any) -> list[Array]:
    """Images and labels, which may be arrays, tensors or lists, as arrays."""
    return [as_array(one.array if isinstance(one, Tensor) else one) for one in parts]


def placed(array: Array, device: Device) -> Array:
    """A copy of an input, where a recording finds it."""
    with current(device):
        place = device.xp.empty(array.shape, array.dtype)
    put(array, place)
    return place


def put(array: Array, place: Array) -> None:
    """Copy an array, which may be on another device, to a place of its shape and dtype. Does not wait for a GPU."""
    device = device_of(place)
    if device.kind == "cpu":
        place[...] = to_host(array)
    elif device_of(array) == device:
        with current(device):
            place[...] = array
    else:
        overwrite(place, np.ascontiguousarray(to_host(array)))
