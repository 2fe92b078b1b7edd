"""Tensors and PyTorch's share memory; operations of one's own, hooks and gradients as values are PyTorch's, number by number."""

from typing import Any

import numpy as np
import pytest
import torch

import gpucnn
from gpucnn import Tensor, autograd
from gpucnn.errors import DTypeError, GradientError

VALUES = np.array([[1.0, -2.0], [0.5, 3.0]])


def test_memory_is_shared_both_ways() -> None:
    ours = Tensor(VALUES.copy())
    theirs = torch.from_dlpack(ours)
    theirs[0, 0] = 7
    assert ours.data[0, 0] == 7
    back = gpucnn.from_dlpack(theirs.T)
    back.data[1, 0] = 8
    assert theirs[0, 1] == 8
    for make in (torch.as_tensor, torch.asarray, torch.tensor):
        np.testing.assert_array_equal(make(ours).numpy(), ours.numpy())
    assert torch.as_tensor(Tensor(2.0)).item() == 2


def test_what_learns_is_not_given_away_nor_taken() -> None:
    ours, theirs = Tensor(VALUES, requires_grad=True), torch.ones(2, requires_grad=True)
    for call in (torch.from_dlpack, torch.as_tensor):
        with pytest.raises(GradientError, match=r"give tensor\.detach\(\)"):
            call(ours)
    with pytest.raises(DTypeError, match="this Tensor cannot be shared"):
        gpucnn.from_dlpack(theirs)
    with pytest.raises(DTypeError, match="this Tensor cannot be shared"):
        gpucnn.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(DTypeError, match="this Tensor cannot be shared"):
        gpucnn.from_dlpack(torch.ones(2, device="meta"))
    assert torch.from_dlpack(ours.detach()).shape == (2, 2)


def cube(function: type) -> type:
    class Cube(function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float) -> Any:
            ctx.save_for_backward(x)
            ctx.scale = scale
            return x**3 * scale

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (x,) = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False)
            return 3 * x**2 * ctx.scale * gradient, None

    return Cube


def test_a_function_is_written_as_theirs() -> None:
    ours, theirs = Tensor(VALUES, requires_grad=True), torch.tensor(VALUES, requires_grad=True)
    (cube(autograd.Function).apply(ours, 2.0) * ours).sum().backward()  # type: ignore[attr-defined]
    (cube(torch.autograd.Function).apply(theirs, 2.0) * theirs).sum().backward()  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-14)


def test_hooks_retained_gradients_and_gradients_as_values_are_theirs() -> None:
    found: list[list[Any]] = []
    for x, grad in (
        (Tensor(VALUES, requires_grad=True), autograd.grad),
        (torch.tensor(VALUES, requires_grad=True), torch.autograd.grad),
    ):
        seen: list[Any] = []
        x.register_hook(lambda gradient, seen=seen: seen.append(gradient.tolist()))
        h = x * x
        h.register_hook(lambda gradient: gradient * 2)
        h.retain_grad()
        y = (h * h * x).sum()
        values = [*grad(y, [x], retain_graph=True), *grad(y, [h], retain_graph=True)]
        y.backward(retain_graph=True)
        y.backward()
        found.append([x.grad.tolist(), h.grad.tolist(), *[one.tolist() for one in values], *seen])
    assert len(found[0]) == len(found[1])
    for own, other in zip(*found, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-13)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_are_theirs(name: str) -> None:
    values = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.float32)
    for axis in (None, 0, -1):
        own = getattr(Tensor(values), name)(axis)
        np.testing.assert_array_equal(own.numpy(), getattr(torch.tensor(values), name)(dim=axis).numpy())


def test_a_change_between_the_passes_is_an_error_in_both() -> None:
    ours, theirs = Tensor(VALUES, requires_grad=True), torch.tensor(VALUES, requires_grad=True)
    first, second = (ours * ours).sum(), (theirs * theirs).sum()
    ours.data += 1
    with torch.no_grad():
        theirs += 1
    with pytest.raises(GradientError, match="was changed between the forward pass and backward"):
        first.backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        second.backward()
