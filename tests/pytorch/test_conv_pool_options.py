"""Transposed convolution, padding in its other forms, adaptive pooling and unpooling against PyTorch."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
TF = torch.nn.functional


def both(arrays: dict[str, np.ndarray]) -> tuple[dict, dict]:
    ours = {name: Tensor(array.copy(), requires_grad=True) for name, array in arrays.items()}
    return ours, {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}


def compare(agree: Callable[..., None], name: str, number: int, output: Tensor, expected: object, sides: tuple) -> None:
    gradient = np.random.default_rng(number).standard_normal(output.shape).astype(output.dtype)
    output.backward(gradient)
    expected.backward(torch.tensor(gradient))  # type: ignore[attr-defined]
    ours, theirs = sides
    pairs = {f"gradient of {key}": (ours[key].grad, theirs[key].grad.numpy()) for key in ours}
    agree(name, number, {"output": (output.numpy(), expected.detach().numpy()), **pairs})  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(40))
def test_conv_transpose2d(agree: Callable[..., None], number: int, dtype: type) -> None:
    rng = np.random.default_rng(number)
    groups, inner, outer = (int(size) for size in rng.integers(1, 4, 3))
    kernel, stride, dilation = (tuple(int(size) for size in rng.integers(1, 4, 2)) for _ in range(3))
    padding = tuple(int(rng.integers(0, (d * (k - 1)) // 2 + 1)) for k, d in zip(kernel, dilation, strict=True))
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    arrays = {
        "x": rng.standard_normal((2, groups * inner, 3, 4)),
        "weight": rng.standard_normal((groups * inner, outer, *kernel)),
        "bias": rng.standard_normal(groups * outer),
    }
    sides = both({name: array.astype(dtype) for name, array in arrays.items()})
    options = (stride, padding, extra, groups, dilation)
    output, expected = (
        F.conv_transpose2d(*sides[0].values(), *options),
        TF.conv_transpose2d(*sides[1].values(), *options),
    )
    compare(agree, "conv_transpose2d", number, output, expected, sides)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's own, about its speed
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(30))
def test_conv2d_padding(agree: Callable[..., None], number: int, dtype: type) -> None:
    rng = np.random.default_rng(number)
    kernel, dilation = (tuple(int(size) for size in rng.integers(1, 5, 2)) for _ in range(2))
    arrays = {"x": rng.standard_normal((2, 2, 13, 14)), "weight": rng.standard_normal((3, 2, *kernel))}
    sides = both({name: array.astype(dtype) for name, array in arrays.items()})
    (x, weight), (their_x, their_weight) = (list(side.values()) for side in sides)
    if number % 2:
        padding = ("same", "valid")[number // 2 % 2]
        output = F.conv2d(x, weight, padding=padding, dilation=dilation)
        expected = TF.conv2d(their_x, their_weight, padding=padding, dilation=dilation)
    else:
        (top, bottom), (left, right) = sides_of = [[int(size) for size in rng.integers(0, 3, 2)] for _ in range(2)]
        output = F.conv2d(x, weight, None, 2, sides_of, dilation)
        expected = TF.conv2d(TF.pad(their_x, (left, right, top, bottom)), their_weight, None, 2, 0, dilation)
    compare(agree, "conv2d padding", number, output, expected, sides)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(60))
def test_adaptive_pooling(agree: Callable[..., None], number: int, dtype: type) -> None:
    rng = np.random.default_rng(number)
    size = tuple(None if rng.random() < 0.2 else int(side) for side in rng.integers(1, 7, 2))
    x = rng.permutation(2 * 3 * 6 * 7).reshape(2, 3, 6, 7).astype(dtype) / 50
    name = ("adaptive_avg_pool2d", "adaptive_max_pool2d")[number % 2]
    sides = both({"x": x})
    output, expected = (getattr(module, name)(side["x"], size) for module, side in zip((F, TF), sides, strict=True))
    compare(agree, name, number, output, expected, sides)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(40))
def test_max_unpool2d(agree: Callable[..., None], number: int, dtype: type) -> None:
    """With the images' size given, or, where the windows cover them, found."""
    rng = np.random.default_rng(number)
    kernel, stride = (tuple(int(size) for size in rng.integers(1, 4, 2)) for _ in range(2))
    padding = tuple(int(rng.integers(0, size // 2 + 1)) for size in kernel)
    steps = rng.integers(2, 5, 2)
    size = [int(steps[axis] - 1) * stride[axis] + kernel[axis] - 2 * padding[axis] for axis in (0, 1)]
    if number % 2:
        size = [side + int(rng.integers(0, step)) for side, step in zip(size, stride, strict=True)]
    sides = both({"x": rng.standard_normal((2, 2, *size)).astype(dtype)})
    (maxima, indices), (their_maxima, their_indices) = (
        module.max_pool2d(side["x"], kernel, stride, padding, return_indices=True)
        for module, side in zip((F, TF), sides, strict=True)
    )
    np.testing.assert_array_equal(indices.numpy(), their_indices.numpy())
    given = {"output_size": tuple(size)} if number % 2 else {}
    output = F.max_unpool2d(maxima, indices, kernel, stride, padding, **given)
    expected = TF.max_unpool2d(their_maxima, their_indices, kernel, stride, padding, **given)
    compare(agree, "max_unpool2d", number, output, expected, sides)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(40))
def test_pooling_padded_at_one_side(agree: Callable[..., None], number: int, dtype: type) -> None:
    """PyTorch is given images with borders of minus infinity, or of zeros."""
    rng = np.random.default_rng(number)
    kernel, stride = (tuple(int(size) for size in rng.integers(1, 5, 2)) for _ in range(2))
    (top, bottom), (left, right) = sides_of = [
        [int(end) for end in rng.integers(0, size // 2 + 1, 2)] for size in kernel
    ]
    sides = both({"x": rng.standard_normal((2, 2, 7, 6)).astype(dtype)})
    name, border = (("max_pool2d", -np.inf), ("avg_pool2d", 0))[number % 2]
    output = getattr(F, name)(sides[0]["x"], kernel, stride, sides_of)
    padded = TF.pad(sides[1]["x"], (left, right, top, bottom), value=border)
    compare(agree, f"{name} padding", number, output, getattr(TF, name)(padded, kernel, stride), sides)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(40))
def test_indices_of_adaptive_maxima(agree: Callable[..., None], number: int, dtype: type) -> None:
    rng = np.random.default_rng(number)
    axes = 1 + number % 2
    size = tuple(int(side) for side in rng.integers(1, 5, axes))
    values = rng.integers(-3, 4, (2, 3, *rng.integers(1, 8, axes))).astype(dtype)  # ties among them
    sides = both({"x": values})
    name = f"adaptive_max_pool{axes}d"
    (output, indices), (expected, their_indices) = (
        getattr(module, name)(side["x"], size, return_indices=True) for module, side in zip((F, TF), sides, strict=True)
    )
    np.testing.assert_array_equal(indices.numpy(), their_indices.numpy())
    compare(agree, name, number, output, expected, sides)
