"""Lists of layers, and walks over them, against PyTorch's: the same lines in both give the same names, in the same order."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from gpucnn import layers

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
nn = torch.nn

LISTS = {"LayerList": "ModuleList", "LayerDict": "ModuleDict"}


class Ours:
    """Our names for PyTorch's."""

    Linear, ReLU, Sequential, Identity = layers.Linear, layers.ReLU, layers.Sequential, layers.Identity
    ModuleList, ModuleDict, Module = layers.LayerList, layers.LayerDict, layers.Layer


def by_names(n: Any) -> Any:
    model = n.Sequential(OrderedDict([("fc", n.Linear(2, 3)), ("act", n.ReLU()), ("out", n.Linear(3, 1))]))
    model.append(n.Identity())
    return model


def filled(n: Any) -> Any:
    model = n.Sequential(n.Linear(1, 1), n.ReLU())
    model.append(n.Linear(1, 2)).append(n.ReLU())
    model.insert(1, n.Linear(1, 3))
    model[0] = n.Linear(1, 4)
    model.extend([n.Linear(1, 5), n.Linear(1, 6)])
    del model[-2]
    return model


def listed(n: Any) -> Any:
    held = n.ModuleList([n.Linear(1, width) for width in range(1, 5)])
    held.append(n.Sequential(n.Linear(2, 2)))
    held.insert(0, n.ReLU())
    held.extend([n.Linear(3, 3)])
    held[2] = n.Linear(7, 7)
    del held[3]
    return held


def named(n: Any) -> Any:
    held = n.ModuleDict({"a": n.Linear(1, 1), "b": n.ReLU()})
    held["c"] = n.ModuleList([n.Linear(1, 2)])
    held.update({"d": n.Linear(1, 3), "a": n.Linear(1, 4)})
    del held["b"]
    return held


MAKE: dict[str, Callable[[Any], Any]] = {
    "by names": by_names,
    "filled": filled,
    "a list": listed,
    "a dict": named,
    "a slice": lambda n: filled(n)[1:4],
    "a slice by names": lambda n: by_names(n)[1:],
    "within": lambda n: n.Sequential(filled(n), listed(n), named(n)),
}


@pytest.mark.parametrize("what", MAKE)
def test_names_and_order_are_pytorch_s(what: str) -> None:
    ours, theirs = MAKE[what](Ours), MAKE[what](nn)
    for walk in ("named_children", "named_modules", "named_parameters"):
        assert [name for name, _ in getattr(ours, walk)()] == [name for name, _ in getattr(theirs, walk)()], walk
    shapes = {name: tuple(array.shape) for name, array in ours.state_dict().items()}
    assert shapes == {name: tuple(array.shape) for name, array in theirs.state_dict().items()}
    assert list(shapes) == list(theirs.state_dict())
    seen: list[str] = []
    expected: list[str] = []
    ours.apply(lambda layer: seen.append(type(layer).__name__))
    theirs.apply(lambda layer: expected.append(type(layer).__name__))
    assert [LISTS.get(name, name) for name in seen] == expected


def test_parameters_in_a_list_have_pytorch_s_names() -> None:
    ours = layers.Sequential(layers.ParameterList([[1.0], [2.0]]).append([3.0]))
    theirs = nn.Sequential(nn.ParameterList([torch.ones(1), torch.ones(1)]).append(torch.ones(1)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
