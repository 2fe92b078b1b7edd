"""Figures of what a model has learned, with the extra `plot`, which is matplotlib."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.plot.calibration import calibration as calibration
from gpucnn.plot.confusion import confusion as confusion
from gpucnn.plot.curves import curves as curves
from gpucnn.plot.explanation import explanation as explanation
from gpucnn.plot.feature_maps import feature_maps as feature_maps
from gpucnn.plot.filters import filters as filters
from gpucnn.plot.heat import grad_cam as grad_cam
from gpucnn.plot.heat import input_gradient as input_gradient
from gpucnn.plot.heat import occlusion as occlusion
from gpucnn.plot.hierarchy import hierarchy as hierarchy
from gpucnn.plot.images import batch as batch
from gpucnn.plot.images import mistakes as mistakes
from gpucnn.plot.lr_find import lr_find as lr_find

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("plot", name, __all__)
