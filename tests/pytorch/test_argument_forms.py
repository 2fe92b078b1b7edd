"""The forms of arguments that PyTorch's own tests draw (its OpInfo table): each is computed alike, or refused in our words."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
if importlib.util.find_spec("expecttest") is None:
    pytest.skip("PyTorch's own tests need expecttest; it is in the nox session oracle", allow_module_level=True)

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402 (it needs PyTorch and expecttest)

# That import forbids, for the whole process, to set flags as a user would; the benchmark's tests do.
torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True

Call = Callable[..., Any]


def renamed(function: Call, **names: str) -> Call:
    """`function` under PyTorch's keywords."""
    return lambda *args, **options: function(*args, **{names.get(name, name): value for name, value in options.items()})


def reduced(function: Call) -> Call:
    return lambda x, dim=None, keepdim=False, dtype=None: function(x, None if dim == () else dim, keepdim)


def pad(x: Tensor, pad: list[int], mode: str = "constant", value: float | None = None) -> Tensor:
    pairs = [(before, after) for before, after in zip(pad[::2], pad[1::2], strict=True)]
    return F.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], mode, value or 0)


def classified(x: Tensor, y: Tensor, weight: Any = None, ignore_index: int = -100, **options: Any) -> Tensor:
    if y.dtype.kind == "f":
        return F.cross_entropy(x, y, weight, **options)
    return F.cross_entropy(x, y, weight, ignore_index=ignore_index, **options)


def swapped(x: Tensor, first: int, second: int) -> Tensor:
    order = list(range(x.ndim))
    order[first], order[second] = order[second], order[first]
    return F.transpose(x, order)


FUNCTIONS: dict[str, Call] = {
    **{name: getattr(F, name) for name in ("abs", "exp", "log", "sqrt", "sigmoid", "tanh", "maximum", "minimum", "reshape", "matmul")},
    **{
        f"nn.functional.{name}": getattr(F, name)
        for name in (
            *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
            *("avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d", "max_unpool1d", "max_unpool2d"),
            *("conv1d", "conv2d", "conv_transpose2d", "linear", "nll_loss", "interpolate", "prelu"),
            *("batch_norm", "layer_norm", "group_norm", "local_response_norm"),
            *("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "binary_cross_entropy_with_logits"),
            *("gelu", "softplus"),
        )
    },
    "nn.functional.cross_entropy": classified,
    "nn.functional.pad": pad,
    "pow": F.power,
    "__rpow__": lambda x, y: F.power(y, x),
    "neg": F.negative,
    "clamp": lambda x, low=None, high=None: F.clip(x, low, high),
    "sum": reduced(F.sum),
    "mean": reduced(F.mean),
    "amax": reduced(F.max),
    "amin": reduced(F.min),
    "softmax": lambda x, dim, dtype=None: F.softmax(x, dim),
    "log_softmax": lambda x, dim, dtype=None: F.log_softmax(x, dim),
    "mv": F.matmul,
    "dot": F.matmul,
    "bmm": F.matmul,
    "permute": F.transpose,
    "swapaxes": swapped,
    "unsqueeze": F.expand_dims,
    "squeeze": lambda x, *dim: F.squeeze(x, *dim),
    "cat": renamed(F.concatenate, dim="axis"),
    "stack": lambda tensors, dim=0: F.stack(tensors, dim),
    "where": lambda x, condition, y: F.where(condition, x, y),
    "__getitem__": lambda x, index: x[index],
}  # fmt: skip


def converted(value: Any) -> Any:
    """PyTorch's tensors in `value` as ours."""
    if isinstance(value, torch.Tensor):
        return Tensor(value.detach().numpy().copy(), bool(value.requires_grad))
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(converted(item) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Any]:
    """All tensors, of either kind, that need a gradient, in their order."""
    if isinstance(value, torch.Tensor | Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def first(output: Any) -> Any:
    return output[0] if isinstance(output, list | tuple) else output


NOT_HERE = ("with_dtype", "trilinear")
"""Variants of which we have nothing."""

OPERATIONS = [op for op in op_db if op.name in FUNCTIONS and op.variant_test_name not in NOT_HERE]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: f"{op.name} {op.variant_test_name}".strip())
def test_forms_of_arguments(op: Any) -> None:
    """In float64: the output, and the gradients of all inputs. At least one form of each operation is taken."""
    taken = 0
    for sample in op.sample_inputs("cpu", torch.float64, requires_grad=True):
        theirs = (sample.input, *sample.args, *sample.kwargs.values())
        inputs = [converted(value) for value in theirs]
        args, options = inputs[: 1 + len(sample.args)], inputs[1 + len(sample.args) :]
        expected = first(op(sample.input, *sample.args, **sample.kwargs))
        form = f"{sample.args} {sample.kwargs}"
        try:
            with np.errstate(all="ignore"):
                output = first(FUNCTIONS[op.name](*args, **dict(zip(sample.kwargs, options, strict=True))))
        except GpucnnError:
            continue
        taken += 1
        np.testing.assert_allclose(output.numpy(), expected.detach().numpy(), 1e-7, 1e-9, err_msg=form)
        if not (expected.requires_grad and output.requires_grad):
            continue
        incoming = np.random.default_rng(0).standard_normal(output.shape)
        slopes = torch.autograd.grad(expected, list(tensors_in(theirs)), torch.tensor(incoming), allow_unused=True)
        with np.errstate(all="ignore"):
            output.backward(incoming)
        for tensor, slope in zip(tensors_in(inputs), slopes, strict=True):
            gradient = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
            np.testing.assert_allclose(gradient, 0 if slope is None else slope.numpy(), 1e-6, 1e-8, err_msg=form)
    assert taken
