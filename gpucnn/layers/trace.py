"""What a trace notes: the calls of a model's innermost layers, and the shapes that come out."""

from contextvars import ContextVar
from typing import NamedTuple

from gpucnn.checks import Shape

current_calls: "ContextVar[list[LayerCall] | None]" = ContextVar("current_calls", default=None)
"""Where calls are noted while a trace runs; None while layers compute."""


class LayerCall(NamedTuple):
    """One call of an innermost layer, for a batch of one."""

    path: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    multiply_adds: int


class Trace(NamedTuple):
    """All calls in their order, and the shape that comes out at the end."""

    calls: list[LayerCall]
    output_shape: Shape
