"""Figures of what a model has learned, with the extra `plot`, which is matplotlib."""

from gpucnn.checks import public_names as _public_names
from gpucnn.plot.curves import curves as curves

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
