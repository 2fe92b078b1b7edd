"""The plain way, on any array module: what the other way must equal."""

from gpucnn.backend import Array, xp_of

BF16_BITS, TF32_BITS = 16, 13
"""How many of a float32's last bits they do without."""


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder. Adding to the bits of a float carries into its exponent, just as rounding does."""
    xp = xp_of(values)
    bits = values.view(xp.uint32)
    if name == "bf16":
        bits = bits + (((bits >> BF16_BITS) & 1) + 0x7FFF) & 0xFFFF0000
    else:
        bits = bits + 0x1000 & 0xFFFFE000
    rounded = xp.where(values == values, bits.view(values.dtype), values)
    if out is None:
        return rounded
    out[...] = rounded
    return out
