"""The plain way, on any array module: what the other way must equal."""

from gpucnn.backend import Array, xp_of

KEPT = {"bf16": 0xFFFF0000, "tf32": 0xFFFFE000}
"""The bits of a float32 that are kept."""


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder. What is added to the bits of a float carries into its exponent, just as rounding does."""
    xp = xp_of(values)
    bits = values.view(xp.uint32)
    half = 0x7FFF + (bits >> 16 & 1) if name == "bf16" else 0x1000
    rounded = xp.where(values == values, (bits + half & KEPT[name]).view(values.dtype), values)
    if out is None:
        return rounded
    out[...] = rounded
    return out
