"""Every public function as ONNX nodes, run by onnxruntime and by onnx's reference evaluator, beside oracles of their own."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.layers.graph import ModelGraph, graph_of_any_batch
from tests.export.function_of_parameters import traced
from tests.functions.case import Case
from tests.functions.test_every_function import CASES

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra onnx")

from gpucnn.export.onnx_graph import OnnxGraph  # noqa: E402
from gpucnn.export.onnx_nodes import NODES, REFUSED  # noqa: E402
from gpucnn.export.onnx_writer import add_model  # noqa: E402

OPSETS = tuple(range(13, min(25, onnx.defs.onnx_opset_version()) + 1))
"""Those of which onnxruntime 1.32 knows all nodes that are written."""

Array = np.ndarray
WITHOUT_ELEMENTS = ("getitem of an empty mask", "pad all off")
EVALUATOR_ERRS = {
    "conv_transpose2d with stride, padding, output padding, groups, dilation": "it has no groups beside a dilation",
    "local_response_norm": "it sums over as many channels as there are images",
    "max_pool2d padded at one side": "it takes (top, left, bottom, right) for (top, bottom, left, right)",
    "max_pool2d same": "it takes (top, left, bottom, right) for (top, bottom, left, right)",
}
"""Of what onnx 1.22's reference evaluator has wrong; onnxruntime and the oracles agree."""

SMOOTH_ERF = ("gelu",)
"""Whose error function the reference evaluator rounds to float32."""


def is_written(case: Case) -> bool:
    return case.name.split()[0] not in REFUSED and case.name not in WITHOUT_ELEMENTS


WRITTEN = [case for case in CASES if is_written(case)]


@functools.cache
def all_traced(dtype: type) -> list[tuple[Case, ModelGraph, Array]]:
    return [(case, *traced(case, dtype, f"case{number}_")) for number, case in enumerate(WRITTEN)]


def in_one(opset: int, dtype: type, left_out: Any = ()) -> tuple[Any, list[tuple[Case, Array]]]:
    """All cases in one file, an output each."""
    graph, outputs, cases = OnnxGraph(opset), [], []
    for case, model, expected in all_traced(dtype):
        if case.name not in left_out:
            name = graph.put("Identity", [add_model(graph, model, "images")], at=case.name)
            outputs.append((name, np.dtype(dtype), expected.shape))
            cases.append((case, expected))
    return graph.finished([("images", np.dtype(dtype), ("N", 2))], outputs), cases


def check(cases: list[tuple[Case, Array]], outputs: list[Array], tolerance: float) -> float:
    """The worst relative error."""
    assert len(cases) == len(outputs) > 100
    worst = 0.0
    for (case, expected), output in zip(cases, outputs, strict=True):
        assert output.shape == expected.shape, case.name
        assert np.isfinite(output).all(), case.name
        error = float(np.abs(output - expected).max() / max(np.abs(expected).max(), 1e-2))
        assert error < (1e-7 if case.name in SMOOTH_ERF else 0) + tolerance, f"{case.name}: {error}"
        worst = max(worst, error)
    return worst


