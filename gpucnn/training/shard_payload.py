"""What each shard of a batch gives to the step, and what all of them give together."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_device, to_host
from gpucnn.backend import recording as is_recording
from gpucnn.backend.joined import joined
from gpucnn.errors import DeviceError
from gpucnn.kernels.compiler import recording
from gpucnn.layers import Buffer, Layer
from gpucnn.layers.forward_state import lay_side_by_side
from gpucnn.optim import Optimizer
from gpucnn.optim.flat_buffer import FlatBuffer
from gpucnn.optim.shard_sum import ShardSum
from gpucnn.training.sharding import Sharding

Key: TypeAlias = np.dtype

CUTS = (1 / 4, 1 / 8)
"""Where slices begin that are sent early, as shares of a flat buffer: the last three quarters, then the eighth before them.

Bytes are moved by calls between operations, one whenever a gradient is final, not by a thread, which would wait on a core that
computes, and for Python's lock. Gradients become final from the buffer's end, and most numbers stand in the last layers, whose
gradients come first, so that the last three quarters are under way during most of the backward pass. At the second slice the
sums of the first are returned. What it gains, `python -m gpucnn.benchmark.parallel_step` measures.
"""
LEAST_BYTES = 1 << 19
"""A smaller buffer is sent faster than Python begins two more messages: `python -m gpucnn.benchmark.parallel_step lenet5`."""


class Sums(NamedTuple):
    """Numbers of a shard, or of all: they are added."""

    loss: float
    """The sum of the losses of all positions."""
    correct: int
    positions: int
    terminated: int
    interrupted: int


COUNT_BASE = 1 << 12
"""Counts are added up in two digits of this base: float32 has no odd numbers above 2^24, and a batch may have more positions."""
NUMBERS = 7
"""That stand in a payload for `Sums`."""


class Stretch(NamedTuple):
    """A flat array of the model's, and where it stands in a payload."""

    array: Array
    start: int
    stop: int


class Early(NamedTuple):
    """A stretch of a buffer's gradients that is sent as soon as they are final."""

    key: Key
    buffer: FlatBuffer
    first: int
    """Where it begins in the buffer."""
    start: int
    stop: int
    """Where it stands in the payload."""


