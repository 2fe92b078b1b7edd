"""Images of bytes as a model takes them: gathered, over their full scale, padded or resized, normalised, and moved at random."""

import functools
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, to_host, xp_of
from gpucnn.backend.random import purpose_word
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "preprocess",
    "const unsigned char* source, const long long* labels = null, const long long* order = null, "
    "const long long* keys = null, const long long* first = null, const unsigned long long* moves = null, "
    "const int* low = null, const float* shares = null, const float* means = null, const float* deviations = null, float* output, "
    "long long* chosen_labels = null, I images, I channels, Divisor parts, Divisor size, int count, int native, "
    "int margin, int steps, float full_scale",
)
PIXELS_OF_A_THREAD = 4
MOST_MOVES = 8
"""Each has a place in the memory that a block's threads share."""
MOST_PIXELS = 1 << 20
"""By which an image is moved, or which are blanked: the kernel's places are ints."""


class Preparation(NamedTuple):
    """What becomes of bytes: divided by `full_scale`, at `size`, resized or with a margin, and normalised if `mean` is there."""

    size: int
    full_scale: int
    resizes: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class MoveKind(IntEnum):
    """What a move does, by the numbers that the kernel knows; for it an alternating flip is a flip."""

    FLIP = 0
    """Mirrors left to right, with a probability."""
    SHIFT = 1
    """By so many pixels, up or down and left or right; what moves in is 0."""
    REFLECT = 2
    """The same; what moves in is the image mirrored at its edge pixels."""
    BLANK = 3
    """A square of so many pixels becomes 0."""
    ALTERNATE = 4
    """Mirrors left to right, with a probability that all even epochs draw as one, and in odd epochs all others."""


class Move(NamedTuple):
    """A random change of images that computes nothing with their pixels."""

    kind: MoveKind
    purpose: str
    """Under which it is drawn."""
    seed: int
    numbers: tuple[float, ...]
    """Of a flip its probability; of a shift the most pixels, up or down, then left or right; of a square its side."""
    plainly: Callable[[Array, np.ndarray, int, int], Array]
    """The same, of images, their keys, seed and epoch."""


class Moves(NamedTuple):
    """Random changes, one after the other, in an epoch of images that are known by their keys, int64 (N,) on their device."""

    moves: tuple[Move, ...]
    epoch: int
    keys: Array


class Constants(NamedTuple):
    """What a kernel is told of a preparation, on a GPU: where pixels are resized from, and mean and deviation of each channel."""

    low: Array | None
    shares: Array | None
    means: Array | None
    deviations: Array | None


class Stretch(NamedTuple):
    """The images of a batch, of an epoch or by themselves, and how they are moved. All arrays are on the GPU."""

    images: int
    """How many they are."""
    order: Array | None
    """What is chosen, int64 (N,); None for the first ones."""
    keys: Array | None
    """Those of their random changes, int64 (N,)."""
    moves: Array | None
    """What `moves_table` gives; None if images are not moved."""
    first: Array | None = None
    """Where in order and keys they begin, int64 (1,), which a step that is recorded reads anew in each replay; None for 0."""


Batch: TypeAlias = tuple[Array, Array | None]
"""Images and labels."""


def preprocess(
    source: Array, labels: Array | None, order: Array | None, preparation: Preparation, moves: Moves | None = None
) -> Batch:
    """`source`, bytes (count, channels, native, native), or what `order` chooses of it, as float32 (N, channels, size, size).

    And what it chooses of `labels` (count,), if they are there. `order` is an array that another takes as an index, on their
    device; int64 (N,), with labels of int64, is all one launch on a GPU. The images are then moved, if there are `moves`.
    """
    if order is not None and not (order.ndim == 1 and order.dtype == np.int64):
        source, labels, order = source[order], None if labels is None else labels[order], None
    task = [source, labels, order, None if moves is None else moves.keys]
    # What comes out is of a dtype that there are kernels for; bytes are not.
    way = choose(PREPROCESS, xp_of(source).empty(0, np.float32), task=task, suits=SUITS)
    return PREPROCESS[way](source, labels, order, preparation, moves)


def can_be_recorded(source: Array, labels: Array) -> bool:
    """Whether there is a kernel for stretches of these images and labels."""
    way = choose(PREPROCESS, xp_of(source).empty(0, np.float32), task=[source, labels], suits=SUITS)
    return way is Way.CUDA


