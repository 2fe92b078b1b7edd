"""GELU, which files before opset 20 write as its formula, x * (1 + erf(x / sqrt(2))) / 2, found again as one node.

So it is computed, and its gradient too, as `F.gelu` does, which is safe for values of any size, and can be exported again.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gpucnn.onnx_model.node import OnnxNode

ROOT_HALF = math.sqrt(0.5)


def with_gelu(nodes: Sequence[OnnxNode], arrays: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[OnnxNode]:
    """The nodes with one Gelu in place of each such formula, all of whose parts are used for nothing else."""
    makers = {name: node for node in nodes for name in node.outputs}
    users: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            users.setdefault(name, []).append(node)
    formulas = (_Formula(makers, users, arrays, outputs).gelu(node) for node in nodes if node.operator == "Erf")
    instead: dict[str, OnnxNode] = {}
    left_out: set[OnnxNode] = set()
    for found in formulas:
        if found is not None:
            gelu, parts = found
            instead[gelu.outputs[0]] = gelu
            left_out.update(parts)
    return [instead.get(node.outputs[0], node) for node in nodes if node not in left_out or node.outputs[0] in instead]


class _Formula:
    """Looks at what is around an Erf."""

    def __init__(
        self,
        makers: Mapping[str, OnnxNode],
        users: Mapping[str, Sequence[OnnxNode]],
        arrays: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> None:
        self.makers, self.users, self.arrays, self.outputs = makers, users, arrays, outputs

    def gelu(self, erf: OnnxNode) -> tuple[OnnxNode, list[OnnxNode]] | None:
        """The one node, and those that it stands for; None where the formula is another."""
        scaled = self.makers.get(erf.inputs[0])
        x = None
        if scaled is not None and scaled.operator == "Mul":
            x = self._other(scaled, ROOT_HALF)
        elif scaled is not None and scaled.operator == "Div" and self._is(scaled.inputs[1], math.sqrt(2)):
            x = scaled.inputs[0]
        above = self._only_user(erf)
        if scaled is None or x is None or above is None or above.operator != "Add" or self._other(above, 1) is None:
            return None
        parts, halves, last = [scaled, erf, above], 0, above
        factors: list[str] = []
        while halves + len(factors) < 2:  # two products, with x and with a half, in either order
            product = self._only_user(last)
            if product is None or product.operator != "Mul" or len(product.inputs) != 2:
                return None
            parts.append(product)
            other = product.inputs[product.inputs[0] == last.outputs[0]]
            halved = self.makers.get(other)
            if self._is(other, 0.5):
                halves += 1
            elif other == x:
                factors.append(other)
            elif halved is not None and halved.operator == "Mul" and self._other(halved, 0.5) == x:
                factors.append(other)
                halves += 1
                parts += [halved] if self._only_user(halved) is product else []
            else:
                return None
            last = product
        if (halves, len(factors)) != (1, 1) or self._only_user(scaled) is not erf:
            return None
        return OnnxNode(last.name, "Gelu", 20, (x,), last.outputs, {"approximate": "none"}, ("f",)), parts

    def _only_user(self, node: OnnxNode) -> OnnxNode | None:
        """The one node that takes what a node gives; None if there are more, or the model gives it, too."""
        found = self.users.get(node.outputs[0], ())
        return found[0] if len(found) == 1 and node.outputs[0] not in self.outputs else None

    def _other(self, node: OnnxNode, number: float) -> str | None:
        """The input of a node beside that `number`; None if it has another."""
        if len(node.inputs) != 2:
            return None
        first, second = node.inputs
        if self._is(second, number):
            return first
        return second if self._is(first, number) else None

    def _is(self, name: str, number: float) -> bool:
        """Whether a value is one number, and this one, as float32 has it."""
        array = self.arrays.get(name)
        return array is not None and array.size == 1 and math.isclose(float(array.reshape(-1)[0]), number, rel_tol=1e-6)
