"""The plain way, on any array module: what the other way must equal."""

from gpucnn.backend import Array, xp_of

DROPPED = {"bf16": 16, "tf32": 13}
"""How many of a float32's 32 bits are zeros then."""


def round_to(name: str, values: Array, out: Array | None = None) -> Array:
    """See `round_to` of this folder. What is added to the bits of a float carries into its exponent, just as rounding does."""
    xp, dropped = xp_of(values), DROPPED[name]
    bits, half = values.view(xp.uint32), 1 << dropped - 1
    more = (bits >> dropped & 1) + (half - 1) if name == "bf16" else half
    rounded = xp.where(values == values, ((bits + more) >> dropped << dropped).view(values.dtype), values)
    if out is None:
        return rounded
    out[...] = rounded
    return out