@pytest.fixture
def opsets(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Some opsets that differ in nodes; all with --onnx."""
    return OPSETS if request.config.getoption("--onnx") else (13, 21)


def test_every_function_with_onnxruntime(opsets: tuple[int, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnxruntime")
    for opset in opsets:
        proto, cases = in_one(opset, np.float32)
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        check(cases, session.run(None, {"images": np.ones((4, 2), np.float32)}), 2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_function_with_the_reference_evaluator(opsets: tuple[int, ...], dtype: type) -> None:
    from onnx.reference import ReferenceEvaluator

    for opset in opsets if dtype is np.float32 else opsets[-1:]:
        proto, cases = in_one(opset, dtype, EVALUATOR_ERRS)
        outputs = ReferenceEvaluator(proto).run(None, {"images": np.ones((4, 2), dtype)})
        check(cases, outputs, 2e-6 if dtype is np.float32 else 1e-12)


def public_functions() -> set[str]:
    return {name for name in F.__all__ if inspect.isfunction(getattr(F, name))}


def test_every_public_function_is_written_or_refused_with_a_reason() -> None:
    assert set(NODES) | set(REFUSED) == public_functions() - {"split"}  # whose parts a graph has as x[...]
    assert not set(NODES) & set(REFUSED)
    assert {case.name.split()[0] for case in WRITTEN} >= (set(NODES) | {"split"}) - set(NOT_IN_CASES)


IMAGES = np.random.default_rng(5).normal(size=(5, 4, 7, 6)).astype(np.float32)
STEPS = np.round(IMAGES, 1)
WEIGHT = np.random.default_rng(6).normal(size=(4, 2, 3, 2)).astype(np.float32)
SQUARE = np.array([[0.5, -1.0], [0.25, 2.0]], np.float32)

OPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "argmax": lambda x: F.argmax(x, 1, True),
    "argmax of all": lambda x: F.argmax(x[0]),
    "argmax of all, with axes": lambda x: F.argmax(x[0], keepdims=True),
    "argmin": lambda x: F.argmin(x, -1),
    "argmin of truth values": lambda x: F.argmin(x.astype("int8").astype("bool"), 2),
    "dropout": lambda x: F.dropout(F.dropout2d(F.stochastic_depth(x, training=False), training=False), training=False),
    "dropout of nothing": lambda x: F.dropout(x, 0),
    "conversions": lambda x: (x * 30).astype("int32").astype("uint8").astype("float16").astype("float32"),
    "maxima in ceil mode": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "maxima of gaps in ceil mode": lambda x: F.max_pool2d(x, 2, 4, 1, 4, ceil_mode=True),
    "maxima in ceil mode, of nothing more": lambda x: F.max_pool2d(x, 2, 3, ceil_mode=True),
    "maxima far apart": lambda x: F.max_pool2d(x, 2, 2**31 - 1),
    "maxima of sequences in ceil mode": lambda x: F.max_pool1d(x[:, 0], 3, 2, 0, 2, ceil_mode=True),
    "means in ceil mode": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "means in ceil mode, over what is there": lambda x: F.avg_pool2d(x, (2, 3), 3, 1, True, False),
    "means in ceil mode over a divisor": lambda x: F.avg_pool2d(x, 2, 3, 0, True, True, -3),
    "means of sequences in ceil mode": lambda x: F.avg_pool1d(x[:, 0], 4, 3, 2, True, False),
    "means of equal cells": lambda x: F.adaptive_avg_pool2d(x, (7, 3)),
    "maxima of equal cells": lambda x: F.adaptive_max_pool2d(x, (1, 2)),
    "maxima of all": lambda x: F.adaptive_max_pool2d(x, 1),
    "maxima of sequences": lambda x: F.adaptive_max_pool1d(x[:, 0], 4),
    "twice the size": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "half the size": lambda x: F.interpolate(x[:, :, :4, :4], scale_factor=0.5, mode="bilinear"),
    "a quarter of the size, smoothed": lambda x: F.interpolate(x[:, :, :4, :4], scale_factor=0.25, mode="bilinear", antialias=True),
    "three times the nearest": lambda x: F.interpolate(x, scale_factor=(3, 1)),
    "the nearest by a factor that is cut": lambda x: F.interpolate(x, scale_factor=(2.2, 1.4)),
    "twice by a factor that is cut": lambda x: F.interpolate(x, scale_factor=(15 / 7, 2), mode="bilinear"),
    "twice the length": lambda x: F.interpolate(x[:, 0], 12, mode="linear"),
    "a transposed convolution": lambda x: F.conv_transpose2d(x, WEIGHT, np.ones(4, np.float32), (2, 3), (1, 0), (1, 2), 2),
    "rows of weights": lambda x: F.linear(x[:, 0, :, :2], SQUARE, None, "relu"),
    "norms of one channel": lambda x: F.group_norm(x, 1, np.ones(4, np.float32) * 3, np.ones(4, np.float32)),
    "a norm of sequences": lambda x: F.instance_norm(x[:, 0]),
    "a norm of vectors over neighbours": lambda x: F.local_response_norm(x[:, :, 0, 0], 3, 0.1, 0.5, 2.0),
    "a norm over more neighbours than channels": lambda x: F.local_response_norm(x, 11, 0.2),
    "softplus with a threshold": lambda x: F.softplus(x, 2.0, 0.5),
    "softplus of large values": lambda x: F.softplus(x * 100, 1.0, -3.0),
    "equal ones": lambda x: F.argmax(STEPS[:1] + x * 0, 3).astype("float32") + F.maximum(x, STEPS[:1])[..., 0],
    "a power of two": lambda x: x**2 + abs(x) ** 0.5 + 2.0**x,
    "numbers on both sides": lambda x: 1 - x / 3 + F.where(np.array([True, False] * 3), 2, x) + F.clip(x, STEPS[0], None),
    "borders of all kinds": lambda x: F.pad(F.pad(x, ((0, 0), (0, 0), (2, 1), (1, 2)), "reflect"), ((0, 0), (1, 0), (0, 0), (-1, 3)), "replicate"),
    "borders of whole numbers": lambda x: F.pad(x.astype("int64"), ((0, 0), (1, 1), (0, 0), (0, 0)), value=7),
    "places by pairs behind a slice": lambda x: x[:, None, [1, 0], 2:, [3, 0]],
    "places by a square": lambda x: x[:, :, np.array([[1, 2], [0, -1]]), 3],
    "places with one between": lambda x: x[:, 1, :, np.array([0, 2])],
    "the first and the last": lambda x: x[..., 0, -1][:, None],
    "backwards": lambda x: x[:, ::-1, -2:0:-2, 5:1:-1],
    "beyond the ends": lambda x: x[:, -9:9, 2:99, :],
}  # fmt: skip
"""What the cases leave out, of any number of images; the oracle is gpucnn, whose other tests hold it."""


def test_options_for_any_number_of_images(opsets: tuple[int, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnxruntime")
    models = {name: graph_of_any_batch(OfImages(function), IMAGES[:1]) for name, function in OPTIONS.items()}
    for opset in opsets:
        graph, outputs = OnnxGraph(opset), []
        for name, model in models.items():
            last = model.nodes[-1].output
            given = graph.put("Identity", [add_model(graph, model, "images")], at=name)
            outputs.append((given, last.dtype, (None,) * last.ndim))
        proto = graph.finished([("images", np.dtype(np.float32), ("N", *IMAGES.shape[1:]))], outputs)
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for batch in (1, 5):
            found = session.run(None, {"images": IMAGES[:batch]})
            for (name, function), output in zip(OPTIONS.items(), found, strict=True):
                expected = function(Tensor(IMAGES[:batch])).numpy()
                assert output.shape == expected.shape, name
                assert output.dtype == expected.dtype, name
                np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5, err_msg=f"{name}, opset {opset}")


NOT_A_NUMBER = ("silu", "gelu", "gelu of tanh", "mish", "hardswish")
"""What is x times something that is 0 at minus infinity: NaN in a file, as in PyTorch; here the limit."""


def test_activations_of_huge_and_of_infinite_numbers(opsets: tuple[int, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnxruntime")
    names = ("relu", "relu6", "leaky_relu", "hardsigmoid", "sigmoid", "tanh", "softplus", "elu", "selu", *NOT_A_NUMBER)
    functions = {name: getattr(F, name, lambda x: F.gelu(x, approximate="tanh")) for name in names}
    huge = np.array([[-np.inf, -3e38, -200, 0, 200, 3e38, np.inf]], np.float32)
    for opset in opsets:
        graph = OnnxGraph(opset)
        for name, function in functions.items():
            given = add_model(graph, graph_of_any_batch(OfImages(function), np.ones_like(huge)), "images")
            graph.put("Identity", [given], name=name)
        outputs = [(name, huge.dtype, ("N", 7)) for name in names]
        proto = graph.finished([("images", huge.dtype, ("N", 7))], outputs)
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        for (name, function), found in zip(functions.items(), session.run(None, {"images": huge}), strict=True):
            expected = function(Tensor(huge)).numpy()
            assert not np.isnan(expected).any(), name
            if name in NOT_A_NUMBER:
                assert np.isnan(found[0, 0]), name
                assert expected[0, 0] == 0, name
                expected, found = expected[:, 1:], found[:, 1:]
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0, err_msg=f"{name}, opset {opset}")


class OfImages(layers.Layer):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


NOT_IN_CASES = ("argmax", "argmin", "dropout", "dropout2d", "stochastic_depth")
"""Without gradients, or with draws: `test_every_function.py` has no cases of them, and this file has."""
