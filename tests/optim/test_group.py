"""Parameter groups: rates of their own, buffers of their own, and what is refused."""

import numpy as np
import pytest

from gpucnn import layers, optim
from gpucnn.errors import ArgumentError
from tests.backends import Backend


def model_on(backend: Backend) -> layers.Sequential:
    model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Flatten(), layers.Linear(32, 3))
    for parameter in model.parameters():
        parameter.assign(np.ones(parameter.shape))
    return model.to(backend.device_name)


def step(backend: Backend, model: layers.Layer, optimizer: optim.Optimizer, gradient: float) -> dict[str, float]:
    """One step with `gradient` everywhere; each parameter's value after it, by path."""
    for parameter in model.parameters():
        parameter.grad = backend.array(np.full(parameter.shape, gradient, np.float32))
    optimizer.step()
    state = {path: array for path, array in model.state_dict().items() if "running" not in path}
    assert all((array == array.flat[0]).all() for array in state.values())
    return {path: float(array.flat[0]) for path, array in state.items()}


def test_a_group_s_rate_is_a_multiple_of_the_optimizer_s(backend: Backend) -> None:
    model = model_on(backend)
    groups = [optim.Group(model[0].parameters(), lr_factor=0.1), optim.Group(model[1].parameters(), lr_factor=0)]
    optimizer = optim.SGD([*groups, *model[3].parameters()], lr=1.0)
    values = step(backend, model, optimizer, 0.5)
    expected = {"0": 0.95, "1": 1.0, "3": 0.5}
    assert values == {path: pytest.approx(expected[path[0]]) for path in values}
    optimizer.lr = 0.1  # as a schedule does
    values = step(backend, model, optimizer, 0.5)
    expected = {"0": 0.945, "1": 1.0, "3": 0.45}
    assert values == {path: pytest.approx(expected[path[0]]) for path in values}


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW, optim.Lion])
def test_a_group_s_decay_stands_in_place_of_the_optimizer_s(backend: Backend, make: type[optim.SGD]) -> None:
    model = model_on(backend)
    groups = [optim.Group(model[0].parameters(), weight_decay=0.0), optim.Group(model[1].parameters(), 0.5, 0.2)]
    optimizer = make([*groups, optim.Group(model[3].parameters())], lr=0.1, weight_decay=0.5)
    values = step(backend, model, optimizer, 0.0)
    expected = {"0": 1.0, "1": 0.99, "3": 0.95}
    assert values == {path: pytest.approx(expected[path[0]]) for path in values}
    optimizer.weight_decay = 0.0
    later = step(backend, model, optimizer, 0.0)
    assert later == {path: pytest.approx(value * (0.99 if path[0] == "1" else 1)) for path, value in values.items()}


@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW, optim.Lion])
def test_vectors_may_go_without_decay_in_every_group(backend: Backend, make: type[optim.SGD]) -> None:
    model = model_on(backend)
    group = optim.Group(model[0].parameters(), weight_decay=0.2)
    rest = [*model[1].parameters(), *model[3].parameters()]
    optimizer = make([group, *rest], lr=0.1, weight_decay=0.5, decay_vectors=False)
    values = step(backend, model, optimizer, 0.0)
    vectors = {"0.bias", "1.weight", "1.bias", "3.bias"}
    decayed = {"0.weight": 0.98, "3.weight": 0.95}
    assert values == {**dict.fromkeys(vectors, 1.0), **{path: pytest.approx(v) for path, v in decayed.items()}}


def test_groups_of_equal_rates_share_a_buffer(backend: Backend) -> None:
    model = model_on(backend)
    groups = [optim.Group(model[0].parameters()), optim.Group(model[1].parameters()), *model[3].parameters()]
    optimizer = optim.Adam(groups, 0.1)
    optimizer.gather()
    assert [buffer.names for buffer in optimizer._buffers] == [list(optimizer.parameters)]
    apart = optim.Adam(model.parameters(), 0.1, decay_vectors=False)
    apart.gather()
    assert [buffer.names for buffer in apart._buffers] == [
        ["0.weight", "3.weight"],
        ["0.bias", "1.weight", "1.bias", "3.bias"],
    ]


def test_state_knows_nothing_of_groups(backend: Backend) -> None:
    """So that a run may go on with other groups."""
    model = model_on(backend)
    grouped = optim.Adam([optim.Group(model[3].parameters(), 0.5), *model[0].parameters(), *model[1].parameters()], 0.1)
    step(backend, model, grouped, 0.5)
    state = grouped.state_dict()
    assert set(state) == {f"{path}/{name}" for path in grouped.parameters for name in ("mean", "square", "steps")}
    plain = optim.Adam(model.parameters(), 0.1)
    plain.load_state_dict(state)
    for key, array in plain.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


def test_groups_move_with_their_model(backend: Backend) -> None:
    model = model_on(Backend("numpy"))
    optimizer = optim.SGD([optim.Group(model[0].parameters(), 0.1), *model[3].parameters()], lr=1.0, momentum=0.5)
    step(Backend("numpy"), model, optimizer, 0.5)
    model.to(backend.device_name)
    values = step(backend, model, optimizer, 0.5)
    assert values["0.weight"] == pytest.approx(1 - 0.05 - 0.075)
    assert values["3.weight"] == pytest.approx(1 - 0.5 - 0.75)


def test_what_is_refused() -> None:
    model = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2))
    wrong = [
        (lambda: optim.Group(model), "Group: expected parameters, got Linear; pass model.parameters()"),
        (lambda: optim.Group(3), "Group: expected parameters, got int; pass model.parameters()"),  # type: ignore[arg-type]
        (lambda: optim.Group(model.parameters(), -1), "lr_factor must be a number >= 0, got -1"),
        (lambda: optim.Group(model.parameters(), weight_decay="a"), "weight_decay must be a number >= 0, got 'a'"),  # type: ignore[arg-type]
        (lambda: optim.Adam(3), "Adam: expected parameters, got int; pass model.parameters()"),  # type: ignore[arg-type]
        (lambda: optim.Adam([optim.Group([])]), "Adam: got no parameters; pass model.parameters(), fresh for each use"),
        (
            lambda: optim.Adam([optim.Group(model.parameters()), *model[1].parameters()]),
            "Adam: the parameter '1.weight' is there twice; give each to one group",
        ),
    ]
    for call, message in wrong:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == message
