"""Weights in the order in which compiled convolutions read them."""

import itertools

import numpy as np
import pytest

from gpucnn.kernels import jit

pytestmark = pytest.mark.usefixtures("needs_llvmlite")


@pytest.mark.parametrize("shape", list(itertools.product((1, 2, 11), (1, 3), (1, 2), (1, 3))))
def test_weights_are_packed_whatever_their_layout(shape: tuple[int, ...]) -> None:
    """Views that are turned round, as the gradient of images has them, become a new array, as copies of them do."""
    weight = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for view in (weight, weight[:, :, ::-1, ::-1], weight[::-1], np.asfortranarray(weight)):
        packed = jit.convolution.pack(view, 1, jit.host.host())
        assert packed.flags.c_contiguous
        np.testing.assert_array_equal(packed, jit.convolution.pack(view.copy("C"), 1, jit.host.host()))
        assert sorted(packed) == sorted(weight.ravel())
