"""Operations of one's own, gradients as values, hooks of tensors, and a tape that is kept."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, autograd, gradcheck, layers, no_grad, optim, training
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GradientError, ShapeError
from gpucnn.kernels import ways
from tests.backends import Backend, host
from tests.functions.test_every_function import CASES, spread

Gradients = tuple[Any, ...]


class Cube(autograd.Function):
    """scale * x ** 3."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale = scale
        return scale * x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (x,) = ctx.saved_tensors
        return 3 * ctx.scale * x**2 * gradient, None


class Product(autograd.Function):
    """x * y, of plain arrays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Any:
        ctx.save_for_backward(x, y)
        assert not autograd.grad_enabled()
        return x.data * y.data

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        x, y = ctx.saved_tensors
        return tuple(
            gradient.data * other.data if needed else None
            for needed, other in zip(ctx.needs_input_grad, (y, x), strict=True)
        )


def values(*numbers: float) -> Tensor:
    return Tensor(np.array(numbers), requires_grad=True)


def test_a_function_of_one_s_own(backend: Backend) -> None:
    x = backend.tensor(np.array([1, 2, -3], np.float32), True)
    y = Cube.apply(x, 2.0)
    np.testing.assert_array_equal(host(y.data), [2, 16, -54])
    y.backward(np.array([1, 1, 2], np.float32))
    np.testing.assert_array_equal(host(x.grad), [6, 24, 108])


def test_a_function_holds_against_differences() -> None:
    gradcheck(lambda x: Cube.apply(x, 0.5), values(0.5, -1.5))
    gradcheck(Product.apply, values(0.5, -1.5), values(2.0, 3.0))
    fixed = Tensor(np.array([2.0, 3.0]))
    gradcheck(Product.apply, values(0.5, -1.5), fixed)
    with no_grad():
        assert not Product.apply(values(1.0), values(1.0)).requires_grad


def test_a_wrong_function_is_found() -> None:
    class Wrong(Cube):
        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Gradients:
            return gradient, None

    with pytest.raises(GradientError, match="central differences give"):
        gradcheck(lambda x: Wrong.apply(x, 1.0), values(2.0))


def answering(answer: Any, result: Any = None) -> type[autograd.Function]:
    class Answering(autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Any:
            return x.data if result is None else result

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:
            return answer

    return Answering


def test_what_a_function_gives_is_looked_at() -> None:
    with pytest.raises(GradientError, match=r"^Answering: backward must return a gradient, or None, for each of the 1 arguments of forward, got 2$"):  # fmt: skip
        answering((1.0, 1.0)).apply(values(1.0)).backward()
    with pytest.raises(ShapeError, match=r"^Answering: gradient 0 must have the argument's shape \(2,\), got \(3,\)$"):
        answering(np.ones(3)).apply(values(1.0, 2.0)).sum().backward()
    with pytest.raises(
        ArgumentError, match=r"^Answering: forward must return one tensor, got 2; join them with F\.stack"
    ):
        answering(None, (1.0, 2.0)).apply(values(1.0))
    with pytest.raises(TypeError, match=r"needs a static method forward\(ctx, \.\.\.\)"):
        autograd.Function.apply(values(1.0))
    with pytest.raises(
        ArgumentError, match=r"save_for_backward: expected tensors, got 3; other values go on the context"
    ):
        autograd.function.Context([True]).save_for_backward(3)  # type: ignore[arg-type]


class Model(layers.Layer):
    """Has an operation of its own."""

    def __init__(self) -> None:
        self.fc = layers.Linear(4, 3)

    def forward(self, x: Any) -> Tensor:
        return Cube.apply(self.fc(x), 1.0)


def test_a_step_with_a_function_of_one_s_own_is_trained_as_it_is(backend: Backend) -> None:
    weights = []
    for graph in (False, "auto"):
        model = Model().to(backend.device_name)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = training.CapturedStep(model, optimizer, graph=graph)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="not recorded: Model: power is computed by NumPy") if graph and backend.name == "jit" else nullcontext():  # fmt: skip
            for number in range(4):
                step(backend.array(np.full((2, 4), number / 4, np.float32)), np.array([0, 2]))
        weights.append(host(model.fc.weight.data))
    np.testing.assert_array_equal(*weights)


class Twice(autograd.Function):
    """x + x, of the library's own functions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.add(x, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return F.add(gradient, gradient)


