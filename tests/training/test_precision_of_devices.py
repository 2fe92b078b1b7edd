"""bf16 on a GPU is what it is on the CPU, call by call: the same numbers are rounded in the same places.

Sums in another order may lie on the other side of a number halfway, and a network goes on from there: after some layers with
batch norm two ways to compute differ as much on one CPU. So each call of a step is held to the CPU's on the same input.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, autograd, layers, models
from gpucnn import functions as F
from gpucnn.autograd.calls import FunctionCall, noting_calls
from gpucnn.autograd.exchange import as_capsule, cuda_interface
from gpucnn.backend import precision
from gpucnn.kernels import ways
from gpucnn.kernels.kernel import BF16
from gpucnn.kernels.rounding import narrowed
from tests.backends import Backend, host
from tests.testing.emulator.rounding import as_bf16

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


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "getitem": lambda x: x[:, 1::2, ::-1],
    "pad": lambda x: F.pad(x, ((0, 0), (1, 2), (0, -1))),
    "pad with a value": lambda x: F.pad(x, ((0, 0), (1, 2), (0, 0)), value=0.5),
    "concatenate": lambda x: F.concatenate([x, F.relu(x), x[:, :1]], axis=1),
    "transpose": lambda x: F.relu(x.transpose(2, 0, 1)),
    "reshape": lambda x: F.relu(x.reshape(-1, 2)),
    "add": lambda x: F.add(x, F.relu(x), activation="relu"),
    "sigmoid": F.sigmoid,
    "both kinds of gradients": lambda x: (lambda y: F.sigmoid(y) + F.add(y, x))(F.sigmoid(x)),
    "to add": lambda x: F.sigmoid(x) + x,
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_or_adds_gives_what_the_cpu_gives(gpu: Backend, name: str) -> None:
    """A tensor in two bytes, and its gradient, which several uses add to."""
    held = narrowed(gpu.array(RNG.standard_normal((3, 4, 6)).astype(np.float32)))
    x = Tensor.of_stored(held)
    x.requires_grad = True
    same = Tensor(host(x.array).copy(), requires_grad=True)
    same.is_bf16 = True
    with precision("bf16"):
        found = F.relu(MOVES[name](x.reshape(3, 4, 6)))
        with ways.use("plain"):
            expected = F.relu(MOVES[name](same.reshape(3, 4, 6)))
    assert found.is_bf16
    equal_but_for_ties(found.data, expected.data, name)
    gradient = RNG.standard_normal(found.shape).astype(np.float32)
    with ways.use("plain"):
        expected.backward(gradient)
    found.backward(gpu.array(gradient))
    assert x.grad is not None
    equal_but_for_ties(x.grad, same.grad, name)


def in_two_bytes(gpu: Backend, *shape: int) -> Tensor:
    return Tensor.of_stored(narrowed(gpu.array(RNG.standard_normal(shape).astype(np.float32))))


def test_a_tensor_in_two_bytes_is_one_of_float32_to_all_who_look(gpu: Backend) -> None:
    x = in_two_bytes(gpu, 2, 3)
    values = x.numpy().copy()
    assert (x.dtype, x.shape, x.is_stored, x.array.dtype) == (np.float32, (2, 3), True, np.float32)
    assert (x.held.dtype, x.held.nbytes, x.detach().held.nbytes) == (BF16, 12, 12)
    bits(values)
    np.testing.assert_array_equal(x.to("cpu").data, values)
    np.testing.assert_array_equal(host(x.detach().data), values)
    assert x.is_stored
    x.data[0] = 7  # who can write has float32 from then on
    assert (x.is_stored, x.is_bf16, x.held.dtype) == (False, True, np.float32)
    values[0] = 7
    np.testing.assert_array_equal(x.numpy(), values)
    for look in (cuda_interface, lambda tensor: as_capsule(tensor, {})):
        y = in_two_bytes(gpu, 2, 3)
        with suppress(AttributeError):  # the stand-in for CuPy has no DLPack
            look(y)
        assert not y.is_stored, "what another library sees lives as long as the tensor"


def test_outside_of_bf16_nothing_is_rounded(gpu: Backend) -> None:
    x = in_two_bytes(gpu, 4, 6)
    with precision("float32"):
        found = [F.relu(x), x + x, F.sigmoid(x)]
    assert not any(one.is_bf16 or one.is_stored for one in found)
    with precision("bf16"):
        assert F.relu(x).is_stored
        exact = Tensor(gpu.array(RNG.standard_normal((4, 6)).astype(np.float32)))
        total = x + exact
    assert (total.is_bf16, total.is_stored) == (True, False)
    with ways.use("plain"), precision("bf16"):
        same = Tensor(x.numpy())
        same.is_bf16 = True
        np.testing.assert_array_equal(total.numpy(), (same + exact.numpy()).data)


def test_images_that_learn_have_a_gradient_in_float32(gpu: Backend) -> None:
    values, weight = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 5, 5), (4, 3, 3, 3)))
    images, filters = gpu.tensor(values, True), gpu.tensor(weight, True)
    with precision("bf16"):
        F.conv2d(images, filters).sum().backward()
    exact = [Tensor(one, True) for one in (values, weight)]
    with ways.use("plain"), precision("bf16"):
        F.conv2d(*exact).sum().backward()
    for ours, theirs in zip((images, filters), exact, strict=True):
        assert ours.grad is not None
        np.testing.assert_allclose(host(ours.grad), theirs.grad, rtol=1e-5, atol=1e-5)
    assert (host(images.grad).view(np.uint32) & 0xFFFF).any()


def test_a_hook_sees_float32_and_what_it_gives_is_rounded(backend: Backend) -> None:
    images, weight, start = (
        RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 3, 2, 2), (5, 3, 2, 2), (4, 5, 1, 1))
    )
    filters, seen = backend.tensor(weight, True), list[Any]()

    def third(gradient: Any) -> Any:
        seen.append(np.array(host(gradient)))
        return gradient * np.float32(1 / 3)

    with precision("bf16"):
        maps = F.conv2d(backend.tensor(images), filters)
        maps.register_hook(third)
        maps.backward(backend.array(start))
    (gradient,) = seen
    assert gradient.dtype == np.float32
    equal_but_for_ties(gradient, as_bf16(start).astype(np.float32), "hook")
    given = as_bf16(gradient * np.float32(1 / 3)).reshape(4, 5)
    assert filters.grad is not None
    expected = np.einsum("no,nchw->ochw", given, as_bf16(images))
    np.testing.assert_allclose(host(filters.grad), expected, rtol=1e-4, atol=1e-6)


def test_a_gpu_without_tensor_cores_gives_what_the_cpu_gives(monkeypatch: pytest.MonkeyPatch, gpu: Backend) -> None:
    monkeypatch.setattr(ways, "has_tensor_cores", lambda index: False)
    test_each_call_of_a_step_gives_what_the_cpu_gives(gpu, "pooled")


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