def gather_stretch(
    source: Array, labels: Array | None, preparation: Preparation, constants: Constants, stretch: Stretch
) -> Batch:
    """What `preprocess` gives of the images of a stretch, of arrays that there is a kernel for.

    `constants`: of `constants_there`; they must outlive a recording.
    """
    images, order, keys, moves, first = stretch
    xp, (count, channels, native, _), size = xp_of(source), source.shape, preparation.size
    output = xp.empty((images, channels, size, size), np.float32)
    chosen = None if labels is None else xp.empty(images, np.int64)
    margin, steps = 0 if preparation.resizes else (size - native) // 2, 0 if moves is None else len(moves)
    parts = -(-channels * size * size // (KERNEL.block * PIXELS_OF_A_THREAD))
    sizes = (images, channels, parts, size, count, native, margin, steps)
    launch(
        KERNEL, images * parts * KERNEL.block, source, labels, order, keys, first, moves, *constants, output, chosen, *sizes,
        np.float32(preparation.full_scale),
    )  # fmt: skip
    return output, chosen


def _on_a_gpu(
    source: Array, labels: Array | None, order: Array | None, preparation: Preparation, moves: Moves | None
) -> Batch:
    xp, device, images = xp_of(source), device_of(source), len(source) if order is None else len(order)
    keys, table = (None, None) if moves is None else (moves.keys, _table_there(xp, device, moves.epoch, moves.moves))
    constants = constants_there(xp, device, source.shape[-1], preparation)
    return gather_stretch(source, labels, preparation, constants, Stretch(images, order, keys, table))


def _suits_a_gpu(task: list[Any]) -> bool:
    """Whether arrays have no strides, and labels, `order` and keys are of int64."""
    source, *places = task
    fit = all(one is None or (one.flags.c_contiguous and one.dtype == np.int64) for one in places)
    return bool(fit and source.flags.c_contiguous)


def _plainly(
    source: Array, labels: Array | None, order: Array | None, preparation: Preparation, moves: Moves | None
) -> Batch:
    images, labels = _prepared(source, labels, order, preparation)
    for move in () if moves is None else moves.moves:
        assert moves is not None
        images = move.plainly(images, to_host(moves.keys), move.seed, moves.epoch)
    return images, labels


def _prepared(source: Array, labels: Array | None, order: Array | None, preparation: Preparation) -> Batch:
    size, full_scale, resizes, mean, std = preparation
    xp = xp_of(source)
    if order is not None:
        source, labels = source[order], None if labels is None else labels[order]
    images = xp.divide(source, np.float32(full_scale), dtype=np.float32)
    margin = size - images.shape[-1]
    if resizes and margin:
        images = _resized(images, size)
    elif margin:
        padded = xp.zeros((*images.shape[:2], size, size), np.float32)
        inner = slice(margin // 2, margin // 2 + images.shape[-1])
        padded[:, :, inner, inner] = images
        images = padded
    if mean is None or std is None:
        return images, labels
    means, deviations = (xp.asarray(np.array(values, np.float32)[:, None, None]) for values in (mean, std))
    return (images - means) / deviations, labels


def _resized(images: Array, size: int) -> Array:
    """Images (N, C, S, S) at (N, C, size, size), bilinearly: pixel centres on pixel centres, edges repeated.

    Element by element, without a matrix product, so that an image comes out the same in whatever batch it is.
    """
    xp, native = xp_of(images), images.shape[-1]
    low, to_high = resizing(native, size)
    high, low = (xp.asarray(place) for place in (np.minimum(low + 1, native - 1), low))
    to_low, to_high = (xp.asarray(share) for share in (1 - to_high, to_high))
    rows = images[:, :, low] * to_low[:, None] + images[:, :, high] * to_high[:, None]
    return rows[:, :, :, low] * to_low + rows[:, :, :, high] * to_high


def resizing(native: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `size` pixels the one of `native` to its left, int32, and the share of the next one, float32."""
    centres = np.clip((np.arange(size) + 0.5) * native / size - 0.5, 0, native - 1)
    low = np.floor(centres).astype(np.int32)
    return low, (centres - low).astype(np.float32)


@functools.lru_cache(maxsize=16)
def constants_there(xp: ModuleType, device: Device, native: int, preparation: Preparation) -> Constants:
    """The constants for images of `native` x `native`, sent to a GPU once. `xp`: whose arrays they are."""
    size, _, resizes, mean, std = preparation
    with current(device):
        places = map(xp.asarray, resizing(native, size)) if resizes else (None, None)
        numbers = (None, None) if mean is None or std is None else (mean, std)
        return Constants(*places, *(None if one is None else xp.asarray(np.array(one, np.float32)) for one in numbers))


def moves_table(moves: tuple[Move, ...], epoch: int) -> np.ndarray:
    """The kernel's table, a row for each move, for an epoch: uint64 (moves, 6)."""
    table = np.zeros((len(moves), 6), np.uint64)
    for row, move in zip(table, moves, strict=True):
        alternates = move.kind is MoveKind.ALTERNATE
        kind, drawn_in = (MoveKind.FLIP, 0) if alternates else (move.kind, epoch)
        row[:4] = kind, move.seed, purpose_word(move.purpose), drawn_in
        numbers = np.array(move.numbers, np.float64 if kind is MoveKind.FLIP else np.int64)
        row[4 : 4 + len(numbers)] = numbers.view(np.uint64)
        if alternates:
            row[5] = epoch % 2
    return table


@functools.lru_cache(maxsize=16)
def _table_there(xp: ModuleType, device: Device, epoch: int, moves: tuple[Move, ...]) -> Array:
    """`moves_table`, sent to a GPU once an epoch."""
    with current(device):
        return xp.asarray(moves_table(moves, epoch))


PREPROCESS = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
SUITS = {Way.CUDA: _suits_a_gpu}
