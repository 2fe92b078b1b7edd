"""Kernels without a bug, in kernels/, each with a launch and what NumPy makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.emulator import Emulator
from tests.testing.emulator.rounding import as_bf16, as_tf32, bf16_bits

FOLDER = Path(__file__).parent / "kernels"
Array = np.ndarray[Any, Any]


class Launch(NamedTuple):
    """A launch, and for each array that it writes what should be in it afterwards."""

    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    expected: list[tuple[Array, Array]]
    shared_mem: int = 0


class Case(NamedTuple):
    file: str
    kernel: str
    launch: Callable[[np.random.Generator], Launch]
    options: tuple[str, ...] = ()

    def source(self) -> str:
        return (FOLDER / self.file).read_text()


def run(case: Case, emulator: Emulator, source: str | None = None, **changes: Any) -> Launch:
    launch = case.launch(np.random.default_rng(20261124))._replace(**changes)
    text = with_includes(source or case.source(), FOLDER / case.file)
    module = emulator.module(text, case.options, case.file)
    module.function(case.kernel)(launch.grid, launch.block, launch.args, launch.shared_mem)
    return launch


def ints(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, np.float32)


def unwritten(*shape: int, dtype: type[np.floating[Any]] = np.float32) -> Array:
    return np.full(shape, np.nan, dtype)


def blocks(count: int, threads: int) -> tuple[int]:
    return (-(-count // threads),)


def windows(images: Array, kernel: int, stride: int, padding: int = 0) -> Array:
    """(N, C, H, W) to (N, C, OH, OW, kernel, kernel)."""
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    return sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]


def matmul(rng: np.random.Generator) -> Launch:
    a, b, c = floats(rng, 37, 45), floats(rng, 45, 29), unwritten(37, 29)
    return Launch((2, 3), (16, 16), (a, b, c, *ints(37, 29, 45)), [(c, a @ b)])


def softmax(rng: np.random.Generator) -> Launch:
    logits, labels = floats(rng, 5, 10), rng.integers(0, 10, 5, np.int32)
    losses, gradient = unwritten(5), unwritten(5, 10)
    exponentials = np.exp(logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    return Launch(
        (5,),
        (128,),
        (logits, labels, losses, gradient, np.int32(10), np.float32(0.2)),
        [(losses, -np.log(softmax[np.arange(5), labels])), (gradient, (softmax - np.eye(10)[labels]) / 5)],
    )


def row_sum(rng: np.random.Generator) -> Launch:
    matrix, sums = floats(rng, 4, 200), unwritten(4)
    return Launch((4,), (128,), (matrix, sums, np.int32(200)), [(sums, matrix.sum(axis=1))], shared_mem=16)


def im2col(rng: np.random.Generator) -> Launch:
    images = floats(rng, 2, 3, 9, 9)
    expected = windows(images, 3, 2, 1).transpose(0, 1, 4, 5, 2, 3)
    columns = unwritten(*expected.shape)
    return Launch(
        blocks(columns.size, 128), (128,), (images, columns, *ints(2, 3, 9, 3, 2, 1, 5)), [(columns, expected)]
    )


def col2im(rng: np.random.Generator) -> Launch:
    columns, images = floats(rng, 2, 3, 3, 3, 5, 5), unwritten(2, 3, 9, 9)
    padded = np.zeros((2, 3, 11, 11))
    for y, x in np.ndindex(3, 3):
        padded[:, :, y : y + 9 : 2, x : x + 9 : 2] += columns[:, :, y, x]
    expected = padded[:, :, 1:10, 1:10]
    return Launch(blocks(images.size, 128), (128,), (columns, images, *ints(2, 3, 9, 3, 2, 1, 5)), [(images, expected)])


def max_pool_scatter(rng: np.random.Generator) -> Launch:
    gradient, images = floats(rng, 6, 4, 4), np.zeros((6, 9, 9), np.float32)
    of_window = windows(rng.integers(0, 3, (1, 6, 9, 9)), 3, 2)[0].reshape(6, 4, 4, 9).argmax(axis=-1)
    y, x = np.indices((4, 4)) * 2
    argmax = ((y + of_window // 3) * 9 + x + of_window % 3).astype(np.int32)
    expected = np.zeros((6, 81))
    np.add.at(expected, (np.arange(6)[:, None], argmax.reshape(6, 16)), gradient.reshape(6, 16))
    return Launch(
        blocks(96, 64), (64,), (gradient, argmax, images, *ints(6, 9, 4)), [(images, expected.reshape(6, 9, 9))]
    )


def average_pool(rng: np.random.Generator) -> Launch:
    images, output = floats(rng, 2, 3, 9, 9), unwritten(2, 3, 3, 3)
    expected = windows(images, 3, 3).mean(axis=(-2, -1))
    return Launch((1,), (64,), (images, output, *ints(6, 9, 3, 3, 3)), [(output, expected)])


def sgd(rng: np.random.Generator) -> Launch:
    weights, gradient, velocity = (floats(rng, 300) for _ in range(3))
    new_velocity = 0.9 * velocity + gradient + 0.01 * weights
    new_weights = weights - 0.1 * new_velocity
    rates = (np.float32(rate) for rate in (0.1, 0.9, 0.01))
    return Launch(
        (3,),
        (128,),
        (weights, gradient, velocity, *rates, np.int64(300)),
        [(velocity, new_velocity), (weights, new_weights)],
    )


def conv2d(rng: np.random.Generator, dtype: type[np.floating[Any]] = np.float32) -> Launch:
    images, weight = floats(rng, 2, 3, 9, 9).astype(dtype), floats(rng, 5, 3, 3, 3).astype(dtype)
    expected = np.einsum("nchwyx,ocyx->nohw", windows(images, 3, 2, 1).astype(float), weight.astype(float))
    output = unwritten(*expected.shape, dtype=dtype)
    return Launch((2, 1), (64,), (images, weight, output, *ints(2, 3, 9, 5, 3, 2, 1, 5)), [(output, expected)])


def conv2d_float64(rng: np.random.Generator) -> Launch:
    return conv2d(rng, np.float64)


def matmul_bf16(rng: np.random.Generator) -> Launch:
    a, b, c = floats(rng, 37, 40), floats(rng, 40, 24), unwritten(37, 24)
    arguments = bf16_bits(as_bf16(a)), bf16_bits(as_bf16(b)), c
    return Launch((2, 2), (64,), (*arguments, *ints(37, 24, 40)), [(c, as_bf16(a) @ as_bf16(b))])


def matmul_tf32(rng: np.random.Generator) -> Launch:
    a, b, c = floats(rng, 21, 19), floats(rng, 19, 13), unwritten(21, 13)
    return Launch((2, 2), (32,), (a, b, c, *ints(21, 13, 19)), [(c, as_tf32(a) @ as_tf32(b))])


CASES = {
    "matmul": Case("matmul.cu", "matmul", matmul),
    "softmax": Case("softmax.cu", "softmax_cross_entropy", softmax),
    "row_sum": Case("row_sum.cu", "row_sum", row_sum),
    "im2col": Case("im2col.cu", "im2col", im2col),
    "col2im": Case("im2col.cu", "col2im", col2im),
    "max_pool_scatter": Case("pool.cu", "max_pool_scatter", max_pool_scatter),
    "average_pool": Case("pool.cu", "average_pool", average_pool),
    "sgd": Case("sgd.cu", "sgd", sgd),
    "matmul_bf16": Case("matmul_bf16.cu", "matmul_bf16", matmul_bf16),
    "matmul_tf32": Case("matmul_tf32.cu", "matmul_tf32", matmul_tf32),
    "conv2d": Case("conv2d.cu", "conv2d", conv2d, ("-DT=float",)),
    "conv2d, float64": Case("conv2d.cu", "conv2d", conv2d_float64, ("-DT=double",)),
}
