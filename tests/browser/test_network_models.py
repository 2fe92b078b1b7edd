"""Every model gives in the browser what it gives in Python, node by node, and its gradients are those of the tape."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, models
from gpucnn import functions as F
from gpucnn.autograd import grad
from gpucnn.autograd.calls import noting_calls
from gpucnn.explain import grad_cam
from gpucnn.kernels import ways
from gpucnn.layers import BatchNorm1d, BatchNorm2d, Conv2d, Linear
from gpucnn.layers.graph import ModelGraph, model_graph
from gpucnn.models import alexnet, convnext, resnet, vgg
from gpucnn.play.browser_graph import browser_graph
from tests.browser.network_page import NetworkPage

SIZES = {"lenet5": 32, "alexnet": 67, "densenet40_12": 12, "unet": 24, "wide_resnet16_4": 9}
"""Of the images; of the others 37 for those made for 224 pixels, and else 13: odd, so that windows do not fit evenly."""
CLASSES = 5


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest models have an eighth of their channels: the same calls, with fewer numbers."""

    def narrow(width: int) -> int:
        return width // 8 if width >= 64 else width

    def thinned(kind: Any) -> Any:
        return lambda *sizes, **options: kind(*map(narrow, sizes[:2]), *sizes[2:], **options)

    for module in (alexnet, resnet, vgg):
        for kind in (BatchNorm1d, BatchNorm2d, Conv2d, Linear):
            monkeypatch.setattr(module, kind.__name__, thinned(kind), raising=False)
    monkeypatch.setattr(convnext, "WIDTHS", tuple(map(narrow, convnext.WIDTHS)))


@pytest.fixture
def numpy_way() -> Iterator[None]:
    """Nothing is compiled for a single image."""
    with ways.use("numpy"):
        yield


def small(name: str) -> models.ImageModel:
    """The model with weights and statistics that differ in every element."""
    probe = models.create(name)
    size = SIZES.get(name, 37 if probe.image_size > 200 else 13)
    model = models.create(name, num_classes=CLASSES, image_size=size, seed=1)
    rng = np.random.default_rng(len(name))
    for path, member in [*model.named_parameters(), *model.named_buffers()]:
        values, spread = member.array, rng.standard_normal(member.shape).astype(np.float32)
        if path.endswith("running_var"):
            values[...] = 0.5 + np.abs(spread)
        elif values.ndim == 1 or path.endswith("layer_scale"):
            values[...] += 0.2 * spread
    return model.eval()


def images_for(model: models.ImageModel) -> np.ndarray:
    """Of which no ReLU gets what is 0 but for rounding: the gradient there is 1 in one precision, and 0 in another."""
    rng = np.random.default_rng(9)
    return rng.standard_normal((1, *model.built_for())).astype(np.float32)


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(found.ravel() - expected.ravel()).max() / np.abs(expected).max())


def chosen_nodes(graph: ModelGraph) -> list[int]:
    """The image, a node in the middle, and the last but one."""
    last = len(graph.nodes) - 1
    return [-1, last // 2, last - 1]


def gradients_of(model: models.ImageModel, images: np.ndarray, label: int, nodes: list[int]) -> list[np.ndarray]:
    """Those of the logit of `label` in float64, by the tape."""
    exact = copy.deepcopy(model).astype("float64").eval()
    given = Tensor(images.astype(np.float64), requires_grad=True)
    with noting_calls() as calls:
        logits = exact(given)
    outputs = [given if node < 0 else calls[node].output for node in nodes]
    found = grad(logits[0, label].sum(), outputs)
    return [gradient.array for gradient in found if gradient is not None]


@pytest.mark.usefixtures("thin", "numpy_way")
@pytest.mark.parametrize("name", models.names())
def test_a_model_in_the_browser_is_the_model(name: str, network_page: NetworkPage) -> None:
    model = small(name)
    images = images_for(model)
    graph = model_graph(model, images)
    network_page.load(browser_graph(model, images.shape))
    for node, found in zip(graph.nodes, network_page.forward(images), strict=True):
        assert found.shape == node.shape
        assert furthest(found, node.output) < 1e-4, (node.function, node.path)
    nodes, label = chosen_nodes(graph), int(graph.nodes[-1].output.reshape(CLASSES, -1).sum(axis=1).argmax())
    exact = gradients_of(model, images, label, nodes)
    for number, found, expected in zip(nodes, network_page.backward(label, nodes), exact, strict=True):
        assert furthest(found, expected) < 1e-4, number
    last = network_page.page.evaluate("network.lastMap()")
    assert (last < 0) == (name == "mlp")
    if last >= 0:
        heat = network_page.grad_cam(label, last)
        enlarged = F.interpolate(heat[None, None], images.shape[2:], mode="bilinear").array[0, 0]
        expected = grad_cam(model, images, label)
        assert np.abs(enlarged / max(enlarged.max(), 1e-30) - expected).max() < 1e-4