class ShardPayload:
    """Gradients and how far running statistics move, weighted by a shard's images, and its sums: one array for each dtype.

        sums | which parameters have gradients | statistics | gradients

    They are added up over all shards, on every process, and then are the batch's: the mean over its images.
    """

    def __init__(self, sharding: Sharding, model: Layer, optimizer: Optimizer) -> None:
        self._sharding, self._model, self._optimizer = sharding, model, optimizer
        self._before: dict[Key, list[Array]] = {}
        self._sums: dict[Key, ShardSum] = {}
        self._buffers: list[FlatBuffer] = []
        self._gradients: dict[Key, list[tuple[FlatBuffer, int, int]]] = {}
        self._statistics: dict[Key, list[Stretch]] = {}
        self._homes: list[tuple[Buffer, Array]] = []
        self.cuts: Sequence[float] = CUTS
        self._early: list[Early] = []
        self._shard = self._images = self._sent = 0
        self._sends = self._is_held = False
        self._expected: set[Any] = set()
        self._final: dict[FlatBuffer, int] = {}

    def lay_out(self, model: Layer, optimizer: Optimizer) -> None:
        """See where these have their arrays now, and what statistics stand there. DeviceError if they are on several devices."""
        self._model, self._optimizer = model, optimizer
        self._optimizer.gather()
        buffers = self._optimizer.flat_buffers()
        named = [buffer for _, buffer in self._model.named_buffers()]
        lay_side_by_side(named)
        self._homes = [(buffer, buffer.array) for buffer in named]
        statistics = [array for (array,) in joined(buffer.array for buffer in named)]
        devices = {buffer.device for buffer in buffers} | {device_of(array) for array in statistics}
        if len(devices) > 1:
            raise DeviceError(
                f"shards: the model is on {' and '.join(sorted(map(str, devices)))}; with shards it must be on one device"
            )
        (device,) = devices
        self._buffers, self._gradients, self._statistics = buffers, {}, {}
        self._first = buffers[0].dtype
        at: dict[Key, int] = {self._first: NUMBERS + len(self._optimizer.parameters)}
        for array in statistics:
            key = array.dtype if array.dtype.kind == "f" else np.dtype(np.int64)
            start = at.get(key, 0)
            at[key] = start + array.size
            self._statistics.setdefault(key, []).append(Stretch(array, start, start + array.size))
        for buffer in buffers:
            start = at.get(buffer.dtype, 0)
            at[buffer.dtype] = start + buffer.gradient.size
            self._gradients.setdefault(buffer.dtype, []).append((buffer, start, start + buffer.gradient.size))
        with current(device):
            self._before = {
                key: [one.array.astype(key).reshape(-1) for one in some] for key, some in self._statistics.items()
            }
        self._early = self._early_slices()
        if {key: (one.length, one.device) for key, one in self._sums.items()} != {
            key: (length, device) for key, length in at.items()
        }:
            sharding = self._sharding
            self._sums = {
                key: ShardSum(sharding.group, sharding.shards, length, key, device) for key, length in at.items()
            }

    def _early_slices(self) -> list[Early]:
        """In the order in which every process sends them."""
        places = [
            (key, buffer, start)
            for key, some in self._gradients.items()
            for buffer, start, _ in some
            if self._sharding.group.size > 1 and buffer.gradient.nbytes >= LEAST_BYTES
        ]
        ends = {buffer: buffer.gradient.size for _, buffer, _ in places}
        found = []
        for share in self.cuts:
            for key, buffer, start in places:
                cuts = [offset for offset in buffer.offsets[1:-1] if 0 < offset <= share * buffer.gradient.size]
                first = cuts[-1] if cuts else ends[buffer]  # else it begins with a parameter that takes most of it
                if first < ends[buffer]:
                    found.append(Early(key, buffer, first, start + first, start + ends[buffer]))
                    ends[buffer] = first
        return found

    @property
    def device(self) -> Device:
        """Where all of it is."""
        return self._sums[self._first].device

    def begin(self, shard: int, images: int) -> None:
        """A shard of so many `images` comes next. Of a process's last one slices are sent before the backward pass has ended."""
        self._shard, self._images, self._sent = shard, images, 0
        self._sends = shard == self._sharding.own[-1] and self._sharding.group.size > 1
        self._is_held = False
        self._expected = set()

    def hold(self) -> None:
        """Send nothing more of this shard before `write`: what passes next may be a part of it, tried for its size."""
        self._is_held = True

    def expected(self, leaves: Collection[Any]) -> None:
        """See `GradientWatch`."""
        if self._early and not self._is_recorded(functools.partial(self.expected, leaves)):
            self._expected = set(leaves)
            self._final = {buffer: len(buffer.parameters) for buffer in self._buffers}
            self._send_final()

    def final(self, leaf: Any) -> None:
        """See `GradientWatch`."""
        if self._early and not self._is_recorded(functools.partial(self.final, leaf)):
            self._expected.discard(leaf)
            self._send_final()

    def write(self, sums: Sums) -> None:
        """Add what the shard has left in gradients and statistics; of one without images nothing but its signals."""
        with current(self.device):
            self._bring_statistics_home()
            for one in self._early[self._sent :] if self._sends else ():
                self._send(one)
            for key, total in self._sums.items():
                place = total.place(self._shard)
                early = [one for one in self._early if one.key == key] if self._sends else []
                for buffer, start, _ in self._gradients.get(key, ()):
                    own = [one.first for one in early if one.buffer is buffer]
                    self._write_gradients(place, buffer, start, slice(0, min(own, default=buffer.gradient.size)))
                self._write_statistics(key, place)
                if key == self._first:
                    self._write_sums(place, self._images, sums)
                at = 0
                for start, stop in sorted((one.start, one.stop) for one in early):
                    if at < start:
                        total.add(self._shard, at, start)
                    at = stop
                if at < total.length:
                    total.add(self._shard, at)

    def read(self, images: int) -> Sums:
        """Make gradients and statistics those of the whole batch of so many `images`."""
        with current(self.device):
            for key, total in self._sums.items():
                whole = total.total()
                divisor = key.type(images)
                self._read_statistics(key, whole, divisor)
                for buffer, start, stop in self._gradients.get(key, ()):
                    buffer.gradient[...] = whole[start:stop] / divisor
                if key == self._first:
                    head = to_host(whole[: NUMBERS + len(self._optimizer.parameters)])
        found, filled = head[:NUMBERS], head[NUMBERS:]
        present = {one for one, share in zip(self._optimizer.parameters.values(), filled, strict=True) if share > 0}
        for one in self._optimizer.parameters.values():
            if one not in present:
                one.grad = None
        for buffer in self._buffers:
            buffer.fill(present)
        return _from_numbers(found)

    def _is_recorded(self, again: Callable[[], None]) -> bool:
        """Whether this is told by a step that is being recorded, which is none; in replays on a CPU it is told `again`."""
        if (recorder := recording.recorder()) is not None:
            recorder.pause(again)
        return is_recording()

    def _send_final(self) -> None:
        """Send the slices whose gradients are all final, in their order, which is the same on all processes."""
        if not self._sends or self._is_held:
            return
        for buffer in self._buffers:
            self._final[buffer] = buffer.final_from(self._expected, self._final[buffer])
        while self._sent < len(self._early):
            one = self._early[self._sent]
            if one.buffer.offsets[self._final[one.buffer]] > one.first:
                break
            with current(self.device):
                self._send(one)
            self._sent += 1
        if self._sent:
            for total in self._sums.values():
                total.advance()

    def _send(self, one: Early) -> None:
        total = self._sums[one.key]
        stop = one.first + one.stop - one.start
        self._write_gradients(total.place(self._shard), one.buffer, one.start - one.first, slice(one.first, stop))
        total.add(self._shard, one.start, one.stop)

    def _write_gradients(self, place: Array, buffer: FlatBuffer, at: int, within: slice) -> None:
        """A stretch of a buffer's gradients, weighted, into the payload, where the buffer begins at `at`."""
        stretches = [
            slice(max(one.start, within.start), min(one.stop, within.stop))
            for one in (buffer.filled() if self._images else ())
        ]
        if sum(max(0, one.stop - one.start) for one in stretches) < within.stop - within.start:
            place[at + within.start : at + within.stop] = 0  # of a parameter without a gradient
        for one in stretches:
            if one.start < one.stop:
                part = place[at + one.start : at + one.stop]
                self.device.xp.multiply(buffer.gradient[one], buffer.dtype.type(self._images), out=part)

    def _bring_statistics_home(self) -> None:
        """Of buffers that a forward pass has given other arrays: what stands there goes where all look for it."""
        for buffer, home in self._homes:
            if buffer.array is not home:
                home[...] = buffer.array
                buffer.data = home

    def _write_statistics(self, key: Key, place: Array) -> None:
        """How far each has moved from where it stood before the step: of a frozen layer 0, so that it stays as it is."""
        for (array, start, stop), before in zip(self._statistics.get(key, ()), self._before.get(key, ()), strict=True):
            now = array.astype(key).reshape(-1)
            with np.errstate(invalid="ignore"):  # what is infinite, and stays so
                moved = self.device.xp.where(now == before, key.type(0), now - before)
            place[start:stop] = moved * key.type(self._images) if self._images else 0

    def _read_statistics(self, key: Key, whole: Array, images: np.generic) -> None:
        for (array, start, stop), before in zip(self._statistics.get(key, ()), self._before.get(key, ()), strict=True):
            moved = whole[start:stop]
            mean = moved / images if key.kind == "f" else moved // images  # counts have moved alike
            array[...] = (
                self.device.xp.where(moved == 0, before, before + mean).astype(array.dtype).reshape(array.shape)
            )

    def _write_sums(self, place: Array, images: int, sums: Sums) -> None:
        filled = [images * (one.grad is not None) for one in self._optimizer.parameters.values()] if images else []
        numbers = np.zeros(NUMBERS + len(self._optimizer.parameters), self._first)
        numbers[:NUMBERS] = _as_numbers(sums)
        numbers[NUMBERS : NUMBERS + len(filled)] = filled
        place[: len(numbers)] = to_device(numbers, self.device)


def _as_numbers(sums: Sums) -> list[float]:
    """What stands in a payload for them: they can be added up without a rounding of counts."""
    counts = (*divmod(sums.correct, COUNT_BASE), *divmod(sums.positions, COUNT_BASE))
    return [sums.loss, *counts, sums.terminated, sums.interrupted]


def _from_numbers(numbers: Array) -> Sums:
    loss = float(numbers[0])
    correct, rest, positions, others, terminated, interrupted = (int(number) for number in numbers[1:])
    return Sums(loss, correct * COUNT_BASE + rest, positions * COUNT_BASE + others, terminated, interrupted)
