"""The gradient of ReLU together with that of the bias before it, channel by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached
from gpucnn.kernels.compiler.sums import add_up

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector


@cached
def relu() -> Loop:
    """x (size,) -> output (size,), max(0, x). A NaN stays one."""

    def write(b: Builder) -> None:
        x, output = b.pointer("x"), b.pointer("output")

        def one(i: Size, width: int) -> None:
            value, zero = x.load(i, width), b.splat(0.0, width)
            output.store((value < zero).select(zero, value), i)

        b.sweep(b.index("first"), b.index("last"), one)

    return Loop("relu", (), (Argument("x", (EACH,)), Argument("output", (EACH,), written=True)), write)


@cached
def relu_gradient() -> Loop:
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
def plane_sums(positions: int, relu: bool) -> Loop:
    """gradient (P, positions) -> sums (P,), a number for each plane; with `relu` see `relu_gradient`, too: -> rows."""

    def write(b: Builder) -> None:
        gradient, sums = b.pointer("gradient"), b.pointer("sums")
        output, rows = (b.pointer("output"), b.pointer("rows")) if relu else (None, None)

        def passed(i: Size, width: int) -> Vector:
            slope = gradient.load(i, width)
            if output is not None and rows is not None:
                zero = b.splat(0.0, width)
                slope = output.load(i, width).differs(zero).select(slope, zero)
                rows.store(slope, i)
            return slope

        def one_plane(p: Size) -> None:
            sums.store(add_up(b, positions, 1, lambda i, width: [passed(p * positions + i, width)])[0], p)

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = [Argument("gradient", (EACH, positions)), Argument("sums", (EACH,), written=True)]
    if relu:
        arguments += [Argument("output", (EACH, positions)), Argument("rows", (EACH, positions), written=True)]
    return Loop("plane_sums", (positions, relu), tuple(arguments), write)
