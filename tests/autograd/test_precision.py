"""What a precision rounds, and what it leaves in float32: outputs, gradients, and what products are made of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, autograd, layers
from gpucnn import functions as F
from gpucnn.backend import precision
from tests.backends import Backend, host

RNG = np.random.default_rng(0)
X, W = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (3, 6)))


def bf16(values: Any) -> np.ndarray:
    """To the nearest of 8 significant bits, by way of float64; the even one of two as near."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.rint(mantissas * 256), exponents - 8)


def tf32(values: Any) -> np.ndarray:
    """To the nearest of 11 significant bits; the larger one of two as near."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.copysign(np.floor(np.abs(mantissas) * 2048 + 0.5), mantissas), exponents - 11)


def is_bf16(values: Any) -> bool:
    return bool((bf16(values) == values).all())


def conv_transpose2d(x: Any, weight: Any, bias: Any = None) -> Tensor:
    return F.conv_transpose2d(x, weight, bias, stride=2)


PRODUCTS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]] = {
    "conv2d": (F.conv2d, (2, 3, 6, 7), (4, 3, 3, 3), (4,)),
    "conv2d, relu": (lambda *args: F.conv2d(*args, padding=1, activation="relu"), (2, 3, 6, 7), (4, 3, 3, 3), (4,)),
    "conv2d, 1x1": (F.conv2d, (2, 3, 6, 7), (4, 3, 1, 1), (4,)),
    "conv_transpose2d": (conv_transpose2d, (2, 3, 4, 5), (3, 4, 3, 3), (4,)),
    "linear": (F.linear, (5, 6), (4, 6), (4,)),
    "linear, relu": (lambda *args: F.linear(*args, activation="relu"), (5, 6), (4, 6), (4,)),
    "matmul": (F.matmul, (2, 5, 6), (6, 4), None),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("kind", ["tf32", "bf16"])
def test_products_are_those_of_rounded_operands(backend: Backend, kind: str, name: str) -> None:
    """Values and gradients are those that float64 gives for operands, and an output's gradient, which are rounded before."""
    if backend.name == "cupy" and kind == "tf32":
        pytest.skip("GPUs before Ampere have no TF32")
    function, *shapes = PRODUCTS[name]
    rng, to = np.random.default_rng(1), bf16 if kind == "bf16" else tf32
    given = [rng.standard_normal(shape).astype(np.float32) for shape in shapes if shape is not None]
    tensors = [backend.tensor(one, requires_grad=True) for one in given]
    exact = [Tensor(to(one) if place < 2 else one.astype(float), True) for place, one in enumerate(given)]
    expected = function(*exact)
    with precision(kind):
        found = function(*tensors)
        gradient = rng.standard_normal(found.shape).astype(np.float32)
        found.backward(backend.array(gradient))
    expected.backward(to(gradient))
    wanted = bf16(expected.data) if kind == "bf16" else expected.data
    step = 2**-7 if kind == "bf16" else 1e-6  # a sum may lie where two numbers are as near
    np.testing.assert_allclose(host(found.data), wanted, rtol=step, atol=1e-5)
    assert (host(found.data) != wanted).mean() < 0.01 or kind == "tf32"
    for place, (tensor, one) in enumerate(zip(tensors, exact, strict=True)):
        assert tensor.grad is not None
        if place == 2 and kind == "tf32":  # the bias has a sum, and no product
            exact_gradient = gradient if "relu" not in name else np.where(expected.data > 0, gradient, 0)
            one.grad = np.moveaxis(exact_gradient.astype(float), 1, 0).reshape(len(given[2]), -1).sum(axis=1)
        np.testing.assert_allclose(host(tensor.grad), one.grad, rtol=1e-5, atol=2e-5)


def test_float32_is_as_it_was() -> None:
    with precision("float32"):
        found = F.linear(Tensor(X), Tensor(W))
    np.testing.assert_array_equal(found.data, F.linear(X, W).data)
    assert not found.is_bf16


def test_what_is_made_of_a_product_is_rounded_and_losses_are_not(backend: Backend) -> None:
    weight, labels = backend.tensor(W, requires_grad=True), np.arange(4) % 3
    rounded = {
        "sigmoid": F.sigmoid, "exp": F.exp, "times 1/3": lambda x: x * (1 / 3), "reshape": lambda x: x.reshape(3, 4),
        "transpose": lambda x: x.T, "max": lambda x: F.max(x, axis=1), "gelu": F.gelu, "concatenate": lambda x: F.concatenate([x, x]),
        "add": lambda x: x + Tensor(np.full((1, 3), 0.1, np.float32)), "layer norm": lambda x: F.layer_norm(x, 3),
        "batch norm": lambda x: F.batch_norm(x, None, None, training=True), "dropout": lambda x: F.dropout(x, 0.3, training=True),
    }  # fmt: skip
    exact = {
        "cross entropy": lambda x: F.cross_entropy(x, labels), "each": lambda x: F.cross_entropy(x, labels, reduction="none"),
        "softmax": F.softmax, "log softmax": F.log_softmax, "sum": lambda x: x.sum(axis=1), "mean": lambda x: x.mean(axis=1),
        "var": lambda x: x.var(axis=1), "mse": lambda x: F.mse_loss(x, np.zeros((4, 3), "f")), "log of softmax": lambda x: F.log(F.softmax(x)),
        "binary": lambda x: F.binary_cross_entropy_with_logits(x, np.ones((4, 3), "f")),
    }  # fmt: skip
    for made, functions in ((True, rounded), (False, exact)):
        for name, function in functions.items():
            for context in (autograd.no_grad, autograd.enable_grad):
                with precision("bf16"), context():
                    logits = F.linear(X, weight)
                    found = function(logits)
                assert (found.is_bf16, found.dtype) == (made, np.float32), name
                assert logits.is_bf16
                assert is_bf16(host(logits.data))
                assert is_bf16(host(found.data)) == made, name
    images = backend.tensor(X)
    with precision("bf16"):  # before the first product nothing is rounded
        assert not is_bf16(host((images * 0.1).data))
        assert not is_bf16(host(F.batch_norm(images, None, None, training=True).data))
        assert not is_bf16(host((weight * weight).data))


