"""The model of a run as an ONNX model: images in, probabilities out."""

from typing import TYPE_CHECKING

import numpy as np

from gpucnn.checks import as_flag
from gpucnn.errors import GraphError
from gpucnn.export.onnx_graph import OPSET, OnnxGraph
from gpucnn.export.onnx_pixels import add_pixels
from gpucnn.export.onnx_writer import add_model
from gpucnn.export.run_facts import check_run, run_facts
from gpucnn.layers.graph import graph_of_any_batch
from gpucnn.runs.trained_run import TrainedRun

if TYPE_CHECKING:
    import onnx

RAW = "decoded images of one size, grey or RGB, bytes from 0 to 255: (N, H, W, 1 or 3)"
FLOAT = "images as metadata 'preprocess' makes them: fitted to image_size, divided by full_scale, then (x - mean) / std"


def run_to_onnx(trained: TrainedRun, *, raw: bool = True, opset: int = OPSET) -> "onnx.ModelProto":
    """The model of a run, from `gpucnn.load`, as an ONNX model that gives what `predict` does.

    - `raw`: its input "images" is bytes (N, H, W, 1 or 3), decoded images, grey or RGB, N of any one size, which it fits and
      normalises itself, as the installed Pillow does. Else (N, C, S, S) in the model's dtype, as `trained.as_input` gives them.
    - Outputs are "logits" and "probabilities", (N, classes).
    - Its metadata are `run_facts`, and `input`, which says what goes in.

    Raises GraphError for a model that ONNX has no form for, ArgumentError for an opset that there is not and for what is no run in
    the hand, LibraryError without onnx.
    """
    check_run("run_to_onnx", trained)
    raw = as_flag(raw, "run_to_onnx: raw")
    graph = OnnxGraph(opset)
    preprocess = trained.preprocess
    if preprocess.channels not in (1, 3):
        raise GraphError(
            f"the run takes images of {preprocess.channels} channels, and an ONNX file of a run takes grey or RGB"
        )
    shape = (preprocess.channels, preprocess.image_size, preprocess.image_size)
    traced = graph_of_any_batch(trained.model, np.zeros((1, *shape), np.float32))
    dtype = np.dtype(np.float32)
    first = add_pixels(graph, "images", preprocess) if raw else "images"
    logits = graph.put("Identity", [add_model(graph, traced, first)], name="logits")
    graph.put("Softmax", [logits], name="probabilities", axis=1)
    images = ("images", np.dtype(np.uint8), ("N", "H", "W", "C")) if raw else ("images", dtype, ("N", *shape))
    answers = ("N", len(trained.class_names))
    return graph.finished(
        [images],
        [("logits", dtype, answers), ("probabilities", dtype, answers)],
        {**run_facts(trained), "input": RAW if raw else FLOAT},
    )
