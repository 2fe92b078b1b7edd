"""Rounding in compiled loops, on all threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached
from gpucnn.kernels.rounding.plain import DROPPED

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder."""
    found, size = empty_like(values) if out is None else out, values.size
    arrays = [np.ascontiguousarray(values).reshape(size), found.reshape(size)]
    loop.run(round_loop(DROPPED[name], name == "bf16"), size, arrays, cut(size, ELEMENT))
    return found


@cached
def round_loop(dropped: int, to_even: bool) -> Loop:
    """values (size,) -> found (size,), which may be the same: without the last bits; halfway to the even number, or away from 0."""
    half = 1 << dropped - 1

    def write(b: Builder) -> None:
        values, found = b.pointer("values"), b.pointer("found")

        def some(i: Size, width: int) -> None:
            value = values.load(i, width)
            bits = value.as_bits()
            if to_even:
                odd = bits.shifted_right(dropped) & b.splat(1, width, b.INT32)
                bits = bits + b.splat(half - 1, width, b.INT32) + odd
            else:
                bits = bits + b.splat(half, width, b.INT32)
            rounded = (bits & b.splat(-2 * half, width, b.INT32)).as_float()
            found.store(value.is_nan().select(value, rounded), i)

        b.sweep(b.index("first"), b.index("last"), some)

    arguments = (Argument("values", (EACH,)), Argument("found", (EACH,), written=True))
    return Loop("round", (dropped, to_even), arguments, write)
