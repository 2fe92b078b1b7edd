"""Activation functions: ReLU, softmax and its logarithm."""

from gpucnn.autograd import Operand, Tensor, as_tensor, check_float, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import is_int, shape_text
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.kernels import bias_relu
from gpucnn.kernels import log_softmax as kernel


def relu(x: Operand) -> Tensor:
    """max(0, x), element by element. The gradient at 0 is 0; at NaN it passes, so that it stays in sight."""
    x = as_tensor(x)
    check_float("relu", x)
    output = bias_relu.relu(x.data)
    return record("relu", output, (x,), lambda gradient: (bias_relu.relu_gradient(gradient, output),))


def log_softmax(x: Operand, axis: int = 1) -> Tensor:
    """log(exp(x) / sum(exp(x))) along `axis`, through log-sum-exp, so that large logits do not overflow."""
    x = as_tensor(x)
    xp = xp_of(x.data)
    _check_axis("log_softmax", x, axis)
    output = kernel.log_softmax(x.data, axis)

    def backward(gradient: Array) -> tuple[Array]:
        return (gradient - xp.exp(output) * gradient.sum(axis=axis, keepdims=True),)

    return record("log_softmax", output, (x,), backward)


def softmax(x: Operand, axis: int = 1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`: logits to probabilities."""
    x = as_tensor(x)
    _check_axis("softmax", x, axis)
    output = xp_of(x.data).exp(kernel.log_softmax(x.data, axis))

    def backward(gradient: Array) -> tuple[Array]:
        return (output * (gradient - (gradient * output).sum(axis=axis, keepdims=True)),)

    return record("softmax", output, (x,), backward)


def check_activation(owner: str, activation: str | None) -> bool:
    """Whether `activation` is "relu" (None is none); ArgumentError, which names `owner`, for anything else."""
    if activation not in (None, "relu"):
        raise ArgumentError(f'{owner}: activation must be None or "relu", got {activation!r}; apply others after it')
    return activation == "relu"


def _check_axis(name: str, x: Tensor, axis: int) -> None:
    check_float(name, x)
    if not is_int(axis) or not -x.ndim <= axis < x.ndim or x.shape[axis] == 0:
        raise ShapeError(
            f"{name}: axis {axis} must be an axis, with at least one element, of {shape_text(x.shape)}; "
            f"logits (N, classes) go with axis=1"
        )
