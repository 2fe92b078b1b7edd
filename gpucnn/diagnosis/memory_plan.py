"""How much memory a training step takes on the CPU, and the largest batch that fits, told from a few images.

A step is a forward pass, cross-entropy, a backward pass and an update. What it takes at its peak is

    parameters, their gradients, what the optimizer remembers of them       whatever the batch
    images, and activations kept for the backward pass                      for each image; see `layers.costs`
    gradients and temporaries on top of them, at the worst moment           a straight line in the number of images
    columns of a tile of a convolution, on every thread                     up to a cap, HOST_COLUMN_BYTES

The third is measured: two steps with different, small batches run, and after every operation of the backward pass the
memory is looked at. Each of these moments gives a straight line, and at a given batch the highest one counts: with few
images it is another one than with many.

Not counted is what Python, NumPy and BLAS take themselves, some 50 MB, and the data set.
"""

import math
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.autograd.saved import operations
from gpucnn.autograd.tape import Node
from gpucnn.backend import Array
from gpucnn.backend.threads import thread_count
from gpucnn.checks import Shape, as_count
from gpucnn.errors import ArgumentError
from gpucnn.kernels import ways
from gpucnn.kernels.convolution.numpy_way import HOST_COLUMN_BYTES, batch_parts
from gpucnn.kernels.workspace import LARGEST_KEPT, workspace
from gpucnn.layers import Layer, Parameter
from gpucnn.layers.costs import BATCHES, Cost, plainly_allocated, zero_images, zero_model
from gpucnn.layers.initialization import zeros
from gpucnn.optim import SGD, Optimizer

CreateOptimizer: TypeAlias = Callable[[Iterable[Parameter]], Optimizer]
CONVOLUTIONS = ("conv2d", "conv_transpose2d")
ELIDED = 512 << 10
"""NumPy reuses temporaries of some 256 KiB and more where it can: arrays are to be as large while they are measured."""

LARGEST_SAMPLE = 1 << 18
"""Parameters, at most, that an optimizer's step is tried on, as its temporaries take a multiple of them."""


class Part(NamedTuple):
    """Some of the memory of a training step."""

    name: str
    nbytes: int


class Moment(NamedTuple):
    """What is held at one moment of a step, beside parameters, gradients and the optimizer's memory."""

    place: str
    constant: int
    per_image: int

    def at(self, batch: int) -> int:
        """The bytes with a batch of this size."""
        return self.constant + self.per_image * batch


class MemoryPlan(NamedTuple):
    """The memory of a training step as a function of the batch; all in bytes."""

    parameters: int
    optimizer: int
    image: int
    activations: int
    """For one image."""
    columns: frozenset[tuple[int, int]]
    """Of the convolutions: what the columns and products of one image would take at once, and its multiply-adds."""
    moments: Sequence[Moment]
    kept_share: float = 0.0
    """What the pool of `backend.host_memory` keeps for arrays of other sizes, as a share of what a step takes."""

    def peak(self, batch: int) -> int:
        """What a step with `batch` images takes at its peak. ArgumentError unless it is an int >= 1."""
        return sum(part.nbytes for part in self.parts(batch))

    def worst_moment(self, batch: int) -> Moment:
        """The moment at which a step with `batch` images takes most."""
        return max(self.moments, key=lambda moment: moment.at(batch))

    def parts(self, batch: int) -> list[Part]:
        """What the peak of a step with `batch` images is made of."""
        batch = as_count(batch, "batch")
        images, activations = batch * self.image, batch * self.activations
        taken = self.worst_moment(batch).at(batch)
        return [
            Part("parameters", self.parameters),
            Part("gradients of parameters", self.parameters),
            Part("optimizer's memory", self.optimizer),
            Part("images", images),
            Part("activations", activations),
            Part("gradients and temporaries", taken - images - activations),
            Part("kept for use again", int(self.kept_share * taken)),
            Part("columns of tiles", max((_tile_bytes(*one, batch) for one in self.columns), default=0)),
        ]

    def largest_batch(self, memory: int) -> int:
        """The largest batch whose peak is at most `memory` bytes. ArgumentError if a single image takes more."""
        if self.peak(1) > memory:
            raise ArgumentError(
                f"a training step with one image takes {self.peak(1):,} bytes, {self.fixed:,} of them for parameters, "
                f"gradients and the optimizer, got {memory:,}; give more memory, or use a smaller model or smaller images"
            )
        fits, too_large = 1, 2
        while self.peak(too_large) <= memory:
            fits, too_large = too_large, 2 * too_large
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            fits, too_large = (middle, too_large) if self.peak(middle) <= memory else (fits, middle)
        return fits

    @property
    def fixed(self) -> int:
        """What is held whatever the batch: parameters, their gradients, and the optimizer's memory."""
        return 2 * self.parameters + self.optimizer


GAPS = 1.125
"""Columns and products have gaps between rows, see `kernels.convolution.long_axis`: for images of 8x8 about this factor."""

KEPT_SHARE = 0.06
"""Measured: steps of LeNet-5, VGG-mini and ResNet-20 took 6 to 16 % more memory of the system than their arrays."""


def sgd_with_momentum(parameters: Iterable[Parameter]) -> Optimizer:
    """The optimizer that plans are made for if no other is named."""
    return SGD(parameters, momentum=0.9)