class Doubled(layers.Linear):
    """A linear layer, and that."""

    def forward(self, x: Tensor) -> Tensor:
        return Twice.apply(super().forward(x))


def test_a_function_of_compiled_loops_is_recorded() -> None:
    if ways.missing():
        pytest.skip(ways.missing())
    weights = []
    with ways.use("jit"):
        for graph in (False, True):
            model = Doubled(4, 3)
            step = training.CapturedStep(model, optim.SGD(model.parameters(), lr=0.1), graph=graph)
            for number in range(4):
                step(np.full((2, 4), number / 4, np.float32), np.array([0, 2]))
            weights.append(model.weight.numpy())
        assert step.recorder.recordings == 1
    np.testing.assert_array_equal(*weights)


def test_gradients_as_values() -> None:
    a, b = values(2.0, 3.0), values(5.0, 7.0)
    h = a * b
    y = (h * h).sum()
    of_h, of_a, of_b = autograd.grad(y, [h, a, b], retain_graph=True)
    assert of_h is not None
    assert of_a is not None
    assert of_b is not None
    np.testing.assert_array_equal(of_h.numpy(), [20, 42])
    np.testing.assert_array_equal(of_a.numpy(), [100, 294])
    np.testing.assert_array_equal(of_b.numpy(), [40, 126])
    assert a.grad is b.grad is h.grad is None
    assert not of_a.requires_grad
    y.backward()
    np.testing.assert_array_equal(a.grad, of_a.numpy())


def test_gradients_of_several_outputs_and_with_given_ones() -> None:
    a, unused = values(2.0, 3.0), values(1.0)
    squares, twice = a * a, a * 2.0
    (given, none) = autograd.grad([squares, twice, squares], [a, unused], [np.ones(2), np.array([0.5, 1]), np.ones(2)], allow_unused=True)  # fmt: skip
    assert given is not None
    np.testing.assert_array_equal(given.numpy(), [2 * 4 + 1, 2 * 6 + 2])
    assert none is None


def test_a_parameter_s_gradient_in_a_flat_buffer_is_left_alone() -> None:
    model = layers.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    optimizer.gather()
    x = np.ones((1, 3), np.float32)
    shared = model(x) + model(2 * x)
    first, _ = autograd.grad(shared.sum(), list(model.parameters()))
    (model(x)).sum().backward()
    assert first is not None
    np.testing.assert_array_equal(first.numpy(), np.full((2, 3), 3, np.float32))
    np.testing.assert_array_equal(model.weight.grad, np.ones((2, 3), np.float32))


def test_gradients_through_a_checkpoint() -> None:
    block = layers.Linear(3, 2)
    x = Tensor(np.arange(3, dtype=np.float32)[None], requires_grad=True)
    wanted = [x, *block.parameters()]
    plain = autograd.grad((block(x) * block(x)).sum(), wanted)
    checkpoint = layers.Checkpoint(block)
    again = autograd.grad((checkpoint(x) * checkpoint(x)).sum(), wanted)
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())  # type: ignore[union-attr]
    assert x.grad is None
    assert block.weight.grad is None


