"""Tensors: what they hold, and how gradients flow, add up, and are released."""

import gc
import threading
import weakref

import numpy as np
import pytest

from gpucnn import Tensor, no_grad
from gpucnn import functions as F
from gpucnn.autograd import record
from gpucnn.errors import DTypeError, GradientError, ShapeError


def test_lists_are_float32_and_arrays_keep_their_dtype() -> None:
    assert Tensor([1.5, 2]).dtype == np.float32
    assert Tensor(2.5).shape == ()
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor(np.float64(1)).dtype == np.float64
    array = np.ones(3, np.float16)
    assert Tensor(array).data is array
    assert Tensor(array).numpy() is array
    with pytest.raises(DTypeError, match=r"expected an array, got a Tensor; use it as it is, or tensor.detach\(\)"):
        Tensor(Tensor(array))
    swapped = Tensor(np.arange(3, dtype=">f4"))
    assert swapped.dtype == np.float32
    assert swapped.numpy().tolist() == [0, 1, 2]
    assert type(Tensor(np.ones(2).view(np.recarray)).data) is np.ndarray


@pytest.mark.parametrize("data", ["text", [None], [["a", "b"]], np.array([1j])])
def test_what_is_no_number_is_refused(data: object) -> None:
    with pytest.raises(DTypeError, match="expected numbers, got"):
        Tensor(data)
    with pytest.raises(DTypeError, match="expected numbers, got a list of rows of uneven length"):
        Tensor([[1, 2], [3]])


def test_only_floats_have_gradients() -> None:
    with pytest.raises(DTypeError, match="only float tensors have gradients, got int64"):
        Tensor([1, 2], requires_grad=True)


def test_a_tensor_used_twice_gets_the_sum() -> None:
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    y = x * x + x
    (y * y).sum().backward()
    values = x.numpy()
    np.testing.assert_allclose(x.grad, 2 * (values**2 + values) * (2 * values + 1))


def test_gradients_add_up_over_backward_passes() -> None:
    x = Tensor(np.array([2.0]), requires_grad=True)
    for passes in (1, 2, 3):
        (x * 5).sum().backward()
        np.testing.assert_array_equal(x.grad, [5.0 * passes])


def test_two_leaves_never_share_one_gradient_array() -> None:
    a, b = (Tensor(np.zeros(3), requires_grad=True) for _ in range(2))
    (a + b).backward(np.ones(3))
    a.grad += 10
    np.testing.assert_array_equal(b.grad, [1, 1, 1])


def test_the_given_gradient_is_not_changed() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    gradient = np.array([1.0, 2.0])
    (x + x).backward(gradient)
    (x + 0.0).backward(gradient)
    np.testing.assert_array_equal(gradient, [1, 2])
    np.testing.assert_array_equal(x.grad, [3, 6])


def test_backward_of_a_leaf_is_its_gradient() -> None:
    x = Tensor(3.0, requires_grad=True)
    x.backward()
    assert x.grad == 1


def test_a_second_backward_says_to_run_the_forward_pass_again() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GradientError) as raised:
        loss.backward()
    assert str(raised.value) == (
        "backward() reached sum, whose saved arrays an earlier backward() has released; "
        "run the forward pass again before each backward(), or give the earlier one retain_graph=True"
    )


def test_a_second_backward_through_a_shared_part_fails_too() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    shared = x * x
    shared.sum().backward()
    with pytest.raises(GradientError, match="reached multiply"):
        shared.mean().backward()


def test_backward_needs_something_to_differentiate() -> None:
    with pytest.raises(GradientError, match="no gradient leads to"):
        Tensor(1.0).backward()
    x = Tensor(np.ones(2), requires_grad=True)
    with no_grad():
        y = x.sum()
    assert not y.requires_grad
    with pytest.raises(GradientError, match="outside of no_grad"):
        y.backward()
    with pytest.raises(ShapeError, match=r"needs a single element, got shape \(2,\); reduce it to a loss"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match=r"grad must have the tensor's shape \(2,\), got \(3,\)"):
        (x * 2).backward(np.ones(3))


