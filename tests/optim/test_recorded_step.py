"""A step of an optimizer that is recorded once and replayed: rates, decays and corrections are those of each replay's time."""

from unittest import mock

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.backend import recording
from gpucnn.testing import emulated_gpu
from tests.backends import Backend
from tests.recording import Recording

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, 0.9, weight_decay=0.1, nesterov=True),
    "plain SGD": lambda p: optim.SGD(p, 0.1),
    "Adam": lambda p: optim.Adam(p, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, decay_vectors=False),
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.9, centered=True, weight_decay=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
    "Lion": lambda p: optim.Lion(p, weight_decay=0.1),
    "groups": lambda p: optim.Adam([optim.Group(p[:2], lr_factor=0.5, weight_decay=0.2), optim.Group(p[2:])]),
}
EAGER, REPLAYED = 3, 4


def make(backend: Backend, name: str) -> tuple[layers.Layer, optim.Optimizer]:
    model = layers.Sequential(layers.Linear(3, 4), layers.Linear(4, 2)).to(backend.device_name)
    return model, OPTIMIZERS[name](list(model.parameters()))


def give_gradients(backend: Backend, model: layers.Layer, step: int) -> None:
    """Gradients in the places they have; the first parameter misses the first step, so that counts differ."""
    for number, parameter in enumerate(model.parameters()):
        values = np.random.default_rng([step, number]).standard_normal(parameter.shape).astype(np.float32)
        if parameter.grad is None:
            parameter.grad = None if step == number == 0 else backend.array(values)
        else:
            parameter.grad[...] = backend.array(values)


def set_rates(optimizer: optim.Optimizer, step: int) -> None:
    optimizer.lr, optimizer.weight_decay = 0.1 / (1 + step), 0.1 * step


def same_bytes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert set(a) == set(b)
    for key, array in a.items():
        np.testing.assert_array_equal(array, b[key], err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replayed_steps_give_the_bytes_of_eager_ones(backend: Backend, name: str) -> None:
    eager, own = make(backend, name)
    for step in range(EAGER + REPLAYED):
        give_gradients(backend, eager, step)
        set_rates(own, step)
        own.step()

    model, optimizer = make(backend, name)
    for step in range(EAGER):
        give_gradients(backend, model, step)
        set_rates(optimizer, step)
        optimizer.step()
    steps = Recording()
    with mock.patch.object(optimizer, "update", steps.note(optimizer.update)):
        steps.make(optimizer.apply)
    for step in range(EAGER, EAGER + REPLAYED):
        give_gradients(backend, model, step)
        set_rates(optimizer, step)
        optimizer.advance()
        steps.replay()

    same_bytes(model.state_dict(), eager.state_dict())
    same_bytes(optimizer.state_dict(), own.state_dict())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_may_be_recorded_before_any_was_counted(backend: Backend, name: str) -> None:
    eager, own = make(backend, name)
    model, optimizer = make(backend, name)
    for net in (eager, model):
        give_gradients(backend, net, 1)
    own.step()
    steps = Recording()
    with mock.patch.object(optimizer, "update", steps.note(optimizer.update)):
        steps.make(optimizer.apply)
    optimizer.advance()
    steps.replay()
    same_bytes(model.state_dict(), eager.state_dict())


def test_settings_that_stay_are_sent_once() -> None:
    with emulated_gpu("fast") as gpu:
        model = layers.Linear(3, 4).to("cuda")
        optimizer = optim.SGD(model.parameters(), 0.1)
        optimizer.gather()
        uploads = []
        for lr in (0.1, 0.1, 0.2, 0.2):
            optimizer.lr = lr
            for parameter in model.parameters():
                parameter.grad = gpu.ones(parameter.shape, np.float32)
            with gpu.operation_log.recorded() as operations:
                optimizer.step()
            uploads.append(sum(operation.kind == "upload" for operation in operations))
            assert not recording()
    assert uploads == [1, 0, 1, 0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_one_launch_for_each_stretch(name: str) -> None:
    with emulated_gpu("fast") as gpu:
        backend = Backend("emulated")
        model, optimizer = make(backend, name)
        launches: list[int] = []
        for step in range(3):
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = None if step == number == 0 else gpu.ones(parameter.shape, np.float32)
            optimizer.gather()
            with gpu.operation_log.recorded() as operations:
                optimizer.step()
            launches.append(sum(operation.kind == "launch" for operation in operations))
        buffers = len(optimizer.flat_buffers())
    assert launches == [buffers, buffers + 1, buffers + 1]


@pytest.mark.parametrize(
    "make",
    [optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad, optim.RMSprop, optim.Lion],
    ids=lambda make: make.__name__,
)
def test_without_decay_an_infinite_parameter_stays_one(backend: Backend, make: type[optim.Optimizer]) -> None:
    model = layers.Sequential(layers.Linear(1, 2, bias=False)).to(backend.device_name)
    (parameter,) = model.parameters()
    parameter.assign(np.array([[np.inf], [1]], np.float32))
    parameter.grad = backend.array(np.ones((2, 1), np.float32))
    make([parameter], 0.1, weight_decay=0).step()  # type: ignore[call-arg]
    changed = parameter.numpy()
    assert changed[0] == np.inf
    assert changed[1] < 1
