"""What a forward pass changes in layers of one's own is put back, repeated and saved as that of Dropout is."""

import copy
import itertools
import json
import pickle
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn.backend.joined import joined
from gpucnn.errors import ArgumentError, StateError
from gpucnn.layers import initialization
from gpucnn.layers.forward_state import ForwardState
from tests.backends import Backend, emulated_cupy, host
from tests.layers.own_layers import OWN, BufferCounter, DeclaredNoise, Fading, Noise, NumPyCounter, RunningScale

MakeLayer = Callable[[], layers.Layer]


def step(wrap: Callable[[layers.Layer], layers.Layer], own: MakeLayer, backend: Backend) -> list[np.ndarray]:
    """Outputs and gradients of three passes through a block with a layer of one's own, and its state at the end."""
    inner = layers.Sequential(layers.Linear(4, 4), own(), layers.Linear(4, 4))
    model = layers.Sequential(layers.Linear(4, 4), wrap(inner), layers.Linear(4, 2))
    inner[1].path = "own"  # what is drawn depends on the place, which the wrapper changes
    draw = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.assign(draw.standard_normal(parameter.shape))
    model.to(backend.device_name)
    seen = []
    for _ in range(3):
        x = backend.tensor(draw.standard_normal((3, 4)).astype(np.float32), True)
        output = model(x)
        output.sum().backward()
        seen += [host(output.data), host(x.grad), *(host(one.grad).copy() for one in model.parameters())]
        for one in model.parameters():
            one.grad = None
    return [*seen, *(host(one.data) for _, one in model.named_buffers()), np.array(str(inner[1].forward_state()))]


@pytest.mark.parametrize("wrap", [layers.Checkpoint, lambda inner: layers.Checkpoint(layers.Checkpoint(inner))])
@pytest.mark.parametrize("own", OWN)
def test_checkpointed_gradients_are_those_of_the_block(
    own: MakeLayer, wrap: Callable[[layers.Layer], layers.Layer], backend: Backend
) -> None:
    for found, expected in zip(step(wrap, own, backend), step(lambda inner: inner, own, backend), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("own", OWN)
def test_a_pass_that_is_put_back_leaves_nothing(own: MakeLayer) -> None:
    model = layers.Sequential(own(), layers.Flatten())
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    for _ in range(2):  # of a new layer, and of one that has computed
        before = ForwardState(model)
        first = model(x).numpy()
        before.restore()
        np.testing.assert_array_equal(model(x).numpy(), first)


@pytest.mark.parametrize("own", OWN)
def test_finding_shapes_changes_nothing(own: MakeLayer) -> None:
    class Plain(layers.Layer):  # whose inside is computed where its shape is asked for
        def __init__(self) -> None:
            self.own = own()

        def forward(self, x: Any) -> Tensor:
            return type(self.own).forward(self.own, x)

    traced, other = Plain(), Plain()
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32))
    assert traced.output_shape((2, 3)) == (2, 3)
    np.testing.assert_array_equal(traced(x).numpy(), other(x).numpy())
    assert str(traced.own.forward_state()) == str(other.own.forward_state())


@pytest.mark.parametrize("own", OWN)
def test_the_state_goes_to_a_new_layer_by_json_values(own: MakeLayer) -> None:
    here, there = own(), own()
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32))
    for _ in range(9):
        here(x)
    there.set_forward_state(copy.deepcopy(here.forward_state()))
    there.load_state_dict(here.state_dict())
    assert there.forward_state() == here.forward_state()
    for _ in range(3):
        np.testing.assert_array_equal(there(x).numpy(), here(x).numpy())
    for other in (copy.deepcopy(here), pickle.loads(pickle.dumps(here))):
        assert other.forward_state() == here.forward_state()


