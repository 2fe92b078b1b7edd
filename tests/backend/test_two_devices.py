"""Two models on two GPUs: all work is done where its arrays are, whichever device is current.

The stand-in refuses what CuPy refuses, or does over the wire between two GPUs with a warning: arrays that are not on the
current device.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, optim, training
from gpucnn import functions as F
from gpucnn.backend import device_of, to_device, to_host, xp_of
from gpucnn.backend.device import Device, choose_device
from gpucnn.errors import DeviceError
from gpucnn.layers import Layer
from gpucnn.testing.cupy_stand_in import CupyStandIn
from tests.backends import Backend, emulated_cupy

IMAGES = np.random.default_rng(0).standard_normal((6, 1, 12, 12)).astype(np.float32)
LABELS = np.arange(6) % 3


@pytest.fixture
def gpus() -> Iterator[CupyStandIn]:
    """Two GPUs, the first of them current; it must be so at the end."""
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with Backend("emulated").active():
        stand_in = emulated_cupy()
        stand_in.cuda.Device(0).use()
        yield stand_in
        left = stand_in.cuda.runtime.getDevice()
        stand_in.cuda.Device(0).use()
        assert left == 0


def net() -> Layer:
    """A bit of everything: running statistics, masks, pooling, a layer computed twice."""
    return layers.Sequential(
        layers.Conv2d(1, 4, 3, padding=1), layers.BatchNorm2d(4), layers.ReLU(), layers.MaxPool2d(2),
        layers.Checkpoint(layers.Conv2d(4, 4, 3, stride=2, bias=False)), layers.GELU(), layers.Dropout(0.25),
        layers.Flatten(), layers.Linear(16, 3), seed=3,
    )  # fmt: skip


class Run:
    """Some steps of training on one device."""

    def __init__(self, device: str) -> None:
        self.model = net().to(device)
        self.optimizer = optim.Adam(self.model.parameters(), 0.01)
        self.losses: list[float] = []

    def step(self) -> None:
        loss = F.cross_entropy(self.model(IMAGES), LABELS)
        self.optimizer.zero_grad()
        loss.backward()
        optim.clip_gradient_norm(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.losses.append(loss.item())

    def result(self) -> dict[str, np.ndarray]:
        return {"loss": np.array(self.losses), **self.model.state_dict(), **self.optimizer.state_dict()}


def alone(steps: int) -> dict[str, np.ndarray]:
    run = Run("cuda:0")
    for _ in range(steps):
        run.step()
    return run.result()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


def test_to_leaves_the_current_device_as_it_was(gpus: CupyStandIn) -> None:
    for moved in (
        net().to("cuda:1"),
        Tensor(IMAGES).to("cuda:1"),
        data.ArrayDataset(IMAGES, LABELS).to("cuda:1"),
        choose_device("cuda:1"),
    ):
        assert gpus.cuda.runtime.getDevice() == 0
        assert "1" in str(getattr(moved, "device", "cuda:1"))
    with gpus.cuda.Device(1):
        net().to("cuda:0")
        assert gpus.cuda.runtime.getDevice() == 1


def test_two_models_are_trained_in_turns(gpus: CupyStandIn) -> None:
    expected = alone(2)
    runs = [Run("cuda:0"), Run("cuda:1")]
    for _ in range(2):
        for run in runs:
            run.step()
    for run in runs:
        assert_same(run.result(), expected)
    assert {str(parameter.device) for parameter in runs[1].model.parameters()} == {"cuda:1"}
    assert {parameter.grad.device.id for parameter in runs[1].model.parameters()} == {1}


def test_two_models_are_trained_in_two_threads(gpus: CupyStandIn) -> None:
    expected = alone(2)
    runs = [Run("cuda:1"), Run("cuda:0")]
    errors: list[BaseException] = []

    def train(run: Run) -> None:
        try:
            for _ in range(2):
                run.step()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for run in runs:
        assert_same(run.result(), expected)


def test_a_model_moves_between_steps(gpus: CupyStandIn) -> None:
    expected = alone(3)
    run = Run("cuda:1")
    for device in ("cuda:0", "cuda:1", "cuda:1"):
        run.step()
        run.model.to(device)
    assert_same(run.result(), expected)


def test_one_model_lives_on_two_devices(gpus: CupyStandIn) -> None:
    """Each half works on its own device, and gradients find their way back."""
    first, second = layers.Linear(4, 5), layers.Linear(5, 3)
    vectors = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    gradients = []
    for devices in (("cuda:0", "cuda:0"), ("cuda:1", "cuda:0")):
        for layer, device in zip((first, second), devices, strict=True):
            layer.to(device)
            layer.weight.grad = layer.bias.grad = None
        second(F.relu(first(vectors)).to(devices[1])).sum().backward()
        gradients.append([to_host(layer.weight.grad) for layer in (first, second)])
    np.testing.assert_array_equal(gradients[0][0], gradients[1][0])
    np.testing.assert_array_equal(gradients[0][1], gradients[1][1])


def test_a_whole_run_on_the_second_device(gpus: CupyStandIn) -> None:
    """The loader, the guard, metrics, evaluation, checkpoints of the state: none of it needs its device to be current."""
    histories = []
    for device in ("cuda:0", "cuda:1"):
        raw = np.random.default_rng(2).integers(0, 256, (12, 1, 12, 12)).astype(np.uint8)
        dataset = data.ArrayDataset(raw, np.arange(12) % 3, data.Preprocess(1, 12, 12, 255, "pad")).to(device)
        loader = data.DataLoader(dataset, 6, shuffle=True, seed=1, augment=data.RandomShift(1))
        model = net().to(device)
        average = optim.WeightAverage(model)
        trainer = training.Trainer(
            model, optim.SGD(model.parameters(), 0.05, 0.9), loader, loader, average=average, clip_norm=1.0
        )
        trainer.fit(2)
        found = training.evaluate(model, loader, worst=2)
        histories.append([*trainer.history, {"loss": found.loss, "correct": found.correct}])
    for epoch in histories[0] + histories[1]:
        epoch.pop("seconds", None)
    assert histories[0] == histories[1]


def test_devices_that_meet_in_one_operation_are_named(gpus: CupyStandIn) -> None:
    there = Tensor(np.ones((2, 2), np.float32), requires_grad=True).to("cuda:1")
    here = Tensor(np.ones((2, 2), np.float32), requires_grad=True).to("cuda:0")
    for operation in (F.add, F.matmul, F.maximum, lambda a, b: F.concatenate([a, b]), lambda a, b: F.where(True, a, b)):
        with pytest.raises(DeviceError, match=r"cuda:0 and cuda:1|cuda:1 and cuda:0") as raised:
            operation(here, there)
        assert "met in one operation" in str(raised.value)
    with pytest.raises(DeviceError) as raised:
        xp_of(here.data, there.data)
    assert str(raised.value) == (
        "arrays on cuda:0 and cuda:1 met in one operation; bring them to one device first, "
        'e.g. Tensor.to("cuda:0") or model.to("cuda:1")'
    )
    with pytest.raises(
        DeviceError, match=r"expected an array on cuda:1, got one on cuda:0; use assign, which moves it"
    ):
        layers.Linear(2, 2).to("cuda:1").weight.data = here.data


def test_tensors_without_a_history_go_where_the_others_are(gpus: CupyStandIn) -> None:
    for device, other in (("cuda:0", "cuda:1"), ("cuda:1", "cuda:0")):
        model = net().to(device)
        assert str(model(Tensor(IMAGES).to(other)).device) == device
        assert str(F.cross_entropy(model(IMAGES), Tensor(LABELS).to(other)).device) == device


def test_values_come_to_the_host_from_any_device(gpus: CupyStandIn) -> None:
    tensor = Tensor(np.arange(6.0).reshape(2, 3)).to("cuda:1")
    assert F.transpose(tensor).numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensor[1, 2].item() == 5
    assert float(tensor.sum()) == 15
    assert device_of(to_device(tensor.data.T, Device("cuda", 0))) == Device("cuda", 0)


def test_an_exception_leaves_the_device_as_it_was(gpus: CupyStandIn) -> None:
    class Failing(Layer):
        def forward(self, x: Any) -> Tensor:
            raise KeyError

    with pytest.raises(KeyError):
        Failing()(Tensor(IMAGES).to("cuda:1"))
    assert gpus.cuda.runtime.getDevice() == 0
