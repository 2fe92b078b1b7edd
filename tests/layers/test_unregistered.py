"""Layers in lists and the like: nobody would train them, and whoever calls or lists the model is told."""

import dataclasses
import functools
import itertools
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError
from gpucnn.layers.initialization import ones
from gpucnn.layers.unregistered import DICTS


class Holder(layers.Layer):
    """Keeps something beside its head; `fill` puts something into it."""

    def __init__(self, kept: Any) -> None:
        self.blocks = kept
        self.head = layers.Linear(2, 1)

    def forward(self, x: Any) -> Tensor:
        return self.head(x)


class Pair(NamedTuple):
    name: str
    layer: Any


@dataclasses.dataclass
class Parts:
    name: str
    layer: Any


class Encoder:
    """Has forgotten to be a Layer."""

    def __init__(self) -> None:
        self.layer = [linear()]

    def __call__(self, x: Any) -> Any:
        return self.layer[0](x)


class OfTheClass(Holder):
    tail = layers.Linear(2, 2)

    def __init__(self) -> None:
        super().__init__(None)


class ImageSource(Sequence[int]):
    """Must not be gone through."""

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError


class Listlike(list[Any]):
    pass


def linear() -> layers.Layer:
    return layers.Linear(2, 2)


def filled(kept: Any, fill: Callable[[Any], Any]) -> Callable[[], Any]:
    def make() -> Holder:
        holder = Holder(kept())
        fill(holder.blocks)
        return holder

    return make


def objects() -> np.ndarray:
    array = np.empty(2, object)
    array[1] = linear()
    return array


FOUND: dict[str, tuple[Callable[[], Holder], str]] = {
    "list": (filled(list, lambda kept: kept.append(linear())), "self.blocks[0] is a Linear in a plain list"),
    "second of a list": (filled(lambda: [1], lambda kept: kept.append(linear())), "self.blocks[1] is a Linear in a plain list"),
    "dict": (filled(dict, lambda kept: kept.update(a=linear())), "self.blocks['a'] is a Linear in a plain dict"),
    "set": (filled(set, lambda kept: kept.add(linear())), "self.blocks[0] is a Linear in a plain set"),
    "deque": (filled(deque, lambda kept: kept.append(linear())), "self.blocks[0] is a Linear in a plain deque"),
    "list subclass": (filled(Listlike, lambda kept: kept.append(linear())), "self.blocks[0] is a Linear in a plain Listlike"),
    "UserList": (filled(UserList, lambda kept: kept.append(linear())), "self.blocks[0] is a Linear in a plain UserList"),
    "UserDict": (filled(UserDict, lambda kept: kept.update(a=linear())), "self.blocks['a'] is a Linear in a plain UserDict"),
    "OrderedDict": (filled(OrderedDict, lambda kept: kept.update(a=linear())), "self.blocks['a'] is a Linear in a plain Ord"),
    "list in a list": (lambda: Holder([[linear()]]), "self.blocks[0][0] is a Linear in a plain list"),
    "list in a dict": (filled(dict, lambda kept: kept.update(a=[1, linear()])), "self.blocks['a'][1] is a Linear in a plain list"),
    "tuple in a list": (lambda: Holder([("a", linear())]), "self.blocks[0][1] is a Linear in a plain tuple"),
    "list in a tuple": (lambda: Holder(([linear()],)), "self.blocks[0][0] is a Linear in a plain list"),
    "named tuple in a list": (lambda: Holder([Pair("a", linear())]), "self.blocks[0][1] is a Linear in a plain Pair"),
    "deep": (lambda: Holder([[[{"a": ({1: [linear()]},)}]]]), "self.blocks[0][0][0]['a'][0][1][0] is a Linear"),
    "dict's values": (lambda: Holder({"a": linear()}.values()), "self.blocks[0] is a Linear in a plain dict_values"),
    "array of objects": (lambda: Holder(objects()), "self.blocks.flat[1] is a Linear in a plain ndarray"),
    "dataclass": (lambda: Holder(Parts("a", linear())), "self.blocks.layer is a Linear in a plain Parts"),
    "namespace": (lambda: Holder(SimpleNamespace(layer=[linear()])), "self.blocks.layer[0] is a Linear in a plain list"),
    "closure": (lambda: Holder((lambda layer: lambda x: layer(x))(linear())), "self.blocks (layer) is a Linear in a plain function"),
    "method": (lambda: Holder(linear().forward), "self.blocks.__self__ is a Linear in a plain method"),
    "partial": (lambda: Holder(functools.partial(F.linear, weight=layers.Parameter((1, 2), ones))),
                "self.blocks['weight'] is a Parameter in a plain partial"),
    "parameter": (filled(list, lambda kept: kept.append(layers.Parameter((2,), ones))), "self.blocks[0] is a Parameter in a"),
    "buffer": (filled(dict, lambda kept: kept.update(a=layers.Buffer((2,), ones))), "self.blocks['a'] is a Buffer in a plain dict"),
    "layer without parameters": (filled(list, lambda kept: kept.append(layers.Dropout())), "self.blocks[0] is a Dropout"),
    "object that is no layer": (lambda: Holder(Encoder()), "self.blocks.layer[0] is a Linear in a plain list"),
    "its method": (lambda: Holder(Encoder().__call__), "self.blocks.__self__.layer[0] is a Linear in a plain list"),
    "beside known ones": (lambda: beside(), "self.blocks[1] is a Linear in a plain list"),
}  # fmt: skip


