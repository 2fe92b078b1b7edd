"""bf16 on a GPU is what it is on the CPU, call by call: the same numbers are rounded in the same places.

Sums in another order may lie on the other side of a number halfway, and a network goes on from there: after some layers with
batch norm two ways to compute differ as much on one CPU. So each call of a step is held to the CPU's on the same input.
"""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, autograd, layers, models
from gpucnn import functions as F
from gpucnn.autograd.calls import FunctionCall, noting_calls
from gpucnn.backend import precision
from gpucnn.kernels import ways
from gpucnn.kernels.rounding import narrowed
from tests.backends import Backend, host

RNG = np.random.default_rng(0)


def bits(values: Any) -> np.ndarray:
    """The upper halves of float32's bits, as numbers that count up with the values; the lower halves are zeros."""
    whole = np.ascontiguousarray(host(values)).view(np.uint32)
    assert not (whole & 0xFFFF).any(), "rounded"
    signed = (whole >> 16).astype(np.int64)
    return np.where(signed & 0x8000, 0x8000 - signed, signed)


def equal_but_for_ties(found: Any, expected: Any, name: str) -> None:
    """Rounded arrays that differ in few elements, and there by the last bit, or by what is nothing beside the others."""
    ours, wanted = host(found).astype(np.float64), host(expected).astype(np.float64)
    apart = np.abs(bits(found) - bits(expected))
    assert (apart > 0).mean() < 0.02, name
    assert ((apart <= 1) | (np.abs(ours - wanted) < 1e-5 * np.abs(wanted).max())).all(), name


def repeated(backend: Backend, call: FunctionCall, stored: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The call on a device, from copies of its arguments, and those of them that have gradients.

    What is rounded is in float32, or `stored` in two bytes, as kernels of a GPU pass it on.
    """
    learning: list[Tensor] = []

    def given(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        copy = backend.tensor(np.array(host(value.data)), requires_grad=value.requires_grad)
        if stored and value.is_bf16:
            copy = Tensor.of_stored(narrowed(copy.array))
            copy.requires_grad = value.requires_grad
        copy.is_bf16 = value.is_bf16
        if value.requires_grad:
            learning.append(copy)
        return copy

    arguments = {name: given(name, value) for name, value in call.arguments.items()}
    return getattr(F, call.name)(**arguments), learning


def check_call(backend: Backend, call: FunctionCall, stored: bool) -> None:
    gradient = RNG.standard_normal(call.output.shape).astype(np.float32)
    with precision("bf16"):
        found, ours = repeated(backend, call, stored)
        with ways.use("plain"):
            expected, theirs = repeated(Backend("plain"), call)
            if expected.requires_grad:
                expected.backward(gradient)
    assert (found.is_bf16, found.requires_grad) == (expected.is_bf16, expected.requires_grad)
    if expected.is_bf16:
        equal_but_for_ties(found.data, expected.data, call.name)
    else:
        np.testing.assert_allclose(host(found.data), expected.data, rtol=1e-5, atol=1e-6)
    if expected.requires_grad:
        found.backward(backend.array(gradient))
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        if one.is_bf16:
            equal_but_for_ties(one.grad, other.grad, f"gradient of {call.name}")
        else:
            scale = np.abs(other.grad).max()
            np.testing.assert_allclose(host(one.grad), other.grad, rtol=1e-4, atol=1e-5 * scale, err_msg=call.name)


def pooled() -> layers.Layer:
    """Of every kind of layer that keeps its input's precision some, in ways that networks have them."""
    return layers.Sequential(
        layers.Conv2d(2, 6, 3, padding=1, activation="relu"), layers.MaxPool2d(2), layers.Conv2d(6, 4, 1), layers.BatchNorm2d(4),
        layers.ReLU(), layers.MaxPool2d(3, stride=1, padding=1), layers.Conv2d(4, 6, 5, padding=2, stride=2, groups=2), layers.AvgPool2d(2),
        layers.Dropout(0.3), layers.Flatten(), layers.Linear(24, 8, activation="relu"), layers.Linear(8, 3),
        seed=3,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ResNet-20", "pooled"])
def test_each_call_of_a_step_gives_what_the_cpu_gives(backend: Backend, name: str) -> None:
    if backend.name == "plain":
        pytest.skip("the others are held to it")
    model = models.ResNet20(seed=5) if name == "ResNet-20" else pooled()
    (size, channels), labels = (8, 3) if name == "ResNet-20" else (16, 2), np.arange(4) % 3
    images = np.random.default_rng(1).standard_normal((4, channels, size, size)).astype(np.float32)
    with noting_calls() as calls, precision("bf16"), autograd.enable_grad():
        F.cross_entropy(model(images), labels)
    kinds = set()
    for call in calls:
        kind = call.name, call.arguments["x"].shape if "x" in call.arguments else ()
        if kind not in kinds or call.arguments.get("residual") is not None:
            for stored in (False, True)[: 1 if backend.on_cpu else 2]:
                check_call(backend, call, stored)
        kinds.add(kind)
    assert {one for one, _ in kinds} >= {"conv2d", "batch_norm", "linear", "cross_entropy"}