def test_what_the_state_is() -> None:
    x = Tensor(np.ones((2, 3), np.float32))
    dropout, noise, counter, declared, fading = layers.Dropout(), Noise(), NumPyCounter(), DeclaredNoise(), Fading()
    assert (dropout.forward_state(), noise.forward_state()) == ({"calls": 0}, {})
    for layer in (dropout, noise, counter, declared, fading):
        layer(x)
    assert (dropout.forward_state(), noise.forward_state()) == ({"calls": 1}, {"drawn": 1})
    assert (counter.forward_state(), type(counter.forward_state()["drawn"])) == ({"drawn": 1}, int)
    assert declared.forward_state() == {"masks": 1}
    assert fading.forward_state() == {"_scale": pytest.approx(0.7)}, "it is early still, as at first"
    fading.set_forward_state({"_scale": 0.05, "phase": "late"})
    assert (fading._scale, type(fading._scale), fading.phase) == (np.float32(0.05), np.float32, "late")
    fading.set_forward_state({})
    assert (fading._scale, fading.phase) == (1, "early")
    counter.set_forward_state({"drawn": 7})
    assert (counter.drawn, type(counter.drawn)) == (7, np.int16)
    assert layers.Linear(2, 2).forward_state() == {}
    model = layers.Sequential(layers.StochasticDepth(0.3), layers.Dropout2d(0.3))
    assert [layer.forward_state() for layer in model] == [{"calls": 0}, {"calls": 0}]


def test_an_integer_buffer_stays_one() -> None:
    model = layers.Sequential(BufferCounter(), layers.Linear(3, 1))
    model(np.ones((2, 3)))
    assert model.astype("float64")[0].drawn.dtype == np.int64  # type: ignore[attr-defined]
    assert model[1].weight.dtype == np.float64  # type: ignore[attr-defined]
    state = model.state_dict()
    with pytest.raises(StateError, match="0.drawn has float64 values, expected int64; build the model"):
        model.load_state_dict({**state, "0.drawn": np.array(3.7)})
    average = optim.WeightAverage(model, 0.9)
    average.load_state_dict({**average.state_dict(), "0.drawn": np.array(5)})
    with average.applied():
        assert model[0].drawn.data == 5  # type: ignore[attr-defined]
    with pytest.raises(StateError, match=r"averaged model: 0\.drawn has float64 values, expected int64"):
        average.load_state_dict({**average.state_dict(), "0.drawn": np.array(5.0)})


def test_modes_and_layers_are_none_of_it() -> None:
    class Switching(layers.Layer):
        def __init__(self) -> None:
            self.inner = layers.Dropout(0.5)

        def forward(self, x: Any) -> Tensor:
            self.inner.eval()
            self.head = layers.Linear(3, 1)
            return self.inner(x)

    layer = Switching()
    layer(np.ones((2, 3)))
    assert layer.forward_state() == {}
    assert layer.inner.forward_state() == {"calls": 0}


@pytest.mark.parametrize(
    ("layer", "state", "message"),
    [
        (layers.Dropout(), {"calls": -1}, "Dropout: calls, the number of masks drawn, must be an int >= 0, got -1"),
        (layers.Dropout(), {}, "must be an int >= 0, got -1"),
        (layers.Dropout(), {"calls": True}, "must be an int >= 0, got True"),
        (
            layers.Linear(2, 2),
            {"drawn": 3},
            "Linear: there is no number or text self.drawn that could take 3; build the",
        ),
        (layers.Linear(2, 2), {"weight": 3}, "there is no number or text self.weight"),
        (layers.Linear(2, 2), {"forward": 3}, "there is no number or text self.forward"),
        (layers.Linear(2, 2), {"path": "x"}, "there is no number or text self.path"),
        (Noise(), {"drawn": [3]}, r"self.drawn that could take \(3,\)"),
    ],
)
def test_a_state_of_another_layer_is_refused(layer: layers.Layer, state: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=message):
        layer.set_forward_state(state)


class Tally:
    """An object that counts, and knows a layer."""

    def __init__(self, owner: layers.Layer | None = None) -> None:
        self.owner, self.drawn = owner, 0

    def random(self) -> None:
        self.drawn += 1


