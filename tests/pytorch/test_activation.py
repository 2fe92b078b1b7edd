"""Every activation function, its output and all its gradients, against PyTorch's in drawn configurations.

By turns: ordinary numbers, integers of -7 to 7 (every kink is one of them), numbers in the thousands, and infinities.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import ArgumentError, DTypeError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
    Agree,
    Arguments,
    assert_both_refuse,
    compare,
    draw_shape,
    drawn,
    exact_hardsigmoid,
    in_both_dtypes,
    ones,
)
from tests.pytorch.draws import draw_activation_input, draw_softplus  # noqa: E402

TF = torch.nn.functional

Draw = Callable[[np.random.Generator], Arguments]

NO_LIMIT_IN_PYTORCH = ("gelu", "silu", "mish", "hardswish")
"""At minus infinity PyTorch's give NaN, and the first three have a NaN as the gradient of infinity; ours have the limits."""


def no_arguments(rng: np.random.Generator) -> Arguments:
    return {}


FUNCTIONS: list[tuple[str, Draw]] = [
    ("relu6", no_arguments),
    ("leaky_relu", lambda rng: {"negative_slope": float(rng.choice([-0.5, 0.2, 1, 3]))}),
    ("hardsigmoid", no_arguments),
    ("hardswish", no_arguments),
    ("sigmoid", no_arguments),
    ("tanh", no_arguments),
    ("softplus", draw_softplus),
    ("elu", lambda rng: {"alpha": float(rng.choice([-1, 0.3, 1.7]))}),
    ("selu", no_arguments),
    ("gelu", lambda rng: {"approximate": str(rng.choice(["none", "tanh"]))}),
    ("silu", no_arguments),
    ("mish", no_arguments),
]


@pytest.mark.parametrize(("name", "draw"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
@drawn
@in_both_dtypes
def test_activation(agree: Agree, name: str, draw: Draw, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    arguments = draw(rng) if rng.random() < 0.6 else {}
    ours, theirs = getattr(F, name), getattr(TF, name)
    if name == "hardsigmoid" and dtype == "float64":
        theirs = exact_hardsigmoid
    values = draw_activation_input(rng, seed, draw_shape(rng), infinite=name not in NO_LIMIT_IN_PYTORCH)
    compare(agree, name, seed, dtype, lambda x: ours(x, **arguments), lambda x: theirs(x, **arguments), values)


@pytest.mark.parametrize("name", ["leaky_relu", "softplus", "elu"])
@drawn
def test_arguments_by_position(agree: Agree, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arguments = dict(FUNCTIONS)[name](rng).values()
    ours, theirs = getattr(F, name), getattr(TF, name)
    values = draw_activation_input(rng, seed, draw_shape(rng))
    compare(agree, f"{name} by position", seed, "float64", lambda x: ours(x, *arguments), lambda x: theirs(x, *arguments), values)  # fmt: skip


@drawn
@in_both_dtypes
def test_prelu(agree: Agree, seed: int, dtype: str) -> None:
    """One slope, as an array of one or no axes, for any shape, and one a channel."""
    rng = np.random.default_rng(seed)
    if seed % 3:
        shape = draw_shape(rng, least=2)
        weight = rng.standard_normal(shape[1])
    else:
        shape = draw_shape(rng)
        weight = rng.standard_normal(() if seed % 2 else 1)
    # An infinity times a gradient of either sign makes infinities of both signs in the weight's, whose sum is NaN.
    values = draw_activation_input(rng, seed, shape, infinite=False)
    compare(agree, "prelu", seed, dtype, F.prelu, TF.prelu, values, weight)


@pytest.mark.parametrize("size", [50.0, 1e4, np.inf])
@in_both_dtypes
def test_limits_where_pytorch_has_none(agree: Agree, size: float, dtype: str) -> None:
    """PyTorch's values right and left of where its NaN begins are ours beyond, too."""
    for name in NO_LIMIT_IN_PYTORCH:
        x = Tensor(np.array([-size, size], dtype), True)
        output = getattr(F, name)(x)
        output.backward(np.ones(2))
        reference = torch.tensor([-size, size], dtype=getattr(torch, dtype), requires_grad=True)
        expected = getattr(TF, name)(reference)
        expected.backward(torch.ones(2, dtype=reference.dtype))
        if size == np.inf:
            assert torch.isnan(expected[0])
            np.testing.assert_array_equal(output.numpy(), [0, np.inf])
            np.testing.assert_array_equal(x.grad, [0, 1])
        else:
            pairs = {
                "output": (output.numpy(), expected.detach().numpy()),
                "gradient": (x.grad, reference.grad.numpy()),
            }
            agree(f"{name} far away", size, pairs)


def test_pytorch_s_gradient_of_hardsigmoid_lacks_digits() -> None:
    """If this fails, PyTorch has mended it, and `exact_hardsigmoid` can go."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    TF.hardsigmoid(x).sum().backward()
    assert x.grad.item() == float(np.float32(1 / 6)) != 1 / 6


def invalid(name: str, *arguments: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A call that both should refuse; arrays among the arguments become tensors."""

    def call(function: Callable[..., Any], as_tensor: Callable[[np.ndarray], Any]) -> Any:
        return function(*(as_tensor(value) if isinstance(value, np.ndarray) else value for value in arguments))

    return lambda: call(getattr(F, name), Tensor), lambda: call(getattr(TF, name), torch.tensor)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        invalid("leaky_relu", ones(2), "a"),
        invalid("leaky_relu", ones(2), None),
        invalid("elu", ones(2), "a"),
        invalid("softplus", ones(2), "a"),
        invalid("softplus", ones(2), 1, "a"),
        invalid("gelu", ones(2), "erf"),
        invalid("prelu", ones(2, 3), ones(2)),
        invalid("prelu", ones(3), ones(3)),
        invalid("prelu", ones(3), ones(0)),
        invalid("prelu", ones(2, 3), ones(1, 3)),
        invalid("prelu", ones(2, 3), ones(1, 1)),
        invalid("prelu", ones(2, 3), ones(3, dtype="float64")),
        invalid("gelu", np.ones(2, int)),
        invalid("silu", np.ones(2, int)),
        invalid("mish", np.ones(2, int)),
        invalid("softplus", np.ones(2, int)),
        invalid("leaky_relu", np.ones(2, int)),
    ],
)
def test_both_refuse(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    assert_both_refuse(ours, theirs)


def test_what_pytorch_takes_and_gpucnn_refuses() -> None:
    """A softplus that divides by zero, and integers, of which a sigmoid would make floats."""
    assert torch.isinf(TF.softplus(torch.ones(2), beta=0)).all()
    with pytest.raises(ArgumentError, match="beta must be a finite number > 0"):
        F.softplus(Tensor(ones(2)), beta=0)
    assert torch.sigmoid(torch.ones(2, dtype=torch.int64)).dtype == torch.float32
    with pytest.raises(DTypeError, match="sigmoid: expected floats, got int64"):
        F.sigmoid(Tensor([1, 2]))
