"""Losses: how far a model's output is from what it should be."""

from typing import Any

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_operand, as_tensor, check_float, record
from gpucnn.backend import Array, as_array, device_of, to_device, xp_of
from gpucnn.checks import as_number, shape_text
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.kernels import cross_entropy as kernel
from gpucnn.kernels.cross_entropy import Targets


def cross_entropy(logits: Operand, labels: Any, weight: Any = None, label_smoothing: float = 0.0) -> Tensor:
    """The mean negative log-probability that softmax(logits) gives to the labels: a tensor of shape ().

    - `logits`: (N, classes). `labels`: (N,), integers from 0 to classes - 1; a tensor, an array or a list.
    - `weight`: None, or (classes,); the mean is then weighted by the weights of the labels.
    - `label_smoothing`: in [0, 1); this share of each target is spread evenly over all classes.

    Computed through log-sum-exp. Raises ShapeError, DTypeError for labels that are no integers, and ArgumentError for
    labels out of range. Labels that are on a GPU are not looked at, as that would wait for it: one that is out of range
    makes the loss a NaN.
    """
    logits = as_tensor(logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ShapeError(
            f"cross_entropy: expected logits (N, classes) of at least one image, got {shape_text(logits.shape)}"
        )
    check_float("cross_entropy", logits)
    count, classes = logits.shape
    targets = Targets(
        _label_indices(labels, count, classes, logits),
        None if weight is None else _class_weights(weight, classes, logits),
        as_number(label_smoothing, "cross_entropy: label_smoothing", below=1),
    )
    loss, saved = kernel.cross_entropy(logits.data, targets)

    def backward(gradient: Array) -> tuple[Array]:
        return (kernel.cross_entropy_gradient(gradient, targets, saved),)

    return record("cross_entropy", loss, (logits,), backward)


def _label_indices(labels: Any, count: int, classes: int, logits: Tensor) -> Array:
    array = labels.data if isinstance(labels, Tensor) else as_array(labels)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: labels must be integers, got {array.dtype}; convert with astype('int64')")
    if array.shape != (count,):
        raise ShapeError(
            f"cross_entropy: expected labels ({count},) for logits {shape_text(logits.shape)}, "
            f"got {shape_text(array.shape)}; give one class index per image"
        )
    if xp_of(array) is np and (int(array.min()) < 0 or int(array.max()) >= classes):
        raise ArgumentError(
            f"cross_entropy: labels must be from 0 to {classes - 1}, got {array.min()} to {array.max()}; "
            f"the model needs as many outputs as there are classes"
        )
    return to_device(array.astype(np.int32, copy=False), device_of(logits.data))


def _class_weights(weight: Any, classes: int, logits: Tensor) -> Array:
    array = as_operand(weight, logits).data
    if array.shape != (classes,):
        raise ShapeError(f"cross_entropy: expected weight ({classes},), one per class, got {shape_text(array.shape)}")
    return xp_of(array).ascontiguousarray(array)
