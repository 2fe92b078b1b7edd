"""Rounding in compiled loops, on all threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder."""
    found, size = empty_like(values) if out is None else out, values.size
    arrays = [np.ascontiguousarray(values).reshape(size), found.reshape(size)]
    loop.run(round_loop(name), size, arrays, cut(size, ELEMENT))
    return found


@cached
def round_loop(name: str) -> Loop:
    """values (size,) -> found (size,), which may be the same."""

    def write(b: Builder) -> None:
        values, found = b.pointer("values"), b.pointer("found")

        def some(i: Size, width: int) -> None:
            value = values.load(i, width)
            bits = value.as_bits()
            if name == "bf16":
                odd = bits.shifted_right(16) & b.splat(1, width, b.INT32)
                bits = (bits + b.splat(0x7FFF, width, b.INT32) + odd) & b.splat(-0x10000, width, b.INT32)
            else:
                bits = (bits + b.splat(0x1000, width, b.INT32)) & b.splat(-0x2000, width, b.INT32)
            found.store(value.is_nan().select(value, bits.as_float()), i)

        b.sweep(b.index("first"), b.index("last"), some)

    return Loop("round", (name,), (Argument("values", (EACH,)), Argument("found", (EACH,), written=True)), write)
