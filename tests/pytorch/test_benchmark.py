"""The benchmark's rivals compute the same: five training steps of every model, and every operation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")

from gpucnn import layers, models  # noqa: E402
from gpucnn.backend import Device  # noqa: E402
from gpucnn.benchmark.counterpart import counterpart  # noqa: E402
from gpucnn.benchmark.operations import TimedOperation, operations, prepare  # noqa: E402
from gpucnn.benchmark.rivals import Rival, rivals  # noqa: E402
from gpucnn.benchmark.suite import largest_difference, losses  # noqa: E402
from gpucnn.benchmark.training_step import MODELS, Workload, training_step  # noqa: E402
from gpucnn.errors import ArgumentError  # noqa: E402

CPU = Device()


@pytest.fixture(autouse=True)
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "1")


@pytest.mark.filterwarnings("ignore:steps are computed as they are:UserWarning")  # of what has no compiled loop
@pytest.mark.parametrize("model", MODELS)
def test_losses_agree(model: str) -> None:
    chosen = rivals(CPU)
    assert {"PyTorch eager", "PyTorch channels_last"} < set(map(str, chosen))
    found = {rival: losses(training_step(rival, Workload(model, 8), CPU)) for rival in chosen}
    assert largest_difference(model, found) <= 1e-4
    values = np.array(list(found[Rival("PyTorch", "eager")].values()))
    assert np.ptp(values) > 1e-3, "nothing was learned, so nothing was compared"


@pytest.mark.parametrize("operation", operations(2), ids=lambda one: one.name)
def test_operations_agree(operation: TimedOperation) -> None:
    found = {rival: prepare(rival, operation, CPU).results for rival in rivals(CPU)}
    assert largest_difference(operation.name, found) <= 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_as_many(name: str) -> None:
    model = models.create(name)
    assert sum(one.numel() for one in counterpart(model).parameters()) == model.parameter_count()


def test_arguments_come_along(rng: np.random.Generator) -> None:
    layer = layers.Sequential(
        layers.Conv2d(4, 6, (3, 2), (2, 1), (2, 0), (1, 2), groups=2, bias=False),
        layers.BatchNorm2d(6, eps=0.1, momentum=0.3),
        layers.ReLU(),
        layers.BatchNorm2d(6, scale=False),
        layers.MaxPool2d(3, 2, 1, ceil_mode=True),
        layers.Flatten(),
        layers.Linear(6 * 3 * 4, 3, activation="relu"),
    )
    images = rng.standard_normal((2, 4, 8, 9)).astype(np.float32)
    module = counterpart(layer)
    for _ in range(2):
        expected = module(torch.tensor(images)).detach().numpy()
        np.testing.assert_allclose(layer(images).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer[1].running_var.data, module[1].running_var.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(counterpart(layer)[1].running_var.numpy(), layer[1].running_var.data)


def test_what_pytorch_lacks_is_refused() -> None:
    with pytest.raises(ArgumentError) as raised:
        counterpart(layers.Conv2d(1, 1, 3, padding=((0, 1), (0, 1))))
    assert str(raised.value) == "Conv2d: PyTorch pads both sides alike, got ((0, 1), (0, 1))"
    with pytest.raises(ArgumentError) as raised:
        counterpart(layers.Sequential(layers.Dropout(0.5)))
    assert str(raised.value).startswith("0 (Dropout): no counterpart in PyTorch is known; take one of BatchNorm1d, ")
