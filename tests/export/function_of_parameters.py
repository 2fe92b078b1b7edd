"""A case of the tests of functions as a model: what it takes are parameters, so that a graph has it whole."""

import numpy as np

from gpucnn import Tensor, layers
from gpucnn.layers.graph import ModelGraph, graph_of_any_batch
from tests.functions.case import Case
from tests.functions.test_every_function import spread

Array = np.ndarray


class OfCase(layers.Layer):
    """A function of parameters, to which a 0 is added that comes from the images, so that nothing is known beforehand."""

    def __init__(self, case: Case, inputs: list[Array], prefix: str) -> None:
        super().__init__()
        self.function = case.function
        self.inputs = [f"{prefix}input{position}" for position in range(len(inputs))]
        for name, array in zip(self.inputs, inputs, strict=True):
            setattr(self, name, layers.Parameter(array, dtype=array.dtype))

    def forward(self, images: Tensor) -> Tensor:
        zero = images.sum() * 0
        return self.function(*(getattr(self, name) + zero for name in self.inputs))


def traced(case: Case, dtype: type, prefix: str = "") -> tuple[ModelGraph, Array]:
    """Its graph, the parameters' names with that `prefix`, and what its oracle says, in float64."""
    rng = np.random.default_rng(0)
    inputs = [spread(rng, shape, case.positive).astype(dtype) for shape in case.shapes]
    expected = np.asarray(case.oracle(*(array.astype(np.float64) for array in inputs)))
    return graph_of_any_batch(OfCase(case, inputs, prefix), np.zeros((1, 2), dtype)), expected
