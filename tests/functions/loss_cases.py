"""The losses for `test_every_function.py`: oracles that follow the definitions element by element."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.testing import oracles
from tests.functions.case import Array, Case

LABELS = np.array([2, -100, 1, 3, 2])
PLAIN_LABELS = np.array([2, 0, 1, 3, 2])
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 0.25]


def reduced(values: Any, reduction: str, divisor: float | None = None) -> Array:
    values = np.asarray(values, dtype=np.float64)
    if reduction == "none":
        return values
    total = math.fsum(values.ravel())
    return np.array(total if reduction == "sum" else total / (values.size if divisor is None else divisor))


def every(function: Callable[..., float], *arrays: Array, reduction: str = "mean") -> Array:
    """`function` of Python floats, applied to each element of `arrays`, and reduced."""
    values = [function(*map(float, row)) for row in zip(*(array.ravel() for array in arrays), strict=True)]
    return reduced(np.reshape(values, arrays[0].shape), reduction)


def nll(scores: Array, labels: Array, weight: list[float] | None, ignored: int | None, reduction: str) -> Array:
    losses, weights = [], []
    for row, label in zip(scores, labels, strict=True):
        counts = label != ignored
        weights.append((1.0 if weight is None else weight[label]) if counts else 0.0)
        losses.append(-weights[-1] * row[label] if counts else 0.0)
    return reduced(losses, reduction, math.fsum(weights))


MAP_LABELS = np.array([[[2, 0, -100], [1, 3, 3]], [[-100, 1, 0], [0, 2, 1]]])
FULL_MAP = np.where(MAP_LABELS < 0, 1, MAP_LABELS)


def by_position(x: Array) -> Array:
    """(N, classes, H, W) as a list of the positions' vectors, in the order of labels (N, H, W)."""
    return np.array([x[n, :, i, j] for n, i, j in np.ndindex(x.shape[0], *x.shape[2:])])


def on_map(loss: Callable[[Array], Array], reshape: bool = False) -> Callable[[Array], Array]:
    """A loss of vectors, of each position of scores (2, 4, 2, 3)."""
    return lambda x: loss(by_position(x)).reshape(2, 2, 3) if reshape else loss(by_position(x))


def soft_on_map(x: Array, targets: Array) -> Array:
    losses = soft_cross_entropy(by_position(x), by_position(targets), 0.2, CLASS_WEIGHTS)
    return reduced(losses, "mean")


def log_probabilities(logits: Array) -> Array:
    return np.log(oracles.softmax(logits))


def soft_cross_entropy(
    logits: Array, targets: Array, smoothing: float = 0.0, weight: list[float] | None = None
) -> Array:
    """The loss of each image."""
    scale = [1.0] * logits.shape[1] if weight is None else weight
    losses = []
    for logs, target in zip(log_probabilities(logits), targets, strict=True):
        shares = [(1 - smoothing) * share + smoothing / len(target) for share in target]
        losses.append(-math.fsum(w * share * log for w, share, log in zip(scale, shares, logs, strict=True)))
    return np.array(losses)


def binary(x: float, y: float, positive: float = 1.0) -> float:
    yes = 1 / (1 + math.exp(-x))
    return -positive * y * math.log(yes) - (1 - y) * math.log(1 - yes)


def focal(x: float, y: float, alpha: float, gamma: float) -> float:
    yes = 1 / (1 + math.exp(-x))
    right = yes * y + (1 - yes) * (1 - y)
    weight = 1.0 if alpha < 0 else alpha * y + (1 - alpha) * (1 - y)
    return weight * (1 - right) ** gamma * binary(x, y)


def huber(error: float, delta: float) -> float:
    return error * error / 2 if abs(error) < delta else delta * (abs(error) - delta / 2)


