"""Losses of classification: how far a model's output is from the classes that it should name.

Scores of images are (N, classes). Those of a class for each position, (N, classes, d1, ...), e.g. (N, classes, H, W) of a
segmentation, are taken as one row a position, and then as if each were an image.
"""

import functools
import math
from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operand, as_tensor, check_float, operation, record
from gpucnn.backend import Array, as_array, converted, device_of, fed, to_device, xp_of
from gpucnn.checks import Shape, as_flag, as_number, is_int, labels_fix
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.functions.activation import log_softmax
from gpucnn.functions.reduction import REDUCTIONS, check_elements, check_reduction, loss_pair, reduce_losses
from gpucnn.functions.shape import reshape, transpose
from gpucnn.kernels import cross_entropy as kernel
from gpucnn.kernels.cross_entropy import Targets
from gpucnn.text import shape_text, value_text


@operation
def cross_entropy(
    logits: Operand,
    labels: Any,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean negative log-probability that softmax(logits) gives to the labels: a tensor of shape ().

    - `logits`: (N, classes), or (N, classes, d1, ...) for a class at each position, e.g. (N, classes, H, W).
    - `labels`: (N,), or (N, d1, ...), integers from 0 to classes - 1; a tensor, an array or a list. Or floats of the
      logits' shape, the probability of each class, which gradients reach, too.
    - `weight`: None, or (classes,); the mean is then weighted by the weights of the labels. With probabilities it is
      not: it is over the images, or positions.
    - `label_smoothing`: in [0, 1); this share of each target is spread evenly over all classes.
    - `ignore_index`: None, or the label of images, or positions, that do not count, e.g. -100. With nothing but those the
      mean is NaN.
    - `reduction`: "mean", "sum", or "none" for each loss, of the shape of labels.

    Computed through log-sum-exp; a plain mean over labels takes one kernel on a GPU, or two from 257 images on. Raises ShapeError, DTypeError for
    labels that are no integers, and ArgumentError for labels out of range. Labels that are on a GPU are not looked at,
    as that would wait for it: one that is out of range makes the loss a NaN.
    """
    owner = "cross_entropy"
    logits = _check_scores(owner, "logits", as_tensor(logits))
    given = labels.array if isinstance(labels, Tensor) else as_array(labels)
    weights = _class_weights(owner, weight, logits)
    smoothing = as_number(label_smoothing, f"{owner}: label_smoothing", below=1)
    check_reduction(owner, reduction)
    if given.dtype.kind == "f" and given.ndim == logits.ndim:
        return _soft_cross_entropy(logits, as_operand(labels, logits), weights, smoothing, ignore_index, reduction)
    indices, rows = _label_indices(owner, given, logits, "logits", ignore_index), _as_rows(logits)
    if reduction != "mean" or ignore_index is not None:
        shares, divisor = _shares(indices, rows, weights, smoothing, ignore_index)
        return _expected_loss(owner, log_softmax(rows), Tensor(shares), reduction, divisor, given.shape)
    targets = Targets(indices, weights, smoothing)
    loss, saved = kernel.cross_entropy(rows.array, targets)

    def backward(gradient: Array) -> tuple[Array]:
        return (kernel.cross_entropy_gradient(gradient, targets, saved),)

    return record(owner, loss, (rows,), backward, is_bf16=False)


@operation
def nll_loss(
    log_probabilities: Operand, labels: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Minus the log-probabilities of the labels: the cross-entropy of what `log_softmax` gave.

    - `log_probabilities`: (N, classes), or (N, classes, d1, ...) for a class at each position.
    - `labels`: (N,), or (N, d1, ...), integers from 0 to classes - 1, or `ignore_index` for what does not count.
    - `weight`: None, or (classes,); the mean is then weighted by the weights of the labels.
    - `reduction`: "mean", NaN if nothing counts, "sum", or "none" for each loss, of the shape of labels.

    Raises what `cross_entropy` raises, and treats labels on a GPU as it does.
    """
    owner = "nll_loss"
    scores = _check_scores(owner, "log_probabilities", as_tensor(log_probabilities))
    given = labels.array if isinstance(labels, Tensor) else as_array(labels)
    indices = _label_indices(owner, given, scores, "log_probabilities", ignore_index)
    weights = _class_weights(owner, weight, scores)
    check_reduction(owner, reduction)
    rows = _as_rows(scores)
    shares, divisor = _shares(indices, rows, weights, 0.0, ignore_index)
    return _expected_loss(owner, rows, Tensor(shares), reduction, divisor, given.shape)


@operation
def kl_div(input: Operand, target: Operand, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - input): the Kullback-Leibler divergence of `input` from `target`, element by element.

    - `input`: log-probabilities, of any shape. `target`: probabilities of that shape, or with `log_target` their
      logarithms. Gradients reach both.
    - `reduction`: "batchmean", the divergence proper: the sum over the first axis' size. "mean" divides by all
      elements, "sum" by none, and "none" keeps all of them.

    Raises ShapeError for two shapes and for a mean of no elements, DTypeError for integers, ArgumentError for another
    reduction. Source: Kullback and Leibler, "On information and sufficiency", Annals of Mathematical Statistics 1951.
    """
    owner = "kl_div"
    check_reduction(owner, reduction, (*REDUCTIONS, "batchmean"))
    input, target = loss_pair(owner, input, target, ("input", "target"))
    if reduction == "batchmean" and input.ndim == 0:
        raise ShapeError(f'{owner}: expected a first axis to take the "batchmean" over, got (); use "sum"')
    check_elements(owner, input, reduction)
    log_target = as_flag(log_target, f"{owner}: log_target")
    input_data, target_learns = input.array, target.requires_grad
    xp = xp_of(input_data)
    if log_target:
        probabilities, logs = xp.exp(target.array), target.array
    else:
        probabilities = target.array
        logs = xp.log(xp.where(probabilities == 0, 1, probabilities))
    # What has no probability does not count, even where a logarithm is minus infinity.
    excess = xp.where(probabilities == 0, 0, logs) - xp.where(probabilities == 0, 0, input_data)
    by_batch = ("mean", input.shape[0]) if reduction == "batchmean" else (reduction,)
    reduced, spread = reduce_losses(probabilities * excess, *by_batch)

    def backward(gradient: Array) -> tuple[Array, Array | None]:
        each = spread(gradient)
        if not target_learns:
            return -each * probabilities, None
        if log_target:
            return -each * probabilities, each * probabilities * (excess + 1)
        with np.errstate(divide="ignore"):  # at 0 the gradient is minus infinity
            return -each * probabilities, each * (xp.log(probabilities) - input_data + 1)

    return record(owner, reduced, (input, target), backward, is_bf16=False)


def _soft_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Array | None, smoothing: float, ignore_index: int | None, reduction: str
) -> Tensor:
    """`cross_entropy` of targets of the logits' shape that are probabilities."""
    labels_shape = _labels_shape(logits)
    if targets.shape != logits.shape:
        raise ShapeError(
            f"cross_entropy: expected probabilities {shape_text(logits.shape)}, as logits has it, got "
            f"{shape_text(targets.shape)}; give one per image and class, or integer labels {shape_text(labels_shape)}"
        )
    if ignore_index is not None:
        raise ArgumentError(f"cross_entropy: ignore_index goes with integer labels, got {ignore_index} and floats")
    rows, targets = _as_rows(logits), _as_rows(targets)
    shares = targets * (1 - smoothing) + smoothing / rows.shape[1] if smoothing else targets
    if weights is not None:
        shares = shares * weights
    return _expected_loss("cross_entropy", log_softmax(rows), shares, reduction, rows.shape[0], labels_shape)


def _expected_loss(
    owner: str, log_probabilities: Tensor, shares: Tensor, reduction: str, divisor: Array | int, shape: Shape
) -> Tensor:
    """The reduced sums over classes of minus share times log-probability, both (N, classes); if not reduced, of `shape`."""
    values, targets = log_probabilities.array, shares.array
    shares_learn = shares.requires_grad
    # A class without a share does not count, even where its log-probability is minus infinity.
    losses = -(targets * xp_of(values).where(targets == 0, 0, values)).sum(axis=1)
    reduced, spread = reduce_losses(losses, reduction, divisor)

    def backward(gradient: Array) -> tuple[Array, Array | None]:
        each = -spread(gradient)[:, None]
        return each * targets, each * values if shares_learn else None

    loss = record(owner, reduced, (log_probabilities, shares), backward, is_bf16=False)
    return loss if reduction != "none" else reshape(loss, shape)


def _shares(
    labels: Array, scores: Tensor, weights: Array | None, smoothing: float, ignore_index: int | None
) -> tuple[Array, Array]:
    """The weighted share of each class in each target, (N, classes), and the sum of the labels' weights, ().

    An ignored label has no share and no weight; one that is no class has shares of NaN.
    """
    xp, (_, classes) = xp_of(labels), scores.shape
    hits = (labels[:, None] == xp.arange(classes, dtype=np.int32)).astype(scores.dtype)
    shares = hits * (1 - smoothing) + smoothing / classes
    if weights is not None:
        shares, hits = shares * weights, hits * weights
    known = (labels >= 0) & (labels < classes)
    shares = xp.where(known[:, None], shares, np.nan)
    if ignore_index is not None:
        counted = (labels != ignore_index)[:, None]
        shares, hits = xp.where(counted, shares, 0), xp.where(counted, hits, 0)
    return shares, hits.sum(dtype=scores.dtype)


def _as_rows(scores: Tensor) -> Tensor:
    """What is (N, classes, d1, ...) as (N * d1 * ..., classes), the positions of an image after each other."""
    if scores.ndim == 2:
        return scores
    last = transpose(scores, (0, *range(2, scores.ndim), 1))
    return reshape(last, (math.prod(_labels_shape(scores)), scores.shape[1]))


def _labels_shape(scores: Tensor) -> Shape:
    """(N, d1, ...) of scores (N, classes, d1, ...)."""
    return (scores.shape[0], *scores.shape[2:])


def _check_scores(owner: str, name: str, scores: Tensor) -> Tensor:
    if scores.ndim < 2 or 0 in scores.shape:
        raise ShapeError(
            f"{owner}: expected {name} (N, classes) or (N, classes, d1, ...) of at least one image, "
            f"got {shape_text(scores.shape)}"
        )
    check_float(owner, scores)
    return scores


def _label_indices(owner: str, labels: Array, scores: Tensor, name: str, ignore_index: int | None) -> Array:
    """The labels, row by row, on the device of `scores`, looked at if that costs no wait. In int32, but for int64 on a GPU."""
    expected, classes = _labels_shape(scores), scores.shape[1]
    fix = labels_fix(labels.shape, expected[0]) if scores.ndim == 2 else ""
    if labels.dtype.kind not in "iu":
        fix = fix or "convert with astype('int64')"
        raise DTypeError(f"{owner}: labels must be integers, got {labels.dtype}; {fix}")
    if labels.shape != expected:
        fix = fix or f"give one class index per {'image' if scores.ndim == 2 else 'position'}"
        raise ShapeError(
            f"{owner}: expected labels {shape_text(expected)} for {name} {shape_text(scores.shape)}, "
            f"got {shape_text(labels.shape)}; {fix}"
        )
    if ignore_index is not None and (not is_int(ignore_index) or not -(1 << 31) <= ignore_index < 1 << 31):
        raise ArgumentError(f"{owner}: ignore_index must be an int of 32 bits, got {value_text(ignore_index)}")
    if xp_of(labels) is np:  # fed, so that a step that is recorded looks at them in each replay, too
        looked_at = functools.partial(_checked_labels, owner, labels, classes, ignore_index)
        return fed(looked_at, device_of(scores.array))
    if labels.dtype != np.int64 or xp_of(scores.array) is np:
        labels = converted(labels, np.dtype(np.int32))
    there = to_device(labels, device_of(scores.array))
    return xp_of(there).ascontiguousarray(there).reshape(-1)


def _checked_labels(owner: str, labels: np.ndarray, classes: int, ignore_index: int | None) -> np.ndarray:
    """Labels on the host as int32, in a row. ArgumentError for one that is no class, and not `ignore_index`."""
    counted = labels if ignore_index is None else labels[labels != ignore_index]
    if counted.size and (int(counted.min()) < 0 or int(counted.max()) >= classes):
        raise ArgumentError(
            f"{owner}: labels must be from 0 to {classes - 1}, got {counted.min()} to {counted.max()}; "
            f"the model needs as many outputs as there are classes"
        )
    return np.ascontiguousarray(labels, np.int32).reshape(-1)


def _class_weights(owner: str, weight: Any, scores: Tensor) -> Array | None:
    if weight is None:
        return None
    array = as_operand(weight, scores).array
    if array.shape != (scores.shape[1],):
        raise ShapeError(f"{owner}: expected weight ({scores.shape[1]},), one per class, got {shape_text(array.shape)}")
    return xp_of(array).ascontiguousarray(array)