class Hidden(layers.Layer):
    """Changes what no assignment shows."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def forward(self, x: Any) -> Tensor:
        if isinstance(self.kept, np.random.Generator | np.random.RandomState):
            self.kept.normal()
        elif isinstance(self.kept, list | deque):
            self.kept.append(1)
        elif isinstance(self.kept, dict):
            self.kept["calls"] = self.kept.get("calls", 0) + 1
        elif isinstance(self.kept, np.ndarray):
            self.kept += 1
        elif isinstance(self.kept, itertools.count):
            next(self.kept)
        elif isinstance(self.kept, Tally | random.Random):
            self.kept.random()
        elif self.kept is not None:
            self.kept = Tensor(self.kept.data + 1)
        return x * 1


@pytest.mark.parametrize(
    "kept",
    [
        np.random.default_rng(0), np.random.RandomState(0), [], deque(), {}, np.zeros(2), Tensor(np.zeros(2)),
        random.Random(0), itertools.count(), Tally(),
    ],
    ids=lambda kept: type(kept).__name__,
)  # fmt: skip
def test_what_changes_unseen_is_told_once_with_the_fix(kept: Any) -> None:
    model = layers.Checkpoint(Hidden(kept))
    x = Tensor(np.ones(3, np.float32), True)
    with pytest.warns(UserWarning, match="a forward pass changes") as caught:
        model(x)
    [warning] = caught
    assert str(warning.message) == (
        f"block (Hidden): a forward pass changes self.kept, a {type(kept).__name__}, which is not saved with the layer: a "
        f"resumed run, and what computes a pass again, would go on with other values than a run that never stopped; declare "
        f"it in forward_state() and set_forward_state(state), make an array a layers.Buffer, or draw with a counter, as "
        f"layers.Dropout does"
    )
    model(x)


@pytest.mark.parametrize("draw", [np.random.normal, random.random], ids=["np.random", "random"])
def test_a_global_generator_is_told(draw: Callable[[], float], request: pytest.FixtureRequest) -> None:
    model = layers.Checkpoint(layers.Lambda(lambda x: x * draw()))
    name = request.node.callspec.id
    with pytest.warns(
        UserWarning, match=rf"^block \(Lambda\): a forward pass draws from {name}, whose state is not saved: a"
    ):
        model(Tensor(np.ones(3, np.float32), True))


def test_nothing_is_told_of_what_stays_or_is_declared() -> None:
    class Kept(Hidden):
        def __init__(self, kept: Any) -> None:
            super().__init__(kept)
            self.norm = norm

        def forward(self, x: Any) -> Tensor:
            self.norm(np.ones((2, 1)))
            self.last = np.ones(3)  # looked at from outside, and made anew each time
            return x * 1

    class Declared(Hidden):
        def forward_state(self) -> dict[str, Any]:
            return {}

    x = Tensor(np.ones(3, np.float32), True)
    norm = layers.BatchNorm1d(1)
    for block in (
        Kept(Tally(norm)),
        Kept([1, 2]),
        Kept(np.zeros(2)),
        Kept([lambda: 0]),
        Hidden(None),
        Declared([]),
        RunningScale(),
    ):
        model = layers.Checkpoint(block)
        model(x)
        model(x)


def normed(backend: Backend) -> layers.Sequential:
    """A model with batch norms, which has computed once."""
    model = layers.Sequential(
        layers.BatchNorm1d(3), layers.Linear(3, 5), layers.BatchNorm1d(5, momentum=None), layers.Linear(5, 2)
    ).to(backend.device_name)
    model(backend.array(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)))
    return model


def test_running_statistics_are_put_back_in_place(backend: Backend) -> None:
    model, x = normed(backend), backend.array(np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32))
    for _ in range(2):  # before they lie side by side, and after it
        before, kept = ForwardState(model), model.state_dict()
        places = [buffer.data for _, buffer in model.named_buffers()]
        model(x)
        assert any((array != kept[path]).any() for path, array in model.state_dict().items())
        assert all(buffer.data is place for (_, buffer), place in zip(model.named_buffers(), places, strict=True))
        before.restore()
        assert all(buffer.data is place for (_, buffer), place in zip(model.named_buffers(), places, strict=True))
        for path, array in model.state_dict().items():
            np.testing.assert_array_equal(array, kept[path])


def test_buffers_lie_side_by_side_and_stay_where_they_are(backend: Backend) -> None:
    model = normed(backend)

    def stretches() -> int:
        return len(list(joined(buffer.data for _, buffer in model.named_buffers())))

    def places() -> list[int]:
        return [id(buffer.data) for _, buffer in model.named_buffers()]

    inner = ForwardState(model[2])
    laid_out = places()[2:]
    ForwardState(model)
    assert stretches() == 2, "those of the inner layer, which lay side by side, have not moved"
    assert places()[2:] == laid_out
    all_laid_out = places()
    ForwardState(model)
    inner.restore()
    model.load_state_dict(model.state_dict())
    model[0].running_mean.assign(np.ones(3))  # type: ignore[attr-defined]
    with optim.WeightAverage(model).applied():
        pass
    ForwardState(layers.Sequential(model))
    assert places() == all_laid_out
    kept, others = model.state_dict(), [copy.deepcopy(model)]
    if backend.on_cpu:
        others += [pickle.loads(pickle.dumps(model)), copy.deepcopy(model).astype("float64")]
    for other in (*others, model.to("cpu")):
        ForwardState(other)
        assert len(list(joined(buffer.data for _, buffer in other.named_buffers()))) == (
            2 if other is model and backend.on_cpu else 1
        )
        for path, array in other.state_dict().items():
            np.testing.assert_array_equal(array, kept[path])


def test_one_copy_keeps_all_running_statistics_and_one_brings_them_back() -> None:
    backend = Backend("emulated")
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active():
        model = normed(backend)
        ForwardState(model)
        with emulated_cupy().operation_log.recorded() as operations:
            ForwardState(model).restore()
        assert [(operation.kind, operation.name) for operation in operations] == [("launch", "copy")] * 2


def test_a_buffer_that_forward_replaces_is_the_old_one_again() -> None:
    class Replaces(layers.Layer):
        def __init__(self) -> None:
            self.seen = layers.Buffer((), initialization.zeros)

        def forward(self, x: Any) -> Tensor:
            self.seen.data = self.seen.data + 1
            return x

    model = layers.Sequential(Replaces(), layers.BatchNorm1d(3))
    before = ForwardState(model)
    first = model[0].seen.data  # type: ignore[attr-defined]
    model(np.arange(6.0).reshape(2, 3))
    assert model[0].seen.data == 1  # type: ignore[attr-defined]
    before.restore()
    assert model[0].seen.data is first  # type: ignore[attr-defined]
    assert (model[0].seen.data, model[1].running_mean.data.any()) == (0, False)  # type: ignore[attr-defined]


class Remembers(layers.Layer):
    """Its forward pass is the first to make an attribute, and counts in a tuple."""

    def __init__(self) -> None:
        self.counted = (0, ("times",))

    def forward(self, x: Any) -> Tensor:
        self.height = x.shape[0]
        self.counted = (self.counted[0] + 1, self.counted[1])
        return x * float(self.counted[0])


def test_what_forward_makes_and_tuples_go_into_a_layer_that_has_not_computed() -> None:
    layer = Remembers()
    layer(np.ones((2, 3), np.float32))
    state = json.loads(json.dumps(layer.forward_state()))
    fresh = Remembers()
    fresh.set_forward_state(state)
    assert (fresh.height, fresh.counted) == (2, (1, ("times",)))
    np.testing.assert_array_equal(fresh(np.ones(1, np.float32)).numpy(), [2])


class Counts(layers.Dropout):
    """Declares one counter, and has two."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.extra = 0

    def forward(self, x: Any) -> Tensor:
        self.extra += 10
        return super().forward(x)


