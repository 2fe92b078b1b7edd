"""An ONNX model of a run with weights and maps of 8 bits, by onnxruntime."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpucnn import __version__
from gpucnn.errors import GraphError
from gpucnn.export import onnx_pixels
from gpucnn.export.onnx_runtime import Evaluator, onnxruntime_library
from gpucnn.export.run_images import RunImages, as_input
from gpucnn.runs.trained_run import TrainedRun

if TYPE_CHECKING:
    import onnx


class Accuracies(NamedTuple):
    """What a model answers with its own numbers, and with those of 8 bits."""

    what: str
    """The images, for people to read."""
    total: int
    correct: int
    correct_int8: int
    changed: int
    """Answers that are others."""

    def __str__(self) -> str:
        after, before = (
            f"{correct / self.total:.4f} ({correct}/{self.total})" for correct in (self.correct_int8, self.correct)
        )
        changed = f"{self.changed} answer{'' if self.changed == 1 else 's'} changed"
        return f"accuracy on {self.what}: {after}, before {before}; {changed}"


def to_int8(
    model: "onnx.ModelProto", trained: TrainedRun, images: RunImages, count: int, raw: bool
) -> "onnx.ModelProto":
    """The model of `run_to_onnx` with weights and maps of 8 bits, whose ranges `count` of the `images` tell.

    Batch norms are part of the convolutions before them. The preprocessing and the probabilities stay as they are. Between
    QuantizeLinear and DequantizeLinear stand the operators as they were, weights have a scale a channel. LibraryError without
    onnxruntime.
    """
    onnxruntime_library("int8")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    places = images.spread(count)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(places)

        def get_next(self) -> dict[str, np.ndarray] | None:
            place = next(self.rest, None)
            return None if place is None else {"images": as_input(trained, [images.at(place)], raw)}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, folded, written = (Path(folder, f"{name}.onnx") for name in ("given", "folded", "int8"))
        onnx.save(model, given)
        quant_pre_process(str(given), str(folded), skip_symbolic_shape=True)
        nodes = onnx.load(folded, load_external_data=False).graph.node
        untouched = [
            node.name for node in nodes if node.op_type == "Softmax" or node.name.startswith(f"{onnx_pixels.PLACE}/")
        ]
        quantize_static(
            str(folded), str(written), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            nodes_to_exclude=untouched,
        )  # fmt: skip
        found: onnx.ModelProto = onnx.load(written)
    return _as_ours(found, model, f"QDQ, calibrated on {len(places)} of {images.what}")


def accuracies(trained: TrainedRun, before: Evaluator, after: Evaluator, images: RunImages, raw: bool) -> Accuracies:
    """How many of the images are answered rightly by both. GraphError for answers that are not finite."""
    correct = correct_int8 = changed = 0
    for places, batch in images.batches():
        given = as_input(trained, batch, raw)
        (_, own), (_, int8) = before.run(given), after.run(given)
        if not np.isfinite(int8).all():
            raise GraphError(
                "the int8 file's answers are not finite numbers, so that no file is written; leave --int8 out"
            )
        labels = images.labels[places]
        correct += int((own.argmax(1) == labels).sum())
        correct_int8 += int((int8.argmax(1) == labels).sum())
        changed += int((own.argmax(1) != int8.argmax(1)).sum())
    return Accuracies(images.what, len(images.labels), correct, correct_int8, changed)


def _as_ours(found: "onnx.ModelProto", model: "onnx.ModelProto", how: str) -> "onnx.ModelProto":
    """The model as gpucnn writes one: its opset alone, its name, its metadata."""
    from onnx import helper

    del found.opset_import[:]
    found.opset_import.extend(model.opset_import)
    found.ir_version = model.ir_version
    found.producer_name, found.producer_version = "gpucnn", __version__
    helper.set_model_props(found, {**{one.key: one.value for one in model.metadata_props}, "int8": how})
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, nothing is logged, and nobody is warned, of what a user can do nothing about."""
    root, level = logging.getLogger(), logging.root.manager.disable
    handlers = list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers  # logging.warning adds one
