"""Every optimizer against PyTorch's, step by step on the same gradients. Lion, which PyTorch lacks, is in tests/optim."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import GpucnnError
from gpucnn.layers import Linear, Sequential
from gpucnn.optim import SGD, Adagrad, Adam, AdamW, Group, RMSprop

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
RMSPROP_ARGUMENTS: list[Arguments] = [
    {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
    for lr, (alpha, eps), weight_decay, momentum, centered in product(
        [0.1, 1e-3], [(0.99, 1e-8), (0.5, 1e-3)], [0.0, 0.1], [0.0, 0.9], [False, True]
    )
]
ADAGRAD_ARGUMENTS: list[Arguments] = [
    {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "initial_accumulator_value": initial, "eps": eps}
    for lr, lr_decay, weight_decay, initial, eps in product(
        [0.1, 1e-3], [0.0, 0.1], [0.0, 0.1], [0.0, 0.5], [1e-10, 1e-3]
    )
]


def name_of(arguments: Arguments) -> str:
    return " ".join(f"{name}={value}" for name, value in arguments.items()).replace(", ", ",")


def alike(parameters: list[Any], references: list[Any], arguments: Arguments) -> tuple[list[Any], list[Any]]:
    """All parameters in one group."""
    return parameters, references


def compare(
    agree: Agree,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arguments: Arguments,
    dtype: str,
    grouped: Callable[..., tuple[list[Any], list[Any]]] = alike,
    **own_arguments: bool,
) -> None:
    """Change equal parameters by equal gradients, and compare their values after all steps: arrays (steps, ...).

    Some gradients are zero, the second bias has none in every third step, and the learning rate falls half-way. `grouped`
    puts parameters, ours and PyTorch's, into groups; `own_arguments` are for ours alone.
    """
    operation = f"{ours.__name__}, {STEPS} steps{'' if grouped is alike else ', groups'}"
    rng = np.random.default_rng(0)
    model = Sequential(Linear(4, 5), Linear(5, 3)).astype(dtype)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.assign(rng.standard_normal(parameter.shape))
    references = [torch.nn.Parameter(torch.tensor(parameter.data)) for parameter in parameters]
    our_groups, their_groups = grouped(parameters, references, arguments)
    optimizer, reference_optimizer = ours(our_groups, **arguments, **own_arguments), theirs(their_groups, **arguments)
    histories: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in parameters]
    for step in range(STEPS):
        if step == STEPS // 2:
            optimizer.lr /= 10
            for group in reference_optimizer.param_groups:
                group["lr"] /= 10
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


@pytest.mark.parametrize("arguments", ADAM_ARGUMENTS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adamw(agree: Agree, arguments: Arguments, dtype: str) -> None:
    compare(agree, AdamW, torch.optim.AdamW, arguments, dtype)


@pytest.mark.parametrize("arguments", RMSPROP_ARGUMENTS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rmsprop(agree: Agree, arguments: Arguments, dtype: str) -> None:
    compare(agree, RMSprop, torch.optim.RMSprop, arguments, dtype)


@pytest.mark.parametrize("arguments", ADAGRAD_ARGUMENTS, ids=name_of)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adagrad(agree: Agree, arguments: Arguments, dtype: str) -> None:
    compare(agree, Adagrad, torch.optim.Adagrad, arguments, dtype)


PAIRS = [
    (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    (Adam, torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.3}),
    (RMSprop, torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    (Adagrad, torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("ours", "theirs", "arguments"), PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups(
    agree: Agree, ours: Callable[..., Any], theirs: Callable[..., Any], arguments: Arguments, dtype: str
) -> None:
    def grouped(parameters: list[Any], references: list[Any], arguments: Arguments) -> tuple[list[Any], list[Any]]:
        first, second, *rest = parameters
        return [Group([first], lr_factor=0.1, weight_decay=0.7), Group([second], weight_decay=0.0), *rest], [
            {"params": references[:1], "lr": 0.1 * arguments["lr"], "weight_decay": 0.7},
            {"params": references[1:2], "weight_decay": 0.0},
            {"params": references[2:]},
        ]

    compare(agree, ours, theirs, arguments, dtype, grouped)


@pytest.mark.parametrize(("ours", "theirs", "arguments"), PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_without_decay(
    agree: Agree, ours: Callable[..., Any], theirs: Callable[..., Any], arguments: Arguments, dtype: str
) -> None:
    def grouped(parameters: list[Any], references: list[Any], arguments: Arguments) -> tuple[list[Any], list[Any]]:
        vectors = {"params": [one for one in references if one.ndim == 1], "weight_decay": 0.0}
        return parameters, [{"params": [one for one in references if one.ndim > 1]}, vectors]

    compare(agree, ours, theirs, arguments, dtype, grouped, decay_vectors=False)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_defaults(agree: Agree, dtype: str) -> None:
    """All arguments left out, but for SGD's learning rate, whose default of 0.01 PyTorch does not have."""
    compare(agree, Adam, torch.optim.Adam, {}, dtype)
    compare(agree, AdamW, torch.optim.AdamW, {}, dtype)
    compare(agree, RMSprop, torch.optim.RMSprop, {}, dtype)
    compare(agree, Adagrad, torch.optim.Adagrad, {}, dtype)
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
        (AdamW, torch.optim.AdamW, {"betas": (0.9, 1.0)}),
        (AdamW, torch.optim.AdamW, {"weight_decay": -1.0}),
        (RMSprop, torch.optim.RMSprop, {"alpha": -0.1}),
        (RMSprop, torch.optim.RMSprop, {"momentum": -0.1}),
        (RMSprop, torch.optim.RMSprop, {"eps": -1e-8}),
        (Adagrad, torch.optim.Adagrad, {"lr_decay": -0.1}),
        (Adagrad, torch.optim.Adagrad, {"initial_accumulator_value": -0.1}),
    ],
)
def test_both_refuse(ours: Callable[..., Any], theirs: Callable[..., Any], arguments: Arguments) -> None:
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
        theirs([torch.nn.Parameter(torch.ones(2))], **arguments)
    with pytest.raises(GpucnnError):
        ours(Linear(1, 2).parameters(), **arguments)
