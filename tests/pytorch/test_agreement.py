"""The table of comparisons: what it holds together, and what it finds to be missing."""

import numpy as np
import pytest

from tests.pytorch.agreement import LEAST, Agreement

pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")


def arrays(dtype: str, error: float = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"output": (np.array([1, 2 + error], dtype), np.array([1, 2], dtype))}


def test_errors_are_relative_and_those_above_the_tolerance_fail() -> None:
    agreement = Agreement()
    agreement.check("conv2d", 0, arrays("float64", 1e-12))
    agreement.check("conv2d", 1, arrays("float32"))
    assert agreement.table()[1].split() == ["conv2d", "2", "0.0e+00", "5.0e-13"]
    with pytest.raises(AssertionError, match="conv2d, output"):
        agreement.check("conv2d", 2, arrays("float64", 1e-8))
    with pytest.raises(AssertionError, match="dtype float32, PyTorch has float64"):
        agreement.check("conv2d", 2, {"output": (np.ones(1, np.float32), np.ones(1))})


def test_a_shortage_is_named_with_what_there_is() -> None:
    agreement = Agreement()
    for number in range(LEAST):
        for dtype in ("float32", "float64"):
            agreement.check("relu", number, arrays(dtype))
            agreement.check("pad reflect" if number % 2 else "pad constant", number, arrays(dtype))
        agreement.check("relu6, once more", number % 7, arrays("float32"))
    assert agreement.shortages(["relu", "pad"]) == []
    assert agreement.shortages(["relu", "relu6", "re"]) == [
        "relu6 (7 in float32, 0 in float64)",
        "re (0 in float32, 0 in float64)",
    ]
