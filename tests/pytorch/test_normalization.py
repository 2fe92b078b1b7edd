"""Normalisations against PyTorch: values, every gradient, running statistics."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")


def tensors(arrays: dict[str, np.ndarray]) -> tuple[dict, dict]:
    ours = {name: Tensor(array.copy(), requires_grad=True) for name, array in arrays.items()}
    theirs = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    return ours, theirs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", range(160))
def test_normalizations(agree: Callable[..., None], number: int, dtype: type) -> None:
    rng = np.random.default_rng(number)
    kind = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "local_response_norm")[number % 5]
    groups = int(rng.integers(1, 4))
    channels = groups * int(rng.integers(1, 4))
    positions = tuple(int(size) for size in rng.integers(2, 6, 2))
    shape = (int(rng.integers(2, 5)), channels, *positions)
    arrays = {"x": (rng.standard_normal(shape) * 2 + 0.5).astype(dtype)}
    affine = bool(rng.integers(2)) and kind != "local_response_norm"
    ending = shape[2:] if kind == "layer_norm" else (channels,)
    if affine:
        arrays |= {name: rng.standard_normal(ending).astype(dtype) for name in ("weight", "bias")}
    ours, theirs = tensors(arrays)
    weights = [side.get(name) for side in (ours, theirs) for name in ("weight", "bias")]
    pairs = {}
    if kind == "batch_norm":
        training = bool(rng.integers(2))
        statistics = [rng.standard_normal(channels).astype(dtype), rng.uniform(0.5, 2, channels).astype(dtype)]
        plain = number % 2 == 0
        mine = [array.copy() if plain else Tensor(array.copy()) for array in statistics]
        other = [torch.tensor(array) for array in statistics]
        output = F.batch_norm(ours["x"], *mine, *weights[:2], training, 0.3, 1e-4)
        expected = torch.nn.functional.batch_norm(theirs["x"], *other, *weights[2:], training, 0.3, 1e-4)
        pairs = {f"running {i}": (mine[i] if plain else mine[i].numpy(), other[i].numpy()) for i in (0, 1)}
    elif kind == "layer_norm":
        output = F.layer_norm(ours["x"], ending, *weights[:2])
        expected = torch.nn.functional.layer_norm(theirs["x"], ending, *weights[2:])
    elif kind == "group_norm":
        output = F.group_norm(ours["x"], groups, *weights[:2])
        expected = torch.nn.functional.group_norm(theirs["x"], groups, *weights[2:])
    elif kind == "instance_norm":
        output = F.instance_norm(ours["x"], *weights[:2])
        expected = torch.nn.functional.instance_norm(theirs["x"], weight=weights[2], bias=weights[3])
    else:
        size = int(rng.integers(1, 6))
        output = F.local_response_norm(ours["x"], size, 0.2, 0.6, 1.5)
        expected = torch.nn.functional.local_response_norm(theirs["x"], size, 0.2, 0.6, 1.5)
    gradient = rng.standard_normal(shape).astype(dtype)
    output.backward(gradient)
    expected.backward(torch.tensor(gradient))
    pairs["output"] = (output.numpy(), expected.detach().numpy())
    for name in arrays:
        pairs[f"gradient of {name}"] = (ours[name].grad, theirs[name].grad.numpy())
    agree(kind, number, pairs, 5e-5 if dtype is np.float32 else None)
