"""Two models on two GPUs: all work is done where its arrays are, whichever device is current.

The stand-in refuses what CuPy refuses, or does over the wire between two GPUs with a warning: arrays that are not on the
current device.
"""

import inspect
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, data, layers, optim, training
from gpucnn import functions as F
from gpucnn.backend import cuda, device_of, to_device, to_host, xp_of
from gpucnn.backend.cuda import device_count
from gpucnn.backend.device import Device, choose_device
from gpucnn.benchmark import peak_memory
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.stopwatch import stopwatch
from gpucnn.benchmark.training_step import Workload
from gpucnn.cli.main import main
from gpucnn.errors import DeviceError, TrainingError
from gpucnn.layers import Layer
from tests.backends import Backend
from tests.functions.test_every_function import CASES, Case, what_the_oracle_says

IMAGES = np.random.default_rng(0).standard_normal((6, 1, 12, 12)).astype(np.float32)
LABELS = np.arange(6) % 3


@pytest.fixture
def gpus() -> Iterator[Any]:
    """CuPy, or where there are no two GPUs its stand-in. The first device is current; it must be so at the end."""
    backend = Backend("cupy" if device_count() > 1 else "emulated")
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active():
        cupy: Any = cuda.cupy()
        cupy.cuda.Device(0).use()
        yield cupy
        left = cupy.cuda.runtime.getDevice()
        cupy.cuda.Device(0).use()
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


def test_to_leaves_the_current_device_as_it_was(gpus: Any) -> None:
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


def test_two_models_are_trained_in_turns(gpus: Any) -> None:
    expected = alone(2)
    runs = [Run("cuda:0"), Run("cuda:1")]
    for _ in range(2):
        for run in runs:
            run.step()
    for run in runs:
        assert_same(run.result(), expected)
    assert {str(parameter.device) for parameter in runs[1].model.parameters()} == {"cuda:1"}
    assert {parameter.grad.device.id for parameter in runs[1].model.parameters()} == {1}


def test_two_models_are_trained_in_two_threads(gpus: Any) -> None:
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


def test_a_model_moves_between_steps(gpus: Any) -> None:
    expected = alone(3)
    run = Run("cuda:1")
    for device in ("cuda:0", "cuda:1", "cuda:1"):
        run.step()
        run.model.to(device)
    assert_same(run.result(), expected)


def test_one_model_lives_on_two_devices(gpus: Any) -> None:
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


def test_a_whole_run_on_the_second_device(gpus: Any) -> None:
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


def test_devices_that_meet_in_one_operation_are_named(gpus: Any) -> None:
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


def test_tensors_without_a_history_go_where_the_others_are(gpus: Any) -> None:
    for device, other in (("cuda:0", "cuda:1"), ("cuda:1", "cuda:0")):
        model = net().to(device)
        assert str(model(Tensor(IMAGES).to(other)).device) == device
        assert str(F.cross_entropy(model(IMAGES), Tensor(LABELS).to(other)).device) == device


def test_values_come_to_the_host_from_any_device(gpus: Any) -> None:
    tensor = Tensor(np.arange(6.0).reshape(2, 3)).to("cuda:1")
    assert F.transpose(tensor).numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensor[1, 2].item() == 5
    assert float(tensor.sum()) == 15
    assert device_of(to_device(tensor.data.T, Device("cuda", 0))) == Device("cuda", 0)


@pytest.mark.sample(60)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_function_computes_where_its_arrays_are(gpus: Any, case: Case) -> None:
    """Forward and back, also where the arrays are of an order that is copied first."""
    found: list[list[np.ndarray]] = []
    for index in (0, 1):
        tensors = []
        for array in what_the_oracle_says(case.name, np.float32)[0]:
            there = to_device(np.asarray(array).T.copy(), Device("cuda", index))
            tensors.append(Tensor(there.transpose(), requires_grad=True))
        output = case.function(*tensors)
        assert output.device == Device("cuda", index)
        output.backward(np.ones(output.shape, np.float32))
        assert {tensor.grad.device.id for tensor in tensors} == {index}
        found.append([output.numpy(), *(to_host(tensor.grad) for tensor in tensors)])
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(there, here)


def test_functions_and_what_holds_them_can_be_pickled() -> None:
    for name in ("relu", "conv2d", "sum"):
        assert pickle.loads(pickle.dumps(getattr(F, name))) is getattr(F, name)
        assert inspect.signature(getattr(F, name)).parameters


