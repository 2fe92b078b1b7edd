"""Compiled softmax and cross-entropy together, one row of logits per image, without class weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler.loop import EACH, FREE, Argument, Loop, cached, run
from gpucnn.kernels.cross_entropy.exponential import exp, log
from gpucnn.kernels.cross_entropy.plain import Targets

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Index, Pointer, Size, Vector


WORK = 4 * ELEMENT
"""What a logit takes: its exponential is like four passes."""


def suits(targets: Targets) -> bool:
    """Whether loops take these targets: those without class weights."""
    return targets.class_weights is None


def cross_entropy(logits: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
    """The loss; probabilities are kept."""
    count, classes = logits.shape
    probabilities = empty(logits.shape, logits.dtype)
    losses, loss = empty((count,), logits.dtype), empty((1,), logits.dtype)
    arrays = [np.ascontiguousarray(logits), _contiguous(targets), probabilities, losses]
    run(cross_entropy_loop(classes, targets.smoothing), count, arrays, cut(count, classes * WORK))
    run(mean_loop(), 1, [losses, loss])
    return loss.reshape(()), (probabilities,)


def cross_entropy_gradient(upstream: Array, targets: Targets, kept: tuple[Array, ...]) -> Array:
    """Probabilities less targets, times the gradient of the mean."""
    (probabilities,) = kept
    count, classes = probabilities.shape
    gradient = empty(probabilities.shape, probabilities.dtype)
    arrays = [probabilities, _contiguous(targets), upstream.reshape(1), gradient]
    run(cross_entropy_gradient_loop(classes, targets.smoothing), count, arrays, cut(count, classes * ELEMENT))
    return gradient


def _contiguous(targets: Targets) -> Array:
    return np.ascontiguousarray(targets.labels, np.int32)


@cached
def cross_entropy_loop(classes: int, smoothing: float) -> Loop:
    """logits (N, classes), labels (N,) -> probabilities (N, classes) and losses (N,).

    With z the logits less the largest of their row: log(sum of exp(z)) less the sum of target times z. A label that is no
    class makes a loss NaN: in a step that is replayed nobody looks at labels.
    """

    def write(b: Builder) -> None:
        logits, labels = b.pointer("logits"), b.pointer("labels", b.INT32)
        probabilities, losses = b.pointer("probabilities"), b.pointer("losses")

        def one_image(n: Size) -> None:
            row, result = logits + n * classes, probabilities + n * classes
            (top,) = _reduce(b, classes, [row.spread(0, 1)], lambda i, width: [row.load(i, width)], _larger)

            def raised(i: Size, width: int) -> list[Vector]:
                z = row.load(i, width) - b.spread(top, width)
                power = exp(b, z)
                result.store(power, i)
                return [power, z]

            total, total_z = _reduce(b, classes, [b.splat(0.0, 1)] * 2, raised, lambda x, y: x + y)
            known, label = _known(b, labels, n, classes)
            targeted = row.load(label, 1) - top
            if smoothing:  # without it the other classes do not count, even where z is minus infinity
                share = b.splat(smoothing, 1)
                spread_evenly = share * total_z * b.splat(1 / classes, 1)
                targeted = b.fma(b.splat(1.0, 1) - share, targeted, spread_evenly)
            losses.store(known.select(log(b, total) - targeted, b.splat(math.nan, 1)), n)
            b.sweep(0, classes, lambda i, width: result.store(result.load(i, width) / b.spread(total, width), i))

        b.each(b.index("first"), b.index("last"), 1, one_image)

    arguments = (
        Argument("logits", (EACH, classes)),
        Argument("labels", (EACH,), "int32"),
        Argument("probabilities", (EACH, classes), written=True),
        Argument("losses", (EACH,), written=True),
    )
    return Loop("cross_entropy", (classes, smoothing), arguments, write)


@cached
def mean_loop() -> Loop:
    """values (N,) -> mean (1,), added up in double precision; for one item."""

    def write(b: Builder) -> None:
        values, count = b.pointer("values"), b.free_size()
        whole = count // b.lanes * b.lanes

        def add(width: int) -> Callable[[Size, list[Vector]], list[Vector]]:
            return lambda i, sums: [sums[0] + values.load(i, width).widened()]

        (vector,) = b.fold(0, whole, b.lanes, [b.splat(0.0, b.lanes, b.DOUBLE)], add(b.lanes))
        (total,) = b.fold(whole, count, 1, [b.sum(vector)], add(1))
        b.pointer("mean").store((total / b.number(count, 1)).narrowed())

    return Loop("mean", (), (Argument("values", (FREE,)), Argument("mean", (EACH,), written=True)), write)


@cached
def cross_entropy_gradient_loop(classes: int, smoothing: float) -> Loop:
    """probabilities (N, classes), labels (N,), upstream (1,) -> gradient (N, classes): scale * (probability - target).

    The scale is that of the mean of the losses of all images. What it makes of targets is found in double precision.
    """

    def write(b: Builder) -> None:
        probabilities, labels = b.pointer("probabilities"), b.pointer("labels", b.INT32)
        upstream, result = b.pointer("upstream"), b.pointer("gradient")
        scale = upstream.load(0, 1).widened() / b.number(b.free_size(), 1)
        every, own = (
            (scale * b.splat(share, 1, b.DOUBLE)).narrowed() for share in (smoothing / classes, 1 - smoothing)
        )

        def one_image(n: Size) -> None:
            row, target = probabilities + n * classes, result + n * classes

            def fill(i: Size, width: int) -> None:
                target.store(row.load(i, width) * b.spread(scale.narrowed(), width) - b.spread(every, width), i)

            b.sweep(0, classes, fill)
            known, label = _known(b, labels, n, classes)
            place = target + label
            place.store(place.load(0, 1) - known.select(own, b.splat(math.nan, 1)))

        b.each(b.index("first"), b.index("last"), 1, one_image)

    arguments = (
        Argument("probabilities", (EACH, classes)),
        Argument("labels", (FREE,), "int32"),
        Argument("upstream", (1,)),
        Argument("gradient", (EACH, classes), written=True),
    )
    return Loop("cross_entropy_gradient", (classes, smoothing), arguments, write)


def _known(b: Builder, labels: Pointer, n: Size, classes: int) -> tuple[Vector, Index]:
    """Whether the label of an image is a class, and the label, or 0."""
    label = labels.load(n, 1)
    known = b.within(label, classes)
    return known, b.as_index(known.select(label, b.splat(0, 1, b.INT32)))


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
