"""Python code in the making: arguments, calls and arrays of a model's graph as texts."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import to_host
from gpucnn.checks import Shape
from gpucnn.layers.graph import IMAGES, Batch, Constant, GraphNode, Input, ModelGraph, Repeated, Saved
from gpucnn.text import printed

COLUMNS = 88
"""What a line may take, as formatters have it unless they are told otherwise."""


def quoted(text: str) -> str:
    """A text as code, in the quotation marks that formatters choose."""
    mark = '"' if text.count('"') <= text.count("'") else "'"
    return mark + "".join(f"\\{mark}" if letter == mark else repr(letter)[1:-1] for letter in text) + mark


class Expression(NamedTuple):
    """A call, with its arguments as texts, or without them a text that stands for itself."""

    text: str
    """Of what is called, or of all of it."""
    arguments: tuple[str, ...] | None = None
    is_operation: bool = False
    """Whether it needs parentheses within another one."""
    part: str = ""
    """What is taken of the call's result, e.g. "[:, :, 0]"."""

    def on_one_line(self) -> str:
        """The whole, however long it is."""
        return self.text if self.arguments is None else f"{self.text}({', '.join(self.arguments)}){self.part}"

    def lines(self, start: str) -> list[str]:
        """The statement that begins with `start`, one argument a line where it is long."""
        if self.arguments is None or len(start + self.on_one_line()) <= COLUMNS:
            return [start + self.on_one_line()]
        indent = start[: len(start) - len(start.lstrip())]
        return [f"{start}{self.text}(", *(f"{indent}    {one}," for one in self.arguments), f"{indent}){self.part}"]


@dataclass(frozen=True)
class Code:
    """An argument that is code already."""

    text: str


class CodeWriter:
    """What is known of a graph's `steps` while they become code, and how what they take is written."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph, self.arrays = graph, dict[str, np.ndarray]()
        self.constants: dict[tuple[str, Shape, bytes], str] = {}
        self.steps: list[GraphNode] = graph.nodes
        self.names: dict[int, str] = {IMAGES: "x"}
        """Of what steps gave, by their numbers."""
        self.inlined: dict[int, Expression] = {}
        """What is written within another step."""
        self.needs_batch = False
        """Whether the number of images is among the arguments."""

    def text(self, value: Any, within: bool = False) -> str:
        """An argument as code; `within` an operation in parentheses where it needs them."""
        if isinstance(value, Input):
            if value.number in self.inlined:
                expression = self.inlined[value.number]
                return f"({expression.text})" if within and expression.is_operation else expression.on_one_line()
            return self.names[value.number]
        if isinstance(value, Code):
            return value.text
        if isinstance(value, Saved):
            return self.array(value.path, to_host(self.graph.saved[value.path]))
        if isinstance(value, Constant):
            if value.array.ndim == 0 and value.array.dtype.kind in "fiu" and math.isfinite(value.array):
                return repr(value.array.item())
            return self.array(self.name_of(value.array), value.array)
        if isinstance(value, Repeated):
            return f"np.broadcast_to({self.text(Constant(value.array))}, {self.text(value.sizes)})"
        if isinstance(value, Batch):
            self.needs_batch = True
            return "batch" if value.times == 1 else f"{value.times} * batch"
        if isinstance(value, tuple):
            items = [self.text(one) for one in value]
            return f"({', '.join(items)}{',' * (len(items) == 1)})"
        if isinstance(value, float) and not math.isfinite(value):
            return {math.inf: "np.inf", -math.inf: "-np.inf"}.get(value, "np.nan")
        return quoted(value) if isinstance(value, str) else repr(value)

    def array(self, name: str, array: np.ndarray) -> str:
        """An array that the file of weights is to have under a name."""
        name = printed(name)  # a file .npz takes no other
        self.arrays[name] = array
        return f"w[{quoted(name)}]"

    def name_of(self, constant: np.ndarray) -> str:
        """Of an array of numbers that belong to no layer: one that no layer's has; equal ones have the same."""
        content = (str(constant.dtype), constant.shape, constant.tobytes())
        if content not in self.constants:
            names = (f"constant {count}" for count in itertools.count())
            taken = {*self.graph.saved, *self.constants.values()}
            self.constants[content] = next(name for name in names if name not in taken)
        return self.constants[content]

    def sizes_of(self, value: Any) -> tuple[Any, ...]:
        """The shape of an argument that is an array."""
        if isinstance(value, Input):
            return (Batch(1), *self.graph.images.shape[1:]) if value.number < 0 else self.steps[value.number].sizes
        if isinstance(value, Repeated):
            return value.sizes
        found: Shape = self.graph.saved[value.path].shape if isinstance(value, Saved) else value.array.shape
        return found

    def call(self, name: str, *values: Any, **options: Any) -> Expression:
        """A call with these arguments; those by name that are not None."""
        named = [f"{key}={self.text(value)}" for key, value in options.items() if value is not None]
        return Expression(name, (*(self.text(value) for value in values), *named))

    def method(self, value: Any, name: str, *values: Any, **options: Any) -> Expression:
        """A call of a method of an array."""
        return self.call(f"{self.text(value, within=True)}.{name}", *values, **options)
