"""What happens at ties, NaN, infinities and extremes."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from tests.backends import Backend, host


def test_relu_at_zero_has_no_gradient_and_nan_stays(backend: Backend) -> None:
    x = backend.tensor(np.array([-1.0, 0.0, -0.0, 2.0, np.nan]), True)
    output = F.relu(x)
    np.testing.assert_array_equal(output.numpy(), [0, 0, 0, 2, np.nan])
    output.backward(np.ones(5))
    np.testing.assert_array_equal(host(x.grad), [0, 0, 0, 1, 1])


def test_the_first_maximum_of_a_tie_gets_the_gradient(backend: Backend) -> None:
    x = backend.tensor(np.full((1, 1, 4, 4), 5.0), True)
    F.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(host(x.grad)[0, 0], [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_max_pool_padding_never_wins(backend: Backend) -> None:
    x = backend.tensor(np.full((1, 1, 3, 3), -1.0), True)
    output = F.max_pool2d(x, 2, 1, 1)
    assert (output.numpy() == -1).all()
    output.sum().backward()
    assert host(x.grad).sum() == output.size


def test_max_pool_of_minus_infinity_and_nan(backend: Backend) -> None:
    x = np.full((1, 1, 2, 4), -np.inf)
    x[0, 0, 1, 3] = np.nan
    tensor = backend.tensor(x, True)
    output = F.max_pool2d(tensor, 2)
    np.testing.assert_array_equal(output.numpy()[0, 0], [[-np.inf, np.nan]])
    output.backward(np.ones(output.shape))
    np.testing.assert_array_equal(host(tensor.grad)[0, 0], [[1, 0, 0, 0], [0, 0, 0, 1]])


def test_overlapping_windows_add_up(backend: Backend) -> None:
    x = backend.tensor(np.array([[1.0, 9.0, 2.0]]).reshape(1, 1, 1, 3), True)
    F.max_pool2d(x, (1, 2), 1).sum().backward()
    np.testing.assert_array_equal(host(x.grad).ravel(), [0, 2, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_do_not_overflow(backend: Backend, dtype: type) -> None:
    logits = backend.tensor(np.array([[1e4, 0, -1e4]], dtype), True)
    assert F.cross_entropy(logits, [1]).item() == pytest.approx(1e4)
    np.testing.assert_array_equal(F.softmax(logits).numpy(), [[1, 0, 0]])
    loss = F.cross_entropy(logits, [2])
    loss.backward()
    np.testing.assert_allclose(host(logits.grad), [[1, 0, -1]])


def test_equal_halves_of_maximum() -> None:
    a, b = (Tensor(np.array([1.0, 3.0]), requires_grad=True) for _ in range(2))
    F.maximum(a, b).sum().backward()
    np.testing.assert_array_equal(a.grad, [0.5, 0.5])
    np.testing.assert_array_equal(b.grad, [0.5, 0.5])


def test_no_silent_upcasting() -> None:
    x = Tensor(np.ones((1, 1, 2, 2), np.float32), requires_grad=True)
    for output in (
        x * np.float64(2),
        0.5 + x,
        x / 3,
        np.ones((2, 2)) * x,
        x**0.5,
        -x,
        x.mean(),
        x.sum(),
        x @ np.eye(2),
    ):
        assert output.dtype == np.float32
    assert F.conv2d(np.ones((1, 1, 2, 2)), x).dtype == np.float32


def test_numbers_keep_their_digits_beside_float64() -> None:
    x = Tensor(np.ones(1))
    assert (x * 0.1).item() == 0.1
    assert (x + 1e-12).item() == 1 + 1e-12
    assert (x * 1e300).item() == 1e300
    assert Tensor(np.ones(2**24 + 1)).mean().item() == 1
    assert (x ** np.float32(2)).dtype == (x ** np.int64(2)).dtype == np.float64
    assert (Tensor([2.0]) ** np.float64(2)).dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda: Tensor([1, 2, 3]) * 0.5,
        lambda: np.maximum(0.5, Tensor([1, 2, 3])),
        lambda: F.add(Tensor([1]), [1.5]),
        lambda: F.add(Tensor([1]), Tensor([1.5])),
        lambda: F.conv2d(Tensor(np.ones((1, 1, 4, 4), int)), Tensor(np.ones((1, 1, 2, 2)))),
    ],
)
def test_floats_never_become_integers(call: Callable[[], object]) -> None:
    with pytest.raises(DTypeError, match=r"met in one operation; make them one dtype, e.g. array.astype\('float"):
        call()


@pytest.mark.parametrize(
    "call", [lambda x: x / 2, lambda x: x**-1, lambda x: x.mean(), F.exp, F.log, F.softmax, F.dropout]
)
def test_integers_have_no_float_results(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(DTypeError, match=r": expected floats, got int64; convert with array.astype\('float32'\)"):
        call(Tensor([[1, 2]]))


def test_integers_never_wrap_and_truth_values_are_no_numbers() -> None:
    small = Tensor(np.array([1, 2], np.uint8))
    assert (small + 3).numpy().tolist() == [4, 5]
    for call in (lambda: small + 300, lambda: small * -1):
        with pytest.raises(DTypeError, match="int64 values that uint8 cannot hold met it"):
            call()
    truth = Tensor([True, False])
    for call in (lambda: truth - truth, lambda: -truth, lambda: truth + truth):
        with pytest.raises(DTypeError, match="expected numbers, got bool"):
            call()
    with pytest.raises(DTypeError, match="relu: expected floats, got bool"):
        F.relu(truth)


def test_a_mean_of_many_halves_does_not_overflow() -> None:
    x = Tensor(np.full(70_000, 0.5, np.float16), requires_grad=True)
    mean = x.mean()
    assert (mean.item(), mean.dtype) == (0.5, np.float16)


def test_plain_arrays_alone_take_the_common_float() -> None:
    assert F.add([1], [1.5]).numpy().tolist() == [2.5]
    kernel = np.array([[-1, 0, 1]] * 3)[None, None]
    image = np.arange(16.0).reshape(1, 1, 4, 4)
    assert F.conv2d(image, kernel).numpy().ravel().tolist() == [6, 6, 6, 6]
    assert F.linear(np.ones((1, 2), np.uint8), np.ones((3, 2), np.float32)).dtype == np.float32


def test_masked_logits_do_not_poison_the_loss(backend: Backend) -> None:
    logits = backend.tensor(np.array([[0.0, -np.inf, 1.0]]), True)
    loss = F.cross_entropy(logits, [0])
    assert loss.item() == pytest.approx(np.log(1 + np.e))
    loss.backward()
    assert host(logits.grad)[0, 1] == 0
    assert F.cross_entropy(logits, [1]).item() == np.inf


def test_float16_stays_float16(backend: Backend) -> None:
    x = backend.tensor(np.ones((1, 1, 4, 4), np.float16), True)
    weight = backend.tensor(np.ones((1, 1, 3, 3), np.float16), True)
    output = F.avg_pool2d(F.max_pool2d(F.conv2d(x, weight), 1), 1)
    assert output.dtype == np.float16
    output.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == np.float16


def test_relu_lets_no_infinite_gradient_through_where_it_is_zero(backend: Backend) -> None:
    x = backend.tensor(np.array([-1.0, 1.0]), True)
    F.relu(x).backward(np.array([np.inf, 2.0]))
    np.testing.assert_array_equal(host(x.grad), [0, 2])


def test_a_label_on_the_gpu_that_is_no_class_makes_the_loss_a_nan(backend: Backend) -> None:
    logits = backend.tensor(np.ones((2, 3), np.float32), True)
    if backend.on_cpu:
        with pytest.raises(ArgumentError, match="labels must be from 0 to 2, got 1 to 3"):
            F.cross_entropy(logits, [1, 3])
        return
    loss = F.cross_entropy(logits, backend.tensor(np.array([1, 3])))
    loss.backward()
    assert np.isnan(loss.item())
    np.testing.assert_array_equal(np.isnan(host(logits.grad)), [[False] * 3, [True] * 3])


def test_scalars_stay_scalars(backend: Backend) -> None:
    for function in (F.relu, lambda x: F.dropout(x, 0.5)):
        x = backend.tensor(np.array(2.0), True)
        output = function(x)
        output.backward()
        assert output.shape == x.grad.shape == ()


def test_what_is_dropped_is_zero_even_where_it_was_infinite(backend: Backend) -> None:
    x = backend.tensor(np.array([np.inf, np.nan] * 50, np.float32))
    dropped = F.dropout(x, 0.5, seed=3).numpy() == 0
    assert 20 < dropped.sum() < 80


def test_labels_of_any_layout(backend: Backend) -> None:
    logits = backend.tensor(np.random.default_rng(0).standard_normal((3, 4)))
    labels = backend.array(np.array([1, 9, 0, 9, 3, 9], np.int32))[::2]
    expected = F.cross_entropy(logits, [1, 0, 3]).item()
    assert F.cross_entropy(logits, Tensor(labels)).item() == expected


def test_max_pool_refuses_more_pixels_than_its_indices_count() -> None:
    x = np.broadcast_to(np.float32(0), (1, 1, 1 << 16, 1 << 15))
    with pytest.raises(ShapeError, match=r"max_pool2d: images must have fewer than 2\^31 pixels"):
        F.max_pool2d(x, 2)


@pytest.mark.parametrize("images_learn", [False, True])
def test_an_infinite_pixel_reaches_the_taps_that_read_it_alone(backend: Backend, images_learn: bool) -> None:
    images = np.ones((1, 1, 5, 10), np.float32)
    images[0, 0, 2, 9] = np.inf  # the last column, which only the last tap of a row reads
    weight = backend.tensor(np.ones((1, 1, 3, 3), np.float32), True)
    F.conv2d(backend.tensor(images, images_learn), weight).sum().backward()
    gradient = host(weight.grad)[0, 0]
    np.testing.assert_array_equal(gradient, [[24, 24, np.inf]] * 3)


def test_an_infinity_at_the_end_of_a_row_meets_no_zeros_beside_the_gradient(backend: Backend) -> None:
    """So small an image has its weight's gradient from columns of the output's gradient, which zeros surround."""
    images = np.array([[[[1, 2, 3, 4, 5, np.inf]]]], np.float32)
    weight = backend.tensor(np.ones((1, 1, 1, 2), np.float32), True)
    F.conv2d(backend.tensor(images, True), weight).sum().backward()
    np.testing.assert_array_equal(host(weight.grad), [[[[15, np.inf]]]])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.mean(x), 9),
        (lambda x: F.avg_pool2d(F.reshape(x, (1, 1, 200, 200)), 200), 9),
        (lambda x: F.adaptive_avg_pool2d(F.reshape(x, (1, 1, 200, 200)), 1), 9),
        (lambda x: F.var(x * Tensor(np.float16([-10.0] * 20_000 + [10.0] * 20_000)), correction=0), 8100),
    ],
)
def test_half_precision_adds_up_in_single(function: Callable[[Tensor], Tensor], expected: float) -> None:
    found = function(Tensor(np.full(40_000, 9, np.float16)))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found.numpy().ravel(), np.float16(expected))


def test_half_precision_is_normalised_though_its_squares_overflow() -> None:
    values = (np.random.default_rng(0).standard_normal((2, 400)) * 100).astype(np.float16)
    wide = values.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    for found in (F.layer_norm(Tensor(values), 400), F.flatten(F.group_norm(Tensor(values.reshape(2, 4, 100)), 1))):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=4e-3)


def test_images_of_no_pixels_with_padding_have_gradients() -> None:
    for shape in ((2, 1, 0, 3), (2, 1, 3, 0), (2, 1, 0, 0)):
        x, weight = Tensor(np.zeros(shape), requires_grad=True), Tensor(np.ones((1, 1, 3, 3)), requires_grad=True)
        bias = Tensor(np.ones(1), requires_grad=True)
        output = F.conv2d(x, weight, bias, padding=3)
        output.sum().backward()
        np.testing.assert_array_equal(weight.grad, np.zeros((1, 1, 3, 3)))
        np.testing.assert_array_equal(bias.grad, [output.size])
        assert x.grad is not None
        assert x.grad.shape == shape


@pytest.mark.parametrize("stride", [7, 8, 100, 10**9, 2**31 - 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_strides_beyond_the_image_are_all_the_same(stride: int, ceil_mode: bool) -> None:
    images = np.arange(36.0).reshape(1, 1, 6, 6)
    for pool in (F.max_pool2d, F.avg_pool2d):
        x = Tensor(images, requires_grad=True)
        output = pool(x, 3, stride, padding=1, ceil_mode=ceil_mode)
        output.sum().backward()
        assert output.shape == (1, 1, 1, 1)
        assert output.item() == (7 if pool is F.max_pool2d else 14 / 9)
        assert x.grad is not None
        assert x.grad.sum() == pytest.approx(1 if pool is F.max_pool2d else 4 / 9)
