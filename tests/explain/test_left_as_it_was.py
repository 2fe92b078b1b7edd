"""Whatever explains a model leaves it as it was, and refuses what is no model, image or class in words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers, no_grad, optim, training
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, ShapeError
from tests.backends import Backend, host

IMAGE = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(np.float32)
EXPLAIN: dict[str, Callable[[layers.Layer, Any], Any]] = {
    "grad_cam": lambda model, image: explain.grad_cam(model, image, 1),
    "input_gradient": lambda model, image: explain.input_gradient(model, image, 1),
    "occlusion": lambda model, image: explain.occlusion(model, image, 1, 3),
    "feature_maps": explain.feature_maps,
    "last_map": explain.last_map,
    "stages": explain.stages,
    "receptive_field": lambda model, image: explain.receptive_field(model, image, "0"),
    "exciting_patches": lambda model, image: explain.exciting_patches(model, [image[None]], "0"),
}


def net() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(2, 3, 3), layers.BatchNorm2d(3), layers.ReLU(), layers.Dropout(0.5), layers.Flatten(), layers.Linear(48, 4)
    )  # fmt: skip


def state(model: layers.Layer) -> list[Any]:
    """All that can be seen of a model, as text and bytes."""
    found: list[Any] = [
        (path, layer.training, layer.is_frozen, layer.has_hooks) for path, layer in model.named_layers()
    ]
    found += [(path, values.tobytes()) for path, values in model.state_dict().items()]
    return [
        *found,
        *(
            (path, one.requires_grad, None if one.grad is None else host(one.grad).tobytes())
            for path, one in model.named_parameters()
        ),
    ]


@pytest.mark.parametrize("name", EXPLAIN)
def test_the_model_is_as_it_was_in_every_condition(backend: Backend, name: str) -> None:
    model, calls = net().to(backend.device_name), list[str]()
    images = np.stack([IMAGE, IMAGE + 1])
    model(images).sum().backward()  # gradients are there, and statistics have moved
    model[0].requires_grad_(False)
    model[3].eval()
    kept = model[2].register_forward_hook(lambda layer, inputs, output: calls.append("forward"))
    model[1].register_full_backward_hook(lambda layer, inputs, output: calls.append("backward"))
    before = state(model)
    first = EXPLAIN[name](model, IMAGE)
    assert state(model) == before
    assert "forward" in calls
    kept.remove()
    frozen = model.requires_grad_(False)
    assert repr(EXPLAIN[name](frozen, IMAGE)) == repr(first)
    with no_grad():
        for image in (Tensor(IMAGE), Tensor(backend.array(IMAGE)), backend.array(IMAGE), IMAGE.astype(np.float64)):
            assert repr(EXPLAIN[name](model.requires_grad_().eval(), image)) == repr(first)


class Fails(layers.Layer):
    def __init__(self) -> None:
        self.conv = layers.Conv2d(2, 3, 3)

    def forward(self, x: Any) -> Tensor:
        self.conv(x)
        raise ArgumentError("out of order")


def test_also_after_an_error() -> None:
    model = Fails()
    for name, call in EXPLAIN.items():
        with pytest.raises(GpucnnError, match=r"out of order|no layer '0'"):
            call(model, IMAGE)
        assert model.training, name
        assert not model.conv.has_hooks, name


WRONG_IMAGES: list[tuple[Any, type[GpucnnError], str]] = [
    (IMAGE[0], ShapeError, r"expected one image \(C, H, W\) or \(1, C, H, W\), got \(6, 6\); add a channel axis: image\[None\]"),
    (np.stack([IMAGE] * 2), ShapeError, r"got \(2, 2, 6, 6\); one at a time: images\[0\]"),
    (np.ones((2, 0, 6)), ShapeError, r"expected one image \(C, H, W\) or \(1, C, H, W\), got \(2, 0, 6\)"),
    (np.ones((2, 6, 6), np.uint8), DTypeError, "images must be floats, in the form that the model takes, got uint8; "),
    (np.ones((2, 6, 6), complex), DTypeError, "expected numbers, got ndarray of dtype complex128"),
    (np.ones((3, 6, 6)), ShapeError, r"expected input \(N, 2, H, W\), got \(1, 3, 6, 6\)"),
]  # fmt: skip


@pytest.mark.parametrize(("image", "kind", "message"), WRONG_IMAGES)
def test_what_is_no_image_is_refused(image: Any, kind: type[GpucnnError], message: str) -> None:
    for name in ("grad_cam", "input_gradient", "occlusion", "feature_maps", "last_map", "stages", "receptive_field"):
        with pytest.raises(kind, match=message):
            EXPLAIN[name](net(), image)


@pytest.mark.parametrize("label", [-1, 4, 1.0, "1", None, True, np.float64(1)])
def test_a_class_that_the_model_has_not_is_refused(label: Any) -> None:
    for call in (explain.grad_cam, explain.input_gradient, explain.occlusion):
        with pytest.raises(ArgumentError, match=f"{call.__name__}: label must be an int from 0 to 3, got"):
            call(net(), IMAGE, label)


class Run:
    """As `gpucnn.load` gives it."""

    model = net()


def test_what_is_no_model_is_refused() -> None:
    for name, call in EXPLAIN.items():
        with pytest.raises(ArgumentError, match=f"{name}: model must be a layer, got .*; give trained.model"):
            call(Run(), IMAGE)  # type: ignore[arg-type]


def test_what_gives_no_logits_is_refused() -> None:
    model = layers.Sequential(layers.Conv2d(2, 3, 3), layers.Flatten(), layers.Lambda(lambda x: x.sum()))
    with pytest.raises(ShapeError, match=r"grad_cam: expected a model that gives logits \(N, classes\) or"):
        explain.grad_cam(model, IMAGE, 0)


def test_a_training_goes_on_as_if_nobody_had_looked(backend: Backend) -> None:
    """Also where its steps are recorded, and replayed."""
    labels, images = np.array([0, 1, 2, 3]), np.stack([IMAGE, IMAGE + 1, -IMAGE, IMAGE * 2])
    ways = []
    for looks in (False, True):
        model = layers.Sequential(
            layers.Conv2d(2, 3, 3), layers.BatchNorm2d(3), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten(), layers.Linear(12, 4)
        ).to(backend.device_name)  # fmt: skip
        step = training.CapturedStep(model, optim.SGD(model.parameters(), 0.1, momentum=0.9))
        losses = []
        for number in range(6):
            losses.append(float(host(step(images, labels).array)))
            if looks and number in (1, 3):
                for call in EXPLAIN.values():
                    call(model, IMAGE)
        ways.append((losses, {path: values.tobytes() for path, values in model.state_dict().items()}))
    assert ways[0] == ways[1]