def test_backward_releases_saved_arrays() -> None:
    x = Tensor(np.ones((50, 50)), requires_grad=True)
    hidden = F.exp(x)
    watched = weakref.ref(hidden._data)
    loss = hidden.sum()
    del hidden
    assert watched() is not None, "exp needs its output for the backward pass"
    loss.backward()
    gc.collect()
    assert watched() is None


def test_arrays_that_backward_does_not_need_are_not_kept() -> None:
    x = Tensor(np.ones((50, 50)), requires_grad=True)
    hidden = x + 1.0
    watched = weakref.ref(hidden._data)
    loss = hidden.sum()
    del hidden
    gc.collect()
    assert watched() is None
    loss.backward()
    assert x.grad is not None


def test_no_grad_is_a_context_and_a_decorator_and_ends() -> None:
    x = Tensor(np.ones(2), requires_grad=True)

    @no_grad()
    def evaluate() -> Tensor:
        return x * 2

    assert not evaluate().requires_grad
    with pytest.raises(RuntimeError, match="inside"), no_grad():
        raise RuntimeError("inside")
    assert (x * 2).requires_grad


def test_no_grad_holds_for_its_own_thread() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_deep_tape_needs_no_recursion() -> None:
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + x
    y.sum().backward()
    assert x.grad == 5001


def test_order_is_topological_whatever_the_branches() -> None:
    x = Tensor(np.array([0.5]), requires_grad=True)
    long = F.exp(F.exp(F.exp(x)))
    total = x * long + long  # long gets two gradients, the later of them must arrive before it passes on
    total.sum().backward()
    a, b, c = np.exp(0.5), np.exp(np.exp(0.5)), np.exp(np.exp(np.exp(0.5)))
    np.testing.assert_allclose(x.grad, c + (0.5 + 1) * c * b * a)


def test_views_of_one_tensor() -> None:
    x = Tensor(np.ones(2))
    detached = (Tensor(np.ones(2), requires_grad=True) * 2).detach()
    assert not detached.requires_grad
    assert x.to("cpu") is x
    assert (x.ndim, x.size, len(x), str(x.device)) == (1, 2, 2, "cpu")
    assert Tensor([7]).item() == 7
    assert float(Tensor(2.5)) == 2.5
    with pytest.raises(ShapeError, match=r"item\(\) needs a tensor of one element, got shape \(2,\)"):
        x.item()
    with pytest.raises(ShapeError, match=r"shape \(\) has no length"):
        len(Tensor(1.0))


def test_repr_shows_values_dtype_and_gradient() -> None:
    assert repr(Tensor([1.0, 2.0], requires_grad=True)) == "Tensor([1., 2.], dtype=float32, requires_grad=True)"


def test_record_takes_one_s_own_operation() -> None:
    x = Tensor(np.array([3.0]), requires_grad=True)
    cube = record("cube", x.data**3, (x,), lambda gradient: (gradient * 3 * x.data**2,))
    cube.backward()
    assert x.grad == 27


def test_a_backward_function_must_answer_for_every_input() -> None:
    x = Tensor(np.array([3.0]), requires_grad=True)
    wrong = record("wrong", x.data, (x,), lambda gradient: ())
    with pytest.raises(ValueError, match="shorter"):
        wrong.backward()


def test_a_tensor_does_not_become_an_array_by_itself() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(DTypeError, match=r"its gradient would be lost; use tensor.numpy\(\)"):
        np.asarray(x)
    with pytest.raises(
        DTypeError, match=r"np\.norm has no gradient in gpucnn; use gpucnn\.functions, or tensor\.numpy"
    ):
        np.linalg.norm(x)  # type: ignore[arg-type]


def test_truth_is_that_of_the_single_value() -> None:
    assert Tensor(2.0)
    assert not Tensor([0])
    with pytest.raises(
        ShapeError, match=r"the truth of a tensor \(2,\) is not one value; .* take \.all\(\) or \.any\(\)"
    ):
        bool(Tensor([1, 2]))
