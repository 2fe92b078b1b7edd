"""Which gradients are final while a backward pass runs: never told too early, each once."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, no_grad
from gpucnn import functions as F
from gpucnn.autograd import gradients_of, watching_gradients
from gpucnn.errors import GradientError


class Told:
    """What was expected, and of each leaf that was told its gradient then, which must be that of the end."""

    def __init__(self) -> None:
        self.expected_leaves: set[Any] = set()
        self.then: dict[Any, np.ndarray | None] = {}
        self.passes = 0

    def expected(self, leaves: Collection[Any]) -> None:
        self.passes += 1
        self.expected_leaves, self.then = set(leaves), {}

    def final(self, leaf: Any) -> None:
        assert leaf in self.expected_leaves
        assert leaf not in self.then
        self.then[leaf] = None if leaf.grad is None else np.array(leaf.grad)

    def check(self) -> list[Any]:
        """In which order they were told."""
        assert set(self.then) == self.expected_leaves
        for leaf, gradient in self.then.items():
            if gradient is None:
                assert leaf.grad is None
            else:
                assert np.isfinite(gradient).all()
                assert gradient.tobytes() == np.array(leaf.grad).tobytes()
        return list(self.then)


def leaf(seed: int, *shape: int) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def test_the_last_layer_is_told_first_and_before_the_others_have_gradients() -> None:
    a, b, c = leaf(0, 3, 3), leaf(1, 3, 3), leaf(2, 3, 3)
    seen: list[bool] = []

    class Spy(Told):
        def final(self, leaf: Any) -> None:
            super().final(leaf)
            seen.append(a.grad is None)

    told = Spy()
    with watching_gradients(told):
        F.sum(F.matmul(F.matmul(F.matmul(Tensor(np.eye(3)), a), b), c)).backward()
    assert told.check() == [c, b, a]
    assert seen == [True, True, False]


def test_a_shared_one_is_final_with_its_last_use() -> None:
    shared, b = leaf(0, 3, 3), leaf(1, 3, 3)
    told = Told()
    with watching_gradients(told):
        x = F.matmul(F.matmul(Tensor(np.eye(3)), shared), b)
        for _ in range(3):
            x = F.matmul(x, shared)
        F.sum(x * x).backward()
    assert told.check() == [b, shared]


def test_both_operands_of_one_operation_may_be_the_same_leaf() -> None:
    a = leaf(0, 4)
    told = Told()
    with watching_gradients(told):
        F.sum(a * a + a).backward()
    assert told.check() == [a]
    np.testing.assert_allclose(a.grad, 2 * a.numpy() + 1)


def test_uses_through_which_no_gradient_comes_are_told_at_the_end() -> None:
    from gpucnn.autograd import record

    a, b, c = leaf(0, 3), leaf(1, 3), leaf(2, 3)
    told = Told()
    with watching_gradients(told):
        x = record("half", a.array + b.array, (a, b), lambda gradient: (gradient, None))
        F.sum((x + b) * c).backward()
    assert told.check() == [c, a, b]
    frozen = leaf(0, 3).requires_grad_(False)
    with watching_gradients(told):
        F.sum(record("none", b.array + frozen.array, (b, frozen), lambda gradient: (None, None)) * c).backward()
    assert told.check() == [c, b]


def test_kept_tapes_and_sums_of_several_passes() -> None:
    a = leaf(0, 3)
    told = Told()
    loss = F.sum(a * a)
    with watching_gradients(told):
        loss.backward(retain_graph=True)
        assert told.check() == [a]
        loss.backward()
    assert told.check() == [a]
    assert told.passes == 2
    np.testing.assert_allclose(a.grad, 4 * a.numpy())


@pytest.mark.parametrize("on_leaf", [True, False])
def test_with_hooks_all_are_told_at_the_end(on_leaf: bool) -> None:
    a, b = leaf(0, 3), leaf(1, 3)
    told = Told()

    def hook(gradient: np.ndarray) -> np.ndarray:
        if b.grad is not None:
            b.grad *= 2  # a hook may change any
        return gradient * 3

    x = a * 2
    (a if on_leaf else x).register_hook(hook)
    with watching_gradients(told):
        F.sum(x * b).backward()
    assert set(told.check()) == {a, b}
    np.testing.assert_allclose(b.grad, 4 * a.numpy())
    np.testing.assert_allclose(a.grad, 6 * b.numpy())


def test_passes_within_and_passes_without_grads_tell_nobody() -> None:
    told = Told()
    block = layers.Sequential(layers.Linear(3, 3), layers.Checkpoint(layers.Linear(3, 3)), layers.Linear(3, 3))
    with watching_gradients(told):
        F.sum(block(Tensor(np.eye(3, dtype=np.float32)))).backward()
        assert told.passes == 1
        first, within, last = block
        order = told.check()
        assert set(order[:2]) == set(last.parameters())
        assert set(order[2:4]) == set(within.parameters())
        assert set(order[4:]) == set(first.parameters())
        a, b = leaf(0, 3), leaf(1, 3)
        gradients_of([F.sum(a * b)], [a, b], [None])
        assert told.passes == 1

        def backward_within(gradient: np.ndarray) -> np.ndarray:
            F.sum(b * b).backward()
            return gradient

        x = a * b
        x.register_hook(backward_within)
        F.sum(x).backward()
    assert told.passes == 2
    told.check()


def test_after_an_error_and_outside_nobody_is_told() -> None:
    told = Told()
    a = leaf(0, 3)
    loss = F.sum(a * a)
    loss.backward()
    with pytest.raises(GradientError, match="released"), watching_gradients(told):
        loss.backward()
    passes = told.passes
    F.sum(a * a).backward()
    assert told.passes == passes
    with no_grad(), watching_gradients(told):
        pass
    with watching_gradients(told):
        F.sum(a * a).backward()
    assert told.passes == passes + 1
    told.check()
