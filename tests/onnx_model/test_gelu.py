"""The formula of GELU is found as one, in the forms that exporters give it, and nothing else is taken for it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import gpucnn
from gpucnn import functions as F
from tests.onnx_model.small_files import file_of, node, numbers

SCALED = {"Mul": node("Mul", "images root_half", "s"), "Div": node("Div", "images root", "s")}
ENDS = {
    "x first": [node("Mul", "images b", "c"), node("Mul", "c half", "logits")],
    "x first, turned": [node("Mul", "b images", "c"), node("Mul", "half c", "logits")],
    "half first": [node("Mul", "b half", "c"), node("Mul", "images c", "logits")],
    "half of x": [node("Mul", "images half", "h"), node("Mul", "h b", "logits")],
}
ARRAYS = {
    "root": np.float32(np.sqrt(2)), "root_half": np.float32(np.sqrt(0.5)), "one": np.float32(1), "half": np.array([0.5], np.float32),
    "third": np.float32(1 / 3),
}  # fmt: skip


def operators(folder: Path, nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    model = file_of(nodes, ["N", 4], ARRAYS)
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, ["N", 4]) for name in outputs)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    loaded = gpucnn.load_onnx(folder / "model.onnx")
    return loaded, [step.node.operator for step in loaded._steps]


@pytest.mark.parametrize("scaled", SCALED)
@pytest.mark.parametrize("end", ENDS)
def test_every_form_is_found(scaled: str, end: str, tmp_path: Path) -> None:
    nodes = [SCALED[scaled], node("Erf", "s", "a"), node("Add", "one a", "b"), *ENDS[end]]
    model, found = operators(tmp_path, nodes)
    assert found == ["Gelu"]
    x = numbers(3, 4, scale=9)
    np.testing.assert_array_equal(model(x).array, F.gelu(x).array)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), *ENDS["x first"]], ("a",)),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), *ENDS["x first"]], ("c",)),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "half a", "b"), *ENDS["x first"]], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), node("Mul", "b third", "c"), node("Mul", "c images", "logits")], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), node("Mul", "b images", "c"), node("Mul", "c images", "logits")], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), node("Mul", "b half", "c"), node("Mul", "c half", "logits")], ()),
        ([node("Mul", "images half", "s"), node("Erf", "s", "a"), node("Add", "one a", "b"), *ENDS["x first"]], ()),
        ([SCALED["Div"], node("Erf", "s", "logits")], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), node("Mul", "b half", "c"), node("Mul", "c third", "d"),
          node("Mul", "d images", "logits")], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "a a", "logits")], ()),
        ([SCALED["Div"], node("Erf", "s", "a"), node("Add", "one a", "b"), node("Mul", "b b", "logits")], ()),
    ],
)  # fmt: skip
def test_other_formulas_stay_what_they_are(
    nodes: list[onnx.NodeProto], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    model, found = operators(tmp_path, nodes, outputs)
    assert "Gelu" not in found
    assert sorted(found) == sorted(one.op_type for one in nodes)
    evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    x = numbers(3, 4)
    for one, other in zip(model.outputs(gpucnn.Tensor(x)), evaluator.run(None, {"images": x}), strict=True):
        np.testing.assert_allclose(one.array, other, rtol=1e-5, atol=1e-6)
