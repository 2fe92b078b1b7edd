"""What a GPU is waited for in a step: nothing but the norm that clipping returns."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.testing.emulator import compiler
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
