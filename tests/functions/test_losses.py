"""Losses at extremes, of ignored labels and of weights; and what they refuse, word by word."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError
from tests.backends import Backend, host

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def ones(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32))


# Extremes; NumPy's warnings of overflow would be errors here.


@FLOATS
def test_binary_cross_entropy_of_large_logits(backend: Backend, dtype: type) -> None:
    logits = backend.tensor(np.array([1e4, -1e4, 1e4, -1e4, 0, 30, -30], dtype), True)
    losses = F.binary_cross_entropy_with_logits(logits, np.array([1, 0, 0, 1, 1, 1, 0]), reduction="none")
    assert losses.dtype == dtype
    small = math.log1p(math.exp(-30))
    np.testing.assert_allclose(losses.numpy(), [0, 0, 1e4, 1e4, math.log(2), small, small], rtol=1e-6)
    losses.sum().backward()
    assert logits.grad.dtype == dtype
    tiny = math.exp(-30)
    np.testing.assert_allclose(host(logits.grad), [0, 0, 1, -1, -0.5, -tiny, tiny], rtol=1e-6)


@FLOATS
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_focal_loss_of_large_logits(backend: Backend, dtype: type, gamma: float) -> None:
    logits = backend.tensor(np.array([1e4, -1e4, 1e4, -1e4], dtype), True)
    losses = F.focal_loss(logits, np.array([1, 0, 0, 1]), gamma=gamma)
    np.testing.assert_allclose(losses.numpy(), [0, 0, 0.75e4, 0.25e4])
    losses.sum().backward()
    np.testing.assert_allclose(host(logits.grad), [0, 0, 0.75, -0.25])


def test_focal_loss_without_focus_is_half_the_binary_cross_entropy(backend: Backend) -> None:
    logits, targets = backend.tensor(np.linspace(-3, 3, 8)), np.arange(8) % 2
    focal = F.focal_loss(logits, targets, alpha=0.5, gamma=0, reduction="mean")
    assert focal.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, targets).item() / 2)
    unweighted = F.focal_loss(logits, targets, alpha=-1, gamma=0, reduction="mean")
    assert unweighted.item() == pytest.approx(2 * focal.item())


@pytest.mark.parametrize("loss", [F.huber_loss, F.smooth_l1_loss])
def test_huber_losses_of_large_errors_do_not_overflow(backend: Backend, loss: Callable[..., Tensor]) -> None:
    x = backend.tensor(np.array([3e38, -3e38, 0.5, 1.0], np.float32), True)
    losses = loss(x, np.zeros(4), "none")
    np.testing.assert_allclose(losses.numpy(), np.array([3e38, 3e38, 0.125, 0.5], np.float32))
    losses.backward(np.ones(4))
    np.testing.assert_array_equal(host(x.grad), [1, -1, 0.5, 1])


def test_l1_loss_at_zero_has_no_gradient(backend: Backend) -> None:
    x, y = (backend.tensor(np.array([1.0, 2.0, 3.0]), True) for _ in range(2))
    F.l1_loss(x, y).backward()
    np.testing.assert_array_equal(host(x.grad), 0)
    F.smooth_l1_loss(y, np.array([1.0, 0.0, 4.0]), "sum", beta=0).backward()
    np.testing.assert_array_equal(host(y.grad), [0, 1, -1])


def test_kl_div_of_impossible_classes(backend: Backend) -> None:
    """A target of 0 adds nothing, also where the input is log(0)."""
    logs = backend.tensor(np.array([[-np.inf, math.log(0.5), math.log(0.5)]]), True)
    loss = F.kl_div(logs, np.array([[0.0, 0.25, 0.75]]), "batchmean")
    assert loss.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    loss.backward()
    np.testing.assert_array_equal(host(logs.grad), [[0, -0.25, -0.75]])
    log_targets = backend.array(np.array([[-np.inf, math.log(0.25), math.log(0.75)]]))
    assert F.kl_div(logs, log_targets, "batchmean", log_target=True).item() == pytest.approx(loss.item())


def test_kl_div_falls_without_bound_as_a_target_leaves_zero(backend: Backend) -> None:
    target = backend.tensor(np.array([0.0, 1.0]), True)
    F.kl_div(np.array([-1.0, -2.0]), target, "sum").backward()
    np.testing.assert_array_equal(host(target.grad), [-np.inf, 3])


def test_masked_logits_do_not_poison_probabilities(backend: Backend) -> None:
    logits = backend.tensor(np.array([[0.0, -np.inf, 1.0]]), True)
    loss = F.cross_entropy(logits, np.array([[0.5, 0.0, 0.5]]))
    assert loss.item() == pytest.approx(np.log(1 + np.e) - 0.5)
    loss.backward()
    assert host(logits.grad)[0, 1] == 0
    assert F.nll_loss(F.log_softmax(logits), [1]).item() == np.inf


def test_losses_of_single_numbers_and_of_float16(backend: Backend) -> None:
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.kl_div, F.binary_cross_entropy_with_logits):
        for shape, dtype in (((), np.float64), ((2, 3), np.float16)):
            x = backend.tensor(np.full(shape, 0.5, dtype), True)
            result = loss(x, backend.tensor(np.full(shape, 0.25, dtype)))
            result.backward()
            assert (result.shape, result.dtype, x.grad.shape, x.grad.dtype) == ((), dtype, shape, dtype)


def test_a_mean_of_many_float16_losses_does_not_overflow(backend: Backend) -> None:
    x = backend.tensor(np.ones(70_000, np.float16))
    assert F.mse_loss(x, np.zeros(70_000)).item() == 1


# Labels that do not count


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, labels: F.nll_loss(F.log_softmax(x), labels),
        lambda x, labels: F.cross_entropy(x, labels, None, 0.1, -100),
    ],
    ids=["nll_loss", "cross_entropy"],
)
def test_an_ignored_label_is_as_an_image_that_is_not_there(backend: Backend, loss: Callable[..., Tensor]) -> None:
    values = np.arange(12.0).reshape(4, 3) % 5
    logits, fewer = backend.tensor(values, True), backend.tensor(values[[1, 3]], True)
    some = loss(logits, backend.array(np.array([-100, 2, -100, 0])))
    alone = loss(fewer, backend.array(np.array([2, 0])))
    assert some.item() == pytest.approx(alone.item())
    some.backward()
    alone.backward()
    np.testing.assert_allclose(host(logits.grad)[[1, 3]], host(fewer.grad))
    np.testing.assert_array_equal(host(logits.grad)[[0, 2]], 0)


def test_the_mean_over_no_image_that_counts(backend: Backend) -> None:
    for loss in (F.nll_loss, lambda x, labels: F.cross_entropy(x, labels, ignore_index=-100)):
        logits = backend.tensor(np.ones((2, 3), np.float32), True)
        mean = loss(logits, [-100, -100])
        assert math.isnan(mean.item())
        mean.backward()
        np.testing.assert_array_equal(host(logits.grad), 0)
    assert F.nll_loss(logits, [-100, -100], reduction="sum").item() == 0


def test_a_class_can_be_ignored(backend: Backend) -> None:
    scores = backend.array(np.array([[-1.0, -2.0], [-3.0, -4.0]]))
    np.testing.assert_array_equal(F.nll_loss(scores, [1, 0], None, 0, "none").numpy(), [2, 0])
    assert F.nll_loss(scores, [1, 0], [5.0, 3.0], 0).item() == 2


def test_probabilities_of_one_class_are_its_label(backend: Backend) -> None:
    logits = backend.array(np.arange(12.0).reshape(4, 3) % 5)
    for reduction in ("mean", "sum", "none"):
        by_label = F.cross_entropy(logits, [2, 0, 1, 1], None, 0.1, reduction=reduction)
        by_share = F.cross_entropy(logits, np.eye(3)[[2, 0, 1, 1]].tolist(), None, 0.1, reduction=reduction)
        np.testing.assert_allclose(by_label.numpy(), by_share.numpy())
    images = F.cross_entropy(logits, [2, 0, 1, 1], None, 0.1, reduction="none")
    np.testing.assert_allclose(images.numpy().mean(), F.cross_entropy(logits, [2, 0, 1, 1], None, 0.1).item())


def test_a_map_has_the_loss_and_gradients_of_its_rows_to_the_bit(backend: Backend, rng: np.random.Generator) -> None:
    values, labels = rng.standard_normal((2, 3, 4, 5)), rng.integers(3, size=(2, 4, 5))
    for loss in (F.cross_entropy, F.nll_loss):
        on_map = backend.tensor(values, True)
        rows = backend.tensor(np.ascontiguousarray(values.transpose(0, 2, 3, 1)).reshape(-1, 3), True)
        outputs = [loss(on_map, labels), loss(rows, labels.ravel())]
        for output in outputs:
            output.backward()
        assert outputs[0].item() == outputs[1].item()
        assert on_map.grad is not None
        assert rows.grad is not None
        np.testing.assert_array_equal(host(on_map.grad).transpose(0, 2, 3, 1).reshape(-1, 3), host(rows.grad))


def test_a_label_on_the_gpu_that_is_no_class_makes_its_loss_a_nan(backend: Backend) -> None:
    for loss in (F.nll_loss, F.cross_entropy):
        logits = backend.tensor(np.ones((3, 3), np.float32), True)
        labels = backend.tensor(np.array([1, 3, -100]))
        if backend.on_cpu:
            with pytest.raises(ArgumentError, match="labels must be from 0 to 2, got 1 to 3"):
                loss(logits, labels, ignore_index=-100, reduction="none")
            continue
        losses = loss(logits, labels, ignore_index=-100, reduction="none")
        losses.sum().backward()
        np.testing.assert_array_equal(np.isnan(losses.numpy()), [False, True, False])
        np.testing.assert_array_equal(np.isnan(host(logits.grad)).any(axis=1), [False, True, False])


# Refusals


WRONG: list[tuple[Callable[[], object], type[GpucnnError], str]] = [
    *[
        (
            lambda loss=loss: loss(ones(2, 3), ones(2, 1)),
            ShapeError,
            f"{loss.__name__}: expected {second} (2, 3), as {first} has it, got (2, 1); reshape one of them",
        )
        for loss, first, second in [
            (F.mse_loss, "input", "target"),
            (F.l1_loss, "input", "target"),
            (F.huber_loss, "input", "target"),
            (F.smooth_l1_loss, "input", "target"),
            (F.kl_div, "input", "target"),
            (F.binary_cross_entropy_with_logits, "logits", "targets"),
            (F.focal_loss, "inputs", "targets"),
        ]
    ],
    *[
        (
            lambda loss=loss: loss(ones(2, 3), ones(2, 3), reduction="avg"),
            ArgumentError,
            f"{loss.__name__}: reduction must be {names}, got 'avg'",
        )
        for loss, names in [
            *((loss, '"mean", "sum" or "none"') for loss in (F.mse_loss, F.cross_entropy, F.focal_loss)),
            (F.kl_div, '"mean", "sum", "none" or "batchmean"'),
        ]
    ],
    *[
        (
            lambda loss=loss: loss(ones(0, 3), ones(0, 3), reduction="mean"),
            ShapeError,
            f"{loss.__name__}: (0, 3) has no elements to take the mean of",
        )
        for loss in (F.mse_loss, F.kl_div, F.binary_cross_entropy_with_logits, F.focal_loss)
    ],
    (
        lambda: F.mse_loss(Tensor([1, 2]), Tensor([1, 2])),
        DTypeError,
        "mse_loss: expected floats, got int64; convert with array.astype('float32')",
    ),
    (
        lambda: F.huber_loss(ones(2), ones(2), delta=0),
        ArgumentError,
        "huber_loss: delta must be above 0, got 0; the loss would be 0 everywhere",
    ),
    (
        lambda: F.smooth_l1_loss(ones(2), ones(2), beta=-1),
        ArgumentError,
        "smooth_l1_loss: beta must be a number >= 0, got -1",
    ),
    (
        lambda: F.focal_loss(ones(2), ones(2), alpha=2),
        ArgumentError,
        "focal_loss: alpha must be a number from 0 to 1, or -1 for no weights, got 2",
    ),
    (
        lambda: F.focal_loss(ones(2), ones(2), gamma=-1),
        ArgumentError,
        "focal_loss: gamma must be a number >= 0, got -1",
    ),
    *[
        (
            lambda name=name, shape=shape: F.binary_cross_entropy_with_logits(
                ones(2, 3), ones(2, 3), **{name: np.ones(shape)}
            ),
            ShapeError,
            (
                f"binary_cross_entropy_with_logits: expected {name} that broadcasts to logits (2, 3), got {shape}; "
                f"its axes are counted from the last"
            ),
        )
        for name, shape in [("weight", (2, 2)), ("pos_weight", (4, 2, 3))]
    ],
    (
        lambda: F.kl_div(Tensor(1.0), Tensor(1.0), "batchmean"),
        ShapeError,
        'kl_div: expected a first axis to take the "batchmean" over, got (); use "sum"',
    ),
    (
        lambda: F.nll_loss(ones(3), [0]),
        ShapeError,
        "nll_loss: expected log_probabilities (N, classes) or (N, classes, d1, ...) of at least one image, got (3,)",
    ),
    (
        lambda: F.nll_loss(ones(2, 3), [0]),
        ShapeError,
        "nll_loss: expected labels (2,) for log_probabilities (2, 3), got (1,); give one class index per image",
    ),
    (
        lambda: F.nll_loss(ones(2, 3), [0.0, 1.0]),
        DTypeError,
        "nll_loss: labels must be integers, got float32; convert with astype('int64')",
    ),
    (
        lambda: F.nll_loss(ones(2, 3), [-100, 3]),
        ArgumentError,
        "nll_loss: labels must be from 0 to 2, got 3 to 3; the model needs as many outputs as there are classes",
    ),
    (
        lambda: F.nll_loss(ones(2, 3), [0, 1], [1.0]),
        ShapeError,
        "nll_loss: expected weight (3,), one per class, got (1,)",
    ),
    (
        lambda: F.nll_loss(ones(2, 3), [0, 1], ignore_index=1 << 31),
        ArgumentError,
        "nll_loss: ignore_index must be an int of 32 bits, got 2147483648",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), ones(2, 2)),
        ShapeError,
        (
            "cross_entropy: expected probabilities (2, 3), as logits has it, got (2, 2); give one per image and class, "
            "or integer labels (2,)"
        ),
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), ones(2, 3), ignore_index=1),
        ArgumentError,
        "cross_entropy: ignore_index goes with integer labels, got 1 and floats",
    ),
    (
        lambda: F.cross_entropy(ones(2, 3), [0, -100]),
        ArgumentError,
        "cross_entropy: labels must be from 0 to 2, got -100 to 0; the model needs as many outputs as there are classes",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:60] for _, _, message in WRONG])
def test_refusals(call: Callable[[], object], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "loss",
    [F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.kl_div, F.binary_cross_entropy_with_logits, F.focal_loss],
)
def test_no_elements_have_a_sum_and_no_mean(backend: Backend, loss: Callable[..., Tensor]) -> None:
    x, y = (backend.tensor(np.zeros((0, 3)), True) for _ in range(2))
    total = loss(x, y, reduction="sum")
    total.backward()
    assert (total.item(), x.grad.shape) == (0, (0, 3))
    assert loss(x, y, reduction="none").shape == (0, 3)
    with pytest.raises(ShapeError, match=r": \(0, 3\) has no elements to take the mean of"):
        loss(x, y, reduction="mean")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_classification_of_no_image_is_refused(backend: Backend, reduction: str) -> None:
    for loss, name in ((F.cross_entropy, "logits"), (F.nll_loss, "log_probabilities")):
        scores, labels = backend.tensor(np.zeros((0, 3))), backend.array(np.zeros(0, int))
        with pytest.raises(ShapeError) as caught:
            loss(scores, Tensor(labels), reduction=reduction)
        expected = (
            f"{loss.__name__}: expected {name} (N, classes) or (N, classes, d1, ...) of at least one image, got (0, 3)"
        )
        assert str(caught.value) == expected
