"""What each shard of a batch gives to the step, and what all of them give together."""

from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_device, to_host
from gpucnn.backend.joined import joined
from gpucnn.errors import DeviceError
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import lay_side_by_side
from gpucnn.optim import Optimizer
from gpucnn.optim.flat_buffer import FlatBuffer
from gpucnn.optim.shard_sum import ShardSum
from gpucnn.training.sharding import Sharding

Key: TypeAlias = np.dtype


class Sums(NamedTuple):
    """Numbers of a shard, or of all: they are added."""

    loss: float
    """The sum of the losses of all positions."""
    correct: int
    positions: int
    terminated: int
    interrupted: int


class Stretch(NamedTuple):
    """A flat array of the model's, and where it stands in a payload."""

    array: Array
    start: int
    stop: int


class ShardPayload:
    """Gradients and running statistics, weighted by a shard's images, and its sums: one array for each dtype.

        sums | which parameters have gradients | statistics | gradients

    They are added up over all shards, on every process, and then are the batch's: the mean over its images.
    """

    def __init__(self, sharding: Sharding, model: Layer, optimizer: Optimizer) -> None:
        self._sharding, self._model, self._optimizer = sharding, model, optimizer
        self._sums: dict[Key, ShardSum] = {}
        self._buffers: list[FlatBuffer] = []
        self._gradients: dict[Key, list[tuple[FlatBuffer, int, int]]] = {}
        self._statistics: dict[Key, list[Stretch]] = {}

    def lay_out(self) -> None:
        """See where model and optimizer have their arrays now. DeviceError if they are on several devices."""
        self._optimizer.gather()
        buffers = self._optimizer.flat_buffers()
        lay_side_by_side(buffer for _, buffer in self._model.named_buffers())
        statistics = [array for (array,) in joined(buffer.array for _, buffer in self._model.named_buffers())]
        devices = {buffer.device for buffer in buffers} | {device_of(array) for array in statistics}
        if len(devices) > 1:
            raise DeviceError(
                f"shards: the model is on {' and '.join(sorted(map(str, devices)))}; with shards it must be on one device"
            )
        (device,) = devices
        self._buffers, self._gradients, self._statistics = buffers, {}, {}
        self._first = buffers[0].dtype
        at: dict[Key, int] = {self._first: len(Sums._fields) + len(self._optimizer.parameters)}
        for array in statistics:
            start = at.get(array.dtype, 0)
            at[array.dtype] = start + array.size
            self._statistics.setdefault(array.dtype, []).append(Stretch(array, start, start + array.size))
        for buffer in buffers:
            start = at.get(buffer.dtype, 0)
            at[buffer.dtype] = start + buffer.gradient.size
            self._gradients.setdefault(buffer.dtype, []).append((buffer, start, start + buffer.gradient.size))
        if {key: (one.length, one.device) for key, one in self._sums.items()} != {
            key: (length, device) for key, length in at.items()
        }:
            sharding = self._sharding
            self._sums = {
                key: ShardSum(sharding.group, sharding.shards, length, key, device) for key, length in at.items()
            }

    @property
    def device(self) -> Device:
        """Where all of it is."""
        return self._sums[self._first].device

    def write(self, shard: int, images: int, sums: Sums) -> None:
        """Add what the shard has left in gradients and statistics; of one without images nothing but its signals."""
        with current(self.device):
            for key, total in self._sums.items():
                place = total.place(shard)
                if images:
                    self._weighted(key, place, images)
                else:
                    place[...] = 0
                if key == self._first:
                    self._write_sums(place, images, sums)
                total.add(shard)

    def read(self, images: int) -> Sums:
        """Make gradients and statistics those of the whole batch of so many `images`."""
        with current(self.device):
            for key, total in self._sums.items():
                whole = total.total()
                divisor = key.type(images)
                for array, start, stop in self._statistics.get(key, ()):
                    _put(whole[start:stop].reshape(array.shape), divisor, array)
                for buffer, start, stop in self._gradients.get(key, ()):
                    _put(whole[start:stop], divisor, buffer.gradient)
                if key == self._first:
                    head = to_host(whole[: len(Sums._fields) + len(self._optimizer.parameters)])
        found, filled = head[: len(Sums._fields)], head[len(Sums._fields) :]
        present = {one for one, share in zip(self._optimizer.parameters.values(), filled, strict=True) if share > 0}
        for one in self._optimizer.parameters.values():
            if one not in present:
                one.grad = None
        for buffer in self._buffers:
            buffer.fill(present)
        return Sums(float(found[0]), *(int(number) for number in found[1:]))

    def _weighted(self, key: Key, place: Array, images: int) -> None:
        weight = key.type(images)
        for array, start, stop in self._statistics.get(key, ()):
            place[start:stop] = (array * weight).reshape(-1)
        for buffer, start, stop in self._gradients.get(key, ()):
            stretches = buffer.filled()
            if sum(stretch.stop - stretch.start for stretch in stretches) < stop - start:
                place[start:stop] = 0  # of a parameter without a gradient
            for stretch in stretches:
                part = place[start + stretch.start : start + stretch.stop]
                self.device.xp.multiply(buffer.gradient[stretch], weight, out=part)

    def _write_sums(self, place: Array, images: int, sums: Sums) -> None:
        filled = [images * (one.grad is not None) for one in self._optimizer.parameters.values()] if images else []
        numbers = np.zeros(len(Sums._fields) + len(self._optimizer.parameters), self._first)
        numbers[: len(Sums._fields)] = sums
        numbers[len(Sums._fields) : len(Sums._fields) + len(filled)] = filled
        place[: len(numbers)] = to_device(numbers, self.device)


def _put(total: Array, images: np.generic, array: Array) -> None:
    """A mean over `images`, into `array`."""
    if array.dtype.kind == "f":
        array[...] = total / images
    else:  # a count, which all shards have alike
        array[...] = total // images
