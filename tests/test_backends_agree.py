"""Whole training on every backend: same seed, same weights, same batches, same dropout masks, so nearly the same losses."""

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, models, optim
from gpucnn import functions as F
from gpucnn.kernels import launch
from gpucnn.kernels.kernel import Kernel, Variant
from gpucnn.testing import emulated_gpu
from tests.backends import Backend

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda parameters: optim.SGD(parameters, 0.03, 0.9, 1e-3, nesterov=True),
    "adam": lambda parameters: optim.Adam(parameters, 0.003, weight_decay=1e-3),
}
MOST_OPERATIONS = 45


def small_net() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(1, 4, 3, padding=1), layers.ReLU(), layers.MaxPool2d(3, 2, 1),
        layers.Conv2d(4, 6, 3, groups=2, stride=2, dilation=1), layers.ReLU(), layers.AvgPool2d(2, 1),
        layers.Flatten(), layers.Dropout(0.3), layers.Linear(216, 10), seed=3,
    )  # fmt: skip


def ten_steps(device: str, build: Callable[[], layers.Layer], optimizer_name: str, digits: data.Splits) -> list[float]:
    model = build().to(device)
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    losses = []
    loader = data.DataLoader(digits.train, 4, shuffle=True, seed=5, augment=data.RandomShift(2))
    for images, labels in itertools.islice(loader, 10):
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("build", [models.LeNet5, small_net], ids=["lenet5", "small net with dropout and groups"])
def test_ten_steps_have_the_losses_of_numpy(
    backend: Backend, build: Callable[[], layers.Layer], optimizer_name: str, digits: data.Splits
) -> None:
    losses = ten_steps(backend.device_name, build, optimizer_name, digits)
    expected = ten_steps("cpu", build, optimizer_name, digits)
    assert len(set(expected)) == 10
    np.testing.assert_allclose(losses, expected, rtol=2e-4)  # rounding grows from step to step


def lenet_step(device: str, batch_size: int) -> Callable[[], Tensor]:
    """A function that makes one training step, its batch already on the device."""
    model = models.LeNet5().to(device)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9)
    draw = np.random.default_rng(0)
    images = Tensor(draw.standard_normal((batch_size, 1, 32, 32)).astype(np.float32)).to(device)
    labels = Tensor(draw.integers(0, 10, batch_size)).to(device)

    def step() -> Tensor:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step()  # parameters are drawn, and gathered into the flat buffer
    return step


class NoLaunches:
    """A runner that runs nothing."""

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        pass


def test_a_lenet_step_takes_few_launches_and_waits_for_nothing(report: Callable[[str], None]) -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        step = lenet_step("cuda", batch_size=64)
        with cupy.operation_log.recorded() as operations:
            step()
        with launch.use_runner(NoLaunches()):
            step, seconds = lenet_step("cuda", batch_size=1), []
            for _ in range(20):
                start = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - start)
    kinds = Counter(operation.kind for operation in operations)
    report(f"a LeNet-5 step of 64 images (forward, backward, SGD with momentum) on the GPU path: {kinds['launch']} launches, "
           f"{kinds['product']} matrix products, {kinds['upload']} uploads, "
           f"{kinds['download'] + kinds['synchronize']} synchronizations")  # fmt: skip
    report("  " + " ".join(operation.name for operation in operations))
    report(f"  Python's own time for one image, launches made no-ops: {1e3 * statistics.median(seconds):.2f} ms, array operations "
           f"of the stand-in included")  # fmt: skip
    assert kinds["launch"] + kinds["product"] <= MOST_OPERATIONS
    assert kinds["download"] == kinds["synchronize"] == 0
    assert kinds["upload"] == 0, "nothing changes from step to step here, so nothing has to be sent"
