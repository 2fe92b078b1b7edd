"""Buffer: an array that a layer keeps but does not learn."""

from typing import Any

import numpy as np

from gpucnn.checks import Shape
from gpucnn.layers.parameter import Initializer, Parameter


class Buffer(Parameter):
    """A tensor that belongs to a layer's state, e.g. a running mean: saved, loaded and moved like a parameter.

    It is none of `parameters()`, needs no gradient, and no optimizer changes it.
    """

    __slots__ = ()

    kinds = "fiub"

    def __init__(self, shape: Shape, initialize: Initializer, dtype: Any = np.float32) -> None:
        super().__init__(shape, initialize, dtype)
        self.requires_grad = False
