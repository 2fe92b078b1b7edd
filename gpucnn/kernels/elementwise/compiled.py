"""ReLU, its gradient and sums in compiled loops, on all threads; and the sums of a gradient that passes ReLU on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector


def relu(x: Array) -> Array:
    """See `relu` of this folder, as for the functions below."""
    return _swept(relu_loop(), x)


def relu_gradient(gradient: Array, output: Array) -> Array:
    """One pass over memory."""
    return _swept(relu_gradient_loop(), gradient, output)


def add(a: Array, b: Array, relu: bool) -> Array:
    """Of arrays that are alike."""
    return _swept(add_loop(relu), a, b)


def _swept(one: Loop, *inputs: np.ndarray) -> np.ndarray:
    """What a loop makes of the elements of equally large arrays, in the shape of the first."""
    result, size = empty_like(inputs[0]), inputs[0].size
    arrays = [np.ascontiguousarray(array).reshape(size) for array in inputs]
    loop.run(one, size, [*arrays, result.reshape(size)], cut(size, ELEMENT))
    return result


@cached
def relu_loop() -> Loop:
    """x (size,) -> output (size,), max(0, x). A NaN stays one."""

    def write(b: Builder) -> None:
        x, output = b.pointer("x"), b.pointer("output")

        def one(i: Size, width: int) -> None:
            value, zero = x.load(i, width), b.splat(0.0, width)
            output.store((value < zero).select(zero, value), i)

        b.sweep(b.index("first"), b.index("last"), one)

    return Loop("relu", (), (Argument("x", (EACH,)), Argument("output", (EACH,), written=True)), write)


@cached
def relu_gradient_loop() -> Loop:
    """gradient (size,), output (size,) -> rows (size,): the gradient where the output of ReLU is not 0."""

    def write(b: Builder) -> None:
        gradient, output, rows = b.pointer("gradient"), b.pointer("output"), b.pointer("rows")

        def one(i: Size, width: int) -> None:
            zero = b.splat(0.0, width)
            rows.store(output.load(i, width).differs(zero).select(gradient.load(i, width), zero), i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (Argument("gradient", (EACH,)), Argument("output", (EACH,)), Argument("rows", (EACH,), written=True))
    return Loop("relu_gradient", (), arguments, write)


@cached
def add_loop(relu: bool) -> Loop:
    """a (size,), b (size,) -> total (size,): a + b, or with `relu` max(0, a + b). A NaN stays one."""

    def write(b: Builder) -> None:
        first, second, total = b.pointer("a"), b.pointer("b"), b.pointer("total")

        def one(i: Size, width: int) -> None:
            value, zero = first.load(i, width) + second.load(i, width), b.splat(0.0, width)
            total.store((value < zero).select(zero, value) if relu else value, i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (Argument("a", (EACH,)), Argument("b", (EACH,)), Argument("total", (EACH,), written=True))
    return Loop("add", (relu,), arguments, write)


@cached
def plane_sums_loop(positions: int, relu: bool) -> Loop:
    """gradient (P, positions) -> sums (P,), a number for each plane; with `relu` see `relu_gradient_loop`, too: -> rows."""

    def write(b: Builder) -> None:
        gradient, sums = b.pointer("gradient"), b.pointer("sums")
        output, rows = (b.pointer("output"), b.pointer("rows")) if relu else (None, None)

        def passing(i: Size, width: int) -> Vector:
            passed = gradient.load(i, width)
            if output is not None and rows is not None:
                zero = b.splat(0.0, width)
                passed = output.load(i, width).differs(zero).select(passed, zero)
                rows.store(passed, i)
            return passed

        def one_plane(p: Size) -> None:
            sums.store(b.add_up(positions, 1, lambda i, width: [passing(p * positions + i, width)])[0], p)

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = [Argument("gradient", (EACH, positions)), Argument("sums", (EACH,), written=True)]
    if relu:
        arguments += [Argument("output", (EACH, positions)), Argument("rows", (EACH, positions), written=True)]
    return Loop("plane_sums", (positions, relu), tuple(arguments), write)
