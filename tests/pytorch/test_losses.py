"""Every loss, its output and all its gradients, against PyTorch's in drawn configurations; see test_functions.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.errors import GpucnnError

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

from tests.pytorch.comparison import (  # noqa: E402 (it needs PyTorch)
    Agree,
    assert_both_refuse,
    compare,
    draw_shape,
    drawn,
    in_both_dtypes,
    integer,
    ones,
)

TF = torch.nn.functional

REDUCTIONS = ("mean", "sum", "none")


def tensor_or_none(array: np.ndarray | None) -> Any:
    return None if array is None else torch.tensor(array)


# Classification


def draw_labels(seed: int, dtype: str) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray | None, int]:
    """A generator, logits, labels with some to ignore, class weights or None, and the label to ignore.

    Every other time they are of positions: sequences, images and more.
    """
    rng = np.random.default_rng(seed)
    batch, classes = integer(rng, 1, 16), integer(rng, 2, 12)
    positions = draw_shape(np.random.default_rng([seed, 5]), most=3) if seed % 2 else ()
    logits = rng.standard_normal((batch, classes, *positions)) * rng.choice([1, 10, 1000])
    labels = rng.integers(classes, size=(batch, *positions))
    ignored = int(rng.choice([-100, 0, classes - 1, 255]))
    labels[rng.random(labels.shape) < rng.choice([0, 0.3, 1], p=[0.4, 0.5, 0.1])] = ignored
    weight = rng.uniform(0.1, 2, classes).astype(dtype) if rng.random() < 0.5 else None
    return rng, logits, labels, weight, ignored


@drawn
@in_both_dtypes
def test_nll_loss(agree: Agree, seed: int, dtype: str) -> None:
    rng, scores, labels, weight, ignored = draw_labels(seed, dtype)
    reduction = str(rng.choice(REDUCTIONS))
    compare(
        agree,
        "nll_loss",
        seed,
        dtype,
        lambda x: F.nll_loss(x, labels, weight, ignored, reduction),
        lambda x: TF.nll_loss(
            x, torch.tensor(labels), tensor_or_none(weight), ignore_index=ignored, reduction=reduction
        ),
        scores,
    )


@drawn
@in_both_dtypes
def test_cross_entropy_with_ignored_labels(agree: Agree, seed: int, dtype: str) -> None:
    rng, logits, labels, weight, ignored = draw_labels(seed, dtype)
    reduction = str(rng.choice(REDUCTIONS))
    smoothing = float(rng.choice([0, 0.1, 0.9]))
    compare(
        agree,
        "cross_entropy, ignored labels",
        seed,
        dtype,
        lambda x: F.cross_entropy(x, labels, weight, smoothing, ignored, reduction),
        lambda x: TF.cross_entropy(
            x,
            torch.tensor(labels),
            tensor_or_none(weight),
            ignore_index=ignored,
            reduction=reduction,
            label_smoothing=smoothing,
        ),
        logits,
    )


@drawn
@in_both_dtypes
def test_cross_entropy_of_probabilities(agree: Agree, seed: int, dtype: str) -> None:
    rng, logits, _, weight, _ = draw_labels(seed, dtype)
    reduction = str(rng.choice(REDUCTIONS))
    smoothing = float(rng.choice([0, 0.1, 0.9]))
    targets = rng.dirichlet(np.full(logits.shape[1], 0.5), (len(logits), *logits.shape[2:]))
    if seed % 4 < 2:
        targets = np.eye(logits.shape[1])[targets.argmax(axis=-1)]
    targets = np.moveaxis(targets, -1, 1)
    compare(
        agree,
        "cross_entropy, probabilities",
        seed,
        dtype,
        lambda x, y: F.cross_entropy(x, y, weight, smoothing, reduction=reduction),
        lambda x, y: TF.cross_entropy(x, y, tensor_or_none(weight), reduction=reduction, label_smoothing=smoothing),
        logits,
        targets,
    )


@drawn
@in_both_dtypes
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # PyTorch's advice to take "batchmean"
def test_kl_div(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    reduction, log_target = str(rng.choice([*REDUCTIONS, "batchmean"])), bool(seed % 2)
    log_probabilities = -rng.exponential(2, shape)
    target = -rng.exponential(2, shape) if log_target else rng.uniform(0.01, 1, shape)
    compare(
        agree,
        "kl_div",
        seed,
        dtype,
        lambda x, y: F.kl_div(x, y, reduction, log_target),
        lambda x, y: TF.kl_div(x, y, reduction=reduction, log_target=log_target),
        log_probabilities,
        target,
    )


# Yes or no


@drawn
@in_both_dtypes
def test_binary_cross_entropy_with_logits(agree: Agree, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    reduction = str(rng.choice(REDUCTIONS))
    logits = rng.standard_normal(shape) * rng.choice([1, 10, 1000])
    targets = rng.integers(2, size=shape) if seed % 2 else rng.random(shape)
    # PyTorch takes weights of fewer axes, and of size 1 where the logits have more.
    weight_shapes = (shape, shape[-1:], (*shape[:-1], 1), ())
    weight, positive = (
        rng.uniform(0.1, 3, weight_shapes[rng.integers(4)]).astype(dtype) if rng.random() < 0.5 else None
        for _ in range(2)
    )
    compare(
        agree,
        "binary_cross_entropy_with_logits",
        seed,
        dtype,
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, weight, reduction, positive),
        lambda x, y: TF.binary_cross_entropy_with_logits(
            x, y, tensor_or_none(weight), reduction=reduction, pos_weight=tensor_or_none(positive)
        ),
        logits,
        targets,
    )


def sigmoid_focal_loss(x: Any, y: Any, alpha: float, gamma: float, reduction: str) -> Any:
    """As torchvision.ops.sigmoid_focal_loss computes it."""
    p = torch.sigmoid(x)
    p_true = p * y + (1 - p) * (1 - y)
    loss = TF.binary_cross_entropy_with_logits(x, y, reduction="none") * (1 - p_true) ** gamma
    if alpha >= 0:
        loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
    return {"none": loss, "mean": loss.mean(), "sum": loss.sum()}[reduction]


@drawn
@in_both_dtypes
def test_focal_loss(agree: Agree, seed: int, dtype: str) -> None:
    """Logits that leave 1 - p well above rounding errors: PyTorch's way cancels there."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    alpha, gamma = float(rng.choice([-1, 0, 0.25, 0.9])), float(rng.choice([0, 1, 2, 2.5, 5]))
    reduction = str(rng.choice(REDUCTIONS))
    logits = rng.uniform(-4, 4, shape)
    targets = rng.integers(2, size=shape) if seed % 2 else rng.random(shape)
    compare(
        agree,
        "focal_loss",
        seed,
        dtype,
        lambda x, y: F.focal_loss(x, y, alpha, gamma, reduction),
        lambda x, y: sigmoid_focal_loss(x, y, alpha, gamma, reduction),
        logits,
        targets,
    )


