"""The updates of SGD and Adam over flat buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector


@cached
def sgd(momentum: bool, nesterov: bool) -> Loop:
    """One step over parameters, gradients and, with momentum, velocities (size,). See `kernels.sgd`.

    `settings` (3,): learning rate, momentum, weight decay.
    """

    def write(b: Builder) -> None:
        parameters, gradients, settings = b.pointer("parameters"), b.pointer("gradients"), b.pointer("settings")
        velocities = b.pointer("velocities") if momentum else None

        def one(i: Size, width: int) -> None:
            lr, beta, decay = (settings.spread(k, width) for k in range(3))
            value = parameters.load(i, width)
            slope = _decayed(b, decay, value, gradients.load(i, width))
            if velocities is not None:
                velocity = b.fma(beta, velocities.load(i, width), slope)
                velocities.store(velocity, i)
                slope = b.fma(beta, velocity, slope) if nesterov else velocity
            parameters.store(value - lr * slope, i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = [
        Argument("parameters", (EACH,), written=True),
        Argument("gradients", (EACH,)),
        Argument("settings", (3,)),
    ]
    if momentum:
        arguments.append(Argument("velocities", (EACH,), written=True))
    return Loop("sgd", (momentum, nesterov), tuple(arguments), write)


def _decayed(b: Builder, decay: Vector, value: Vector, gradient: Vector) -> Vector:
    """gradient + decay * value; without decay the gradient alone, even where the value is infinite."""
    return decay.differs(b.splat(0.0, value.width)).select(b.fma(decay, value, gradient), gradient)


@cached
def adam() -> Loop:
    """One step over parameters, gradients, means and squares (size,). See `kernels.adam`, also for `settings` (8,)."""

    def write(b: Builder) -> None:
        parameters, gradients, settings = b.pointer("parameters"), b.pointer("gradients"), b.pointer("settings")
        means, squares = b.pointer("means"), b.pointer("squares")

        def one(i: Size, width: int) -> None:
            rate, beta1, fresh1, beta2, fresh2, correction2, eps, decay = (settings.spread(k, width) for k in range(8))
            value = parameters.load(i, width)
            slope = _decayed(b, decay, value, gradients.load(i, width))
            mean = b.fma(beta1, means.load(i, width), fresh1 * slope)
            square = b.fma(beta2, squares.load(i, width), fresh2 * (slope * slope))
            means.store(mean, i)
            squares.store(square, i)
            parameters.store(value - rate * mean / (b.sqrt(square / correction2) + eps), i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (
        Argument("parameters", (EACH,), written=True),
        Argument("gradients", (EACH,)),
        Argument("means", (EACH,), written=True),
        Argument("squares", (EACH,), written=True),
        Argument("settings", (8,)),
    )
    return Loop("adam", (), arguments, write)