def test_what_gradients_cannot_be_of() -> None:
    a, b = values(2.0), values(3.0)
    for call, error, message in (
        (lambda: autograd.grad(a * a, b), GradientError, "the outputs do not depend on input 0, a tensor (1,); leave it out, or give allow_unused=True"),
        (lambda: autograd.grad(a * a, Tensor([1.0])), GradientError, "input 0 has no gradient; compute the outputs from it with requires_grad=True"),
        (lambda: autograd.grad(a * a, 3), ArgumentError, "autograd.grad: inputs must be a tensor or several, got 3"),
        (lambda: autograd.grad(a * a, a, [1.0, 2.0]), ArgumentError, "expected 1 grad_outputs, one an output, got 2"),
        (lambda: autograd.grad(a * a, a, create_graph=True), GradientError, "create_graph=True asks for gradients of gradients, which gpucnn does not compute"),
        (lambda: (a * a).backward(create_graph=True), GradientError, "backward(): create_graph=True asks for gradients of gradients"),
        (lambda: autograd.grad(a * Tensor([1.0, 2.0]).astype("float64"), a), ShapeError, "backward() without grad needs a single element"),
    ):  # fmt: skip
        with pytest.raises(error) as raised:  # type: ignore[arg-type]
            call()
        assert message in str(raised.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_tape_that_is_kept_gives_the_same_again(case: Any) -> None:
    rng = np.random.default_rng(0)
    tensors = [Tensor(spread(rng, shape, True), requires_grad=True) for shape in case.shapes]
    output = case.function(*tensors)
    seed = rng.uniform(0.5, 1.5, output.shape)
    output.backward(seed, retain_graph=True)
    first = [tensor.grad.copy() for tensor in tensors]
    output.backward(seed)
    for tensor, once in zip(tensors, first, strict=True):
        np.testing.assert_array_equal(tensor.grad, once + once)
    with pytest.raises(GradientError, match="give the earlier one retain_graph=True"):
        output.backward(seed)


def test_hooks_see_whole_gradients_and_replace_them() -> None:
    x, seen = values(1.0, 2.0), []
    hook = x.register_hook(lambda gradient: seen.append(gradient.copy()))
    doubled = x.register_hook(lambda gradient: 2 * gradient)
    (x * x + x * 3.0).sum().backward()
    np.testing.assert_array_equal(seen, [[5, 7]])  # one call, though x is used three times
    np.testing.assert_array_equal(x.grad, [10, 14])
    hook.remove()
    doubled.remove()
    doubled.remove()
    x.grad = None
    (x * x).sum().backward()
    assert len(seen) == 1
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_hooks_of_what_operations_made_and_gradients_that_are_retained() -> None:
    x = values(1.0, 2.0)
    h = x * 3.0
    h.register_hook(lambda gradient: Tensor(gradient * 10))
    h.retain_grad()
    h.retain_grad()
    ((h * h).sum() + h.sum()).backward()
    np.testing.assert_array_equal(h.grad, [70, 130])
    np.testing.assert_array_equal(x.grad, [210, 390])
    x.retain_grad()  # a leaf's is kept anyway


def test_a_hook_of_a_parameter_in_a_flat_buffer() -> None:
    model = layers.Linear(2, 1, bias=False)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    optimizer.gather()
    model.weight.register_hook(lambda gradient: gradient * 0.5)
    x = np.array([[1, 2]], np.float32)
    (model(x) + model(x)).sum().backward()
    np.testing.assert_array_equal(model.weight.grad, [[1, 2]])
    (model(x) + model(x)).sum().backward()
    np.testing.assert_array_equal(model.weight.grad, [[2, 4]])


def test_hooks_that_cannot_be() -> None:
    x = values(1.0)
    for call, error, message in (
        (lambda: Tensor([1.0]).register_hook(print), GradientError, "register_hook() of a tensor without gradients; make it one with requires_grad=True"),
        (lambda: Tensor([1.0]).retain_grad(), GradientError, "retain_grad() of a tensor without gradients"),
        (lambda: x.register_hook(3), ArgumentError, "register_hook: hook must be a function of a gradient, got 3"),
    ):  # fmt: skip
        with pytest.raises(error) as raised:  # type: ignore[arg-type]
            call()
        assert message in str(raised.value)
    x.register_hook(lambda gradient: np.ones(3))
    with pytest.raises(ShapeError, match=r"the hook must give None or a gradient float64 \(1,\), got float64 \(3,\)"):
        (x * x).backward()


def test_gradients_of_a_single_number_add_up() -> None:
    x = Tensor(np.array(2.0), requires_grad=True)
    for _ in range(2):
        F.where(np.array([True, False, True]), x, 1.0).sum().backward()
    assert x.grad == 4


def test_gradients_as_values_are_arrays_of_their_own() -> None:
    a, b = values(1.0), values(2.0)
    of_a, of_b = autograd.grad(a + b, [a, b])
    assert of_a is not None
    assert of_b is not None
    of_a.data[...] = 5
    assert of_b.tolist() == [1]