# Regression


@pytest.mark.parametrize(
    ("ours", "theirs", "threshold"),
    [
        (F.mse_loss, TF.mse_loss, None),
        (F.l1_loss, TF.l1_loss, None),
        (F.huber_loss, TF.huber_loss, "delta"),
        (F.smooth_l1_loss, TF.smooth_l1_loss, "beta"),
    ],
    ids=["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"],
)
@drawn
@in_both_dtypes
def test_regression_losses(
    agree: Agree,
    ours: Callable[..., Tensor],
    theirs: Callable[..., torch.Tensor],
    threshold: str | None,
    seed: int,
    dtype: str,
) -> None:
    """Whole numbers in every other configuration: errors of 0 and at the threshold."""
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng, least=0)
    x, y = (rng.integers(-2, 3, shape) if seed % 2 else rng.standard_normal(shape) * 2 for _ in range(2))
    arguments: dict[str, Any] = {"reduction": str(rng.choice(REDUCTIONS))}
    if threshold is not None and rng.random() < 0.8:
        arguments[threshold] = float(rng.choice([0.5, 1, 2] if threshold == "delta" else [0, 0.5, 1, 2]))
    compare(
        agree,
        ours.__name__,
        seed,
        dtype,
        lambda x, y: ours(x, y, **arguments),
        lambda x, y: theirs(x, y, **arguments),
        np.asarray(x),
        np.asarray(y),
    )


