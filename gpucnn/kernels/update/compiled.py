"""The updates in compiled loops, on all threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucnn.backend import Array
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached
from gpucnn.kernels.update.plain import AdamSettings, SgdSettings

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector

SGD_NUMBERS, ADAM_NUMBERS = len(SgdSettings._fields), len(AdamSettings._fields)


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """See `sgd` of this folder."""
    size, arrays = parameters.size, [parameters, gradients, settings, *([] if velocities is None else [velocities])]
    loop.run(sgd_loop(velocities is not None, nesterov), size, arrays, cut(size, ELEMENT))


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """See `adam` of this folder."""
    size = parameters.size
    loop.run(adam_loop(), size, [parameters, gradients, means, squares, settings], cut(size, ELEMENT))


@cached
def sgd_loop(momentum: bool, nesterov: bool) -> Loop:
    """One step over parameters, gradients and, with momentum, velocities (size,)."""

    def write(b: Builder) -> None:
        parameters, gradients, settings = b.pointer("parameters"), b.pointer("gradients"), b.pointer("settings")
        velocities = b.pointer("velocities") if momentum else None

        def one(i: Size, width: int) -> None:
            lr, beta, decay = (settings.spread(k, width) for k in range(SGD_NUMBERS))
            value = parameters.load(i, width)
            step = _decayed(b, decay, value, gradients.load(i, width))
            if velocities is not None:
                velocity = b.fma(beta, velocities.load(i, width), step)
                velocities.store(velocity, i)
                step = b.fma(beta, velocity, step) if nesterov else velocity
            parameters.store(value - lr * step, i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = [
        Argument("parameters", (EACH,), written=True),
        Argument("gradients", (EACH,)),
        Argument("settings", (SGD_NUMBERS,)),
    ]
    if momentum:
        arguments.append(Argument("velocities", (EACH,), written=True))
    return Loop("sgd", (momentum, nesterov), tuple(arguments), write)


def _decayed(b: Builder, decay: Vector, value: Vector, gradient: Vector) -> Vector:
    """gradient + decay * value; without decay the gradient alone, even where the value is infinite."""
    return decay.differs(b.splat(0.0, value.width)).select(b.fma(decay, value, gradient), gradient)


@cached
def adam_loop() -> Loop:
    """One step over parameters, gradients, means and squares (size,)."""

    def write(b: Builder) -> None:
        parameters, gradients, settings = b.pointer("parameters"), b.pointer("gradients"), b.pointer("settings")
        means, squares = b.pointer("means"), b.pointer("squares")

        def one(i: Size, width: int) -> None:
            rate, beta1, fresh1, beta2, fresh2, correction2, eps, decay, kept = (
                settings.spread(k, width) for k in range(ADAM_NUMBERS)
            )
            value = parameters.load(i, width) * kept
            gradient = _decayed(b, decay, value, gradients.load(i, width))
            mean = b.fma(beta1, means.load(i, width), fresh1 * gradient)
            square = b.fma(beta2, squares.load(i, width), fresh2 * (gradient * gradient))
            means.store(mean, i)
            squares.store(square, i)
            parameters.store(value - rate * mean / (b.sqrt(square / correction2) + eps), i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = (
        Argument("parameters", (EACH,), written=True),
        Argument("gradients", (EACH,)),
        Argument("means", (EACH,), written=True),
        Argument("squares", (EACH,), written=True),
        Argument("settings", (ADAM_NUMBERS,)),
    )
    return Loop("adam", (), arguments, write)
