"""The same bits whatever the number of threads, and every time: loops are cut by their sizes alone."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, models, optim
from gpucnn import functions as F
from gpucnn.backend.threads import VARIABLE
from gpucnn.geometry import Window
from gpucnn.kernels import batch_norm
from gpucnn.kernels.convolution import Gradients, conv2d, conv2d_gradients
from gpucnn.kernels.elementwise import relu, relu_gradient
from gpucnn.kernels.pooling import Pooling, max_pool, max_pool_gradient
from gpucnn.kernels.update import adam, sgd
from gpucnn.models.resnet_cifar import ResNet20
from tests.backends import ON_CPU, Backend
from tests.kernels.tasks import convolution


@pytest.fixture(params=ON_CPU)
def on_cpu(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend whose threads are ours."""
    backend = Backend(request.param)
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active():
        yield backend


def assert_same_bits(monkeypatch: pytest.MonkeyPatch, compute: Callable[[], list[np.ndarray]]) -> None:
    """What `compute` gives on one thread it gives on two and on three, and once more on two."""
    results = []
    for threads in ("1", "2", "3", "2"):
        monkeypatch.setenv(VARIABLE, threads)
        results.append([array.tobytes() for array in compute()])
    for other in results[1:]:
        assert other == results[0]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("stride", "groups", "batch"), [(1, 1, 19), (2, 2, 19), (1, 1, 64), (2, 2, 90)])
def test_convolution(
    on_cpu: Backend, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, stride: int, groups: int, batch: int
) -> None:
    window = Window.of(3, stride, 1)
    images, weight, bias = normal(rng, batch, 16, 24, 24), normal(rng, 24, 16 // groups, 3, 3), normal(rng, 24)
    gradient = normal(rng, batch, 24, 24 // stride, 24 // stride)

    def compute() -> list[np.ndarray]:
        task = convolution(images, weight, window, groups, relu=True)
        output = conv2d(task, images, weight, bias)
        gradients = [np.empty_like(array) for array in (images, weight, bias)]
        conv2d_gradients(task, gradient, images, weight, output, Gradients(*gradients))
        return [output, *gradients]

    assert_same_bits(monkeypatch, compute)


def test_batch_norm(on_cpu: Backend, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    values, gradient = normal(rng, 19, 40, 700), normal(rng, 19, 40, 700)
    weight, bias = normal(rng, 40), normal(rng, 40)

    def compute() -> list[np.ndarray]:
        output, statistics = batch_norm.batch_norm(values, weight, bias, 1e-5)
        own = [np.empty(40, np.float32) for _ in range(2)]
        found = batch_norm.Gradients(*own)
        result = batch_norm.batch_norm_gradients(gradient, values, weight, statistics, found)
        return [output, *statistics[:3], result, *own]

    assert_same_bits(monkeypatch, compute)


def test_pooling_relu_and_updates(on_cpu: Backend, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    images = normal(rng, 19, 16, 40, 40)
    task = Pooling(images.shape, Window.of(3, 2, 1))
    size = 300_007
    values, slopes, means, squares = (normal(rng, size) for _ in range(4))
    settings = np.array([0.01, 0.9, 0.1, 0.999, 0.001, 0.5, 1e-8, 1e-4, 0.99], np.float32)

    def compute() -> list[np.ndarray]:
        output, argmax = max_pool(task, images, True)
        positive = relu(images)
        buffers = [array.copy() for array in (values, means, np.abs(squares), values, means)]
        adam(buffers[0], slopes, buffers[1], buffers[2], settings)
        sgd(buffers[3], slopes, buffers[4], settings[:3], nesterov=True)
        passed = relu_gradient(images, positive)
        return [output, argmax, max_pool_gradient(task, output, argmax), positive, passed, *buffers]

    assert_same_bits(monkeypatch, compute)


MODELS: dict[str, tuple[Callable[..., Any], int]] = {
    "LeNet5": (models.LeNet5, 1),
    "VGGMini": (models.VGGMini, 3),
    "ResNet20": (ResNet20, 3),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", MODELS)
def test_training_steps(on_cpu: Backend, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, name: str) -> None:
    if on_cpu.name == "plain" and name != "LeNet5":
        pytest.skip("the plain way has no threads but those of its products: one model is enough")
    build, channels = MODELS[name]
    images, labels = normal(rng, 2, 8, channels, 32, 32), rng.integers(0, 10, (2, 8))

    def compute() -> list[np.ndarray]:
        model = build(in_channels=channels, image_size=32, seed=1)
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        losses = []
        for batch, truth in zip(images, labels, strict=True):
            loss = F.cross_entropy(model(Tensor(batch)), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(np.array(loss.item()))
        return [*losses, *(parameter.data for parameter in model.parameters())]

    assert_same_bits(monkeypatch, compute)
