"""What the comparisons with PyTorch share: drawn configurations, arrays in odd layouts, output and gradients side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError

CONFIGURATIONS = 40

PYTORCH_ERRORS = (RuntimeError, ValueError, IndexError, TypeError)

Agree = Callable[..., None]

Arguments = dict[str, Any]

Drawn = tuple[Arguments, list[np.ndarray]]
"""Keyword arguments, and the values of the tensors."""

drawn = pytest.mark.parametrize("seed", range(CONFIGURATIONS))

in_both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def lay_out(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same values, in memory as chance has it: contiguous, transposed, every other element, or back to front."""
    way = rng.integers(4)
    if way == 1:
        return np.array(values, order="F")
    if way == 2 and values.ndim:
        wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)
        wide[..., ::2] = values
        return wide[..., ::2]
    if way == 3 and values.ndim:
        return np.flip(np.flip(values).copy())
    return np.array(values, order="C")


def compare(
    agree: Agree,
    operation: str,
    seed: int,
    dtype: str,
    ours: Callable[..., Tensor],
    theirs: Callable[..., torch.Tensor],
    *values: np.ndarray,
    configuration: str = "",
) -> None:
    """Hold the output of `ours` and all gradients against those of `theirs`, both called with tensors of `values`."""
    rng = np.random.default_rng([seed, 1])
    arrays = [lay_out(value.astype(dtype), rng) for value in values]
    needs = rng.random(len(arrays)) < 0.5 if rng.random() < 0.25 else np.full(len(arrays), True)
    needs[rng.integers(len(arrays))] = True
    tensors = [Tensor(array, bool(need)) for array, need in zip(arrays, needs, strict=True)]
    references = [
        torch.tensor(array.copy(), requires_grad=bool(need)) for array, need in zip(arrays, needs, strict=True)
    ]

    output, expected = ours(*tensors), theirs(*references)
    pairs = {"output": (output.numpy(), expected.detach().numpy())}
    assert output.shape == tuple(expected.shape)
    incoming = rng.standard_normal(output.shape).astype(dtype)
    output.backward(lay_out(incoming, rng))
    expected.backward(torch.tensor(incoming))

    for position, (tensor, reference) in enumerate(zip(tensors, references, strict=True)):
        name = f"gradient of input {position}"
        if reference.grad is None:
            assert tensor.grad is None, f"{name}: was not asked for"
        else:
            assert tensor.grad is not None, f"{name}: is missing"
            pairs[name] = (tensor.grad, reference.grad.numpy())
        np.testing.assert_array_equal(tensor.numpy(), reference.detach().numpy(), f"input {position} was changed")
    agree(operation, configuration or seed, pairs)


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """A Python int from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))


def ones(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


def pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return integer(rng, low, high), integer(rng, low, high)


def draw_shape(rng: np.random.Generator, least: int = 1, most: int = 4) -> tuple[int, ...]:
    """`least` to `most` axes of 1 to 5."""
    return tuple(integer(rng, 1, 5) for _ in range(integer(rng, least, most)))


def assert_both_refuse(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    with pytest.raises(PYTORCH_ERRORS):
        theirs()
    with pytest.raises(GpucnnError):
        ours()
