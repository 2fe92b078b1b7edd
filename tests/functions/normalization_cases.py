"""Cases of the normalisations, their oracles by loops over the groups that share their statistics."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.functions.case import Array, Case

MEAN, VARIANCE = np.array([0.3, -0.2, 0.1]), np.array([1.5, 0.5, 2.0])


def standardized(x: Array, groups: Iterable[tuple]) -> Array:
    """`x` with mean 0 and variance 1 in every group, each an index into it."""
    output = np.empty(x.shape)
    for group in groups:
        values = [float(value) for value in x[group].ravel()]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        output[group] = (x[group] - mean) / (variance + 1e-5) ** 0.5
    return output


def per_channel(x: Array, weight: Array, bias: Array) -> Array:
    output = x.copy()
    for channel in range(x.shape[1]):
        output[:, channel] = output[:, channel] * weight[channel] + bias[channel]
    return output


def channels(x: Array) -> list[tuple]:
    return [(slice(None), channel) for channel in range(x.shape[1])]


def samples_in(x: Array, groups: int) -> list[tuple]:
    size = x.shape[1] // groups
    return [(n, slice(g * size, (g + 1) * size)) for n in range(len(x)) for g in range(groups)]


def response(x: Array, size: int) -> Array:
    output = np.empty(x.shape)
    for channel in range(x.shape[1]):
        first = channel - size // 2
        squares = sum(x[:, c] ** 2 for c in range(max(first, 0), min(first + size, x.shape[1])))
        output[:, channel] = x[:, channel] / (2.0 + 0.3 / size * squares) ** 0.75
    return output


def in_evaluation(x: Tensor, weight: Tensor, bias: Tensor, **options: Any) -> Tensor:
    statistics = [Tensor(array.astype(x.dtype)).to(str(x.device)) for array in (MEAN, VARIANCE)]
    return F.batch_norm(x, *statistics, weight, bias, **options)


def with_running_statistics(x: Array, weight: Array, bias: Array) -> Array:
    shaped = [array.reshape(3, 1, 1) for array in (MEAN, VARIANCE, weight, bias)]
    return (x - shaped[0]) / np.sqrt(shaped[1] + 1e-5) * shaped[2] + shaped[3]


IMAGES, VECTOR = (3, 4, 2, 3), (4,)
CASES = [
    Case(
        "batch_norm scaled alone",
        lambda x, w: F.batch_norm(x, None, None, w, training=True),
        lambda x, w: per_channel(standardized(x, channels(x)), w, np.zeros(4)),
        (IMAGES, VECTOR),
    ),
    Case(
        "batch_norm shifted alone, with relu",
        lambda x, b: F.batch_norm(x, None, None, None, b, True, activation="relu"),
        lambda x, b: np.maximum(per_channel(standardized(x, channels(x)), np.ones(4), b), 0),
        (IMAGES, VECTOR),
    ),
    Case(
        "batch_norm with statistics in plain arrays",
        lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE.tolist(), w, b),
        with_running_statistics,
        ((2, 3, 2, 2), (3,), (3,)),
    ),
    Case(
        "layer_norm scaled alone",
        lambda x, w: F.layer_norm(x, np.array([4]), w),
        lambda x, w: standardized(x, [(i, j) for i in range(2) for j in range(3)]) * w,
        ((2, 3, 4), VECTOR),
    ),
    Case(
        "group_norm scaled alone",
        lambda x, w: F.group_norm(x, 2, w),
        lambda x, w: per_channel(standardized(x, samples_in(x, 2)), w, np.zeros(4)),
        (IMAGES, VECTOR),
    ),
    Case(
        "batch_norm with relu",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, activation="relu"),
        lambda x, w, b: np.maximum(per_channel(standardized(x, channels(x)), w, b), 0),
        ((3, 2, 5, 4), (2,), (2,)),
    ),
    Case(
        "batch_norm and a residual, with relu",
        lambda x, w, b, r: F.batch_norm(x, None, None, w, b, True, activation="relu", residual=r),
        lambda x, w, b, r: np.maximum(per_channel(standardized(x, channels(x)), w, b) + r, 0),
        ((3, 2, 5, 4), (2,), (2,), (3, 2, 5, 4)),
    ),
    Case(
        "batch_norm and a residual",
        lambda x, w, r: F.batch_norm(x, None, None, w, training=True, residual=r),
        lambda x, w, r: per_channel(standardized(x, channels(x)), w, np.zeros(4)) + r,
        (IMAGES, VECTOR, IMAGES),
    ),
    Case(
        "batch_norm of vectors and a residual, with relu",
        lambda x, r: F.batch_norm(x, None, None, training=True, activation="relu", residual=r),
        lambda x, r: np.maximum(standardized(x, channels(x)) + r, 0),
        ((5, 3), (5, 3)),
    ),
    Case(
        "batch_norm in evaluation and a residual, with relu",
        lambda x, w, b, r: in_evaluation(x, w, b, activation="relu", residual=r),
        lambda x, w, b, r: np.maximum(with_running_statistics(x, w, b) + r, 0),
        ((2, 3, 2, 2), (3,), (3,), (2, 3, 2, 2)),
    ),
    Case(
        "batch_norm",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: per_channel(standardized(x, channels(x)), w, b),
        (IMAGES, VECTOR, VECTOR),
    ),
    Case(
        "batch_norm of vectors, plain",
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: standardized(x, channels(x)),
        ((5, 3),),
    ),
    Case("batch_norm in evaluation", in_evaluation, with_running_statistics, ((2, 3, 2, 2), (3,), (3,))),
    Case(
        "layer_norm",
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        lambda x, w, b: standardized(x, [(i, j) for i in range(2) for j in range(3)]) * w + b,
        ((2, 3, 4), VECTOR, VECTOR),
    ),
    Case(
        "layer_norm over two axes",
        lambda x, w, b: F.layer_norm(x, (3, 4), w, b),
        lambda x, w, b: standardized(x, [(i,) for i in range(2)]) * w + b,
        ((2, 3, 4), (3, 4), (3, 4)),
    ),
    Case("layer_norm plain", lambda x: F.layer_norm(x, 4), lambda x: standardized(x, [(0,), (1,)]), ((2, 4),)),
    Case(
        "group_norm",
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: per_channel(standardized(x, samples_in(x, 2)), w, b),
        (IMAGES, VECTOR, VECTOR),
    ),
    Case(
        "instance_norm",
        F.instance_norm,
        lambda x, w, b: per_channel(standardized(x, samples_in(x, 4)), w, b),
        (IMAGES, VECTOR, VECTOR),
    ),
    Case("instance_norm plain", F.instance_norm, lambda x: standardized(x, samples_in(x, 2)), ((2, 2, 5),)),
    Case(
        "local_response_norm",
        lambda x: F.local_response_norm(x, 3, 0.3, 0.75, 2.0),
        lambda x: response(x, 3),
        ((2, 5, 2, 2),),
    ),
    Case(
        "local_response_norm over an even number",
        lambda x: F.local_response_norm(x, 4, 0.3, 0.75, 2.0),
        lambda x: response(x, 4),
        ((2, 6, 3),),
    ),
]
