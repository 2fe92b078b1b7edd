"""Gradient clipping against PyTorch's, before 50 steps of SGD."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import optim
from gpucnn.layers import Linear, Sequential

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

STEPS = 50

Agree = Callable[..., None]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("clip_gradient_norm", torch.nn.utils.clip_grad_norm_),
        ("clip_gradient_value", torch.nn.utils.clip_grad_value_),
        ("Optimizer.clip_norm", torch.nn.utils.clip_grad_norm_),
    ],
)
@pytest.mark.parametrize("most", [0.0, 0.01, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping(agree: Agree, ours: str, theirs: Callable[..., Any], most: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    model = Sequential(Linear(4, 5), Linear(5, 3)).astype(dtype)
    parameters = list(model.parameters())
    references = [torch.nn.Parameter(torch.tensor(parameter.data.copy())) for parameter in parameters]
    optimizer, reference_optimizer = optim.SGD(parameters, 0.1, 0.9), torch.optim.SGD(references, 0.1, 0.9)
    values: list[tuple[Any, ...]] = []
    norms: list[tuple[float, float]] = []
    for step in range(STEPS):
        optimizer.zero_grad()
        reference_optimizer.zero_grad()
        for position, (parameter, reference) in enumerate(zip(parameters, references, strict=True)):
            if position == 3 and step % 3 == 0:
                continue
            gradient = rng.standard_normal(parameter.shape) * 10.0 ** rng.integers(-3, 2)
            parameter.grad = gradient.astype(dtype)
            reference.grad = torch.tensor(parameter.grad.copy())
        if ours == "Optimizer.clip_norm":
            returned = optimizer.clip_norm(most)
        else:
            returned = getattr(optim, ours)(parameters, most)
        expected = theirs(references, most)
        norms.append((float(returned or 0.0), float(expected or 0.0)))
        values += [
            (parameter.grad.copy(), reference.grad.numpy().copy())
            for parameter, reference in zip(parameters, references, strict=True)
            if parameter.grad is not None
        ]
        optimizer.step()
        reference_optimizer.step()
    values += [(parameter.data, one.detach().numpy()) for parameter, one in zip(parameters, references, strict=True)]
    assert any(norm > most for norm, _ in norms) == (ours != "clip_gradient_value" and most < 100)
    pairs = {str(number): pair for number, pair in enumerate(values)}
    pairs["norms"] = tuple(np.array(norms, dtype).T)
    agree(f"{ours}, {STEPS} steps", most, pairs)
