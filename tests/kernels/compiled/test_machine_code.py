"""Sums stay in registers: no hot loop of the nets that are benchmarked stores a vector on the stack, on any processor.

One that is stored between multiply-adds, and loaded again, makes all that follow wait: such a loop ran at half the speed.
"""

from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.convolution import Gradients, conv2d, conv2d_gradients
from gpucnn.kernels.linear import compiled as compiled_linear
from tests.kernels.compiled.machine_code import PROCESSORS, innermost_loops, machine_named, target
from tests.kernels.tasks import convolution

pytestmark = pytest.mark.usefixtures("needs_llvmlite")

LAYERS = {
    "first of VGG-mini": (3, 32, 32, Window.of(3, 1, 1)),
    "second of VGG-mini": (32, 32, 32, Window.of(3, 1, 1)),
    "last of ResNet-20": (64, 64, 8, Window.of(3, 1, 1)),
    "stride of ResNet-20": (16, 32, 32, Window.of(3, 2, 1)),
    "first of SimpleCNN": (1, 8, 28, Window.of(3, 1, 1)),
    "second of SimpleCNN": (8, 16, 14, Window.of(3, 1, 1)),
    "first of LeNet-5": (1, 6, 28, Window.of(5, 1, 2)),
    "second of LeNet-5": (6, 16, 14, Window.of(5)),
    "seven taps in a row": (8, 16, 28, Window.of((1, 7), 1, (0, 3))),
}
"""Channels, filters, rows of the image, and the window. The last is of no net that is benchmarked: on every processor its
loops once had more vectors stored than held."""


def kernels_of(channels: int, filters: int, size: int, window: Window, machine: Any) -> list[Any]:
    """The kernels that a layer calls on a machine for a batch of 64, in its forward and its backward pass."""
    images, weight = (
        np.zeros((64, channels, size, size), np.float32),
        np.zeros((filters, channels, *window.kernel), np.float32),
    )
    gradient = np.zeros((64, filters, *window.output_size((size, size))), np.float32)
    called: list[Any] = []

    def run(kernel: Any, count: int, arrays: list[np.ndarray], parts: Any) -> None:
        called.append(kernel)
        for argument, array in zip(kernel.arguments, arrays, strict=True):
            if argument.written:
                array[...] = 0

    with (
        ways.use("jit"),
        mock.patch.object(processor, "processor", return_value=machine),
        mock.patch.object(loop, "run", run),
    ):
        task = convolution(images, weight, window)
        conv2d(task, images, weight, None)
        found = Gradients(np.empty_like(images) if channels > 3 else None, np.empty_like(weight))
        conv2d_gradients(task, gradient, images, weight, None, found)
    return [kernel for kernel in called if "conv2d" in kernel.name]


def linear_kernels(machine: Any) -> list[Any]:
    return [
        compiled_linear.linear_loop(4096, 128, True, True, machine),
        compiled_linear.vectors_gradient_loop(4096, 128, True, machine),
        compiled_linear.weight_gradient_loop(4096, 128, True, machine),
    ]


@pytest.mark.sample(6)
@pytest.mark.parametrize("layer", [*LAYERS, "linear"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_hot_loops_keep_their_sums_in_registers(processor: str, layer: str) -> None:
    machine = machine_named(processor)
    needs_target(machine)
    kernels = linear_kernels(machine) if layer == "linear" else kernels_of(*LAYERS[layer], machine)
    assert kernels
    for kernel in kernels:
        loops = innermost_loops(kernel, machine)
        assert max(loop.multiply_adds for loop in loops) >= 4, f"{kernel.name}: no hot loop was found"
        assert [f"{len(loop.stack_stores)} for {loop.multiply_adds}" for loop in loops if loop.stack_stores] == [], (
            kernel.name
        )


def test_a_sum_on_the_stack_is_seen() -> None:
    """More sums than registers: what the test above looks for, and would not want to overlook."""
    machine = machine_named("haswell")
    needs_target(machine)

    def write(b: Any) -> None:
        x = b.pointer("x")
        sums = [x.load(k * b.lanes) for k in range(20)]
        sums = b.fold(0, 100, 1, sums, lambda i, sums: [b.fma(x.load(i), x.load(i + k), s) for k, s in enumerate(sums)])
        for k, total in enumerate(sums):
            x.store(total, k * b.lanes)

    (innermost,) = innermost_loops(loop.Loop("crowded", (), (loop.Argument("x", (160,)),), write), machine)
    assert innermost.multiply_adds == 20
    assert innermost.stack_stores


@pytest.mark.parametrize("lanes", [16, 8, 4])
def test_tiles_fit_the_registers(lanes: int) -> None:
    """Sums, what they are multiplied by, and one to spare."""
    machine, registers = processor.processor()._replace(lanes=lanes), 16 if lanes == 8 else 32
    for filters in range(1, 9):
        positions = machine.positions_per_tile(filters)
        assert filters * positions + positions < registers
    for columns in range(1, 8):
        filters = machine.filters_per_gradient_tile(columns)
        assert filters * columns + min(filters, columns) < registers


def needs_target(machine: Any) -> None:
    try:
        target(machine)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite makes no code for {machine.triple}: {error}")
