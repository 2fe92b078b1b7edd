"""The sum of two arrays, and its ReLU."""

from functools import cache

from gpucnn.kernels.jit.builder import Builder, Size
from gpucnn.kernels.jit.kernel import EACH, Argument, Kernel


@cache
def add(relu: bool) -> Kernel:
    """a (size,), b (size,) -> total (size,): a + b, or with `relu` max(0, a + b). A NaN stays one."""

    def write(b: Builder) -> None:
        first, second, total = b.pointer("a"), b.pointer("b"), b.pointer("total")

        def one(i: Size, width: int) -> None:
            value, zero = first.load(i, width) + second.load(i, width), b.splat(0.0, width)
            total.store((value < zero).select(zero, value) if relu else value, i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (Argument("a", (EACH,)), Argument("b", (EACH,)), Argument("total", (EACH,), written=True))
    return Kernel("add", (relu,), arguments, write)
