"""Parameter groups: parameters that an optimizer treats apart from the others."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError
from gpucnn.layers import Parameter


class Rates(NamedTuple):
    """How fast parameters learn and shrink."""

    lr_factor: float
    weight_decay: float | None
    """None: the optimizer's."""


class Group:
    """Parameters with a learning rate and a weight decay of their own: `Adam([Group(body, lr_factor=0.1), Group(head)])`.

    - `parameters`: some parameters of a model, e.g. `model.features.parameters()`.
    - `lr_factor`: their learning rate is the optimizer's `lr`, which a schedule may set, times this. 0 leaves them as
      they are, but for what the optimizer remembers.
    - `weight_decay`: in place of the optimizer's; None for that of the optimizer.

    Raises ArgumentError for anything but parameters, and for numbers out of range.
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr_factor: float = 1.0, weight_decay: float | None = None
    ) -> None:
        self.parameters = as_parameters(parameters, "Group")
        decay = None if weight_decay is None else as_number(weight_decay, "weight_decay")
        self.rates = Rates(as_number(lr_factor, "lr_factor"), decay)


def as_list(items: Any) -> list[Any]:
    """`items` as a list; what cannot be iterated over is its only item."""
    return list(items) if isinstance(items, Iterable) and getattr(items, "shape", None) != () else [items]


def as_parameters(parameters: Iterable[Parameter], owner: str) -> list[Parameter]:
    """`parameters` as a list; ArgumentError, which begins with `owner`, if something else is given or is among them."""
    found = as_list(parameters)
    for parameter in found:
        if not isinstance(parameter, Parameter):
            raise ArgumentError(
                f"{owner}: expected parameters, got {type(parameter).__name__}; pass model.parameters()"
            )
    return found
