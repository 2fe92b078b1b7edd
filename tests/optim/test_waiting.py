"""What a GPU is asked for in a step: a launch or a few for each flat buffer, and no wait but for a norm that is returned."""

import functools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from gpucnn import data, layers, models, optim
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler
from gpucnn.training import Callback, Trainer, finite_guard
from tests.backends import emulated_cupy

pytestmark = pytest.mark.skipif(compiler() is None, reason="emulated kernels need g++")


def model_with_gradients() -> layers.Sequential:
    model = layers.Sequential(layers.Linear(4, 5), layers.BatchNorm1d(5), layers.Linear(5, 3)).to("cuda")
    cupy = emulated_cupy()
    for parameter in model.parameters():
        parameter.grad = cupy.asarray(np.ones(parameter.shape, np.float32))
    return model


def waits(work: Callable[[], object]) -> list[str]:
    """The operations in `work` that wait for the device."""
    with emulated_cupy().operation_log.recorded() as operations:
        work()
    assert any(operation.kind == "launch" for operation in operations)
    return [operation.kind for operation in operations if operation.kind in ("download", "synchronize")]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1, 0.9),
        lambda p: optim.Adam(p, weight_decay=0.1),
        lambda p: optim.AdamW(p, decay_vectors=False),
        lambda p: optim.RMSprop(p, momentum=0.9, centered=True, weight_decay=0.1),
        lambda p: optim.Adagrad(p, lr_decay=0.1),
        lambda p: optim.Lion(p, weight_decay=0.1),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Lion"],
)
def test_a_step_waits_for_nothing(make: Callable[..., optim.Optimizer]) -> None:
    with use_in_place_of_cupy(emulated_cupy()):
        optimizer = make(model_with_gradients().parameters())
        optimizer.gather()
        assert waits(optimizer.step) == []
        optimizer.lr = 0.01
        assert waits(optimizer.step) == []


def test_clipping_and_averaging_wait_for_the_norm_alone() -> None:
    with use_in_place_of_cupy(emulated_cupy()):
        model = model_with_gradients()
        average = optim.WeightAverage(model)
        assert waits(lambda: optim.clip_gradient_norm(model.parameters(), 1.0)) == ["download"]
        assert waits(lambda: optim.clip_gradient_value(model.parameters(), 0.1)) == []
        assert waits(average.update) == []

        def enter_and_leave() -> None:
            with average.applied():
                pass

        assert waits(enter_and_leave) == []


class Recorded(Callback):
    """The operations of the fourth batch of an epoch, and of fetching it."""

    def __init__(self, cupy: Any) -> None:
        self.operations: list[Any] = []
        self._recording = ExitStack()
        self._cupy = cupy

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.batch == 3:
            self.operations = self._recording.enter_context(self._cupy.operation_log.recorded())
        elif trainer.batch == 4:
            self._recording.close()


@functools.cache
def batch_of_training(buffers: int, average: bool = False, **options: Any) -> Counter[str]:
    """How many operations of each kind a batch of LeNet-5 takes that ends a step."""
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((10, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, 10)
    with emulated_gpu("fast") as cupy:
        model = models.LeNet5().to("cuda")
        optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-3, decay_vectors=buffers == 1)
        loader = data.DataLoader(data.ArrayDataset(images, labels), 2)
        options["average"] = optim.WeightAverage(model) if average else None
        recorded = Recorded(cupy)
        Trainer(model, optimizer, loader, None, callbacks=[recorded], graph=False, **options).fit(1)
    return Counter(operation.kind for operation in recorded.operations)


ALL = {"clip_norm": 0.1, "average": True, "accumulate": 2}


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("buffers", "options", "most"),
    [
        (1, {"clip_norm": 0.1}, 3),
        (1, {"clip_value": 0.1}, 1),
        (1, {"average": True}, 1),
        (1, {"accumulate": 2}, 2),
        (1, ALL, 6),
        (2, ALL, 11),
    ],
    ids=["norm", "value", "average", "accumulate", "all", "all, two buffers"],
)
def test_what_is_done_to_all_gradients_takes_few_launches_and_no_wait(
    buffers: int, options: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch, report: Callable[[str], None]
) -> None:
    monkeypatch.setattr(finite_guard, "SHARE", 1e-9)  # so that the state is kept before the first batch alone
    plain, found = batch_of_training(buffers), batch_of_training(buffers, **options)
    report(
        f"a batch of LeNet-5 with {options}, {buffers} flat buffers: {found['launch']} launches, {plain['launch']} without"
    )
    assert found["launch"] - plain["launch"] <= most
    assert found["download"] == found["synchronize"] == 0
    assert found["product"] == plain["product"]
    assert found["upload"] - plain["upload"] == ("average" in options), "its share changes"


def test_clipping_the_norm_of_parameters_takes_few_launches_and_one_wait() -> None:
    with use_in_place_of_cupy(emulated_cupy()):
        model = model_with_gradients()
        optim.SGD(model.parameters(), 0.1).gather()
        with emulated_cupy().operation_log.recorded() as operations:
            optim.clip_gradient_norm(model.parameters(), 1.0)
    kinds = Counter(operation.kind for operation in operations)
    assert kinds["launch"] == 3
    assert (kinds["download"], kinds["upload"], kinds["synchronize"]) == (1, 0, 0)
