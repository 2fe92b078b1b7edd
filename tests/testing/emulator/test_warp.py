"""Instructions of a whole warp: tensor cores, as PTX has them."""

from typing import Any

import numpy as np
import pytest

from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.emulator import EmulatedFunction, Emulator
from tests.testing.emulator.clean_kernels import FOLDER, Array

SOURCE = with_includes(FOLDER / "warp.cu")


def function(emulator: Emulator, name: str) -> EmulatedFunction:
    return emulator.module(SOURCE, filename="warp.cu").function(name)


def as_tf32(x: Array) -> Any:
    """Rounded to a mantissa of 10 bits, ties away from zero: by arithmetic, not by bits."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2**11
    return np.ldexp(np.copysign(np.floor(np.abs(scaled) + 0.5), scaled), exponent - 11)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_products_of_tf32(rng: np.random.Generator, mode: str, order: str) -> None:
    a, b = rng.standard_normal((16, 8), np.float32), rng.standard_normal((8, 8), np.float32)
    d = np.full((16, 8), np.nan, np.float32)
    function(Emulator(mode, order), "product")((1,), (32,), (a, b, d))
    np.testing.assert_allclose(d, as_tf32(a) @ as_tf32(b), rtol=1e-6, atol=1e-6)
