"""The model of a run as ONNX, raw and float, of every opset, for one image and for several: onnxruntime gives what `predict` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.export import run_to_onnx
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.export.test_onnx_models import BATCHES, LARGE, OPSETS, difference, outputs, trained
from tests.layers.test_graph import SMALLEST

pytest.importorskip("onnx", reason="needs onnx, of the extra onnx")

SAMPLE = ("simplecnn", "mlp")
LARGEST_ERROR = 1e-5


def a_run(model: Any, folder: Path) -> TrainedRun:
    """A run that trained `model`, of photos where it can, else of digits."""
    channels, size, _ = model.built_for()
    fit: Any = ("resize", min(size, 8), 16) if channels == 1 else ("crop", size, 255)
    preprocess = Preprocess(channels, fit[1], size, fit[2], fit[0], (0.4,) * channels, (0.3,) * channels)
    classes = model.output_shape((1, channels, size, size))[1]
    config = {"create": {"name": "a model"}, "data": "folder", "background": "auto"}
    return TrainedRun(
        model.eval(),
        preprocess,
        [f"class {number}" for number in range(classes)],
        config,
        Weights("last", folder / "x", {}),
    )


@pytest.mark.parametrize("name", [name for name in models.names() if name != "unet"])
def test_a_run_of_any_model_gives_the_same(
    name: str, request: pytest.FixtureRequest, report: Callable[[str], None], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnxruntime")
    if not request.config.getoption("--onnx") and name not in SAMPLE:
        pytest.skip("with --onnx alone")
    model = trained(name, SMALLEST[name] if name in SAMPLE or name.startswith("vgg") else LARGE.get(name))
    run = a_run(model, tmp_path)
    draw, names = np.random.default_rng(2), run.class_names
    images = draw.integers(0, 256, (max(BATCHES), 91, 64, 3), np.uint8)
    ready = run.as_input(images)
    told = [dict(answers) for answers in run.predict(images, top=len(names))]
    probabilities = np.array([[row[name] for name in names] for row in told], np.float32)
    logits, worst = outputs(model, ready), 0.0
    found = []
    for opset in OPSETS:
        for raw in (True, False):
            session = runtime.InferenceSession(
                run_to_onnx(run, raw=raw, opset=opset).SerializeToString(), providers=["CPUExecutionProvider"]
            )
            for batch in BATCHES:
                given = (images if raw else ready)[:batch]
                theirs = session.run(["logits", "probabilities"], {"images": given})
                found.append(theirs[0])
                worst = max(worst, difference(theirs[0], logits[:batch]))
                assert difference(theirs[1], probabilities[:batch]) < max(LARGEST_ERROR, 10 * worst)
    if worst > LARGEST_ERROR:  # as float32 loses that much in a deep net
        exact = outputs(model.astype("float64"), ready)
        model.astype("float32")
        for theirs in found:
            assert difference(theirs, exact[: len(theirs)]) <= 2 * difference(
                logits[: len(theirs)], exact[: len(theirs)]
            )
    if request.config.getoption("--onnx"):
        report(f"{name}, images {model.built_for()}: raw and float within {worst:.1e}")
