"""Wrong arguments are refused before any arithmetic, with what was got, what was expected, and the fix."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32))


WRONG: list[tuple[Callable[[], object], type[GpucnnError], str]] = [
    (
        lambda: F.conv2d(ones(1, 3, 8, 8), ones(4, 1, 3, 3)),
        ShapeError,
        "conv2d: expected input (N, 1, H, W), got (1, 3, 8, 8); give it 1 channels or build it with in_channels=3",
    ),
    (
        lambda: F.conv2d(ones(1, 1, 8, 8), ones(3, 3)),
        ShapeError,
        "conv2d: expected weight (O, C / groups, KH, KW), no size 0, got (3, 3)",
    ),
    (
        lambda: F.conv2d(ones(1, 1, 8, 8), ones(4, 1, 3, 3), ones(3)),
        ShapeError,
        "conv2d: expected bias (4,), one per filter, got (3,)",
    ),
    (
        lambda: F.conv2d(ones(1, 1, 2, 2), ones(4, 1, 3, 3)),
        ShapeError,
        (
            "conv2d: a window of 3x3 does not fit into an image of 2x2 with padding 0; use a smaller kernel_size or dilation,"
            " more padding, or larger images"
        ),
    ),
    (
        lambda: F.conv2d(ones(1, 2, 8, 8), ones(3, 1, 3, 3), groups=2),
        ArgumentError,
        "conv2d: groups must be an int >= 1 that divides 3 filters, got 2",
    ),
    (
        lambda: F.conv2d(ones(1, 2, 8, 8), ones(4, 2, 3, 3), groups=2),
        ShapeError,
        "conv2d: expected input (N, 4, H, W), got (1, 2, 8, 8); give it 4 channels or build it with in_channels=2",
    ),
    (
        lambda: F.conv2d(ones(1, 1, 8, 8), ones(4, 1, 3, 3), stride=0),
        ArgumentError,
        "stride must be an int >= 1 or a (height, width) pair of them, got 0",
    ),
    (
        lambda: F.conv2d(ones(1, 1, 8, 8), ones(4, 1, 3, 3), padding=-1),
        ArgumentError,
        "padding must be an int >= 0 or a (height, width) pair of them, got -1",
    ),
    (
        lambda: F.conv2d(Tensor(np.ones((1, 1, 8, 8))), ones(4, 1, 3, 3)),
        DTypeError,
        (
            "conv2d: float64 and float32 met in one operation; make them one dtype, e.g. "
            "array.astype('float32') or model.astype('float64')"
        ),
    ),
    (
        lambda: F.batch_norm(Tensor(np.ones((2, 3), np.float16)), ones(3), ones(3)),
        DTypeError,
        (
            "batch_norm: float32 and float16 met in one operation; make them one dtype, e.g. "
            "array.astype('float16') or model.astype('float32')"
        ),
    ),
    (
        lambda: F.max_pool2d(ones(1, 8, 8), 2),
        ShapeError,
        "max_pool2d: expected input (N, C, H, W), got (1, 8, 8); add a batch axis: x[None]",
    ),
    (
        lambda: F.max_pool2d(Tensor(np.ones((1, 1, 4, 4), np.int64)), 2),
        DTypeError,
        "max_pool2d: expected floats, got int64; convert with array.astype('float32')",
    ),
    (
        lambda: F.avg_pool2d(ones(1, 1, 4, 4), 2, padding=2),
        ArgumentError,
        (
            "avg_pool2d: padding must be at most half of kernel_size, got padding 2 for a kernel of 2x2: some windows would "
            "see no image at all"
        ),
    ),
    (
        lambda: F.linear(ones(2, 3, 4), ones(5, 12)),
        ShapeError,
        "linear: expected input (..., 12), got (2, 3, 4); flatten the images first, or build it with in_features=4",
    ),
    (
        lambda: F.linear(ones(2, 3), ones(5, 4)),
        ShapeError,
        "linear: expected input (N, 4), got (2, 3); build it with in_features=3",
    ),
    (
        lambda: F.linear(ones(3), ones(5, 4)),
        ShapeError,
        "linear: expected input (..., 4), got (3,); build it with in_features=3",
    ),
    (lambda: F.linear(ones(), ones(5, 4)), ShapeError, "linear: expected input (..., 4), got (); give it vectors"),
    (lambda: F.linear(ones(3), ones(3)), ShapeError, "linear: expected weight (out, in), got (3,)"),
    (
        lambda: F.cross_entropy(ones(2, 3), [0, 3]),
        ArgumentError,
        "cross_entropy: labels must be from 0 to 2, got 0 to 3; the model needs as many outputs as there are classes",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), [0.0, 1.0]),
        DTypeError,
        "cross_entropy: labels must be integers, got float32; convert with astype('int64')",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), [0]),
        ShapeError,
        "cross_entropy: expected labels (2,) for logits (2, 3), got (1,); give one class index per image",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), [0, 1], label_smoothing=1),
        ArgumentError,
        "cross_entropy: label_smoothing must be a number from 0 to below 1, got 1",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), [0, 1], weight=[1.0, 2.0]),
        ShapeError,
        "cross_entropy: expected weight (3,), one per class, got (2,)",
    ),
    (
        lambda: F.cross_entropy(ones(2), [0, 1]),
        ShapeError,
        "cross_entropy: expected logits (N, classes) or (N, classes, d1, ...) of at least one image, got (2,)",
    ),
    (
        lambda: F.cross_entropy(ones(2, 4, 3, 5), np.zeros((2, 1, 3, 5), int)),
        ShapeError,
        (
            "cross_entropy: expected labels (2, 3, 5) for logits (2, 4, 3, 5), got (2, 1, 3, 5); "
            "give one class index per position"
        ),
    ),
    (
        lambda: F.nll_loss(ones(2, 4, 3), np.zeros(2, int)),
        ShapeError,
        "nll_loss: expected labels (2, 3) for log_probabilities (2, 4, 3), got (2,); give one class index per position",
    ),
    (
        lambda: F.nll_loss(ones(2, 4, 0), np.zeros((2, 0), int)),
        ShapeError,
        "nll_loss: expected log_probabilities (N, classes) or (N, classes, d1, ...) of at least one image, got (2, 4, 0)",
    ),
    (
        lambda: F.cross_entropy(ones(2, 4, 3), ones(2, 3, 4)),
        ShapeError,
        (
            "cross_entropy: expected probabilities (2, 4, 3), as logits has it, got (2, 3, 4); give one per image and class, "
            "or integer labels (2, 3)"
        ),
    ),
    (
        lambda: F.cross_entropy(ones(2, 4, 3), np.full((2, 3), 4)),
        ArgumentError,
        "cross_entropy: labels must be from 0 to 3, got 4 to 4; the model needs as many outputs as there are classes",
    ),
    (
        lambda: F.softmax(ones(3)),
        ShapeError,
        "softmax: axis 1 must be an axis, with at least one element, of (3,); logits (N, classes) go with axis=1",
    ),
    (
        lambda: ones(2, 3) + ones(2, 4),
        ShapeError,
        "add: shapes (2, 3) and (2, 4) do not broadcast; from the last axis backwards, sizes must be equal or 1",
    ),
    (
        lambda: ones(2, 3) @ ones(2, 3),
        ShapeError,
        "matmul: expected (..., M, K) @ (..., K, N), got (2, 3) @ (2, 3); transpose or reshape one of them",
    ),
    (
        lambda: ones(2, 3).reshape(4, -1),
        ShapeError,
        "reshape: (2, 3) has 6 elements and does not fit into (4, -1); give sizes whose product is 6",
    ),
    (
        lambda: F.transpose(ones(2, 3), (0, 0)),
        ShapeError,
        "transpose: axis must name axes of a 2-dimensional tensor, each once, got (0, 0)",
    ),
    (
        lambda: F.sum(ones(2, 3), axis=2),
        ShapeError,
        "sum: axis must name axes of a 2-dimensional tensor, each once, got 2",
    ),
    (lambda: F.flatten(ones(2), 1), ShapeError, "flatten: start_axis must name an axis of (2,), got 1"),
    (
        lambda: F.power(ones(2), ones(3)),
        ShapeError,
        "power: shapes (2,) and (3,) do not broadcast; from the last axis backwards, sizes must be equal or 1",
    ),
    (lambda: F.power(ones(2), "a"), DTypeError, "expected numbers, got str of dtype <U1"),  # type: ignore[arg-type]
    (
        lambda: F.power(Tensor(np.ones(2, int)), [1, 2]),
        DTypeError,
        "power: expected floats, got int64; convert with array.astype('float32')",
    ),
    (
        lambda: F.softmax(ones(2, 3), (1, -1)),
        ShapeError,
        "softmax: axis (1, -1) must be axes, each once and with at least one element, of (2, 3); logits (N, classes) go with axis=1",
    ),
    (
        lambda: F.log_softmax(ones(2, 0, 3), None),
        ShapeError,
        "log_softmax: axis None must be axes, each once and with at least one element, of (2, 0, 3); logits (N, classes) go with axis=1",
    ),
    (
        lambda: F.clip(ones(2, 3), ones(2), None),
        ShapeError,
        "clip: shapes (2, 3) and (2,) do not broadcast; from the last axis backwards, sizes must be equal or 1",
    ),
    (
        lambda: ones(3) @ ones(2, 3),
        ShapeError,
        "matmul: expected (..., M, K) @ (..., K, N), got (3,) @ (2, 3); transpose or reshape one of them",
    ),
    (
        lambda: ones() @ ones(3),
        ShapeError,
        "matmul: expected (..., M, K) @ (..., K, N), got () @ (3,); transpose or reshape one of them",
    ),
    (
        lambda: F.dropout(ones(2), 1.0),
        ArgumentError,
        "dropout: p, the share of elements to drop, must be a number from 0 to below 1, got 1.0",
    ),
    (
        lambda: np.sin(Tensor(np.ones(2), requires_grad=True)),  # type: ignore[call-overload]
        DTypeError,
        "np.sin has no gradient in gpucnn; use gpucnn.functions, or tensor.numpy() for the values",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:50] for *_, message in WRONG])
def test_the_message(call: Callable[[], object], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_errors_are_the_built_in_kind_too() -> None:
    with pytest.raises(ValueError, match="conv2d"):
        F.conv2d(ones(1, 3, 8, 8), ones(4, 1, 3, 3))
    with pytest.raises(TypeError, match="labels must be integers"):
        F.cross_entropy(ones(1, 3), [0.5])


def test_nothing_is_computed_before_shapes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpucnn.functions import conv

    monkeypatch.setattr(conv, "kernel", None)
    with pytest.raises(ShapeError):
        F.conv2d(ones(1, 3, 8, 8), ones(4, 1, 3, 3))
