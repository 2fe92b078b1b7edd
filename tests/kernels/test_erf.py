"""The error function against that of Python's `math`."""

import math

import numpy as np
import pytest

from gpucnn.kernels.erf import LARGE, SMALL, erf
from tests.backends import Backend, host

JOINTS = [-LARGE, -SMALL, 0.0, SMALL, LARGE]
POINTS = np.concatenate(
    [
        np.linspace(-7, 7, 5001),
        JOINTS,
        np.nextafter(JOINTS, np.inf),
        np.nextafter(JOINTS, -np.inf),
        [-1e300, -1e4, -1e-300, 1e-300, 1e4, 1e300, np.inf, -np.inf],
    ]
)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-15), (np.float32, 4e-7), (np.float16, 5e-4)])
def test_error(backend: Backend, dtype: type, error: float) -> None:
    with np.errstate(all="ignore"):
        points = POINTS.astype(dtype)
    values = erf(backend.array(points))
    assert values.dtype == dtype
    expected = [math.erf(point) for point in points.tolist()]
    np.testing.assert_allclose(host(values).astype(float), expected, rtol=0, atol=error)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-15), (np.float32, 3e-7)])
def test_relative_error_near_zero(backend: Backend, dtype: type, error: float) -> None:
    points = np.logspace(-30, 0, 500).astype(dtype)
    expected = [math.erf(point) for point in points.tolist()]
    np.testing.assert_allclose(host(erf(backend.array(points))), expected, rtol=error, atol=0)


def test_single_precision_never_passes_1_and_reaches_it(backend: Backend) -> None:
    values = host(erf(backend.array(np.linspace(-6, 6, 100_001, dtype=np.float32))))
    assert (values.min(), values.max()) == (-1, 1)
    far = host(erf(backend.array(np.array([-np.inf, -5, -4, 4, 5, np.inf], np.float32))))
    np.testing.assert_array_equal(far, [-1, -1, -1, 1, 1, 1])


def test_nan_stays_and_zero_keeps_its_sign(backend: Backend) -> None:
    values = host(erf(backend.array(np.array([np.nan, 0.0, -0.0]))))
    np.testing.assert_array_equal(values, [np.nan, 0, 0])
    np.testing.assert_array_equal(np.signbit(values[1:]), [False, True])


def test_input_of_any_shape_is_unchanged(backend: Backend) -> None:
    for shape in [(), (0, 3), (2, 3, 4)]:
        x = backend.array(np.full(shape, 0.7))
        values = erf(x)
        assert values.shape == shape
        np.testing.assert_array_equal(host(x), np.full(shape, 0.7))
