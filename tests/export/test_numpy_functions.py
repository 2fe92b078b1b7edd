"""Every public function as code of NumPy alone, beside the functions' oracles."""

import functools
import inspect
from pathlib import Path

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.export.numpy_calls import WRITERS
from gpucnn.export.numpy_network import Network, numpy_network
from gpucnn.export.numpy_steps import SEQUENCES
from gpucnn.export.onnx_nodes import REFUSED
from gpucnn.layers.graph import graph_of_any_batch
from tests.export.written_network import as_functions
from tests.functions.case import Case
from tests.functions.test_every_function import CASES, spread

Array = np.ndarray


def is_written(case: Case) -> bool:
    return case.name.split()[0] not in REFUSED


WRITTEN = [case for case in CASES if is_written(case)]
NOT_IN_CASES = ("argmax", "argmin", "dropout", "dropout2d", "stochastic_depth", "clone", "astype")


class OfCase(layers.Layer):
    """A function of parameters, to which a 0 is added that comes from the images, so that nothing is known beforehand."""

    def __init__(self, case: Case, inputs: list[Array]) -> None:
        super().__init__()
        self.function = case.function
        self.inputs = [f"input{position}" for position in range(len(inputs))]
        for name, array in zip(self.inputs, inputs, strict=True):
            setattr(self, name, layers.Parameter(array, dtype=array.dtype))

    def forward(self, images: Tensor) -> Tensor:
        zero = images.sum() * 0
        return self.function(*(getattr(self, name) + zero for name in self.inputs))


@functools.cache
def networks(dtype: type) -> tuple[dict[str, Network], dict[str, Array]]:
    written, expected = {}, {}
    for case in WRITTEN:
        rng = np.random.default_rng(0)
        inputs = [spread(rng, shape, case.positive).astype(dtype) for shape in case.shapes]
        expected[case.name] = np.asarray(case.oracle(*(array.astype(np.float64) for array in inputs)))
        written[case.name] = numpy_network(graph_of_any_batch(OfCase(case, inputs), np.zeros((1, 2), dtype)))
    return written, expected


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_every_function_computes_what_its_oracle_says(dtype: type, tolerance: float, tmp_path: Path) -> None:
    written, expected = networks(dtype)
    assert len(written) > 100
    for name, function in as_functions(written, tmp_path / "functions.py").items():
        output = function(np.ones((4, 2), dtype))
        assert output.dtype == dtype, name
        assert output.shape == expected[name].shape, name
        assert np.isfinite(output).all(), name
        if expected[name].size:
            error = np.abs(output - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-2)
            assert error < (1e-6 if name == "gelu" else tolerance), f"{name}: {error}"


def public_functions() -> set[str]:
    return {name for name in F.__all__ if inspect.isfunction(getattr(F, name))}


def test_every_public_function_is_written_or_refused_with_a_reason() -> None:
    # A graph has the parts of a split one by one.
    assert set(WRITERS) | set(SEQUENCES) | set(REFUSED) | {"split"} == public_functions()
    assert not (set(WRITERS) | set(SEQUENCES)) & set(REFUSED)
    assert {case.name.split()[0] for case in WRITTEN} >= (set(WRITERS) | set(SEQUENCES)) - set(NOT_IN_CASES)
