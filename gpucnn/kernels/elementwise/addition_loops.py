"""The sum of two arrays, and its ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size


@cached
def add(relu: bool) -> Loop:
    """a (size,), b (size,) -> total (size,): a + b, or with `relu` max(0, a + b). A NaN stays one."""

    def write(b: Builder) -> None:
        first, second, total = b.pointer("a"), b.pointer("b"), b.pointer("total")

        def one(i: Size, width: int) -> None:
            value, zero = first.load(i, width) + second.load(i, width), b.splat(0.0, width)
            total.store((value < zero).select(zero, value) if relu else value, i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (Argument("a", (EACH,)), Argument("b", (EACH,)), Argument("total", (EACH,), written=True))
    return Loop("add", (relu,), arguments, write)