def beside() -> Holder:
    holder = Holder([])
    holder.blocks.extend([holder.head, linear()])
    return holder


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model(np.ones((1, 2), np.float32)),
        lambda model: optim.SGD(model.parameters(), 0.1),
        lambda model: list(model.named_parameters()),
        lambda model: list(model.named_buffers()),
        lambda model: list(model.named_layers()),
        lambda model: model.state_dict(),
        lambda model: model.load_state_dict({}),
        lambda model: model.to("cpu"),
        lambda model: model.astype("float64"),
        lambda model: model.eval(),
        lambda model: model.requires_grad_(False),
        lambda model: model.parameter_count(),
    ],
)
@pytest.mark.parametrize("name", ["list", "list in a dict"])
def test_whoever_uses_the_model_is_told(name: str, use: Callable[[layers.Layer], Any]) -> None:
    with pytest.raises(ArgumentError, match=r"^Holder: self\.blocks\["):
        use(FOUND[name][0]())
    with pytest.raises(ArgumentError, match=r"^1 \(Holder\): self\.blocks\["):
        use(layers.Sequential(layers.ReLU(), FOUND[name][0]()))


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found(name: str) -> None:
    make, message = FOUND[name]
    with pytest.raises(ArgumentError) as raised:
        make().parameter_count()
    assert f"Holder: {message}" in str(raised.value)
    assert "which would not be trained, saved or moved; " in str(raised.value)
    assert "setattr(self, f'blocks_{number}', ...)" in str(raised.value)
    for names, suits in (
        (("list", "set", "deque", "deep"), True),
        (("dict", "closure", "dataclass", "parameter"), False),
    ):
        if name in names:
            assert ("self.blocks = layers.LayerList(*layers)" in str(raised.value)) == suits
    assert ("self.blocks = layers.LayerDict(layers)" in str(raised.value)) == (
        isinstance(make().blocks, DICTS) and name != "buffer"
    )
    assert ("self.blocks = layers.ParameterList(parameters)" in str(raised.value)) == (name == "parameter")
    repr(make())  # a debugger can still look


def test_the_message() -> None:
    with pytest.raises(ArgumentError) as raised:
        FOUND["list"][0]()(np.ones((1, 2)))
    assert str(raised.value) == (
        "Holder: self.blocks[0] is a Linear in a plain list, which would not be trained, saved or moved; make it self.blocks = "
        "layers.LayerList(*layers), which has append and indices, or put each in an attribute of its own, e.g. with "
        "setattr(self, f'blocks_{number}', ...)"
    )


def test_a_layer_of_the_class_itself() -> None:
    with pytest.raises(ArgumentError) as raised:
        OfTheClass()(np.ones((1, 2)))
    assert str(raised.value) == (
        "OfTheClass: self.tail is a Linear of the class OfTheClass itself, which would not be trained, saved or moved; assign "
        "self.tail in __init__"
    )
    model = OfTheClass()
    model.tail = linear()
    assert model(np.ones((1, 2))).shape == (1, 1)


