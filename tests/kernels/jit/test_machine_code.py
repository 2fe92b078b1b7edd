"""Sums stay in registers: no hot loop of the nets that are benchmarked stores a vector on the stack, on any processor.

One that is stored between multiply-adds, and loaded again, makes all that follow wait: such a loop ran at half the speed.
"""

from typing import Any

import pytest

from gpucnn.geometry import Window
from gpucnn.kernels import jit
from gpucnn.kernels.direct_conv2d import _phase_convolution, _sizes
from tests.kernels.jit.machine_code import PROCESSORS, innermost_loops, machine_named, target

pytestmark = pytest.mark.usefixtures("needs_llvmlite")

BATCH = 64
FORWARD, WEIGHT, IMAGES = "forward", "weight's gradient", "images' gradient"
LAYERS = {
    "first layer of VGG-mini": (3, 32, 32, Window.of(3, 1, 1), (FORWARD, WEIGHT)),
    "second layer of VGG-mini": (32, 32, 32, Window.of(3, 1, 1), (FORWARD, WEIGHT, IMAGES)),
    "third layer of VGG-mini": (32, 64, 16, Window.of(3, 1, 1), (IMAGES,)),
    "last stage of ResNet-20": (64, 64, 8, Window.of(3, 1, 1), (WEIGHT, IMAGES)),
    "stride of ResNet-20": (16, 32, 32, Window.of(3, 2, 1), (FORWARD, WEIGHT, IMAGES)),
    "first layer of SimpleCNN": (1, 8, 28, Window.of(3, 1, 1), (FORWARD, WEIGHT)),
    "second layer of SimpleCNN": (8, 16, 14, Window.of(3, 1, 1), (WEIGHT,)),
    "first layer of LeNet-5": (1, 6, 28, Window.of(5, 1, 2), (FORWARD, WEIGHT)),
    "second layer of LeNet-5": (6, 16, 14, Window.of(5), (FORWARD, WEIGHT, IMAGES)),
}
"""Channels, filters, rows of the image, the window, and which of the three convolutions to look at."""

ROWS_OF_SEVEN = (8, 16, 28, Window.of(7, 1, 3), (WEIGHT,))
"""Of no net that is benchmarked; before, most of the vectors of such a loop were stored on the stack, on AVX-512, too."""


def kernels_of(layer: tuple[int, int, int, Window, tuple[str, ...]], machine: Any) -> dict[str, Any]:
    """The kernels that a layer takes on a machine."""
    channels, filters, size, window, wanted = layer
    output_size = window.output_size((size, size))
    sizes = _sizes((BATCH, channels, size, size), (filters, channels, *window.kernel), window, 1, output_size)
    found = {}
    for name in wanted:
        here, layout = sizes, jit.convolution.WeightLayout.plain(sizes)
        if name == IMAGES:  # with a stride, of those rows and columns that most taps reach
            phase = tuple(stride - 1 for stride in window.stride)
            phase_size = jit.phases.phase_size((size, size), window.stride, phase)
            shape = (filters, channels, *window.kernel)
            here, layout = _phase_convolution(shape, output_size, phase_size, window, 1, phase)
        module = jit.lockstep if jit.lockstep.pays(here, BATCH, name == WEIGHT, machine) else jit.convolution
        if name == WEIGHT:
            found[name] = module.weight_gradient(here, machine)
        else:
            found[name] = module.forward(here, layout, False, False, machine)
    return found


@pytest.mark.parametrize("processor", PROCESSORS)
def test_hot_loops_keep_their_sums_in_registers(processor: str) -> None:
    machine = machine_named(processor)
    needs_target(machine)
    kernels = {
        f"{layer}, {name}": kernel
        for layer, about in {**LAYERS, "rows of seven taps": ROWS_OF_SEVEN}.items()
        for name, kernel in kernels_of(about, machine).items()
    }
    kernels["linear, forward"] = jit.linear.forward(4096, 128, True, True, machine)
    kernels["linear, vectors' gradient"] = jit.linear.vectors_gradient(4096, 128, True, machine)
    kernels["linear, weight's gradient"] = jit.linear.weight_gradient(4096, 128, True, machine)
    spilled = {}
    for name, kernel in kernels.items():
        loops = innermost_loops(kernel, machine)
        assert max(loop.multiply_adds for loop in loops) >= 4, f"{name}: no hot loop was found"
        if stores := [loop for loop in loops if loop.stack_stores]:
            spilled[name] = stores
    assert spilled == {}


def test_a_sum_on_the_stack_is_seen() -> None:
    """More sums than registers: what the test above looks for."""
    machine = machine_named("haswell")
    needs_target(machine)

    def write(b: Any) -> None:
        x = b.pointer("x")
        sums = [x.load(k * b.lanes) for k in range(20)]
        sums = b.fold(0, 100, 1, sums, lambda i, sums: [b.fma(x.load(i), x.load(i + k), s) for k, s in enumerate(sums)])
        for k, total in enumerate(sums):
            x.store(total, k * b.lanes)

    (loop,) = innermost_loops(jit.kernel.Kernel("crowded", (), (jit.kernel.Argument("x", (160,)),), write), machine)
    assert loop.multiply_adds == 20
    assert loop.stack_stores


@pytest.mark.parametrize("lanes", [16, 8, 4])
def test_tiles_fit_the_registers(lanes: int) -> None:
    """Sums, what they are multiplied by, and one to spare."""
    machine, registers = jit.host.host()._replace(lanes=lanes), 16 if lanes == 8 else 32
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
