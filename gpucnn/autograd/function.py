"""Function: an operation of one's own, written as PyTorch has it."""

from collections.abc import Sequence
from typing import Any

from gpucnn.autograd.operation import operation, record
from gpucnn.autograd.tape import no_grad
from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import Array, as_array, chosen_precision, converted, to_device
from gpucnn.errors import ArgumentError, GradientError, ShapeError
from gpucnn.text import shape_text, value_text


class Context:
    """What `forward` leaves for `backward`: saved tensors, and any attribute that is set on it.

    - `needs_input_grad`: of each argument of `forward`, whether a gradient of it is wanted.
    """

    def __init__(self, needs_input_grad: Sequence[bool]) -> None:
        self.needs_input_grad = tuple(needs_input_grad)
        self._saved: tuple[Array | None, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors until the backward pass, which sees to it that nobody has written to them."""
        for one in tensors:
            if one is not None and not isinstance(one, Tensor):
                raise ArgumentError(
                    f"save_for_backward: expected tensors, got {value_text(one)}; other values go on the context itself, ctx.name = value"
                )
        self._saved = tuple(None if one is None else one.array for one in tensors)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was saved, as tensors without history."""
        return tuple(None if array is None else Tensor(array) for array in self._saved)


class Function:
    """An operation of one's own: subclass it, write both functions, and call `apply`.

        class Cube(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 3

            @staticmethod
            def backward(ctx, gradient):
                (x,) = ctx.saved_tensors
                return 3 * x ** 2 * gradient

        y = Cube.apply(x)

    `forward` gets the arguments of `apply` as they are given, and returns a tensor or an array; it is not recorded. `backward` gets the
    gradient of that, a tensor, and returns one for each argument, None where there is none to give. `gradcheck(Cube.apply, x)`
    holds it against differences. A step with it is recorded, see `training.CapturedStep`, if all that it computes with are
    gpucnn's functions that have compiled loops; else it is computed as it is, and that is said.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """The operation's result. Write this in a subclass."""
        raise TypeError("a Function needs a static method forward(ctx, ...), which gives a tensor")

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> Any:
        """The gradients of the arguments. Write this in a subclass."""
        raise TypeError(
            "a Function needs a static method backward(ctx, gradient), which gives a gradient for each argument"
        )

    @classmethod
    def apply(cls, *args: Any) -> Tensor:
        """The operation's result, on the tape if an argument that is a tensor needs a gradient.

        Raises ArgumentError unless `forward` gives one tensor; from the backward pass GradientError unless `backward` gives a
        gradient, or None, for each argument, and ShapeError for one of another shape.
        """
        return _apply(cls, *args)


@operation
def _apply(function: type[Function], *args: Any) -> Tensor:
    name = function.__name__
    context = Context([isinstance(one, Tensor) and one.requires_grad for one in args])
    with no_grad():
        result = function.forward(context, *args)
    if isinstance(result, list | tuple):
        raise ArgumentError(
            f"{name}: forward must return one tensor, got {len(result)}; join them with F.stack or F.concatenate, or write a "
            f"function for each"
        )
    output = result.array if isinstance(result, Tensor) else as_array(result)
    if chosen_precision() == "bf16" and not (isinstance(result, Tensor) and result.is_bf16):
        output = output.copy()  # which may be rounded, and the function keep what it gave
    positions = [position for position, one in enumerate(args) if isinstance(one, Tensor)]
    tensors = [args[position] for position in positions]
    shapes, kinds, count = [one.shape for one in tensors], [(one.dtype, one.device) for one in tensors], len(args)
    saved = context._saved  # seen by the tape, which looks at the variables of `backward`

    def backward(gradient: Array) -> list[Array | None]:
        context._saved = saved
        with no_grad():
            given = function.backward(context, Tensor(gradient))
        gradients = list(given) if isinstance(given, list | tuple) else [given]
        if len(gradients) != count:
            raise GradientError(
                f"{name}: backward must return a gradient, or None, for each of the {count} arguments of forward, got "
                f"{len(gradients)}"
            )
        return [
            _gradient(f"{name}: gradient {position}", gradients[position], *about)
            for position, *about in zip(positions, shapes, kinds, strict=True)
        ]

    return record(name, output, tensors, backward)


def _gradient(owner: str, given: Any, shape: Sequence[int], kind: tuple[Any, Any]) -> Array | None:
    """A gradient that `backward` of a function has returned, as an array of its argument's dtype and device."""
    if given is None:
        return None
    dtype, device = kind
    array = given.array if isinstance(given, Tensor) else as_array(given, dtype)
    if tuple(array.shape) != tuple(shape):
        raise ShapeError(f"{owner} must have the argument's shape {shape_text(shape)}, got {shape_text(array.shape)}")
    return converted(to_device(array, device), dtype)