def test_a_rounded_output_is_what_its_gradient_goes_by(backend: Backend) -> None:
    """Nothing else was kept: the derivative of a sigmoid is that at its rounded value."""
    weight = backend.tensor(W, True)
    with precision("bf16"):
        product = F.linear(X, weight)
        product.register_hook(lambda gradient: seen.append(gradient) or gradient)
        answer = F.sigmoid(product)
        seen: list[np.ndarray] = []
        answer.sum().backward()
    gradient, values = host(seen[0]), host(answer.data)
    np.testing.assert_array_equal(gradient, bf16((values * (1 - values)).astype(np.float32)))
    assert weight.grad is not None
    np.testing.assert_allclose(host(weight.grad), gradient.astype(float).T @ bf16(X), rtol=1e-5)
    assert not is_bf16(host(weight.grad))


def test_gradients_are_rounded_one_by_one_and_so_are_their_sums(backend: Backend) -> None:
    weight, factor = backend.tensor(W, True), backend.tensor(np.float32(1 / 3), True)
    seen: list[np.ndarray] = []
    with precision("bf16"):
        product = F.linear(X, weight)
        product.register_hook(lambda gradient: seen.append(gradient) or gradient)
        total = (product * factor) * 0.7 + product * 0.1 + product
    start = np.random.default_rng(2).standard_normal(total.shape).astype(np.float32)
    given = backend.array(start)
    total.backward(given)  # outside, too: tensors know what they are
    start_bf16 = bf16(start)
    far = bf16(bf16(start_bf16 * np.float32(0.7)).astype("f") * np.float32(1 / 3))
    near = bf16(start_bf16.astype("f") * np.float32(0.1))
    np.testing.assert_array_equal(host(seen[0]), bf16(bf16(start_bf16 + near) + far))
    assert factor.grad is not None
    assert not is_bf16(host(factor.grad)), "what learns has a gradient in float32"
    np.testing.assert_array_equal(host(given), np.random.default_rng(2).standard_normal(total.shape).astype(np.float32))


def test_views_are_rounded_apart_from_what_they_look_at() -> None:
    with precision("bf16"):
        product = F.matmul(X, X.T.copy())
        assert np.may_share_memory(product.reshape(16).data, product.data), "nothing is copied that is rounded"
        probabilities = F.softmax(product)
        mixed = F.concatenate([probabilities, product])
        images = Tensor(X)
        found = autograd.record("images, beside a product", X[:2], [images, product], lambda gradient: (None, None))
    assert not is_bf16(probabilities.data)
    assert is_bf16(mixed.data)
    assert is_bf16(found.data)
    assert not is_bf16(X[:2]), "an input is not written to"


class Table(autograd.Function):
    """It gives an array of its own, which it keeps."""

    values = RNG.standard_normal((4, 3)).astype(np.float32)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return Table.values

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient


def test_what_a_function_of_ones_own_keeps_is_not_written_to() -> None:
    before = Table.values.copy()
    with precision("bf16"):
        found = Table.apply(F.linear(X, W))
    assert is_bf16(found.data)
    np.testing.assert_array_equal(Table.values, before)


def test_a_block_computed_again_gives_the_same_bits() -> None:
    found = []
    for checkpoint in (False, True):
        block: layers.Layer = layers.Sequential(
            layers.GELU(), layers.Conv2d(2, 3, 3, padding=1), layers.BatchNorm2d(3), layers.GELU(), layers.Conv2d(3, 2, 3, padding=1), seed=1
        )  # fmt: skip
        first, last = layers.Conv2d(1, 2, 3), layers.Linear(32, 3)
        own = [*first.parameters(), *block.parameters(), *last.parameters()]
        for one in own:
            one.seed = 1
            assert one.data.size, "drawn now, as a path within another layer would give others"
        wrap = layers.Checkpoint if checkpoint else lambda layer: layer
        outer, inner = wrap(first), wrap(block)
        images = np.random.default_rng(3).standard_normal((5, 1, 6, 6)).astype(np.float32)
        with precision("bf16"):
            maps = F.sigmoid(outer(images))
            loss = F.cross_entropy(last(F.flatten(inner(maps) + maps)), np.arange(5) % 3)
        loss.backward()  # in float32 now, but what is computed again is not
        found.append([loss.data.tobytes(), *(one.grad.tobytes() for one in own if one.grad is not None)])
    assert len(found[0]) == 11
    assert found[0] == found[1]


def test_other_dtypes_are_left_alone() -> None:
    with precision("bf16"):
        doubles = F.linear(X.astype(float), W.astype(float))
        halves = F.matmul(X.astype(np.float16), W.T.astype(np.float16))
    np.testing.assert_array_equal(doubles.data, F.linear(X.astype(float), W.astype(float)).data)
    assert not doubles.is_bf16
    assert not halves.is_bf16
