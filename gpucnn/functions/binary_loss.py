"""Losses of yes-or-no questions, any number of them: one logit each, whose sigmoid is the probability of a yes.

Logits and targets have the same shape, any; targets are from 0 to 1. Gradients reach both. Raises ShapeError for shapes
that do not go together and for a mean of no elements, DTypeError for integers, ArgumentError for another reduction.
"""

from typing import Any, NamedTuple

from gpucnn.autograd import Operand, Tensor, as_operand, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_number, is_finite
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.reduction import check_elements, check_reduction, loss_pair, reduce_losses
from gpucnn.text import shape_text, value_text


@operation
def binary_cross_entropy_with_logits(
    logits: Operand, targets: Operand, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-target * log(sigmoid(logit)) - (1 - target) * log(1 - sigmoid(logit)).

    - `weight`: None, or what broadcasts to the logits' shape; it scales each element's loss.
    - `pos_weight`: None, or what broadcasts to the logits' shape, e.g. (classes,); it scales the first summand, so that
      rare yeses count.

    No gradient reaches the weights. A mean is over all elements, whatever their weights.
    """
    owner = "binary_cross_entropy_with_logits"
    check_reduction(owner, reduction)
    logits, targets = loss_pair(owner, logits, targets, ("logits", "targets"))
    weights = _broadcast_weight(owner, "weight", weight, logits)
    positive = _broadcast_weight(owner, "pos_weight", pos_weight, logits)
    check_elements(owner, logits, reduction)
    answer = _answer(logits.array)
    y, targets_learn = targets.array, targets.requires_grad
    reduced, spread = reduce_losses((positive * y * answer.yes_loss + (1 - y) * answer.no_loss) * weights, reduction)

    def backward(gradient: Array) -> tuple[Array, Array | None]:
        each = spread(gradient) * weights
        logits_gradient = each * ((1 - y) * answer.yes - positive * y * answer.no)
        return logits_gradient, each * (positive * answer.yes_loss - answer.no_loss) if targets_learn else None

    return record(owner, reduced, (logits, targets), backward, is_bf16=False)


@operation
def focal_loss(
    inputs: Operand, targets: Operand, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Binary cross-entropy times (1 - p)^gamma, p the probability of the true answer: easy examples hardly count.

    - `inputs`: logits. `gamma`: a number >= 0; with 0 it is the binary cross-entropy.
    - `alpha`: from 0 to 1, the weight of the yeses, while noes have 1 - alpha; -1 for no weights.

    Named and called as `torchvision.ops.sigmoid_focal_loss`. Source: Lin et al., "Focal loss for dense object
    detection", ICCV 2017.
    """
    owner = "focal_loss"
    check_reduction(owner, reduction)
    gamma = as_number(gamma, f"{owner}: gamma")
    if not is_finite(alpha) or (alpha != -1 and not 0 <= alpha <= 1):
        raise ArgumentError(
            f"{owner}: alpha must be a number from 0 to 1, or -1 for no weights, got {value_text(alpha)}"
        )
    inputs, targets = loss_pair(owner, inputs, targets, ("inputs", "targets"))
    check_elements(owner, inputs, reduction)
    xp, answer = xp_of(inputs.array), _answer(inputs.array)
    y, targets_learn = targets.array, targets.requires_grad
    entropy = y * answer.yes_loss + (1 - y) * answer.no_loss
    miss = y * answer.no + (1 - y) * answer.yes  # 1 - p, without the cancellation
    focus = miss**gamma
    weights, weights_by_target = (1.0, 0.0) if alpha == -1 else (alpha * y + (1 - alpha) * (1 - y), 2 * alpha - 1)
    reduced, spread = reduce_losses(weights * focus * entropy, reduction)

    def backward(gradient: Array) -> tuple[Array, Array | None]:
        each = spread(gradient)
        # focus' = gamma * focus / miss * miss'; where the exponentials have underflowed to no miss at all, it is 0.
        focus_by_miss = gamma * entropy * focus / xp.where(miss == 0, 1, miss)
        by_logit = focus * (answer.yes - y) + focus_by_miss * answer.yes * answer.no * (1 - 2 * y)
        if not targets_learn:
            return each * weights * by_logit, None
        by_target = focus * (answer.yes_loss - answer.no_loss) + focus_by_miss * (answer.no - answer.yes)
        return each * weights * by_logit, each * (weights * by_target + weights_by_target * focus * entropy)

    return record(owner, reduced, (inputs, targets), backward, is_bf16=False)


class _Answer(NamedTuple):
    """Probabilities of a yes and of a no, and their negative logarithms."""

    yes: Array
    no: Array
    yes_loss: Array
    no_loss: Array


def _answer(logits: Array) -> _Answer:
    """All of it from exp(-|logit|), which cannot overflow."""
    xp = xp_of(logits)
    small = xp.exp(-abs(logits))
    likely, unlikely = 1 / (1 + small), small / (1 + small)
    positive = logits >= 0
    log_sum = xp.log1p(small)
    return _Answer(
        xp.where(positive, likely, unlikely),
        xp.where(positive, unlikely, likely),
        log_sum + xp.maximum(-logits, 0),
        log_sum + xp.maximum(logits, 0),
    )


def _broadcast_weight(owner: str, name: str, weight: Any, logits: Tensor) -> Array | float:
    if weight is None:
        return 1.0
    array = as_operand(weight, logits).array
    # From the last axis backwards each size is 1 or that of the logits; there are no more axes than theirs.
    along = list(zip(reversed(array.shape), reversed(logits.shape), strict=False))
    if array.ndim > logits.ndim or any(size not in (1, full) for size, full in along):
        raise ShapeError(
            f"{owner}: expected {name} that broadcasts to logits {shape_text(logits.shape)}, "
            f"got {shape_text(array.shape)}; its axes are counted from the last"
        )
    return array
