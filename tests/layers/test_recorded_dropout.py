"""Dropout in a step that is recorded: each replay draws the masks that the step itself would draw then, and counts them."""

import sys
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.backend import random_stream
from gpucnn.layers.forward_state import ForwardState
from gpucnn.testing import emulated_gpu
from tests.recording import Recording


class Twice(layers.Layer):
    """A dropout that is asked for two masks."""

    def __init__(self) -> None:
        self.drop = layers.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.drop(x))


MODELS = {
    "kinds": lambda: layers.Sequential(layers.Dropout(0.5), layers.Dropout2d(0.5), layers.StochasticDepth(0.5), seed=3),
    "twice": lambda: layers.Sequential(Twice(), layers.Dropout(0.2), seed=3),
    "again": lambda: layers.Sequential(
        layers.Checkpoint(layers.Sequential(Twice(), layers.Dropout(0.4))), layers.Dropout(0.5), seed=3
    ),
    "again and again": lambda: layers.Sequential(
        layers.Checkpoint(layers.Sequential(layers.Checkpoint(Twice()), layers.Dropout(0.4))), seed=3
    ),
    "none": lambda: layers.Sequential(layers.Dropout(0.0), layers.Dropout(0.5), seed=3),
}
REPLAYS = 4


def step(model: layers.Layer) -> None:
    model(Tensor(np.ones((4, 3, 2), np.float32), True)).sum().backward()


def counts(model: layers.Layer) -> dict[str, int]:
    return {path: layer.calls for path, layer in model.named_layers() if isinstance(layer, layers.Dropout)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("before", [0, 2])
def test_replays_draw_and_count_as_steps_do(name: str, before: int) -> None:
    eager, model = MODELS[name](), MODELS[name]()
    for _ in range(before):
        step(eager)
        step(model)
    steps = Recording()
    state = ForwardState(model)
    steps.make(lambda: step(model))
    state.restore()
    assert counts(model) == counts(eager)

    for number in range(REPLAYS):
        drawn: list[np.ndarray] = []

        def drawing(values: object, device: object, drawn: list[np.ndarray] = drawn) -> np.ndarray:
            drawn.append(values())  # type: ignore[operator]
            return drawn[-1]

        with mock.patch.object(sys.modules["gpucnn.functions.dropout"], "fed", drawing):
            step(eager)
        steps.replay()
        np.testing.assert_array_equal([array for _, array in steps.feeds], drawn, err_msg=f"replay {number}")
        assert counts(model) == counts(eager)


def test_two_recordings_of_one_model_and_a_state_that_is_set() -> None:
    model = MODELS["again"]()
    recordings = []
    for _ in range(2):
        steps, state = Recording(), ForwardState(model)
        steps.make(lambda: step(model))
        state.restore()
        recordings.append(steps)
    last = model[1]
    for number, steps in enumerate([*recordings, *recordings]):
        if number == 2:
            last.set_forward_state({"calls": 40})
        steps.replay()
        assert last.calls == (number + 1 if number < 2 else 39 + number)
        expected = random_stream(3, f"dropout {last.path}", last.calls - 1)
        assert any(np.array_equal(array, expected) for _, array in steps.feeds)


def test_a_counter_that_is_a_function_is_asked_before_each_replay() -> None:
    steps, counter = Recording(), 7
    steps.make(lambda: F.dropout(np.ones(3, np.float32), seed=1, purpose="here", counter=lambda: counter))
    for counter in (7, 9):
        steps.replay()
        np.testing.assert_array_equal(steps.feeds[0][1], random_stream(1, "here", counter))


@pytest.mark.parametrize(("layer", "expected"), [(layers.Dropout, (1, 1)), (layers.Dropout2d, (2, 1))])
def test_one_upload_serves_both_ways_and_the_mask_is_one_launch(
    layer: type[layers.Dropout], expected: tuple[int, int]
) -> None:
    with emulated_gpu("fast") as gpu:
        x = Tensor(gpu.ones((4, 3, 2), np.float32), True)
        with gpu.operation_log.recorded() as forward:
            y = layer(0.5)(x)
        seed = gpu.ones(y.shape, np.float32)
        with gpu.operation_log.recorded() as backward:
            y.node.backward(seed)
    kinds = [[operation.kind for operation in operations] for operations in (forward, backward)]
    assert (kinds[0].count("launch"), kinds[1].count("launch")) == expected
    assert (kinds[0].count("upload"), kinds[1].count("upload")) == (1, 0)
