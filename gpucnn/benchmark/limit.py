"""The physical limit: what work a computation takes at the least, and its time at the speeds that this machine was seen to reach."""

import math
import time
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import Device, current
from gpucnn.backend.threads import parallel, thread_count
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.rivals import GPUCNN, PYTORCH, Rival
from gpucnn.benchmark.stopwatch import Run, Stopwatch, stopwatch
from gpucnn.checks import Shape
from gpucnn.kernels.gemm import matmul
from gpucnn.layers import Layer

ITEM = 4
"""Bytes of a float32."""

PARAMETER_PASSES = 8
"""Forward and backward pass read a parameter; its gradient is written, and an update with momentum reads all three and
writes two."""

MATRIX_SIZES = {"cpu": 1024, "cuda": 8192}
SMALLEST_COPY, LARGEST_COPY = 1 << 20, 1 << 29
"""Bytes read and written: less cannot be measured, and more would be no slower."""
BYTES_A_PASS = 1 << 26


class Work(NamedTuple):
    """The multiply-adds of one call, and the bytes that it moves to and from memory."""

    multiply_adds: int
    nbytes: int


def training_step_work(model: Layer, input_shape: Shape, batch: int) -> Work:
    """The work of a training step with SGD and momentum on `batch` images of `input_shape` (C, H, W), in float32.

    Multiply-adds: a convolution or linear layer has as many in its forward pass as for each of its two gradients; the
    first one needs none for the images. Bytes: a convolution, linear or normalisation layer reads its input and writes its
    output, and on the way back reads the output's gradient and its input again and writes the input's gradient; a pooling
    layer need not read its input again. Activations, additions and reshapes are counted as free: a program may make them
    where it reads or writes anyway.
    """
    multiply_adds = elements = 0
    first = True
    for call in model.trace((1, *input_shape)).calls:
        before, after = math.prod(call.input_shape), math.prod(call.output_shape)
        multiply_adds += call.multiply_adds * (2 if first else 3)
        if call.parameters:
            elements += 3 * before + 2 * after - (before if first else 0)
        elif before != after:
            elements += 2 * before + 2 * after
        first = first and not call.multiply_adds
    parameters = PARAMETER_PASSES * model.parameter_count()
    return Work(batch * multiply_adds, ITEM * (batch * elements + parameters))


class Limit(NamedTuple):
    """Some work, and the speeds to do it with."""

    work: Work
    multiply_adds_per_second: float
    bytes_per_second: float

    @property
    def seconds(self) -> float:
        """Arithmetic and memory one after the other, as in a program that overlaps them little."""
        return self.work.multiply_adds / self.multiply_adds_per_second + self.work.nbytes / self.bytes_per_second


class Speeds:
    """The speeds of a device, measured when they are first asked for, for `seconds` each."""

    def __init__(self, device: Device, seconds: float) -> None:
        self.device, self.seconds = device, seconds
        self._bandwidths: dict[int, float] = {}
        self._peak: float | None = None

    def limit(self, work: Work) -> Limit:
        """The limit of some work."""
        return Limit(work, self.peak(), self.bandwidth(work.nbytes))

    def peak(self) -> float:
        """Multiply-adds a second of a large float32 matrix product, the faster of NumPy's or CuPy's and PyTorch's."""
        if self._peak is None:
            size = MATRIX_SIZES[self.device.kind]
            products = [_product(self.device, size)]
            if not pytorch.missing(self.device):
                products.append(_pytorch_product(self.device, size))
            self._peak = size**3 / min(_least_seconds(*one, self.seconds) for one in products)
        return self._peak

    def bandwidth(self, nbytes: int) -> float:
        """Bytes a second, read and written, of a copy on all threads that moves about `nbytes` again and again.

        What fits into a cache is so measured there.
        """
        rounded = 1 << round(math.log2(min(max(nbytes, SMALLEST_COPY), LARGEST_COPY)))
        if rounded not in self._bandwidths:
            repeats = max(1, BYTES_A_PASS // rounded)
            copy = _copy(self.device, rounded // 2, repeats)
            self._bandwidths[rounded] = rounded * repeats / _least_seconds(*copy, self.seconds)
        return self._bandwidths[rounded]


def _least_seconds(run: Run, watch: Stopwatch, seconds: float) -> float:
    """Of a call, the fastest in `seconds` of them; three at least."""
    run()
    end, times = time.perf_counter() + seconds, list[float]()
    while len(times) < 3 or time.perf_counter() < end:
        times.append(watch(run, 1))
    return max(min(times), 1e-9)


def _product(device: Device, size: int) -> tuple[Run, Stopwatch]:
    with current(device):
        a, out = device.xp.ones((size, size), np.float32), device.xp.empty((size, size), np.float32)

    def run() -> None:
        with current(device):
            matmul(a, a, out=out)

    return run, stopwatch(Rival(GPUCNN, device.kind), device)


def _pytorch_product(device: Device, size: int) -> tuple[Run, Stopwatch]:
    a: Any = pytorch.on_device(np.ones((size, size), np.float32), device)
    return (lambda: a @ a), stopwatch(Rival(PYTORCH, "eager"), device)


def _copy(device: Device, nbytes: int, repeats: int) -> tuple[Run, Stopwatch]:
    """A function that copies `nbytes` `repeats` times; on a CPU every thread has its own part, and comes back to it."""
    xp, parts = device.xp, thread_count() if device.kind == "cpu" else 1
    with current(device):
        source, target = (xp.ones((parts, nbytes // ITEM // parts), np.float32) for _ in range(2))

    def copy(part: int) -> None:
        for _ in range(repeats):
            xp.copyto(target[part], source[part])

    def run() -> None:
        if device.kind == "cpu":
            parallel(copy, parts)
        else:
            with current(device):
                copy(0)

    return run, stopwatch(Rival(GPUCNN, device.kind), device)