def test_a_counter_that_a_declared_state_leaves_out_is_told() -> None:
    with pytest.warns(
        UserWarning,
        match=r"^block \(Counts\): a forward pass changes self\.extra, and forward_state\(\), which Counts decl",
    ):
        layers.Checkpoint(Counts())(np.ones((2, 3), np.float32))


def test_a_declared_state_is_copied() -> None:
    class Keeps(layers.Layer):
        def __init__(self) -> None:
            self.numbers = [0]

        def forward(self, x: Any) -> Tensor:
            self.numbers[0] += 1
            return x * float(self.numbers[0])

        def forward_state(self) -> dict[str, Any]:
            return {"numbers": self.numbers}

        def set_forward_state(self, state: Mapping[str, Any]) -> None:
            self.numbers = state["numbers"]

    layer = layers.Checkpoint(layers.Sequential(Keeps()))
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    for times in (1, 2, 3):
        x.grad = None
        layer(x).sum().backward()
        np.testing.assert_array_equal(x.grad, [times, times])


def test_a_seed_is_no_counter() -> None:
    class Moves(layers.Layer):
        def forward(self, x: Any) -> Tensor:
            self.seed += 1
            return x

    with pytest.raises(
        ArgumentError, match="^Moves: seed is no counter, and a forward pass changes it; count draws in"
    ):
        Moves()(np.ones(1, np.float32))


def test_what_a_hook_of_the_outermost_layer_counts_is_noticed() -> None:
    layer = layers.ReLU()
    layer.hooked = 0

    def count(layer: Any, inputs: Any, output: Any) -> None:
        layer.hooked += 1

    layer.register_forward_hook(count)
    layer(np.ones(1, np.float32))
    assert layer.forward_state() == {"hooked": 1}
