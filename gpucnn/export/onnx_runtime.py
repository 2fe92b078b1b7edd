"""What runs an ONNX model here: onnxruntime, which says nothing and sends nothing, else onnx's own reference evaluator."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpucnn.errors import LibraryError
from gpucnn.export import onnx_graph
from gpucnn.export.onnx_graph import bytes_of_arrays
from gpucnn.export.onnx_writer import save_onnx

if TYPE_CHECKING:
    import onnx

FATAL = 4
"""The only messages that onnxruntime writes; its errors are raised all the same."""


class Evaluator(NamedTuple):
    """An ONNX model that can be run."""

    name: str
    """Of what runs it, with its version."""
    is_fast: bool
    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """From images to logits and probabilities."""


def evaluator(model: "onnx.ModelProto") -> Evaluator:
    """A model of `run_to_onnx` in onnxruntime, where it is installed, else in onnx's reference evaluator, which is slow."""
    if bytes_of_arrays(model) <= onnx_graph.LARGEST_MESSAGE:
        return _evaluator(model)
    with tempfile.TemporaryDirectory() as folder:
        file, *_ = save_onnx(model, Path(folder, "model.onnx"))
        return _evaluator(str(file))


def _evaluator(model: "onnx.ModelProto | str") -> Evaluator:
    """Of a model, or of the file that it is in."""
    outputs = ["logits", "probabilities"]
    try:
        onnxruntime = onnxruntime_library("to run an ONNX file")
    except LibraryError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        reference = ReferenceEvaluator(model)
        name, is_fast = f"onnx.reference {onnx.__version__}", False
        run = reference.run
    else:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        content = model if isinstance(model, str) else model.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name, is_fast = f"onnxruntime {onnxruntime.__version__}", True
        run = session.run
    return Evaluator(name, is_fast, lambda images: tuple(run(outputs, {"images": images})))


def onnxruntime_library(purpose: str) -> ModuleType:
    """onnxruntime, which is told to send no telemetry; LibraryError, which names the `purpose`, where it is not installed."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when it is imported
    try:
        import onnxruntime
    except ImportError as error:
        raise LibraryError(f'{purpose} needs onnxruntime ({error}); pip install "gpucnn[onnxruntime]"') from None
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(FATAL)
    module: ModuleType = onnxruntime
    return module
