"""Every public function as code of NumPy alone, beside the functions' oracles."""

import functools
import inspect
from pathlib import Path

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.export.numpy_calls import WRITERS
from gpucnn.export.numpy_network import Network, numpy_network
from gpucnn.export.numpy_steps import SEQUENCES
from gpucnn.export.onnx_nodes import REFUSED
from tests.export.function_of_parameters import traced
from tests.export.written_network import as_functions
from tests.functions.case import Case
from tests.functions.test_every_function import CASES

Array = np.ndarray


def is_written(case: Case) -> bool:
    return case.name.split()[0] not in REFUSED


WRITTEN = [case for case in CASES if is_written(case)]
NOT_IN_CASES = ("argmax", "argmin", "dropout", "dropout2d", "stochastic_depth", "clone", "astype")


@functools.cache
def networks(dtype: type) -> tuple[dict[str, Network], dict[str, Array]]:
    written, expected = {}, {}
    for case in WRITTEN:
        graph, expected[case.name] = traced(case, dtype)
        written[case.name] = numpy_network(graph)
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
