"""Who asks is told of the outermost calls of public functions."""

import threading

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.autograd.calls import noting_calls
from gpucnn.errors import KeywordError, ShapeError


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32))


def test_arguments_have_names_and_defaults() -> None:
    x, weight = ones(1, 2, 4, 4), ones(3, 2, 3, 3)
    with noting_calls() as calls:
        output = F.conv2d(x, weight, stride=2)
    (call,) = calls
    assert (call.name, call.owner) == ("conv2d", "")
    assert list(call.arguments)[:4] == ["x", "weight", "bias", "stride"]
    assert call.arguments["x"] is x
    assert call.arguments["weight"] is weight
    assert call.output is output
    assert (call.arguments["bias"], call.arguments["stride"], call.arguments["padding"]) == (None, 2, 0)


def test_operators_methods_and_numpy_s_functions_are_calls() -> None:
    x = ones(2, 3)
    with noting_calls() as calls:
        _ = 2 - x
        _ = x[:, 1:]
        _ = x.mean(axis=1)
        _ = x.T
        _ = x.reshape(3, 2)
        _ = np.maximum(x, 0)
    assert [call.name for call in calls] == ["subtract", "getitem", "mean", "transpose", "reshape", "maximum"]
    assert calls[0].arguments == {"a": 2, "b": x}
    assert calls[1].arguments["index"] == (slice(None), slice(1, None))
    assert calls[4].arguments["shape"] == (3, 2)


def test_calls_within_calls_are_not_noted() -> None:
    """conv1d is computed by conv2d, and is one call."""
    with noting_calls() as calls:
        F.conv1d(ones(1, 2, 8), ones(3, 2, 3))
        F.relu(ones(2))
    assert [call.name for call in calls] == ["conv1d", "relu"]


def test_the_owner_is_the_innermost_layer() -> None:
    model = layers.Sequential(layers.Residual(layers.Conv2d(1, 1, 1)), layers.Lambda(lambda x: x + 1))
    with noting_calls() as calls:
        model(ones(1, 1, 2, 2))
    owners = [(call.name, call.owner) for call in calls]
    assert owners == [("conv2d", "0.block (Conv2d)"), ("add", "0 (Residual)"), ("add", "1 (Lambda)")]


def test_nobody_is_told_outside_and_of_what_fails() -> None:
    with noting_calls() as calls:
        with pytest.raises(ShapeError):
            F.add(ones(2), ones(3))
        with pytest.raises(KeywordError):
            F.mean(ones(2), dim=0)  # type: ignore[call-arg]
        F.relu(ones(1))
    F.relu(ones(1))
    assert [call.name for call in calls] == ["relu"]


def test_who_asks_within_is_told_alone() -> None:
    with noting_calls() as outer:
        F.relu(ones(1))
        with noting_calls() as inner:
            F.exp(ones(1))
        F.abs(ones(1))
    assert [call.name for call in outer] == ["relu", "abs"]
    assert [call.name for call in inner] == ["exp"]


def test_other_threads_are_not_noted() -> None:
    with noting_calls() as calls:
        thread = threading.Thread(target=lambda: F.relu(ones(1)))
        thread.start()
        thread.join()
    assert calls == []


def test_gradients_are_as_they_are() -> None:
    x, y = (Tensor(np.array([1.5, -2], np.float32), requires_grad=True) for _ in range(2))
    (F.relu(x) * x).sum().backward()
    with noting_calls():
        (F.relu(y) * y).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, y.grad)
