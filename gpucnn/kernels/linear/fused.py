"""On a GPU, small layers: product, bias and ReLU in one launch, and all gradients in another. See linear.cu.

cuBLAS takes a launch for each product, and each leaves most of a GPU idle. Here the tiles of all three products of the way back
lie side by side in one grid.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch
from gpucnn.kernels.ways import rounds_to_tf32

SOURCE, CONSTANTS = Path(__file__).with_name("linear.cu"), "constant int side, constant int tf32"


def _multiply_adds(sizes: Mapping[str, int]) -> int:
    products = sum(sizes.get(f"{name}_tiles", 0) > 0 for name in ("vectors", "weight")) if "bias_tiles" in sizes else 1
    return products * sizes["batch"] * sizes["inputs"] * sizes["outputs"]


FORWARD = Kernel(
    SOURCE,
    "linear_forward",
    "const T* vectors, const T* weight, const T* bias = null, T* output, I batch, I inputs, I outputs, int relu, "
    f"{CONSTANTS}",
    multiply_adds=_multiply_adds,
)
GRADIENTS = Kernel(
    SOURCE,
    "linear_gradients",
    "const T* gradient, const T* relu_output = null, const T* vectors = null, const T* weight = null, "
    "T* vectors_gradient = null, T* weight_gradient = null, T* bias_gradient = null, "
    f"I batch, I inputs, I outputs, I vectors_tiles, I weight_tiles, I bias_tiles, {CONSTANTS}",
    multiply_adds=_multiply_adds,
)

WIDEST, MOST_MULTIPLY_ADDS, MOST_ROWS = 512, 1 << 26, 4096
"""Of a layer's inputs and outputs; of one product; of a batch, whose sum one block makes. Beyond them cuBLAS's faster products are
worth their launches, see `gpucnn bench --device cuda --model`."""

SMALL, LARGE = 16, 32
"""Rows and columns of a tile. Larger ones read each number less often."""

FEWEST_TILES, COLUMNS_OF_BIAS = 256, 32
"""Fewer large tiles leave multiprocessors of a large GPU without work. A block adds up that many columns for the bias."""


def suits(matrices: Sequence[Array | None]) -> bool:
    """Whether the product of vectors (N, I) and a weight (O, I), the first two, is small enough."""
    vectors, weight = matrices[:2]
    assert vectors is not None
    assert weight is not None
    return _is_small(len(vectors), *weight.shape)


def suits_gradients(matrices: Sequence[Array | None]) -> bool:
    """The same, of a gradient (N, O), and vectors (N, I), weight (O, I), or neither."""
    gradient, *others = matrices
    assert gradient is not None
    return _is_small(*gradient.shape, _inputs(others))


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """One launch."""
    batch, (outputs, inputs) = len(vectors), weight.shape
    output = xp_of(vectors).empty((batch, outputs), vectors.dtype)
    side = _side(vectors.itemsize, (batch, outputs))
    arrays = (contiguous(vectors), contiguous(weight), contiguous(bias), output)
    threads = _tiles((batch, outputs), side) * FORWARD.block
    launch(FORWARD, threads, *arrays, batch, inputs, outputs, int(relu), side, rounds_to_tf32(vectors))
    return output


def linear_gradients(
    gradient: Array,
    vectors: Array | None,
    weight: Array | None,
    relu_output: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
) -> Array | None:
    """One launch, whichever of them are wanted."""
    (batch, outputs), inputs = gradient.shape, _inputs((weight, vectors))
    found = None if weight is None else xp_of(gradient).empty((batch, inputs), gradient.dtype)
    wanted = ((found, (batch, inputs)), (weight_gradient, (outputs, inputs)))
    shapes = [(0, 0) if array is None else shape for array, shape in wanted]
    side = _side(gradient.itemsize, *shapes)
    tiles = [_tiles(shape, side) for shape in shapes]
    tiles.append(0 if bias_gradient is None else -(-outputs // COLUMNS_OF_BIAS))
    arrays = tuple(contiguous(array) for array in (gradient, relu_output, vectors, weight))
    threads, sizes = sum(tiles) * GRADIENTS.block, (batch, inputs, outputs, *tiles)
    launch(GRADIENTS, threads, *arrays, found, weight_gradient, bias_gradient, *sizes, side, rounds_to_tf32(gradient))
    return found


def _is_small(batch: int, *widths: int) -> bool:
    work = batch * widths[0] * widths[1]
    return max(widths) <= WIDEST and batch <= MOST_ROWS and work <= MOST_MULTIPLY_ADDS


def _inputs(matrices: Sequence[Array | None]) -> int:
    """The columns of those matrices that there are; 0 without one."""
    return next((matrix.shape[1] for matrix in matrices if matrix is not None), 0)


def _side(itemsize: int, *shapes: Shape) -> int:
    """Large tiles, where they are enough, and fit shared memory: see SIDE in linear.cu."""
    return LARGE if itemsize == 4 and sum(_tiles(shape, LARGE) for shape in shapes) >= FEWEST_TILES else SMALL


def _tiles(shape: Shape, side: int) -> int:
    return -(-shape[0] // side) * -(-shape[1] // side)