# What PyTorch refuses


@pytest.mark.parametrize(
    ("ours", "theirs", "arrays", "arguments"),
    [
        pytest.param(ours, theirs, arrays, arguments, id=f"{ours.__name__}, {what}")
        for ours, theirs, what, arrays, arguments in [
            (F.mse_loss, TF.mse_loss, "no such reduction", [ones(2), ones(2)], {"reduction": "avg"}),
            (F.huber_loss, TF.huber_loss, "delta 0", [ones(2), ones(2)], {"delta": 0}),
            (F.huber_loss, TF.huber_loss, "negative delta", [ones(2), ones(2)], {"delta": -1}),
            (F.smooth_l1_loss, TF.smooth_l1_loss, "negative beta", [ones(2), ones(2)], {"beta": -1}),
            (
                F.binary_cross_entropy_with_logits,
                TF.binary_cross_entropy_with_logits,
                "another shape",
                [ones(2, 3), ones(2, 1)],
                {},
            ),
            (F.cross_entropy, TF.cross_entropy, "too few probabilities", [ones(2, 3), ones(2, 2)], {}),
            (F.cross_entropy, TF.cross_entropy, "ignored probabilities", [ones(2, 3), ones(2, 3)], {"ignore_index": 1}),
            (F.nll_loss, TF.nll_loss, "label out of range", [ones(2, 3), np.array([0, 3])], {}),
            (F.nll_loss, TF.nll_loss, "too many labels", [ones(2, 3), np.array([0, 1, 2])], {}),
            (F.nll_loss, TF.nll_loss, "labels are floats", [ones(2, 3), ones(2)], {}),
            (F.nll_loss, TF.nll_loss, "labels with channels", [ones(2, 3, 4), np.zeros((2, 1, 4), int)], {}),
            (F.cross_entropy, TF.cross_entropy, "labels of another size", [ones(2, 3, 4), np.zeros((2, 5), int)], {}),
        ]
    ],
)
def test_both_refuse(
    ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray], arguments: dict[str, Any]
) -> None:
    assert_both_refuse(
        lambda: ours(*map(Tensor, arrays), **arguments), lambda: theirs(*map(torch.tensor, arrays), **arguments)
    )


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
def test_what_pytorch_takes_and_gpucnn_refuses() -> None:
    """Losses that broadcast, and means of nothing (NaN there), are mistakes, so we say so."""
    assert TF.mse_loss(torch.ones(2, 1), torch.ones(2)).shape == ()
    with pytest.raises(GpucnnError, match="reshape one of them"):
        F.mse_loss(Tensor(ones(2, 1)), Tensor(ones(2)))
    assert torch.isnan(TF.l1_loss(torch.ones(0), torch.ones(0)))
    with pytest.raises(GpucnnError, match="has no elements to take the mean of"):
        F.l1_loss(Tensor(ones(0)), Tensor(ones(0)))
    # -100, which PyTorch ignores unasked, is a label like others until ignore_index says so.
    assert TF.cross_entropy(torch.zeros(2, 1), torch.tensor([0, -100])).item() == 0
    with pytest.raises(GpucnnError, match="labels must be from 0 to 0, got -100 to 0"):
        F.cross_entropy(Tensor(np.zeros((2, 1))), [0, -100])
