"""Where callers of other operations still look for it; it goes with them."""

from gpucnn.kernels.elementwise.compiled import plane_sums_loop as plane_sums

__all__ = ["plane_sums"]