PAIR = ((3, 4), (3, 4))
MAP = (2, 4, 2, 3)
CASES = [
    Case(
        "cross_entropy of a map",
        lambda x: F.cross_entropy(x, FULL_MAP),
        on_map(lambda rows: nll(log_probabilities(rows), FULL_MAP.ravel(), None, None, "mean")),
        (MAP,),
    ),
    Case(
        "cross_entropy of each position of a map",
        lambda x: F.cross_entropy(x, MAP_LABELS, CLASS_WEIGHTS, ignore_index=-100, reduction="none"),
        on_map(lambda rows: nll(log_probabilities(rows), MAP_LABELS.ravel(), CLASS_WEIGHTS, -100, "none"), True),
        (MAP,),
    ),
    Case(
        "cross_entropy of some positions of a map",
        lambda x: F.cross_entropy(x, MAP_LABELS, CLASS_WEIGHTS, ignore_index=-100),
        on_map(lambda rows: nll(log_probabilities(rows), MAP_LABELS.ravel(), CLASS_WEIGHTS, -100, "mean")),
        (MAP,),
    ),
    Case(
        "cross_entropy of a map, smoothed",
        lambda x: F.cross_entropy(x, FULL_MAP, label_smoothing=0.2),
        on_map(lambda rows: reduced(soft_cross_entropy(rows, np.eye(4)[FULL_MAP.ravel()], 0.2), "mean")),
        (MAP,),
    ),
    Case(
        "cross_entropy of a map of probabilities",
        lambda x, targets: F.cross_entropy(x, targets, CLASS_WEIGHTS, label_smoothing=0.2),
        soft_on_map,
        (MAP, MAP),
    ),
    Case(
        "cross_entropy of each place of a sequence of probabilities",
        lambda x, targets: F.cross_entropy(x, targets, reduction="none"),
        lambda x, targets: np.array([soft_cross_entropy(x[..., i], targets[..., i]) for i in range(x.shape[2])]).T,
        ((2, 4, 3), (2, 4, 3)),
    ),
    Case(
        "nll_loss of a map",
        lambda x: F.nll_loss(x, MAP_LABELS, CLASS_WEIGHTS),
        on_map(lambda rows: nll(rows, MAP_LABELS.ravel(), CLASS_WEIGHTS, -100, "mean")),
        (MAP,),
    ),
    Case(
        "nll_loss of each position of a map",
        lambda x: F.nll_loss(x, MAP_LABELS, reduction="none"),
        on_map(lambda rows: nll(rows, MAP_LABELS.ravel(), None, -100, "none"), True),
        (MAP,),
    ),
    Case(
        "nll_loss of a box, summed",
        lambda x: F.nll_loss(x, FULL_MAP[..., None], ignore_index=3, reduction="sum"),
        lambda x: nll(by_position(x[..., 0]), FULL_MAP.ravel(), None, 3, "sum"),
        ((*MAP, 1),),
    ),
    Case(
        "cross_entropy of each image",
        lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHTS, ignore_index=-100, reduction="none"),
        lambda x: nll(log_probabilities(x), LABELS, CLASS_WEIGHTS, -100, "none"),
        ((5, 4),),
    ),
    Case(
        "cross_entropy of some images",
        lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHTS, ignore_index=-100),
        lambda x: nll(log_probabilities(x), LABELS, CLASS_WEIGHTS, -100, "mean"),
        ((5, 4),),
    ),
    Case(
        "cross_entropy smoothed and summed",
        lambda x: F.cross_entropy(x, PLAIN_LABELS, label_smoothing=0.2, reduction="sum"),
        lambda x: reduced(soft_cross_entropy(x, np.eye(4)[PLAIN_LABELS], 0.2), "sum"),
        ((5, 4),),
    ),
    Case(
        "cross_entropy of probabilities",
        F.cross_entropy,
        lambda x, targets: reduced(soft_cross_entropy(x, targets), "mean"),
        PAIR,
    ),
    Case(
        "cross_entropy of probabilities weighted and smoothed",
        lambda x, targets: F.cross_entropy(x, targets, CLASS_WEIGHTS, label_smoothing=0.2),
        lambda x, targets: reduced(soft_cross_entropy(x, targets, 0.2, CLASS_WEIGHTS), "mean"),
        PAIR,
    ),
    Case("nll_loss", lambda x: F.nll_loss(x, LABELS), lambda x: nll(x, LABELS, None, -100, "mean"), ((5, 4),)),
    Case(
        "nll_loss weighted",
        lambda x: F.nll_loss(x, LABELS, CLASS_WEIGHTS),
        lambda x: nll(x, LABELS, CLASS_WEIGHTS, -100, "mean"),
        ((5, 4),),
    ),
    Case(
        "nll_loss without the twos, summed",
        lambda x: F.nll_loss(x, PLAIN_LABELS, ignore_index=2, reduction="sum"),
        lambda x: nll(x, PLAIN_LABELS, None, 2, "sum"),
        ((5, 4),),
    ),
    Case("kl_div", F.kl_div, lambda x, t: every(lambda x, t: t * (math.log(t) - x), x, t), PAIR, True),
    Case(
        "kl_div batchmean",
        lambda x, t: F.kl_div(x, t, "batchmean"),
        lambda x, t: every(lambda x, t: t * (math.log(t) - x), x, t, reduction="sum") / 3,
        PAIR,
        True,
    ),
    Case(
        "kl_div of logarithms",
        lambda x, t: F.kl_div(x, t, "none", log_target=True),
        lambda x, t: every(lambda x, t: math.exp(t) * (t - x), x, t, reduction="none"),
        PAIR,
    ),
    Case(
        "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, lambda x, y: every(binary, x, y), PAIR
    ),
    Case(
        "binary_cross_entropy_with_logits weighted",
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, [[0.5], [1.0], [3.0]], "sum", CLASS_WEIGHTS),
        lambda x, y: reduced(
            every(binary, x, y, np.tile(CLASS_WEIGHTS, (3, 1)), reduction="none") * [[0.5], [1.0], [3.0]], "sum"
        ),
        PAIR,
    ),
    Case(
        "focal_loss",
        lambda x: F.focal_loss(x, np.eye(3, 4)),
        lambda x: every(lambda x, y: focal(x, y, 0.25, 2), x, np.eye(3, 4), reduction="none"),
        ((3, 4),),
    ),
    Case(
        "focal_loss of soft targets",
        lambda x, logit: F.focal_loss(x, F.softmax(logit), -1, 1.5, "mean"),
        lambda x, logit: every(lambda x, y: focal(x, y, -1, 1.5), x, oracles.softmax(logit)),
        PAIR,
    ),
    Case(
        "focal_loss of soft targets weighted",
        lambda x, logit: F.focal_loss(x, F.softmax(logit), 0.9, 3, "sum"),
        lambda x, logit: every(lambda x, y: focal(x, y, 0.9, 3), x, oracles.softmax(logit), reduction="sum"),
        PAIR,
    ),
    Case("mse_loss", F.mse_loss, lambda x, y: every(lambda x, y: (x - y) ** 2, x, y), PAIR),
    Case(
        "l1_loss of each",
        lambda x: F.l1_loss(x, np.full((3, 4), 0.06), "none"),
        lambda x: np.hypot(x - 0.06, 0),
        PAIR[:1],
    ),
    Case(
        "huber_loss",
        lambda x, y: F.huber_loss(x, y, delta=0.32),
        lambda x, y: every(lambda x, y: huber(x - y, 0.32), x, y),
        PAIR,
    ),
    Case(
        "huber_loss summed",
        lambda x: F.huber_loss(x * 9, x, "sum"),
        lambda x: every(lambda x: huber(8 * x, 1.0), x, reduction="sum"),
        ((3, 4),),
    ),
    Case(
        "smooth_l1_loss",
        lambda x, y: F.smooth_l1_loss(x, y, "sum", beta=0.32),
        lambda x, y: every(lambda x, y: huber(x - y, 0.32) / 0.32, x, y, reduction="sum"),
        PAIR,
    ),
    Case(
        "smooth_l1_loss with a sharp corner",
        lambda x: F.smooth_l1_loss(x, np.full((3, 4), 0.06), beta=0),
        lambda x: every(lambda x: abs(x - 0.06), x),
        ((3, 4),),
    ),
]
