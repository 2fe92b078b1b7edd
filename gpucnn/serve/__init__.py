"""A trained model as a service over HTTP."""

from gpucnn.checks import public_names as _public_names
from gpucnn.serve.app import create_app as create_app
from gpucnn.serve.options import ServeOptions as ServeOptions

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
