"""Dropout as a layer."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor
from gpucnn.backend import current_feeds, recording
from gpucnn.backend.feeds import Feeds
from gpucnn.checks import Shape, as_number, is_int
from gpucnn.errors import StateError
from gpucnn.layers.layer import Layer
from gpucnn.text import value_text

_counts: "WeakKeyDictionary[Feeds, dict[Layer, int]]" = WeakKeyDictionary()
"""Of each step that is recorded now, or is replayed later, the `calls` to which its dropouts have come."""


class Dropout(Layer):
    """In training, set elements to zero with probability `p` and scale the others by 1 / (1 - p); else nothing.

    The mask is a function of the model's seed, of the layer's path, and of `calls`, the number of masks drawn so far:
    set `calls` back to draw the same mask again. With `p` 0 none is drawn. Raises ArgumentError unless 0 <= p < 1.

    In a step that is recorded each replay counts `calls` up, and draws as the step itself would. Recording alone counts, too:
    whoever records puts the state from before back, see `ForwardState`.
    """

    feeds_forward_state = True
    _drop = staticmethod(F.dropout)
    _unit = "elements"

    def __init__(self, p: float = 0.5) -> None:
        self.p = as_number(p, f"{type(self).__name__}: p, the share of {self._unit} to drop,", below=1)
        self.calls = 0

    def forward(self, x: Any) -> Tensor:
        """Input to output of the same shape."""
        if not self.training:
            return as_tensor(x)
        counter = self._next() if self.p else 0
        return self._drop(x, self.p, seed=self.seed, purpose=f"dropout {self.path}", counter=counter)

    def _next(self) -> int | Callable[[], int]:
        """The counter of the next mask; in a step that is recorded a function that gives each replay's."""
        feeds, counter = current_feeds(), self.calls
        self.calls += 1
        if feeds is None:
            return counter
        counts = _counts.setdefault(feeds, {})
        # A `Checkpoint` sets `calls` back, and draws again what was drawn: it is as many masks behind in each replay.
        behind = max(0, counts.get(self, counter) - counter)
        counts[self] = max(counts.get(self, 0), self.calls)

        def count() -> int:
            if recording():
                return counter
            if behind == 0:
                self.calls += 1
            return self.calls - max(behind, 1)

        return count

    def forward_state(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def set_forward_state(self, state: Mapping[str, Any]) -> None:
        calls = state.get("calls", -1)
        if not is_int(calls) or calls < 0:
            raise StateError(
                f"{self.label}: calls, the number of masks drawn, must be an int >= 0, got {value_text(calls)}"
            )
        self.calls = int(calls)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]

    def describe(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Dropout of whole channels of input (N, C, ...), see `F.dropout2d`. Its mask is drawn as that of `Dropout`."""

    _unit = "channels"
    _drop = staticmethod(F.dropout2d)


class StochasticDepth(Dropout):
    """Dropout of whole samples of input (N, ...), see `F.stochastic_depth`. Its mask is drawn as that of `Dropout`.

    Put it at the end of a residual branch, which is then skipped for some of the samples.
    """

    _unit = "samples"
    _drop = staticmethod(F.stochastic_depth)
