"""What the comparisons with PyTorch share: drawn configurations, arrays in odd layouts, output and gradients side by side."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError
from gpucnn.layers import Layer

CONFIGURATIONS = 40

PYTORCH_ERRORS = (RuntimeError, ValueError, IndexError, TypeError)

Agree = Callable[..., None]

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Arrays to hold together, ours and PyTorch's, by name."""

Arguments = dict[str, Any]

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


def run_both(
    rng: np.random.Generator,
    ours: Callable[..., Tensor],
    theirs: Callable[..., torch.Tensor],
    arrays: list[np.ndarray],
    needs: Sequence[bool],
) -> Pairs:
    """Outputs and gradients, ours and PyTorch's, of both called with tensors of `arrays`, of which some need a gradient."""
    tensors = [Tensor(array, bool(need)) for array, need in zip(arrays, needs, strict=True)]
    references = [
        torch.tensor(array.copy(), requires_grad=bool(need)) for array, need in zip(arrays, needs, strict=True)
    ]

    output, expected = ours(*tensors), theirs(*references)
    pairs = {"output": (output.numpy(), expected.detach().numpy())}
    assert output.shape == tuple(expected.shape)
    incoming = rng.standard_normal(output.shape).astype(output.dtype)
    output.backward(lay_out(incoming, rng))
    expected.backward(torch.tensor(incoming))

    for position, (tensor, reference) in enumerate(zip(tensors, references, strict=True)):
        pairs |= pair_gradients(f"gradient of input {position}", tensor.grad, reference.grad)
        np.testing.assert_array_equal(tensor.numpy(), reference.detach().numpy(), f"input {position} was changed")
    return pairs


def pair_gradients(name: str, gradient: np.ndarray | None, expected: torch.Tensor | None) -> Pairs:
    """Both, under `name`; none if nobody asked for one."""
    if expected is None:
        assert gradient is None, f"{name}: was not asked for"
        return {}
    assert gradient is not None, f"{name}: is missing"
    return {name: (gradient, expected.numpy())}


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
    agree(operation, configuration or seed, run_both(rng, ours, theirs, arrays, needs))


def compare_layer(
    agree: Agree,
    operation: str,
    seed: int,
    dtype: str,
    layer: Layer,
    module: torch.nn.Module,
    theirs: Callable[..., torch.Tensor],
    inputs: Sequence[np.ndarray],
    tolerance: float | None = None,
) -> None:
    """Hold a layer against PyTorch's, with the same random state, called with each of `inputs` in turn.

    Every output and input's gradient, the gradients of all parameters, which add up over the calls, and at the end all
    buffers, e.g. running statistics. `theirs` is what is called: `module`, or a function of it.
    """
    rng = np.random.default_rng([seed, 1])
    share_state(layer.astype(dtype), module.to(getattr(torch, dtype)), rng)
    parameters, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())
    pairs: Pairs = {}
    for call, values in enumerate(inputs):
        arrays = [lay_out(values.astype(dtype), rng)]
        needed = not parameters or rng.random() < 0.75
        for name, both in run_both(rng, layer, theirs, arrays, [needed]).items():
            pairs[f"{name} of call {call}"] = both
    for name, parameter in module.named_parameters():
        pairs |= pair_gradients(f"gradient of {name}", parameters[name].grad, parameter.grad)
    for name, buffer in module.named_buffers():
        if name in buffers:
            # Our counter of batches is a float as all else, and PyTorch's an integer.
            pairs[name] = (buffers[name].data, buffer.numpy().astype(dtype))
    agree(operation, seed, pairs, tolerance)


def share_state(layer: Layer, module: torch.nn.Module, rng: np.random.Generator) -> None:
    """Draw parameters and buffers, and load them into both, under PyTorch's names, in PyTorch's order and shapes."""
    # PyTorch's batch normalisation always counts its calls; ours where a momentum of None makes use of it.
    own = layer.state_dict()
    counter = "num_batches_tracked"
    shared = {name: value for name, value in module.state_dict().items() if not name.endswith(counter) or name in own}
    state = {}
    for name, value in shared.items():
        if name.endswith(counter):
            state[name] = torch.tensor(integer(rng, 0, 3), dtype=value.dtype)
            continue
        drawn = rng.uniform(0.5, 2, value.shape) if name.endswith("running_var") else rng.standard_normal(value.shape)
        state[name] = torch.tensor(drawn, dtype=value.dtype)
    module.load_state_dict({**module.state_dict(), **state})
    layer.load_state_dict({name: value.numpy() for name, value in state.items()})
    assert list(layer.state_dict()) == list(state)


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


def exact_hardsigmoid(x: torch.Tensor) -> torch.Tensor:
    """In place of PyTorch's for float64, whose gradient is 1/6 with the digits of a float32."""
    return torch.nn.functional.relu6(x + 3) / 6


def assert_both_refuse(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    with pytest.raises(PYTORCH_ERRORS):
        theirs()
    with pytest.raises(GpucnnError):
        ours()
