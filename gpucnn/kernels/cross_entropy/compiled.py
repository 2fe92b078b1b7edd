"""Compiled softmax and cross-entropy together, one row of logits per image, without class weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached, run
from gpucnn.kernels.cross_entropy.exponential import exp
from gpucnn.kernels.cross_entropy.plain import Targets

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector


WORK = 4 * ELEMENT
"""What a logit takes: its exponential is like four passes."""


def suits(targets: Targets) -> bool:
    """Whether loops take these targets: those without class weights."""
    return targets.class_weights is None


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    """The loss; probabilities are kept."""
    count, classes = logits.shape
    probabilities = np.empty(logits.shape, logits.dtype)
    sums, targeted = np.empty((2, count), logits.dtype)
    arrays = [np.ascontiguousarray(logits), _contiguous(targets), np.array([targets.smoothing], logits.dtype)]
    parts = cut(count, classes * WORK)
    run(cross_entropy_loop(classes), count, [*arrays, probabilities, sums, targeted], parts)
    losses = np.log(sums, out=sums)
    losses -= targeted
    return losses.mean(), (probabilities,)


def cross_entropy_gradient(upstream: Array, targets: Targets, kept: tuple[Array, ...]) -> Array:
    """Probabilities less targets, times the gradient of the mean."""
    (probabilities,) = kept
    count, classes = probabilities.shape
    scale, smoothing = float(upstream) / count, targets.smoothing
    settings = np.array([scale, scale * (smoothing / classes), scale * (1 - smoothing)], probabilities.dtype)
    gradient = np.empty(probabilities.shape, probabilities.dtype)
    arrays = [probabilities, _contiguous(targets), settings, gradient]
    run(cross_entropy_gradient_loop(classes), count, arrays, cut(count, classes * ELEMENT))
    return gradient


def _contiguous(targets: Targets) -> Array:
    return np.ascontiguousarray(targets.labels, np.int32)


@cached
def cross_entropy_loop(classes: int) -> Loop:
    """logits (N, classes), labels (N,), smoothing (1,) -> probabilities (N, classes), sums (N,) and targeted (N,).

    With z the logits less the largest of their row: the sums of exp(z), and the sums of target times z. The loss of an
    image is log(sum) - targeted.
    """

    def write(b: Builder) -> None:
        logits, labels, smoothing = b.pointer("logits"), b.pointer("labels", b.INT32), b.pointer("smoothing")
        probabilities, sums, targeted = b.pointer("probabilities"), b.pointer("sums"), b.pointer("targeted")

        def one_image(n: Size) -> None:
            row, result = logits + n * classes, probabilities + n * classes
            (top,) = _reduce(b, classes, [row.spread(0, 1)], lambda i, width: [row.load(i, width)], _larger)

            def raised(i: Size, width: int) -> list[Vector]:
                z = row.load(i, width) - b.spread(top, width)
                power = exp(b, z)
                result.store(power, i)
                return [power, z]

            total, total_z = _reduce(b, classes, [b.splat(0.0, 1)] * 2, raised, lambda x, y: x + y)
            sums.store(total, n)
            share = smoothing.load(0, 1)
            z = row.load(b.as_index(labels.load(n, 1)), 1) - top
            spread_evenly = share * total_z * b.splat(1 / classes, 1)
            # Without smoothing the other classes have no target, and do not count even where z is minus infinity.
            spread_evenly = share.differs(b.splat(0.0, 1)).select(spread_evenly, b.splat(0.0, 1))
            targeted.store(b.fma(b.splat(1.0, 1) - share, z, spread_evenly), n)
            b.sweep(0, classes, lambda i, width: result.store(result.load(i, width) / b.spread(total, width), i))

        b.each(b.index("first"), b.index("last"), 1, one_image)

    arguments = (
        Argument("logits", (EACH, classes)),
        Argument("labels", (EACH,), "int32"),
        Argument("smoothing", (1,)),
        Argument("probabilities", (EACH, classes), written=True),
        Argument("sums", (EACH,), written=True),
        Argument("targeted", (EACH,), written=True),
    )
    return Loop("cross_entropy", (classes,), arguments, write)


@cached
def cross_entropy_gradient_loop(classes: int) -> Loop:
    """probabilities (N, classes), labels (N,), settings (3,) -> gradient (N, classes): scale * (probability - target).

    `settings`: the scale, and the target of every class and what the label's own has more, both times the scale.
    """

    def write(b: Builder) -> None:
        probabilities, labels = b.pointer("probabilities"), b.pointer("labels", b.INT32)
        settings, result = b.pointer("settings"), b.pointer("gradient")

        def one_image(n: Size) -> None:
            row, target = probabilities + n * classes, result + n * classes

            def fill(i: Size, width: int) -> None:
                scale, every = (settings.spread(k, width) for k in (0, 1))
                target.store(row.load(i, width) * scale - every, i)

            b.sweep(0, classes, fill)
            own = target + b.as_index(labels.load(n, 1))
            own.store(own.load(0, 1) - settings.load(2, 1))

        b.each(b.index("first"), b.index("last"), 1, one_image)

    arguments = (
        Argument("probabilities", (EACH, classes)),
        Argument("labels", (EACH,), "int32"),
        Argument("settings", (3,)),
        Argument("gradient", (EACH, classes), written=True),
    )
    return Loop("cross_entropy_gradient", (classes,), arguments, write)


def _reduce(
    b: Builder,
    size: int,
    initial: list[Vector],
    terms: Callable[[Size, int], list[Vector]],
    merge: Callable[[Vector, Vector], Vector],
) -> list[Vector]:
    """The vectors `terms(i, width)` over all elements below `size` merged with `initial`, vectors of one, into such."""
    whole = size // b.lanes * b.lanes

    def add(i: Size, merged: list[Vector]) -> list[Vector]:
        return [merge(one, term) for one, term in zip(merged, terms(i, b.lanes), strict=True)]

    results = initial
    if whole:
        carried = b.fold(0, whole, b.lanes, [b.spread(one, b.lanes) for one in initial], add)
        results = [b.merged(vector, merge) for vector in carried]

    def add_rest(i: Size, width: int) -> None:
        nonlocal results
        results = [merge(one, b.merged(term, merge)) for one, term in zip(results, terms(i, width), strict=True)]

    b.sweep(whole, size, add_rest)
    return results


def _larger(a: Vector, b: Vector) -> Vector:
    return (a < b).select(b, a)
