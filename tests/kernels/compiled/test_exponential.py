"""The compiled exponential function against that of the C library, in float64."""

from typing import Any

import numpy as np
import pytest

from gpucnn.kernels.compiler import loop
from gpucnn.kernels.cross_entropy import exponential

pytestmark = pytest.mark.usefixtures("needs_llvmlite")


def computed(name: str, values: np.ndarray, width: int) -> np.ndarray:
    """What the compiled function of this name gives for `values`, in vectors of `width`."""
    function, target = getattr(exponential, name), np.empty_like(values)

    def write(b: Any) -> None:
        source, result = b.pointer("source"), b.pointer("target")
        b.each(0, len(values), width, lambda i: result.store(function(b, source.load(i, width)), i))

    arguments = (loop.Argument("source", values.shape), loop.Argument("target", values.shape, written=True))
    loop.run(loop.Loop(f"{name}_test_{width}", (len(values),), arguments, write), 1, [values, target])
    return target


@pytest.mark.parametrize("width", [1, 4, 16])
def test_log(width: int) -> None:
    """Within 2 units in the last place, 0 of 1, and NaN of NaN."""
    rng, tiny = np.random.default_rng(7), np.finfo(np.float32).tiny
    ends = [1.0, np.nan, tiny, np.finfo(np.float32).max, 0.5, 2.0, np.sqrt(0.5), np.sqrt(2)]
    values = np.concatenate([ends, np.exp(rng.uniform(-80, 80, 4000)), rng.uniform(0.5, 2, 4088)]).astype(np.float32)
    found, expected = computed("log", values, width), np.log(values.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    finite = ~np.isnan(values)
    unit = np.spacing(np.abs(expected[finite]).astype(np.float32)).astype(np.float64)
    assert (np.abs(found[finite] - expected[finite]) <= 2 * unit).all()
    assert found[0] == 0


@pytest.mark.parametrize("width", [1, 4, 16])
def test_exp(width: int) -> None:
    """Within 2 units in the last place where the result is normal, right at the ends, and NaN where it is asked of NaN."""
    ends = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        88.7,
        89.5,
        -87.3,
        -88.0,
        -103.0,
        -103.9,
        -105.0,
        np.inf,
        -np.inf,
        np.nan,
        1e30,
        -1e30,
    ]
    rng = np.random.default_rng(6)
    values = np.concatenate([ends, rng.uniform(-104, 89, 4000), rng.uniform(-1, 1, 4000)]).astype(np.float32)
    values = values[: len(values) // width * width]

    target = computed("exp", values, width)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.exp(values.astype(np.float64))
        rounded = expected.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(target), np.isnan(values))
    np.testing.assert_array_equal(np.isinf(target), np.isinf(rounded))
    finite = np.isfinite(rounded)
    unit = np.maximum(np.spacing(rounded[finite]), np.float32(1e-45)).astype(np.float64)
    assert (np.abs(target[finite] - expected[finite]) <= 2 * unit).all()
    assert target[:2].tolist() == [1, 1]
