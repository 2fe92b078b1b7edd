"""Parameter groups: rates of their own, buffers of their own, and what is refused."""

from typing import Any

import numpy as np
import pytest

from gpucnn import layers, models, optim, training
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


# Groups as PyTorch has them


def test_a_dict_is_a_group(backend: Backend) -> None:
    def with_groups(first: object, second: object) -> dict[str, float]:
        model = model_on(backend)
        optimizer = optim.SGD([first(model[0].parameters()), second(model[3].parameters())], lr=0.1, momentum=0.9)  # type: ignore[operator]
        optimizer.add_param_group({"params": list(model[1].parameters()), "lr": 0.0})
        step(backend, model, optimizer, 0.5)
        return step(backend, model, optimizer, 0.25)

    assert with_groups(lambda own: {"params": own, "lr": 0.02}, lambda own: {"params": own, "weight_decay": 0.5}) == (
        with_groups(lambda own: optim.Group(own, 0.2), lambda own: optim.Group(own, weight_decay=0.5))
    )


def test_param_groups_tell_what_holds() -> None:
    model = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2))
    optimizer = optim.SGD([{"params": model[0].parameters(), "lr": 0.02, "weight_decay": 0.5}], lr=0.1, momentum=0.9)
    optimizer.add_param_group(optim.Group(model[1].parameters()))
    optimizer.lr, optimizer.weight_decay = 1.0, 0.25
    first, second = optimizer.param_groups
    assert first == {
        "params": [model[0].weight, model[0].bias], "lr": pytest.approx(0.2), "weight_decay": 0.5, "momentum": 0.9,
        "nesterov": False, "decay_vectors": True,
    }  # fmt: skip
    assert (second["lr"], second["weight_decay"], len(second["params"])) == (1.0, 0.25, 2)
    alone = optim.Adam(model.parameters(), betas=(0.8, 0.9))
    assert [(len(group["params"]), group["betas"], group["eps"]) for group in alone.param_groups] == [
        (4, (0.8, 0.9), 1e-8)
    ]
    with pytest.raises(ArgumentError) as raised:
        first["lr"] *= 0.1
    assert str(raised.value) == (
        "param_groups are to be read, and 'lr' there changes nothing; set optimizer.lr, of which the rate of each group is a "
        "multiple, or optimizer.weight_decay"
    )
    for write in (lambda: first.update(lr=0.1), lambda: first.setdefault("initial_lr", 0.1)):
        with pytest.raises(ArgumentError, match="there changes nothing"):
            write()
    assert first.setdefault("lr", 0.5) == first["lr"]


def test_a_group_that_does_not_fit_changes_nothing() -> None:
    model = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2))
    optimizer = optim.SGD(model[0].parameters(), 0.1)
    with pytest.raises(ArgumentError, match="^SGD: the parameter '0.bias' is there twice; give each to one group$"):
        optimizer.add_param_group({"params": [model[1].weight, model[0].bias]})
    assert list(optimizer.parameters) == ["0.weight", "0.bias"]
    optimizer.add_param_group({"params": model[1].weight})
    assert repr(optimizer) == "SGD(lr=0.1; 2 groups, 3 parameters, 10 numbers)"


def test_a_step_that_is_recorded_takes_in_a_group_that_comes_later() -> None:
    def trained(graph: Any) -> dict[str, np.ndarray]:
        model = layers.Sequential(layers.Flatten(), layers.Linear(4, 4), layers.ReLU(), layers.Linear(4, 2), seed=0)
        optimizer = optim.Adam(model[3].parameters(), 0.01)
        model[1].requires_grad_(False)
        do = training.CapturedStep(model, optimizer, graph=graph)
        images = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
        for count in range(10):
            if count == 5:
                model[1].requires_grad_(True)
                optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.001})
            do(images, np.array([0, 1, 0, 1, 1]))
        return model.state_dict()

    eager, recorded = trained(False), trained("auto")
    start = layers.Sequential(layers.Flatten(), layers.Linear(4, 4), seed=0).state_dict()
    assert (eager["1.weight"] != start["1.weight"]).all()
    for path, array in eager.items():
        np.testing.assert_array_equal(recorded[path], array)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"parms": ()}], "SGD: a group has 'params', and may have 'lr' and 'weight_decay', got 'parms'; did you mean 'params'?"),
        ([{"params": (), "momentum": 0.9}], "SGD: a group has 'params', and may have 'lr' and 'weight_decay', got 'momentum'; other settings are the optimizer's own, and the same for all"),
        ([{"params": (), 3: 0}], "SGD: a group has 'params', and may have 'lr' and 'weight_decay', got 3; other"),
        ([{"lr": 0.1}], "SGD: a group needs 'params', e.g. {'params': model.head.parameters(), 'lr': 0.01}"),
        ({"params": layers.Linear(1, 1).state_dict()}, "SGD: expected parameters, got dict; pass model.parameters()"),
        ([{"params": (), "lr": -1}], "SGD: the lr of a group must be a number >= 0, got -1"),
        ([{"params": (), "weight_decay": "a"}], "weight_decay must be a number >= 0, got 'a'"),
        (layers.Linear(1, 1).state_dict(), "SGD: a group has 'params', and may have 'lr' and 'weight_decay', got 'weight'; did you mean 'weight_decay'?"),
        ([{"params": ()}], "SGD: got no parameters; pass model.parameters(), fresh for each use"),
    ],
)  # fmt: skip
def test_what_is_no_group_is_refused(groups: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        optim.SGD(groups, lr=0.1)
    assert str(raised.value).startswith(message)


def test_a_rate_beside_no_rate_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match="^SGD: a group has lr=0.1, a multiple of the optimizer's, which must not be 0"
    ):
        optim.SGD([{"params": layers.Linear(1, 1).parameters(), "lr": 0.1}], lr=0)
    optim.SGD([{"params": layers.Linear(1, 1).parameters(), "lr": 0}], lr=0)


def test_one_line_for_each_optimizer() -> None:
    model = models.LeNet5()
    assert (
        repr(optim.SGD(model.parameters(), 0.1, momentum=0.9))
        == "SGD(lr=0.1, momentum=0.9; 10 parameters, 61,706 numbers)"
    )
    assert repr(optim.AdamW(model.conv1.parameters(), betas=(0.8, 0.9), decay_vectors=False)) == (
        "AdamW(lr=0.001, betas=(0.8, 0.9), decay_vectors=False; 2 parameters, 156 numbers)"
    )
    assert (
        repr(optim.Group([model.conv1.bias], 0.5, 0.1))
        == "Group(1 parameter, 6 numbers; lr_factor=0.5, weight_decay=0.1)"
    )
