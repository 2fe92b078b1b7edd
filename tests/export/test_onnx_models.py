"""Every model as ONNX, with statistics that training made, beside onnxruntime and onnx's reference evaluator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, export, layers, models, no_grad
from gpucnn.models.vgg import VGG
from tests.layers.test_graph import SMALLEST

pytest.importorskip("onnx", reason="needs onnx, of the extra onnx")

SAMPLE = ("lenet5", "resnet20")
"""What the suite exports each time; all with --onnx."""

OPSETS = (13, 17, 21)
BATCHES = (1, 5)
LARGEST_ERROR = 1e-5

LARGE = (
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "resnet18", "resnet34", "resnet50", "mobilenet_v2",
    "squeezenet", "convnext_tiny", "unet",
)  # fmt: skip
"""Models of large images, which onnxruntime gets in 32x32; others in the size that is theirs."""


def trained(name: str, size: int | None) -> Any:
    """The model after some batches in training mode, so that its statistics are those of images."""
    model = models.create(name, **({} if size is None else {"image_size": size}))
    if isinstance(model, VGG):  # whose linear layers take half a gigabyte
        model.classifier[0], model.classifier[3] = layers.Linear(512 * 7 * 7, 16), layers.Linear(16, 16)
        model.classifier[6] = layers.Linear(16, 10)
    rng = np.random.default_rng(1)
    if any(path.endswith("running_var") for path, _ in model.named_buffers()):
        with no_grad():
            for _ in range(20):
                model.train()(Tensor(rng.random((8, *model.built_for()), np.float32)))
    return model


def outputs(model: Any, images: np.ndarray) -> np.ndarray:
    with no_grad():
        found: np.ndarray = model.eval()(Tensor(images.astype(next(model.parameters()).dtype))).numpy()
    return found


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    assert np.isfinite(one).all()
    assert np.isfinite(other).all()
    return float(np.abs(one - other).max() / np.abs(other).max())


def check(
    model: Any, images: np.ndarray, runner: Callable[[Any], Callable[[np.ndarray], np.ndarray]], opsets: tuple[int, ...]
) -> float:
    """The worst difference over opsets and batches.

    Where it is above the bound, as float32 loses that much in a deep net, what runs the file must be nearer to the same
    computation in float64 than twice what gpucnn's float32 is.
    """
    ours = {batch: outputs(model, images[:batch]) for batch in BATCHES}
    found, worst = [], 0.0
    for opset in opsets:
        run = runner(export.to_onnx(model, images[:1], opset=opset))
        for batch in BATCHES:
            theirs = run(images[:batch])
            worst = max(worst, difference(theirs, ours[batch]))
            found.append((batch, theirs))
    if worst > LARGEST_ERROR:
        model.astype("float64")
        exact = {batch: outputs(model, images[:batch]) for batch in BATCHES}
        model.astype("float32")
        for batch, theirs in found:
            assert difference(theirs, exact[batch]) <= 2 * difference(ours[batch], exact[batch])
    return worst


def with_onnxruntime(proto: Any) -> Callable[[np.ndarray], np.ndarray]:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnxruntime")
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def with_the_evaluator(proto: Any) -> Callable[[np.ndarray], np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(proto)
    return lambda images: evaluator.run(None, {"images": images})[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        every = metafunc.config.getoption("--onnx")
        metafunc.parametrize("name", models.names() if every else SAMPLE)


def test_a_model_computes_the_same_in_onnxruntime(
    name: str, request: pytest.FixtureRequest, report: Callable[[str], None]
) -> None:
    every = request.config.getoption("--onnx")
    size = SMALLEST[name] if not every else 32 if name in LARGE else None
    model = trained(name, size)
    images = np.random.default_rng(2).random((max(BATCHES), *model.built_for()), np.float32)
    worst = check(model, images, with_onnxruntime, OPSETS if every else OPSETS[1:2])
    if every:
        report(f"{name}, images {model.built_for()}: onnxruntime within {worst:.1e}")


def test_a_model_computes_the_same_in_the_reference_evaluator(
    name: str, request: pytest.FixtureRequest, report: Callable[[str], None]
) -> None:
    every = request.config.getoption("--onnx")
    model = trained(name, SMALLEST[name])
    images = np.random.default_rng(2).random((max(BATCHES), *model.built_for()), np.float32)
    worst = check(model, images, with_the_evaluator, OPSETS if every else OPSETS[:1])
    if every:
        report(f"{name}, images {model.built_for()}: the reference evaluator within {worst:.1e}")
