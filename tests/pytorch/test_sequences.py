"""Convolution and pooling of sequences against PyTorch, values and gradients, and what both refuse."""

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
    Agree,
    assert_both_refuse,
    compare,
    drawn,
    in_both_dtypes,
    integer,
    ones,
)

TF = torch.nn.functional


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@drawn
@in_both_dtypes
def test_conv1d(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    groups, channels, filters = (integer(rng, 1, 3) for _ in range(3))
    kernel, dilation, stride = integer(rng, 1, 4), integer(rng, 1, 3), integer(rng, 1, 3)
    padding = ("same", "valid", integer(rng, 0, 3))[seed % 3]
    if padding == "same":
        stride = 1
    values = [
        rng.standard_normal((integer(rng, 1, 3), channels * groups, dilation * (kernel - 1) + integer(rng, 1, 6))),
        rng.standard_normal((filters * groups, channels, kernel)),
    ]
    if rng.random() < 0.6:
        values.append(rng.standard_normal(filters * groups))
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    compare(
        agree,
        "conv1d",
        seed,
        dtype,
        lambda *x: F.conv1d(*x, **arguments),
        lambda *x: TF.conv1d(*x, **arguments),
        *values,
    )


@drawn
@in_both_dtypes
def test_max_pool1d(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    kernel, dilation = integer(rng, 1, 4), integer(rng, 1, 3)
    arguments = {
        "kernel_size": kernel,
        "stride": None if rng.random() < 0.3 else integer(rng, 1, 4),
        "padding": integer(rng, 0, kernel // 2),
        "dilation": dilation,
        "ceil_mode": bool(rng.random() < 0.5),
    }
    length = dilation * (kernel - 1) + integer(rng, 1, 6)
    values = rng.standard_normal((integer(rng, 1, 3), integer(rng, 1, 3), length))
    if seed % 3 == 1:
        values = np.round(values)  # ties
    compare(
        agree,
        "max_pool1d",
        seed,
        dtype,
        lambda x: F.max_pool1d(x, **arguments),
        lambda x: TF.max_pool1d(x, **arguments),
        values,
    )


@drawn
@in_both_dtypes
def test_avg_pool1d(agree: Agree, seed: int, dtype: str) -> None:
    """Sizes as ints, or, as PyTorch takes them too, in a tuple."""
    rng = np.random.default_rng(seed)
    kernel = integer(rng, 1, 5)
    arguments = {
        "kernel_size": kernel if seed % 3 else (kernel,),
        "stride": None if rng.random() < 0.3 else integer(rng, 1, 4),
        "padding": integer(rng, 0, kernel // 2),
        "ceil_mode": bool(rng.random() < 0.5),
        "count_include_pad": bool(rng.random() < 0.5),
    }
    values = rng.standard_normal((integer(rng, 1, 3), integer(rng, 1, 3), kernel + integer(rng, 0, 6)))
    compare(
        agree,
        "avg_pool1d",
        seed,
        dtype,
        lambda x: F.avg_pool1d(x, **arguments),
        lambda x: TF.avg_pool1d(x, **arguments),
        values,
    )


@drawn
@in_both_dtypes
def test_adaptive_pool1d(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    length = integer(rng, 1, 8)
    values, size = rng.standard_normal((integer(rng, 1, 3), integer(rng, 1, 3), length)), integer(rng, 1, 6)
    for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d"):
        ours, theirs = getattr(F, name), getattr(TF, name)
        compare(agree, name, seed, dtype, lambda x, ours=ours: ours(x, size), lambda x, f=theirs: f(x, size), values)
        assert ours(values, None).shape == values.shape


@drawn
@in_both_dtypes
def test_max_unpool1d(agree: Agree, seed: int, dtype: str) -> None:
    """From the maxima of windows that do not overlap, which have places of their own."""
    rng = np.random.default_rng(seed)
    kernel, stride = integer(rng, 1, 4), integer(rng, 4, 5)
    padding, steps = integer(rng, 0, kernel // 2), integer(rng, 1, 4)
    length = steps * stride + kernel - 2 * padding + integer(rng, 0, stride - 1)
    values = rng.standard_normal((2, 3, length))

    def ours(x: Tensor) -> Tensor:
        return F.max_unpool1d(
            *F.max_pool1d(x, kernel, stride, padding, return_indices=True), kernel, stride, padding, [length]
        )

    def theirs(x: torch.Tensor) -> torch.Tensor:
        maxima, indices = TF.max_pool1d(x, kernel, stride, padding, return_indices=True)
        return TF.max_unpool1d(maxima, indices, kernel, stride, padding, [length])

    compare(agree, "max_unpool1d", seed, dtype, ours, theirs, values)


@pytest.mark.parametrize(
    ("name", "arrays", "arguments"),
    [
        ("conv1d", (ones(1, 2, 5), ones(1, 3, 2)), {}),
        ("conv1d", (ones(1, 2, 5), ones(1, 2, 6)), {}),
        ("conv1d", (ones(1, 2, 5), ones(2, 2, 2), ones(3)), {}),
        ("conv1d", (ones(1, 2, 5), ones(3, 1, 2)), {"groups": 2}),
        ("conv1d", (ones(1, 2, 5), ones(1, 2, 2)), {"padding": "same", "stride": 2}),
        ("conv1d", (ones(1, 2, 5), ones(1, 2, 2)), {"padding": "full"}),
        ("conv1d", (ones(1, 2, 5), ones(1, 2, 2)), {"stride": 0}),
        ("max_pool1d", (ones(1, 2, 5),), {"kernel_size": 2, "padding": 2}),
        ("max_pool1d", (ones(1, 2, 5),), {"kernel_size": 6}),
        ("max_pool1d", (ones(1, 2, 5),), {"kernel_size": 0}),
        ("avg_pool1d", (ones(1, 2, 5),), {"kernel_size": 3, "padding": 2}),
        ("avg_pool1d", (ones(1, 2, 5),), {"kernel_size": (2, 2)}),
        ("adaptive_avg_pool1d", (ones(1, 2, 5),), {"output_size": -1}),
        ("adaptive_max_pool1d", (ones(1, 2, 0),), {"output_size": 2}),
    ],
)
def test_what_both_refuse(name: str, arrays: tuple[np.ndarray, ...], arguments: dict) -> None:
    assert_both_refuse(
        lambda: getattr(F, name)(*arrays, **arguments),
        lambda: getattr(TF, name)(*(torch.tensor(array) for array in arrays), **arguments),
    )