def test_what_is_filled_after_the_first_call_is_found_by_whoever_lists_it() -> None:
    holder = Holder([])
    holder(np.ones((1, 2)))
    holder.blocks.append(linear())
    with pytest.raises(ArgumentError, match=r"self.blocks\[0\]"):
        holder.state_dict()


def frozen_teacher() -> layers.Layer:
    return linear().requires_grad_(False)


def taps() -> Holder:
    holder = Holder([])
    holder.stem = linear()
    holder.blocks.extend([holder.stem, ("head", holder.head), holder.head.weight])
    return holder


def cyclic() -> Holder:
    holder = Holder([1])
    holder.blocks.append(holder.blocks)
    holder.blocks.append({"self": holder})
    return holder


def hooked() -> Holder:
    holder, other = Holder(None), linear()
    holder.head.register_forward_hook(lambda layer, inputs, output: output + 0 * other(np.ones((1, 2))).sum())
    return holder


@pytest.mark.parametrize(
    "make",
    [
        taps, cyclic, hooked,
        lambda: Holder([]),
        lambda: Holder(["a", b"b", None, 1.5, np.ones(2), Tensor(np.ones(2)), layers.Linear, F.relu, np]),
        lambda: Holder(layers.LayerList(linear(), linear())),
        lambda: Holder((lambda teacher: lambda x: teacher(x))(frozen_teacher())),
        lambda: Holder([[frozen_teacher()]]),
        lambda: Holder([range(10**12), ImageSource(), itertools.count()]),
        lambda: Holder(data.ArrayDataset(np.zeros((2, 1, 1, 1)), np.zeros(2, int), linear())),
    ],
)  # fmt: skip
def test_what_is_right_passes(make: Callable[[], Holder]) -> None:
    holder = make()
    assert holder(np.ones((1, 2))).shape == (1, 1)
    holder.train().eval().state_dict()
    outer = layers.Sequential(holder, layers.Lambda(lambda x: holder.head(F.concatenate([x, x], axis=1))))
    assert outer(np.ones((1, 2))).shape == (1, 1)
    assert list(outer[1].named_layers()), "of a part nothing is said: the whole knows what it closes over"


def test_a_layer_list_is_trained_saved_moved_and_indexed() -> None:
    class Net(layers.Layer):
        def __init__(self) -> None:
            self.blocks = layers.LayerList()
            for _ in range(3):
                self.blocks.append(layers.Linear(2, 2))
            self.heads = layers.LayerList(layers.Linear(2, 1), layers.LayerList(layers.Dropout(0.5)))

        def forward(self, x: Any) -> Tensor:
            for block in self.blocks:
                x = F.relu(block(x))
            return self.heads[0](self.blocks[-1](x))

    net = Net()
    assert net(np.ones((1, 2))).shape == net.output_shape((1, 2)) == (1, 1)
    assert [path for path, _ in net.named_parameters()][::2] == [
        "blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "heads.0.weight",
    ]  # fmt: skip
    assert (len(net.blocks), list(net.blocks[1:]), net.blocks[2].path) == (
        3,
        [net.blocks[1], net.blocks[2]],
        "blocks.2",
    )
    assert not net.eval().heads[1][0].training  # type: ignore[index]
    weights = [block.weight.data for block in net.blocks]  # type: ignore[attr-defined]
    assert (weights[0] != weights[1]).all(), "each is drawn by its path"
    assert repr(net.blocks) == "LayerList()\n  0: Linear(2, 2)\n  1: Linear(2, 2)\n  2: Linear(2, 2)"
    with pytest.raises(
        TypeError, match="blocks .LayerList.: a LayerList has no order to compute in; call its layers one"
    ):
        net.blocks(np.ones((1, 2)))
    with pytest.raises(
        ArgumentError, match=r"LayerList: argument 1 must be a layer, got \[Linear.*a list as LayerList\(\*layers"
    ):
        layers.LayerList(linear(), [linear()])
    assert len(layers.Sequential(linear()).append(linear())) == 2
