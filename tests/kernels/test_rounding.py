"""Rounding to bfloat16 and TF32, against a search for the nearest number in float64, and against ml_dtypes."""

import numpy as np
import pytest

from gpucnn.kernels.rounding import round_to
from tests.backends import Backend, host

BITS = {"bf16": 16, "tf32": 13}
"""How many of the last bits of a float32 each does without."""


def every_kind_of_float(name: str) -> np.ndarray:
    """Every sign, exponent and kept mantissa in steps, with rests around zero, a half and one: (numbers,) float32."""
    dropped = BITS[name]
    heads = np.arange(0, 1 << (32 - dropped), 1 if name == "bf16" else 7, dtype=np.uint64) << dropped
    half = 1 << (dropped - 1)
    rests = np.array([0, 1, half - 1, half, half + 1, 2 * half - 1], np.uint64)
    return (heads[:, None] | rests).astype(np.uint32).ravel().view(np.float32)


def nearest(name: str, values: np.ndarray) -> np.ndarray:
    """The nearest number below or above, by distances in float64; of two as near bf16's even one, and TF32's larger."""
    size = np.abs(values).astype(np.float64)
    step = 1 << BITS[name]
    below = (np.abs(values).view(np.uint32) // step * step).view(np.float32)
    places = below.view(np.uint32).astype(np.uint64) // step
    bits_above = ((places + 1) * step).astype(np.uint32)
    above = bits_above.view(np.float32).astype(np.float64)
    above[bits_above == 0x7F800000] = 2.0**128  # where the next number would be, if it were one
    to_below, to_above = size - below, above - size
    takes_below = (to_below < to_above) | ((to_below == to_above) & (name == "bf16") & (places % 2 == 0))
    found = np.where(takes_below, below, above)
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(values), np.copysign(found, values), values).astype(np.float32)


@pytest.mark.parametrize("name", BITS)
def test_every_float_becomes_the_nearest(backend: Backend, name: str) -> None:
    values = every_kind_of_float(name)
    with np.errstate(invalid="ignore"):
        expected = nearest(name, values)
    found = host(round_to(name, backend.array(values)))
    assert (np.isnan(found) == np.isnan(values)).all(), "a NaN stays one, and nothing else becomes one"
    known = ~np.isnan(values)
    assert known.sum() > 300_000
    np.testing.assert_array_equal(found[known].view(np.uint32), expected[known].view(np.uint32))


def test_bf16_is_what_ml_dtypes_makes(backend: Backend) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes, which comes with onnx, of the extra dev")
    values = np.random.default_rng(0).integers(0, 1 << 32, 100_001, dtype=np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(host(round_to("bf16", backend.array(values))), expected)


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4, 6)])
def test_any_layout_and_place(backend: Backend, name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = nearest(name, np.ascontiguousarray(values)).reshape(shape)
    for place in (backend.array, backend.strided, backend.fortran):
        given = place(values)
        found = round_to(name, given)
        assert (found.shape, found.dtype) == (shape, np.float32)
        np.testing.assert_array_equal(host(found), expected)
        np.testing.assert_array_equal(host(given), values)
    own, out = backend.array(values), backend.empty(shape, np.float32)
    assert round_to(name, own, own) is own
    assert round_to(name, backend.strided(values), out) is out
    for found in (own, out):
        np.testing.assert_array_equal(host(found), expected)
