"""Kernels without a bug: no report, and NumPy's values, in every mode and order."""

import numpy as np
import pytest

from gpucnn.testing.emulator import Emulator
from tests.testing.emulator.clean_kernels import CASES, run


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_no_report(name: str, mode: str, order: str) -> None:
    launch = run(CASES[name], Emulator(mode, order, seed=7))
    for array, expected in launch.expected:
        np.testing.assert_allclose(array, expected, rtol=2e-5, atol=2e-5)
