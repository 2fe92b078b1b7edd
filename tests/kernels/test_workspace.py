"""Memory that is used again, and values kept by a mask."""

import threading

import numpy as np
import pytest

from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.workspace import LARGEST_KEPT, workspace
from tests.backends import Backend, host


def test_the_same_memory_serves_again_in_one_thread_alone() -> None:
    like = np.empty(1, np.float32)
    first = workspace((10, 20), like)
    assert (first.shape, first.dtype) == ((10, 20), np.float32)
    first[...] = 7
    assert np.shares_memory(first, workspace((5, 2), np.empty(1)))
    others: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: others.append(workspace((10, 20), like)))
    thread.start()
    thread.join()
    assert not np.shares_memory(workspace((10, 20), like), others[0])


def test_large_arrays_are_not_kept() -> None:
    like = np.empty(1, np.uint8)
    assert not np.shares_memory(workspace((LARGEST_KEPT + 1,), like), workspace((LARGEST_KEPT + 1,), like))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_masked_keeps_bits_or_gives_zero(backend: Backend, dtype: type) -> None:
    values = np.array([[1.5, -np.inf, np.nan], [-0.0, np.inf, 3]], dtype)
    condition = np.array([[True, False, False], [True, True, False]])
    for array in (backend.array(values), backend.array(values.T).transpose()):
        kept = masked(array, backend.array(condition))
        assert kept.dtype == dtype
        np.testing.assert_array_equal(host(kept), [[1.5, 0, 0], [0, np.inf, 0]])
        assert np.signbit(host(kept)[1, 0])
