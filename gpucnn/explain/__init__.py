"""What a model sees, as arrays: where it looks, what its layers make of an image, and what excites its filters."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.explain.exciting_patches import Patch as Patch
from gpucnn.explain.exciting_patches import exciting_patches as exciting_patches
from gpucnn.explain.feature_maps import feature_maps as feature_maps
from gpucnn.explain.grad_cam import grad_cam as grad_cam
from gpucnn.explain.input_gradient import input_gradient as input_gradient
from gpucnn.explain.last_map import last_map as last_map
from gpucnn.explain.occlusion import occlusion as occlusion
from gpucnn.explain.receptive_field import Box as Box
from gpucnn.explain.receptive_field import receptive_field as receptive_field
from gpucnn.explain.stages import stages as stages

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("explain", name, __all__)
