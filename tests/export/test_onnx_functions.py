"""Every public function as ONNX nodes, run by onnxruntime and by onnx's reference evaluator, beside oracles of their own."""

import functools
import inspect
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.layers.graph import ModelGraph, graph_of_any_batch
from tests.functions.case import Case
from tests.functions.test_every_function import CASES, spread

onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra onnx")

from gpucnn.export.onnx_graph import OnnxGraph  # noqa: E402
from gpucnn.export.onnx_nodes import NODES, REFUSED  # noqa: E402
from gpucnn.export.onnx_writer import add_model  # noqa: E402

OPSETS = (13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)
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


class OfCase(layers.Layer):
    """A function of parameters, to which a 0 is added that comes from the images, so that nothing is known beforehand."""

    def __init__(self, number: int, case: Case, inputs: list[Array]) -> None:
        super().__init__()
        self.function = case.function
        self.inputs = [f"case{number}_input{position}" for position in range(len(inputs))]
        for name, array in zip(self.inputs, inputs, strict=True):
            setattr(self, name, layers.Parameter(array, dtype=array.dtype))

    def forward(self, images: Tensor) -> Tensor:
        zero = images.sum() * 0
        return self.function(*(getattr(self, name) + zero for name in self.inputs))


@functools.cache
def traced(dtype: type) -> list[tuple[Case, ModelGraph, Array]]:
    found = []
    for number, case in enumerate(WRITTEN):
        rng = np.random.default_rng(0)
        inputs = [spread(rng, shape, case.positive).astype(dtype) for shape in case.shapes]
        expected = np.asarray(case.oracle(*(array.astype(np.float64) for array in inputs)))
        model = OfCase(number, case, inputs)
        found.append((case, graph_of_any_batch(model, np.zeros((1, 2), dtype)), expected))
    return found


def in_one(opset: int, dtype: type, left_out: Any = ()) -> tuple[Any, list[tuple[Case, Array]]]:
    """All cases in one file, an output each."""
    graph, outputs, cases = OnnxGraph(opset), [], []
    for case, model, expected in traced(dtype):
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
    assert set(NODES) | set(REFUSED) == public_functions()
    assert not set(NODES) & set(REFUSED)
    assert {case.name.split()[0] for case in WRITTEN} >= set(NODES) - set(NOT_IN_CASES)


NOT_IN_CASES = ("argmax", "argmin", "dropout", "dropout2d", "stochastic_depth")
"""Without gradients, or with draws: `test_every_function.py` has no cases of them, and this file has."""
