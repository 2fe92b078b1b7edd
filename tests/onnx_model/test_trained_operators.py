"""Gradients of convolution, pooling, normalisation, products and activations, by the input and by their weights, against differences."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import gpucnn
from gpucnn import Tensor
from tests.onnx_model.small_files import file_of, ints, node, numbers

X = np.linspace(-1.1, 1.3, 32).reshape(2, 2, 2, 4)[:, :, ::-1].copy() + np.sin(np.arange(32)).reshape(2, 2, 2, 4) / 7
"""No two elements alike, none near a corner of a function."""

ALONE: dict[str, tuple[int, dict[str, Any]]] = {
    "Relu": (14, {}), "LeakyRelu": (16, {"alpha": 0.3}), "Elu": (6, {"alpha": 1.5}), "Selu": (6, {"alpha": 1.5, "gamma": 0.8}),
    "Celu": (12, {"alpha": 0.7}), "Sigmoid": (13, {}), "HardSigmoid": (6, {"alpha": 0.3}), "HardSwish": (14, {}), "Tanh": (13, {}),
    "Softplus": (1, {}), "Softsign": (1, {}), "Gelu": (20, {}), "Mish": (18, {}), "ThresholdedRelu": (10, {"alpha": 0.33}),
    "Shrink": (9, {"lambd": 0.33, "bias": 0.1}), "Swish": (24, {"alpha": 0.7}), "Softmax": (13, {"axis": 2}),
    "LogSoftmax": (11, {"axis": 2}), "Clip": (6, {"min": -0.61, "max": 0.52}),
    "MaxPool": (12, {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "strides": [1, 2], "ceil_mode": 1}),
    "AveragePool": (19, {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0], "dilations": [1, 2]}),
    "LpPool": (18, {"kernel_shape": [2, 3], "strides": [1, 2], "p": 3, "pads": [1, 1, 0, 0]}),
    "GlobalAveragePool": (1, {}), "GlobalMaxPool": (1, {}), "GlobalLpPool": (2, {"p": 3}), "LRN": (13, {"size": 4, "alpha": 0.3}),
    "LpNormalization": (1, {"axis": 2}), "MeanVarianceNormalization": (13, {"axes": [0, 2]}),
}  # fmt: skip
"""Operators of one input: an opset that has them, and attributes."""

WEIGHTS: dict[str, tuple[int, list[np.ndarray], dict[str, Any]]] = {
    "Conv": (11, [numbers(4, 1, 2, 3), numbers(4)], {"group": 2, "pads": [1, 0, 0, 2], "strides": [1, 2], "dilations": [1, 2]}),
    "ConvTranspose": (
        11, [numbers(2, 1, 2, 3), numbers(2)], {"group": 2, "pads": [0, 1, 1, 0], "strides": [2, 1], "output_padding": [1, 0]},
    ),
    "InstanceNormalization": (6, [numbers(2) + 1, numbers(2)], {"epsilon": 1e-2}),
    "GroupNormalization": (18, [numbers(1) + 1, numbers(1)], {"num_groups": 1}),
    "LayerNormalization": (17, [numbers(2, 4) + 1, numbers(2, 4)], {"axis": 2}),
    "RMSNormalization": (23, [numbers(4) + 1], {}),
    "BatchNormalization": (15, [numbers(2) + 1, numbers(2), numbers(2), numbers(2) ** 2 + 1], {}),
    "PRelu": (16, [numbers(2, 1, 1)], {}),
    "MatMul": (13, [numbers(4, 3)], {}),
}  # fmt: skip
"""Operators with weights: an opset, these, and attributes."""


def loaded(folder: Path, model: onnx.ModelProto) -> gpucnn.layers.Layer:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return gpucnn.load_onnx(folder / "model.onnx")


@pytest.mark.parametrize("operator", ALONE)
def test_operators_of_one_input(operator: str, tmp_path: Path) -> None:
    opset, attributes = ALONE[operator]
    model = loaded(tmp_path, file_of([node(operator, "images", "logits", **attributes)], X.shape, opset=opset, axes=4))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))


@pytest.mark.parametrize(
    ("operator", "training"), [("BatchNormalization", True), *((operator, False) for operator in WEIGHTS)]
)
def test_operators_with_weights(operator: str, training: bool, tmp_path: Path) -> None:
    opset, weights, attributes = WEIGHTS[operator]
    names = [f"part.weight{place}" for place in range(len(weights))]
    used = node(operator, " ".join(["images", *names]), "logits", **attributes)
    model = loaded(tmp_path, file_of([used], X.shape, dict(zip(names, weights, strict=True)), opset, axes=4))
    model = model.astype("float64").train(training)
    learnt = {path: parameter.array.copy() for path, parameter in model.named_parameters()}
    assert len(learnt) == (2 if operator == "BatchNormalization" else len(weights))
    gpucnn.gradcheck(model, Tensor(X, requires_grad=True))
    for path, parameter in model.named_parameters():

        def of_weight(values: Tensor, parameter: Any = parameter) -> Tensor:
            parameter.assign(values.array)
            return model(Tensor(X))

        expected = central_differences(of_weight, learnt[path])
        parameter.assign(learnt[path])
        parameter.grad = None
        (model(Tensor(X)) * weighing(X, model)).sum().backward()
        assert np.isfinite(parameter.grad).all()
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5, atol=1e-7)


def weighing(x: np.ndarray, model: gpucnn.layers.Layer) -> np.ndarray:
    """Numbers that make one of all outputs."""
    with gpucnn.no_grad():
        shape = model(Tensor(x)).shape
    return np.cos(np.arange(np.prod(shape)) * 0.7).reshape(shape)


def central_differences(function: Any, at: np.ndarray) -> np.ndarray:
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = at.copy()
            moved[place] += step
            with gpucnn.no_grad():
                output = function(Tensor(moved)).array
            ends.append((output * np.cos(np.arange(output.size) * 0.7).reshape(output.shape)).sum())
        gradient[place] = (ends[0] - ends[1]) / 2e-6
    return gradient


def test_gemm_of_all_kinds(tmp_path: Path) -> None:
    """Against NumPy: both matrices turned or not, with factors, and a bias of each shape that broadcasts."""
    x = numbers(3, 4)
    for turned, bias in [(0, ()), (1, (5,)), (0, (3, 1)), (1, (3, 5)), (0, (1, 5))]:
        weights = {"w": numbers(5, 4) if turned else numbers(4, 5), "b": numbers(*bias) if bias else np.float32(0.3)}
        for factors in ({}, {"alpha": 0.5, "beta": 2.0}):
            used = node("Gemm", "images w b", "logits", transB=turned, **factors)
            model = loaded(tmp_path, file_of([used], [3, 4], weights))
            expected = factors.get("alpha", 1.0) * (x @ (weights["w"].T if turned else weights["w"]))
            expected = expected + factors.get("beta", 1.0) * weights["b"]
            np.testing.assert_allclose(model(x).array, expected, rtol=1e-5)
    model = loaded(tmp_path, file_of([node("Gemm", "images w", "logits", transA=1)], [4, 3], {"w": numbers(4, 5)}))
    np.testing.assert_allclose(model(numbers(4, 3)).array, numbers(4, 3).T @ numbers(4, 5), rtol=1e-5)


def test_sequences_are_images_of_one_row(tmp_path: Path) -> None:
    """Against sums written out, for sizes that images alone do not show."""
    x = numbers(2, 3, 7)
    used = [
        node("Conv", "images w b", "c", pads=[2, 1], strides=[2], dilations=[2]),
        node("MaxPool", "c", "m", kernel_shape=[2]),
        node("ConvTranspose", "m v", "logits", strides=[2], output_shape=[6]),
    ]
    weights = {"w": numbers(4, 3, 3), "b": numbers(4), "v": numbers(4, 2, 3)}
    model = loaded(tmp_path, file_of(used, [2, 3, 7], weights, axes=3))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 1)))
    convolved = np.stack(
        [np.einsum("nck,ock->no", padded[:, :, 2 * i : 2 * i + 5 : 2], weights["w"]) for i in range(3)], axis=2
    )
    pooled = np.maximum(convolved[:, :, :-1], convolved[:, :, 1:]) + weights["b"][:, None]
    expected = np.zeros((2, 2, 6), np.float32)  # two steps reach 5 places, of 6 that are asked for
    for i in range(2):
        expected[:, :, 2 * i : 2 * i + 3] += np.einsum("nc,cok->nok", pooled[:, :, i], weights["v"])
    np.testing.assert_allclose(model(x).array, expected, rtol=1e-5, atol=1e-6)


def test_slopes_of_any_shape(tmp_path: Path) -> None:
    for shape in [(1,), (4,), (2, 1), (2, 1, 1), (2, 2, 4)]:
        slope = numbers(*shape)
        model = loaded(
            tmp_path, file_of([node("PRelu", "images s", "logits")], X.shape, {"s": slope}, opset=16, axes=4)
        )
        x = X.astype(np.float32)
        np.testing.assert_allclose(model(x).array, np.where(x > 0, x, x * slope), rtol=1e-6)


def test_limits_that_cross_give_the_upper_one(tmp_path: Path) -> None:
    limits = {"low": np.float32(2), "high": np.float32(1)}
    model = loaded(tmp_path, file_of([node("Clip", "images low high", "logits")], [1, 4], limits))
    np.testing.assert_array_equal(model(numbers(1, 4)).array, [[1, 1, 1, 1]])


def test_softmax_before_opset_13_is_over_all_axes_behind(tmp_path: Path) -> None:
    """The same node means something else since: its axis alone."""
    x = numbers(2, 3, 4)
    for opset, axes in ((11, (1, 2)), (13, (1,))):
        model = loaded(tmp_path, file_of([node("Softmax", "images", "logits", axis=1)], [2, 3, 4], opset=opset, axes=3))
        expected = np.exp(x) / np.exp(x).sum(axis=axes, keepdims=True)
        np.testing.assert_allclose(model(x).array, expected, rtol=1e-6)
        model = loaded(tmp_path, file_of([node("Hardmax", "images", "logits", axis=1)], [2, 3, 4], opset=opset, axes=3))
        np.testing.assert_array_equal(model(x).array, x == x.max(axis=axes, keepdims=True))


def test_max_unpooling_brings_back_what_was_pooled(tmp_path: Path) -> None:
    nodes = [
        node("MaxPool", "images", "m where", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxUnpool", "m where size", "logits", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    model = loaded(tmp_path, file_of(nodes, [2, 2, 4, 4], {"size": ints(2, 2, 4, 4)}, axes=4))
    x = numbers(2, 2, 4, 4)
    found = model(x).array
    blocks = x.reshape(2, 2, 2, 2, 2, 2)
    np.testing.assert_array_equal(
        found.reshape(blocks.shape), blocks * (blocks == blocks.max(axis=(3, 5), keepdims=True))
    )
