"""LayerList, LayerDict, ParameterList, and Sequential as a list: what stands where, under which path, and what is refused."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim, training
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GpucnnError
from gpucnn.kernels import ways

X = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)


def linear() -> layers.Linear:
    return layers.Linear(2, 2)


def paths(layer: layers.Layer) -> list[str]:
    return [path for path, _ in layer.named_parameters()]


def test_a_sequential_by_names() -> None:
    first, last = linear(), linear()
    for given in (
        {"first": first, "tanh": layers.Tanh(), "last": last},
        OrderedDict(first=first, tanh=layers.Tanh(), last=last),
    ):
        model = layers.Sequential(given, seed=3)
        assert paths(model) == ["first.weight", "first.bias", "last.weight", "last.bias"]
        assert (model.first, model[-1], first.seed) == (first, last, 3)
        np.testing.assert_array_equal(model(X).numpy(), last(F.tanh(first(X))).numpy())
    model.append(layers.ReLU())
    assert [name for name, _ in model.named_children()] == ["first", "tanh", "last", "3"]
    assert layers.Sequential({"1": linear()}).append(linear()).append(linear())._entries()[1][0] == "2", "1 is taken"


def test_a_slice_is_a_sequential_of_the_same_layers_which_keep_their_paths() -> None:
    model = layers.Sequential({"a": linear(), "b": linear(), "c": linear(), "d": layers.Dropout(0.5)}).eval()
    drawn = copy.deepcopy(model).state_dict()
    part = model[1:3]
    assert type(part) is layers.Sequential
    assert (list(part), part.training) == ([model[1], model[2]], False)
    assert paths(part) == ["b.weight", "b.bias", "c.weight", "c.bias"]
    np.testing.assert_array_equal(part(X).numpy(), model[2](model[1](X)).numpy())
    np.testing.assert_array_equal(part(model[:1](X)).numpy(), model(X).numpy())
    assert [layer.path for layer in model] == ["a", "b", "c", "d"], "its layers are the model's still"
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, drawn[path])
    optim.SGD(model.parameters(), 0.1)
    assert [len(model[:0]), len(model[::2]), len(model[5:])] == [0, 2, 0]
    assert part[:1][0] is model[1]
    assert type(layers.Branches(linear(), linear())[:1]) is layers.LayerList
    inner = layers.Sequential(model)[0][1:]  # type: ignore[index]
    assert inner.path == "0"
    assert inner[0].label == "0.b (Linear)"


def test_a_slice_belongs_to_the_model_that_it_is_assigned_to() -> None:
    class Head(layers.Layer):
        def __init__(self, body: layers.Layer) -> None:
            self.body, self.head = body, linear()

        def forward(self, x: Any) -> Tensor:
            return self.head(self.body(x))

    model = Head(layers.Sequential(linear(), layers.ReLU(), linear())[:2])
    assert paths(model) == ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]
    assert model.body[0].label == "body.0 (Linear)"  # type: ignore[index]


@pytest.mark.parametrize("kind", [layers.Sequential, layers.LayerList])
def test_layers_are_put_in_and_taken_out_as_in_a_list(kind: Callable[..., Any]) -> None:
    ones = kind(linear(), linear())
    expected = list(ones)
    for act in (
        lambda held, new: held.append(new),
        lambda held, new: held.extend([new]),
        lambda held, new: held.insert(0, new),
        lambda held, new: held.insert(-1, new),
        lambda held, new: held.insert(99, new),
        lambda held, new: held.__setitem__(2, new),
        lambda held, new: held.__setitem__(-1, new),
        lambda held, new: held.__delitem__(1),
        lambda held, new: held.__delitem__(-1),
        lambda held, new: held.__delitem__(slice(1, None, 2)),
    ):
        new = linear()
        act(ones, new)
        act(expected, new)
        assert list(ones) == expected
        assert [layer.path for layer in ones] == [str(place) for place in range(len(expected))]
        assert [name for name, _ in ones.named_children()] == [str(place) for place in range(len(expected))]
    for act in (lambda: ones[9], lambda: ones.__setitem__(9, linear()), lambda: ones.__delitem__(9)):
        with pytest.raises(IndexError):
            act()


def test_names_stay_where_numbers_are_counted_anew() -> None:
    model = layers.Sequential({"stem": linear(), "1": linear()})
    model.insert(1, layers.ReLU())
    assert [name for name, _ in model.named_children()] == ["stem", "1", "2"]
    del model[0]
    assert [name for name, _ in model.named_children()] == ["0", "1"]


def test_a_list_is_made_of_one_list() -> None:
    one = [linear(), linear()]
    for given in (one, tuple(one), iter(one), layers.LayerList(*one)):
        assert list(layers.LayerList(given)) == one
    assert len(layers.LayerList([])) == 0


def test_layers_by_name() -> None:
    held = layers.LayerDict({"conv": linear(), "act": layers.Tanh()})
    held["last"] = linear()
    held.update([("more", more := layers.Identity())])
    assert (list(held), len(held), "act" in held, "nothing" in held) == (
        ["conv", "act", "last", "more"],
        4,
        True,
        False,
    )
    assert list(held.keys()) == list(held)
    assert [*held.items()] == list(zip(held.keys(), held.values(), strict=True))
    assert paths(layers.Sequential(held)) == ["0.conv.weight", "0.conv.bias", "0.last.weight", "0.last.bias"]
    assert list(layers.LayerDict(held).items()) == list(held.items())
    del held["act"]
    assert list(held) == ["conv", "last", "more"]
    held["conv"] = other = linear()
    assert (next(iter(held)), held["conv"]) == ("conv", other)
    assert (held.pop("more"), list(held)) == (more, ["conv", "last"])
    with pytest.raises(
        TypeError, match=r"^0 .LayerDict.: a LayerDict has no order to compute in; call its layers by name$"
    ):
        held(X)


class Mixed(layers.Layer):
    """Weights in a list; the usual example of one."""

    def __init__(self) -> None:
        self.weights = layers.ParameterList(
            [np.ones((2, 2)), layers.Parameter((2, 2), layers.initializer("he_normal"))]
        )
        self.weights.append(np.full((2, 2), 0.5))

    def forward(self, x: Any) -> Tensor:
        for weight in self.weights:
            x = F.matmul(x, weight)
        return x


def test_parameters_in_a_list_are_trained_saved_and_moved() -> None:
    model = Mixed()
    assert list(model.state_dict()) == ["weights.0", "weights.1", "weights.2"]
    assert [parameter.path for parameter in model.parameters()] == ["weights.0", "weights.1", "weights.2"]
    expected = X @ np.ones((2, 2)) @ model.weights[1].numpy() @ np.full((2, 2), 0.5)
    np.testing.assert_allclose(model(X).numpy(), expected, rtol=1e-5)
    before = model.state_dict()
    optimizer = optim.SGD(model.parameters(), 0.1)
    model(X).sum().backward()
    optimizer.step()
    assert all((array != before[path]).any() for path, array in model.state_dict().items())
    assert model.astype("float64").weights[-1].dtype == np.float64
    assert (len(model.weights), len(model.weights[:2])) == (3, 2)
    model.weights[0] = np.zeros((2, 2))
    assert isinstance(model.weights[0], layers.Parameter)
    model.weights[0] = own = layers.Parameter(np.ones((2, 2)))
    assert model.weights[0] is own
    del model.weights[1]
    assert list(model.state_dict()) == ["weights.0", "weights.1"]
    assert repr(model) == "Mixed()\n  weights: ParameterList(2 parameters)"
    with pytest.raises(
        TypeError, match=r"^weights \(ParameterList\): a ParameterList has no order to compute in; use its"
    ):
        model.weights(X)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Sequential({"a": linear(), "b": layers.Dropout(0.5)}),
        lambda: layers.LayerList([linear(), linear()]),
        lambda: layers.LayerDict({"a": linear(), "b": layers.LayerList(linear())}),
        Mixed,
        lambda: layers.Sequential(linear(), layers.Identity(), linear())[1:],
    ],
)
def test_all_go_through_pickle_and_deepcopy_and_freeze(make: Callable[[], layers.Layer]) -> None:
    held = make()
    for twin in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        assert list(twin.state_dict()) == list(held.state_dict())
        assert repr(twin) == repr(held)
        for path, array in held.state_dict().items():
            np.testing.assert_array_equal(twin.state_dict()[path], array)
        twin.requires_grad_(False)
        assert not any(parameter.requires_grad for parameter in twin.parameters())
        assert all(parameter.requires_grad for parameter in held.parameters())


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: layers.Sequential({"a.b": linear()}), "Sequential: a name is a text without dots, got 'a.b'"),
    (lambda: layers.Sequential({"": linear()}), "Sequential: a name is a text without dots, got ''"),
    (lambda: layers.Sequential({3: linear()}), "Sequential: a name is a text without dots, got 3"),
    (lambda: layers.Sequential({"forward": linear()}), "Sequential: self.forward is something else already; choose another name"),
    (lambda: layers.LayerDict({"items": linear()}), "LayerDict: self.items is something else already; choose another name"),
    (lambda: layers.Sequential({"a": 3}), "Sequential: 'a' must be a layer, got 3; pass layers one by one"),
    (lambda: layers.Sequential([linear()]), "Sequential: argument 0 must be a layer, got [Linear(2, 2)]; pass layers one by one (a list as Sequential(*layers))"),
    (lambda: layers.Sequential(linear()).append(F.relu), "Sequential: argument 1 must be a layer, got <function relu"),
    (lambda: layers.Sequential(linear()).insert(0, 1), "Sequential: argument 0 must be a layer, got 1"),
    (lambda: layers.LayerList(linear()).__setitem__(0, "a"), "LayerList: item 0 must be a layer, got 'a'"),
    (lambda: layers.LayerDict([linear()]), "LayerDict: expected a dict of layers by name, or pairs (name, layer), got [Linear(2, 2)]"),
    (lambda: layers.LayerDict(3), "LayerDict: expected a dict of layers by name, or pairs (name, layer), got 3"),
    (lambda: layers.LayerDict({"conv1": linear()})["conv2"], "LayerDict: there is no layer 'conv2'; did you mean conv1?"),
    (lambda: layers.LayerDict({"conv1": linear()})[0], "LayerDict: there is no layer 0"),
    (lambda: layers.LayerDict({"conv1": linear()}).__delitem__("b"), "LayerDict: there is no layer 'b'"),
    (lambda: layers.ParameterList([linear()]), "ParameterList: argument 0 must be a parameter, got Linear(2, 2)"),
    (lambda: layers.ParameterList([layers.Buffer(np.ones(2))]), "ParameterList: argument 0 must be a parameter, got an array (2,)"),
    (lambda: layers.ParameterList(["a"]), "Parameter: expected numbers, got str of dtype <U1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_the_message(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(GpucnnError) as raised:
        call()
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ([layers.Parameter(np.ones(2))], "parameters in a plain list would not be trained; use self.kept = layers.ParameterList(parameters) or one attribute a parameter"),
        ({"a": linear()}, "layers in a plain dict would not be trained; use self.kept = layers.LayerDict(layers) or one attribute a layer"),
        ((linear(),), "layers in a plain tuple would not be trained; use self.kept = layers.Sequential(*layers), layers.LayerList(*layers) or one attribute a layer"),
    ],
)  # fmt: skip
def test_a_plain_list_is_refused_with_the_list_that_suits(value: Any, fix: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        linear().kept = value
    assert str(raised.value) == f"Linear: {fix}"


def test_an_item_is_taken_out_by_its_position() -> None:
    model = layers.Sequential({"a": linear(), "b": layers.ReLU()}, seed=0)
    first, last = model[0], model[1]
    assert (model.pop(), model.pop(0), len(model)) == (last, first, 0)
    for act in (lambda: model[0], lambda: model.pop(), lambda: model.__setitem__(0, linear())):
        with pytest.raises(IndexError, match=r"^Sequential: there is no item (0|-1) of 0$"):
            act()
    for act in (lambda: model["a"], lambda: model.pop("a"), lambda: model.__delitem__("a")):
        with pytest.raises(
            ArgumentError, match="^Sequential: a position is an int, got 'a'; by its name an item is an attr"
        ):
            act()


def test_a_prefix_stands_before_the_paths() -> None:
    model = layers.Sequential(linear())
    assert list(model.state_dict(prefix="net.")) == ["net.0.weight", "net.0.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(ArgumentError, match="^Sequential: prefix must be a text, got 3$"):
        model.state_dict(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.append(layers.ReLU()),
        lambda model: model.insert(2, layers.ReLU()),
        lambda model: model.__setitem__(2, layers.Identity()),
        lambda model: model.__delitem__(2),
    ],
)
def test_a_model_that_was_changed_is_another_one_to_a_step_that_is_recorded(change: Callable[[Any], object]) -> None:
    def trained(graph: Any) -> tuple[dict[str, np.ndarray], int]:
        model = layers.Sequential(layers.Flatten(), linear(), layers.ReLU(), linear(), seed=0)
        step = training.CapturedStep(model, optim.SGD(model.parameters(), 0.1, momentum=0.9), graph=graph)
        for number in range(8):
            if number == 4:
                recorded = step.recorder.recordings
                change(model)
            step(X, np.array([0, 1, 1]))
        return model.state_dict(), recorded

    (eager, none), (followed, recorded) = trained(False), trained("auto")
    assert (none, recorded) == (0, int(ways.mode() == "jit"))
    for path, array in eager.items():
        np.testing.assert_array_equal(followed[path], array)
