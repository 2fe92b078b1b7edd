"""Checks of plain arguments on numbers at the edge of what a float holds."""

import numpy as np
import pytest

from gpucnn.checks import as_number, is_finite
from gpucnn.errors import ArgumentError

HUGE = 10**400


def test_what_is_finite() -> None:
    assert all(map(is_finite, [0, -1.5, np.float32(2), np.int64(3), 10**300]))
    assert not any(map(is_finite, [HUGE, -HUGE, float("inf"), float("nan"), True, "1", None, 1j]))


@pytest.mark.parametrize("value", [HUGE, float("inf"), float("nan"), True, "1"])
def test_a_number_that_no_float_holds_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="rate must be a number >= 0, got "):
        as_number(value, "rate")  # type: ignore[arg-type]
