import numpy as np
import pytest

from gpucnn.diagnosis.array_summary import summarize
from tests.backends import Backend

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, -2.0, 4.0], "-2 to 4, mean 1"),
        ([NAN, NAN], "100% NaN"),
        ([INF, -INF], "100% inf"),
        ([1.0, 3.0, NAN, -INF], "1 to 3, mean 2, 25.0% NaN, 25.0% inf"),
        ([NAN] + [0.5] * 9999, "0.5 to 0.5, mean 0.5, 0.1% NaN"),
        ([NAN] * 9999 + [0.5], "0.5 to 0.5, mean 0.5, 99.9% NaN"),
        ([], "empty"),
        ([3e38, 3e38], "3e+38 to 3e+38, mean 3e+38"),
    ],
)
def test_text(values: list[float], text: str) -> None:
    assert str(summarize(np.array(values, np.float32))) == text


def test_every_backend(backend: Backend) -> None:
    found = summarize(backend.strided(np.array([[1, NAN], [INF, 2]], np.float32)))
    assert (found.size, found.least, found.most, found.mean, found.nan, found.infinite) == (4, 1, 2, 1.5, 1, 1)
    assert not found.finite
    assert summarize(backend.array(np.zeros((2, 0, 3)))).finite
