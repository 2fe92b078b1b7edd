"""Gradients of what operators compute themselves, against central differences in float64, and where they have corners."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import gpucnn
from gpucnn import Tensor
from tests.onnx_model.small_files import file_of, ints, node, numbers

X = np.linspace(0.3, 0.9, 24).reshape(1, 2, 3, 4) + np.sin(np.arange(24)).reshape(1, 2, 3, 4) / 20
"""Where every function is smooth: above 0, below 1, no two elements alike."""


def loaded(folder: Path, model: onnx.ModelProto) -> gpucnn.layers.Layer:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return gpucnn.load_onnx(folder / "model.onnx").astype("float64")


ALONE: dict[str, dict[str, Any]] = {
    **{name: {} for name in (
        "Sqrt", "Exp", "Log", "Neg", "Abs", "Reciprocal", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh",
        "Erf", "Identity", "Transpose", "Flatten",
    )},
    **{name: {"axes": [1, 3], "keepdims": keep} for keep, name in enumerate((
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
    ))},
    "DepthToSpace": {"blocksize": 1},
}  # fmt: skip
"""Operators of one input, with their attributes."""

WITH_ARRAYS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Add": ("images k", {"k": numbers(4)}, {}),
    "Sub": ("k images", {"k": numbers(3, 1)}, {}),
    "Mul": ("images k", {"k": numbers(2, 1, 1)}, {}),
    "Div": ("images k", {"k": numbers(4) + 2}, {}),
    "Pow": ("images k", {"k": np.array([0.5, 2, 3, -1], np.float32)}, {}),
    "Mod": ("images k", {"k": np.full(4, 0.27, np.float32)}, {"fmod": 1}),
    "Max": ("images k", {"k": np.full(4, 0.6, np.float32)}, {}),
    "Min": ("images k", {"k": np.full(4, 0.6, np.float32)}, {}),
    "Mean": ("images k images", {"k": numbers(4)}, {}),
    "Where": ("c images k", {"c": np.arange(4) > 1, "k": numbers(4)}, {}),
    "CumSum": ("images k", {"k": np.int64(2)}, {"exclusive": 1, "reverse": 1}),
    "Gather": ("images k", {"k": ints(2, 0, 2)}, {"axis": 3}),
    "GatherElements": ("images k", {"k": np.arange(24).reshape(1, 2, 3, 4) % 3}, {"axis": 2}),
    "GatherND": ("images k", {"k": np.array([[0, 1, 2], [0, 0, 1], [0, 1, 2]])}, {}),
    "Slice": ("images s e a t", {"s": ints(-1), "e": ints(0), "a": ints(3), "t": ints(-2)}, {}),
    "Expand": ("images k", {"k": ints(2, 1, 1, 3, 1)}, {}),
    "Tile": ("images k", {"k": ints(2, 1, 1, 3)}, {}),
    "Pad": ("images k", {"k": ints(0, 0, 1, 2, 0, 0, 2, -1)}, {"mode": "reflect"}),
    "Unsqueeze": ("images k", {"k": ints(0, 5)}, {}),
    "Reshape": ("images k", {"k": ints(0, -1, 2)}, {}),
    "ReduceSum": ("images k", {"k": ints(2)}, {}),
}
"""Operators with more inputs: these, the arrays among them, and the attributes."""


@pytest.mark.parametrize("operator", ALONE)
def test_operators_of_one_input(operator: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, file_of([node(operator, "images", "logits", **ALONE[operator])], X.shape, axes=4))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))


def test_acosh(tmp_path: Path) -> None:
    model = loaded(tmp_path, file_of([node("Acosh", "images", "logits")], X.shape, axes=4))
    gpucnn.gradcheck(model, Tensor(X + 1, requires_grad=True))


@pytest.mark.parametrize("operator", WITH_ARRAYS)
def test_operators_with_arrays(operator: str, tmp_path: Path) -> None:
    inputs, arrays, attributes = WITH_ARRAYS[operator]
    model = loaded(tmp_path, file_of([node(operator, inputs, "logits", **attributes)], X.shape, arrays, axes=4))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))


def test_both_of_two_inputs(tmp_path: Path) -> None:
    """That of the divisor, of the exponent, of what is divided with a remainder: all of one value that goes both ways."""
    nodes = [
        node("Add", "images k", "moved"),
        node("Div", "images moved", "d"),
        node("Pow", "d moved", "p"),
        node("Mod", "moved p", "m", fmod=1),
        node("Where", "c m p", "w"),
        node("Split", "w", "first second", axis=3),
        node("Concat", "second first w", "logits", axis=3),
    ]
    model = loaded(tmp_path, file_of(nodes, X.shape, {"k": np.full(4, 1.5, np.float32), "c": np.arange(4) > 1}, axes=4))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))


@pytest.mark.parametrize(
    ("kind", "antialias"), [("nearest", 0), ("linear", 0), ("linear", 1), ("cubic", 0), ("cubic", 1)]
)
@pytest.mark.parametrize(
    "transformation",
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"],
)
def test_resizing(kind: str, transformation: str, antialias: int, tmp_path: Path) -> None:
    attributes = {
        "mode": kind,
        "coordinate_transformation_mode": transformation,
        "antialias": antialias,
        "extrapolation_value": 7.0,
    }
    roi = np.array([0, 0, 0.2, -0.4, 1, 1, 0.9, 1.2], np.float32)
    arrays = {"roi": roi, "sizes": ints(1, 2, 2, 7)}
    resize = node("Resize", "images roi - sizes", "logits", **attributes)
    model = loaded(tmp_path, file_of([resize], X.shape, arrays, opset=18, axes=4))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))


def test_products_with_zeros_have_the_gradient_of_the_others(tmp_path: Path) -> None:
    model = loaded(tmp_path, file_of([node("ReduceProd", "images", "logits", axes=[1])], [2, 4], axes=2))
    x = Tensor(np.array([[2.0, 0.0, 3.0, 4.0], [0.0, 5.0, 0.0, 1.0]]), requires_grad=True)
    model(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 24, 0, 0], [0, 0, 0, 0]])


def test_the_length_of_zeros_has_no_slope(tmp_path: Path) -> None:
    model = loaded(tmp_path, file_of([node("ReduceL2", "images", "logits", axes=[1])], [2, 2], axes=2))
    x = Tensor(np.array([[0.0, 0.0], [3.0, 4.0]]), requires_grad=True)
    found = model(x)
    found.sum().backward()
    np.testing.assert_allclose(found.numpy(), [[0], [5]])
    np.testing.assert_allclose(x.grad, [[0, 0], [0.6, 0.8]])


def test_steps_have_no_gradient(tmp_path: Path) -> None:
    for operator in ("Floor", "Ceil", "Round", "Sign"):
        model = loaded(tmp_path, file_of([node(operator, "images", "logits")], [2, 2], axes=2))
        assert not model(Tensor(np.ones((2, 2)), requires_grad=True)).requires_grad
