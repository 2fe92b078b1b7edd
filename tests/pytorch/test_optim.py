"""SGD, Adam and the one-cycle schedule against PyTorch's, step by step on the same gradients."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import GpucnnError
from gpucnn.layers import Linear, Sequential
from gpucnn.optim import SGD, Adam, one_cycle

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

STEPS = 50

Agree = Callable[..., None]
Arguments = dict[str, Any]

SGD_ARGUMENTS: list[Arguments] = [
    {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    for lr, momentum, weight_decay, nesterov in product(
        [0.5, 0.01], [0.0, 0.5, 0.9, 0.99], [0.0, 5e-4, 0.1], [False, True]
    )
    if momentum or not nesterov
]
ADAM_ARGUMENTS: list[Arguments] = [
    {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    for lr, betas, eps, weight_decay in product(
        [0.1, 1e-3], [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.95, 0.5)], [1e-8, 1e-3], [0.0, 0.01, 0.3]
    )
]


def name_of(arguments: Arguments) -> str:
    return " ".join(f"{name}={value}" for name, value in arguments.items()).replace(", ", ",")


def compare(
    agree: Agree, ours: Callable[..., Any], theirs: Callable[..., Any], arguments: Arguments, dtype: str
) -> None:
    """Change equal parameters by equal gradients, and compare their values after all steps: arrays (steps, ...).

    Some gradients are zero, the second bias has none in every third step, and the learning rate falls half-way.
    """
    operation = f"{ours.__name__}, {STEPS} steps"
    rng = np.random.default_rng(0)
    model = Sequential(Linear(4, 5), Linear(5, 3)).astype(dtype)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.assign(rng.standard_normal(parameter.shape))
    references = [torch.nn.Parameter(torch.tensor(parameter.data)) for parameter in parameters]
    optimizer, reference_optimizer = ours(parameters, **arguments), theirs(references, **arguments)
    histories: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in parameters]
    for step in range(STEPS):
        if step == STEPS // 2:
            optimizer.lr /= 10
            reference_optimizer.param_groups[0]["lr"] /= 10
        optimizer.zero_grad()
        reference_optimizer.zero_grad()
        for position, (parameter, reference) in enumerate(zip(parameters, references, strict=True)):
            if position == 3 and step % 3 == 0:
                continue
            gradient = rng.standard_normal(parameter.shape) * (rng.random(parameter.shape) < 0.8)
            parameter.grad = gradient.astype(dtype)
            reference.grad = torch.tensor(parameter.grad)
        optimizer.step()
        reference_optimizer.step()
        for history, parameter, reference in zip(histories, parameters, references, strict=True):
            history.append((parameter.data.copy(), reference.detach().numpy().copy()))
    pairs = {
        parameter.path: tuple(map(np.array, zip(*history, strict=True)))
        for parameter, history in zip(parameters, histories, strict=True)
    }
    agree(operation, name_of(arguments), pairs)


@pytest.mark.parametrize("arguments", SGD_ARGUMENTS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd(agree: Agree, arguments: Arguments, dtype: str) -> None:
    compare(agree, SGD, torch.optim.SGD, arguments, dtype)


@pytest.mark.parametrize("arguments", ADAM_ARGUMENTS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam(agree: Agree, arguments: Arguments, dtype: str) -> None:
    compare(agree, Adam, torch.optim.Adam, arguments, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_defaults(agree: Agree, dtype: str) -> None:
    """All arguments left out, but for SGD's learning rate, whose default of 0.01 PyTorch does not have."""
    compare(agree, Adam, torch.optim.Adam, {}, dtype)
    compare(agree, SGD, torch.optim.SGD, {"lr": 0.01}, dtype)


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (SGD, torch.optim.SGD, {"lr": -0.1}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": -0.9}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": -1.0}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "nesterov": True}),
        (Adam, torch.optim.Adam, {"lr": -0.1}),
        (Adam, torch.optim.Adam, {"betas": (1.0, 0.999)}),
        (Adam, torch.optim.Adam, {"betas": (0.9, 1.0)}),
        (Adam, torch.optim.Adam, {"betas": (-0.1, 0.999)}),
        (Adam, torch.optim.Adam, {"eps": -1e-8}),
        (Adam, torch.optim.Adam, {"weight_decay": -1.0}),
    ],
)
def test_both_refuse(ours: Callable[..., Any], theirs: Callable[..., Any], arguments: Arguments) -> None:
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
        theirs([torch.nn.Parameter(torch.ones(2))], **arguments)
    with pytest.raises(GpucnnError):
        ours(Linear(1, 2).parameters(), **arguments)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 5, 6, 7, 11, 20, 97, 100, 1000, 4690])
@pytest.mark.parametrize("warmup", [None, 0.25, 0.45, 0.9])
def test_one_cycle(agree: Agree, total_steps: int, warmup: float | None) -> None:
    """The learning rate of every step. Not for a warm-up of exactly one step, where PyTorch divides by zero."""
    peak = 0.3
    ours = one_cycle(peak, total_steps) if warmup is None else one_cycle(peak, total_steps, warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps, pct_start=0.3 if warmup is None else warmup, cycle_momentum=False
    )
    expected = []
    for step in range(total_steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total_steps - 1:
            scheduler.step()
    rates = np.array([ours(step) for step in range(total_steps)])
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=0)
    agree("one_cycle", (total_steps, warmup), {"rates": (rates, np.array(expected))})
