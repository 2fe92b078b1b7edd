"""One node of an ONNX graph: an operator, with its attributes, and the names of what it takes and gives."""

from dataclasses import dataclass, field
from typing import Any

from gpucnn.text import printed
from gpucnn.text_table import shortened


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """An operator's use. Its attributes are checked against the operator's definition, and complete: defaults among them."""

    name: str
    """As the file has it; "node 3" if it has none."""
    operator: str
    since: int
    """The operator's version: the opset in which it last changed before that of the file."""
    inputs: tuple[str, ...]
    """Names of values, "" for an input that is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    """By name: ints, floats, texts, arrays, and tuples of them; those without a value or default are not there."""
    takes: tuple[str, ...] = ()
    """The kinds of dtypes that each input may have, as NumPy calls them: "f", "iu", "fiub"."""

    @property
    def label(self) -> str:
        """How messages name the node."""
        return f"{shortened(printed(self.name), 80)} ({self.operator})"

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is an integer."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a float."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is a text."""
        return str(self.attributes.get(name, default))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers; None if it is not there."""
        value = self.attributes.get(name)
        return None if value is None else tuple(map(int, value))