def test_arrays_by_themselves(gpus: Any) -> None:
    """What takes plain arrays, without tensors or a data set around them."""
    raw = np.random.default_rng(3).integers(0, 256, (4, 1, 6, 6)).astype(np.uint8)
    preprocess = data.Preprocess(1, 6, 8, 255, "pad", (0.5,), (0.25,))
    found = []
    for index in (0, 1):
        images = preprocess(to_device(raw, Device("cuda", index)))
        images = data.Compose(data.RandomShift(1), data.RandomFlip(), data.Cutout(2))(images, np.arange(4), 0, 0)
        mixed, labels = data.Mixup(0.4)(images, to_device(np.arange(4), Device("cuda", index)), np.arange(4), 0, 0, 5)
        right = training.in_top_k(mixed[:, 0, 0], to_device(np.arange(4), Device("cuda", index)), 2)
        map_of_features = gpucnn.convolve2d(mixed[0, 0], mixed[0, 0, :3, :3])
        arrays = (images, mixed, labels, right, map_of_features, gpucnn.max_pooling(map_of_features))
        assert {device_of(array) for array in arrays} == {Device("cuda", index)}
        found.append([to_host(array) for array in arrays])
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(there, here)


def test_a_command_on_the_second_device(gpus: Any, in_tmp_path: Path) -> None:
    arguments = [
        "train",
        "--model",
        "mlp",
        "--epochs",
        "1",
        "--batch-size",
        "512",
        "--out",
        "run",
        "--device",
        "cuda:1",
    ]
    assert main(arguments) == 0
    assert main(["evaluate", "run", "--device", "cuda:1"]) == 0


def test_the_memory_and_the_time_of_the_device_that_is_asked_for(gpus: Any) -> None:
    with gpus.cuda.Device(1):
        pool = gpus.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
    workload = Workload("lenet5", 1)
    assert peak_memory.growth(Rival.of("gpucnn cuda"), workload, Device("cuda", 1)) > before
    seen = []
    watch = stopwatch(Rival.of("gpucnn cuda"), Device("cuda", 1))
    assert watch(lambda: seen.append(gpus.cuda.runtime.getDevice()), 2) >= 0
    assert seen == [1, 1]


def test_who_looks_on_sees_outputs_on_their_device(gpus: Any) -> None:
    """Hooks, and the search for the layer where numbers went wrong."""
    model = net().to("cuda:1")
    seen: list[float] = []
    for layer in (model, model[0]):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(float(abs(output.data).max())))
    model(IMAGES)
    assert [most > 0 for most in seen] == [True, True]
    model[8].weight.assign(np.full((3, 16), np.nan))
    loader = data.DataLoader(data.ArrayDataset(IMAGES, LABELS), len(LABELS))
    trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loader)
    with pytest.raises(TrainingError, match=r"first not finite is the output of 8 \(Linear\)"):
        trainer.train_step(IMAGES, LABELS)


def test_states_come_and_go(gpus: Any) -> None:
    runs = [Run("cuda:1"), Run("cuda:0")]
    for run in runs:
        run.model.eval()  # no dropout, which would draw other masks for a later step
    runs[0].step()
    runs[1].model.load_state_dict(runs[0].model.state_dict())
    runs[1].optimizer.load_state_dict(runs[0].optimizer.state_dict())
    for run in runs:
        run.step()
    for name, array in runs[0].model.state_dict().items():
        np.testing.assert_array_equal(runs[1].model.state_dict()[name], array, name)
    runs[0].model.astype("float64")
    assert device_of(runs[0].model(IMAGES.astype(np.float64)).data) == Device("cuda", 1)


def test_tensors_are_shown_and_taken_apart(gpus: Any) -> None:
    tensor = Tensor(np.arange(4.0).reshape(2, 2)).to("cuda:1")
    assert "cuda:1" in repr(tensor)
    assert [row.numpy().tolist() for row in tensor] == [[0, 1], [2, 3]]
    assert bool(tensor[1, 1])
    assert float(np.maximum(tensor, 2.5).sum()) == 10.5


def test_an_exception_leaves_the_device_as_it_was(gpus: Any) -> None:
    class Failing(Layer):
        def forward(self, x: Any) -> Tensor:
            raise KeyError

    with pytest.raises(KeyError):
        Failing()(Tensor(IMAGES).to("cuda:1"))
    assert gpus.cuda.runtime.getDevice() == 0