def memory_plan(
    create: Callable[[], Layer],
    input_shape: Shape,
    costs: Sequence[Cost],
    create_optimizer: CreateOptimizer = sgd_with_momentum,
) -> MemoryPlan:
    """The memory of a training step of a model on images of `input_shape` (C, H, W), on the CPU.

    - `create` makes the model, a new one at every call; it gives logits (N, classes), or (N, classes, ...) for a class
      at every position.
    - `costs`: what `layers.costs` gave for them. `create_optimizer`: makes the optimizer of the parameters it is given.

    Runs three steps with a few images. `tracemalloc` looks on; whoever uses it at the same time finds its peak
    reset. Raises ShapeError if the images do not fit the model.
    """
    model = zero_model(create)
    optimizer = create_optimizer(model.parameters())
    optimizer.gather()
    # Columns lie in memory that a thread keeps, and are counted by themselves: none shall be new here.
    workspace((LARGEST_KEPT,), np.empty(0, np.uint8))
    parameters = sum(parameter.size * parameter.dtype.itemsize for parameter in model.parameters())
    image = zero_images(model, 1, input_shape)
    largest = max(math.prod(cost.output_shape) for cost in costs) * image.itemsize
    few = max(BATCHES[0], math.ceil(ELIDED / largest))
    many = few + few // 2
    for batch in (few, many):  # what only a first use allocates would look like a batch's
        _moments(model, input_shape, batch)
    before, after = (_moments(model, input_shape, batch) for batch in (few, many))
    moments: list[Moment] = []
    for (place, less), (_, more) in zip(before, after, strict=True):
        per_image = (more - less) // (many - few)
        moments.append(Moment(place, less - per_image * few, per_image))
    share = _temporaries(create_optimizer, min(model.parameter_count(), LARGEST_SAMPLE))
    moments.append(Moment("in the optimizer's step", int(share * parameters), image.nbytes))
    return MemoryPlan(
        parameters,
        parameters * len(optimizer.remembers),
        image.nbytes,
        sum(cost.activation_bytes for cost in costs),
        frozenset(
            (int(GAPS * (cost.im2col_bytes + math.prod(cost.output_shape) * image.itemsize)), cost.multiply_adds)
            for cost in costs
            if cost.im2col_bytes and ways.mode() == "numpy"
        ),
        moments,
        KEPT_SHARE,
    )


def _tile_bytes(columns: int, multiply_adds: int, batch: int) -> int:
    """What the tiles of a convolution take, given the bytes of columns and products of an image: whole images, if any fits the cap.

    Each thread that works on a part of the batch has a tile of its own.
    """
    parts = batch_parts(batch, multiply_adds)
    images = min(-(-batch // len(parts)), HOST_COLUMN_BYTES // columns)
    return min(thread_count(), len(parts)) * (images * columns or HOST_COLUMN_BYTES)


def _moments(model: Layer, input_shape: Shape, batch: int) -> list[tuple[str, int]]:
    """Where a step is, and what is then held beside parameters and their gradients; always the same moments in order."""
    found: list[tuple[str, int]] = []

    def note(place: str, nbytes: int) -> None:
        found.append((place, nbytes - start))
        tracemalloc.reset_peak()

    with _traced() as start, np.errstate(all="ignore"), plainly_allocated():  # zeros may be divided by zeros
        loss = _loss(model(Tensor(zero_images(model, batch, input_shape))))
        note("in the forward pass", tracemalloc.get_traced_memory()[1])
        for node in operations(loss):
            _watch(node, note)
        loss.backward()
    for parameter in model.parameters():
        parameter.grad = None
    return found


def _watch(node: Node, note: Callable[[str, int], None]) -> None:
    """Have the memory noted that is taken before, and while, the operation's backward function runs."""
    backward = node.backward
    assert backward is not None
    # The temporaries of a convolution in tiles are bounded: they would be wrong as a line.
    bounded = node.name in CONVOLUTIONS and ways.mode() == "numpy"
    place = f"in the gradient of {node.owner or node.name}"

    def watched(gradient: Array) -> Sequence[Array | None]:
        note(place, tracemalloc.get_traced_memory()[1])
        held = [gradient]
        del gradient  # the backward function alone shall hold it, and may let it go
        gradients = backward(held.pop())
        note(place, tracemalloc.get_traced_memory()[0 if bounded else 1])
        return gradients

    node.backward = watched


def _loss(output: Tensor) -> Tensor:
    """The cross-entropy with labels of zero; where there are classes at every position, that of all positions."""
    return F.cross_entropy(output, np.zeros((len(output), *output.shape[2:]), np.int32))


def _temporaries(create_optimizer: CreateOptimizer, count: int) -> float:
    """What a step of the optimizer on `count` parameters takes while it runs, as a multiple of them."""
    parameter = Parameter((count,), zeros)
    optimizer = create_optimizer([parameter])
    parameter.grad = np.zeros(count, parameter.dtype)
    optimizer.gather()
    optimizer.step()  # what only a first use allocates, such as a compiler's memory, is not the step's
    with _traced() as start:
        with plainly_allocated():
            optimizer.step()
        return (tracemalloc.get_traced_memory()[1] - start) / (count * parameter.dtype.itemsize)


@contextmanager
def _traced() -> Iterator[int]:
    """Inside, `tracemalloc` looks on, its peak reset; gives the bytes that are held at the beginning."""
    traced_before = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield start
    finally:
        if not traced_before:
            tracemalloc.stop()
