"""A model's graph as lines of Python, one statement after the other, which call the functions of `numpy_file`."""

from typing import NamedTuple

import numpy as np

from gpucnn.export.numpy_calls import WRAPPING, WRITERS, refused
from gpucnn.export.numpy_code import COLUMNS, CodeWriter, Expression
from gpucnn.export.numpy_steps import simple_steps
from gpucnn.export.onnx_nodes import REFUSED
from gpucnn.layers.graph import ModelGraph
from gpucnn.text import printed

NAMES = ("x", "y", "z", "u", "v")
"""What arrays are called that are needed at the same time; then "x1", "x2"."""


class Network(NamedTuple):
    """What a graph computes, as code."""

    lines: list[str]
    """Of the body of a function of `x`, the images, which has the arrays in a dict `w`."""
    arrays: dict[str, np.ndarray]
    """What `w` has: parameters and buffers by their paths, and other arrays of numbers."""


def numpy_network(graph: ModelGraph) -> Network:
    """The code of a `graph_of_any_batch`. GraphError, which names layer, function and fix, for what has no counterpart here."""
    return _Writer(graph).network()


class _Writer(CodeWriter):
    def __init__(self, graph: ModelGraph) -> None:
        super().__init__(graph)
        self.steps = simple_steps(graph.nodes, self.sizes_of)
        uses = [one for step in self.steps for one in step.inputs]
        self.users = {
            number: [place for place, step in enumerate(self.steps) if number in step.inputs] for number in uses
        }
        self.count = {number: uses.count(number) for number in uses}

    def network(self) -> Network:
        lines: list[str] = []
        section = ""
        for number, step in enumerate(self.steps):
            expression = self.expression(number)
            if self.goes_into_the_next(number, expression):
                self.inlined[number] = expression
                continue
            own = step.path if self.has_parts(step.path) else step.path.rpartition(".")[0]
            if own != section:
                lines.extend(["", f"    # {printed(own)}"] if own else [""])
                section = own
            name = self.name_for(number)
            if expression.on_one_line() != name:
                lines.extend(expression.lines(f"    {name} = "))
        if lines and not lines[0]:
            del lines[0]
        if self.needs_batch:
            lines.insert(0, "    batch = len(x)")
        lines.append(f"    return {self.names[len(self.steps) - 1] if self.steps else 'x'}")
        return Network(lines, self.arrays)

    def has_parts(self, path: str) -> bool:
        """Whether layers are called within the one at `path`."""
        return any(step.path.startswith(f"{path}.") for step in self.steps)

    def expression(self, number: int) -> Expression:
        """What a step computes, in which the names of others stand, or what they compute."""
        step = self.steps[number]
        if step.function not in WRITERS:
            raise refused(step, f"has no {step.function}", REFUSED.get(step.function, "add it to WRITERS"))
        return WRITERS[step.function](step, self)

    def goes_into_the_next(self, number: int, expression: Expression) -> bool:
        """Whether the next step takes this one's result, and nobody else does, and both make one line that is easy to read."""
        if number + 1 >= len(self.steps) or self.users.get(number) != [number + 1] or self.count[number] != 1:
            return False
        after = self.steps[number + 1]
        if after.function not in WRAPPING or number in self.inlined:
            return False
        if after.function == self.steps[number].function:
            return False
        self.inlined[number] = expression
        try:
            return len(f"    x = {self.expression(number + 1).on_one_line()}") <= COLUMNS
        finally:
            del self.inlined[number]

    def name_for(self, number: int) -> str:
        """A name that no array has which is still needed; it is the number's from here on."""
        needed = {name for one, name in self.names.items() if max(self._last_users(one), default=-1) > number}
        extra = (f"x{count}" for count in range(1, len(self.steps) + 1))
        name = next(name for name in (*NAMES, *extra) if name not in needed)
        self.names = {one: known for one, known in self.names.items() if known != name}
        self.names[number] = name
        return name

    def _last_users(self, number: int) -> list[int]:
        """The statements that take a step's result, in which a step that goes into another is part of that."""
        found = []
        for user in self.users.get(number, []):
            while user in self.inlined:
                user += 1
            found.append(user)
        return found
