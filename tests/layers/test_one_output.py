"""A model that gives several outputs is told how to give one, wherever one is needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import data, explain, layers, optim, plot, training
from gpucnn.errors import ArgumentError, ShapeError

IMAGE = np.ones((1, 4, 4), np.float32)
LOADER = data.DataLoader(data.ArrayDataset(IMAGE[None], [1]), 1)


class Several(layers.Layer):
    """Gives what `made` makes of the logits."""

    def __init__(self, made: Callable[[Any], Any]) -> None:
        self.net = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Flatten(), layers.Linear(8, 2))
        self.made = made

    def forward(self, x: Any) -> Any:
        return self.made(self.net(x))


NEEDS_ONE: list[tuple[str, Callable[[Any], object]]] = [
    ("Several", lambda model: model.diagram((1, 4, 4))),
    ("Several", lambda model: model.summary((1, 4, 4))),
    ("evaluate", lambda model: training.evaluate(model, LOADER)),
    ("Trainer", lambda model: training.Trainer(model, optim.SGD(model.parameters(), 0.1), LOADER).fit(1)),
    ("grad_cam", lambda model: explain.grad_cam(model, IMAGE, 0)),
    ("input_gradient", lambda model: explain.input_gradient(model, IMAGE, 0)),
    ("occlusion", lambda model: explain.occlusion(model, IMAGE, 0)),
    ("last_map", lambda model: explain.last_map(model, IMAGE)),
]  # fmt: skip

FIGURES: list[tuple[str, Callable[[Any], object]]] = [
    ("grad_cam", lambda model: plot.grad_cam(model, IMAGE)),
    ("explanation", lambda model: plot.explanation(model, IMAGE)),
]


@pytest.mark.parametrize(("name", "call"), NEEDS_ONE)
def test_several_outputs_are_refused(name: str, call: Callable[[Any], object]) -> None:
    for made, told in (
        (lambda y: (y, y), r"a tuple of 2; .* one, e.g. the first that the net gives: net\(x\)\[0\]$"),
        (
            lambda y: {"logits": y, "aux": y},
            r"a dict of logits, aux; .* one, e.g. the net's 'logits': net\(x\)\['logits'\]$",
        ),
    ):
        with pytest.raises(ShapeError, match=f"^{name}: the model must give one tensor, this one gives {told}"):
            call(Several(made))


@pytest.mark.parametrize(("name", "call"), FIGURES)
def test_figures_refuse_them_too(name: str, call: Callable[[Any], object]) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    test_several_outputs_are_refused(name, call)


class Pair(layers.Layer):
    def forward(self, x: Any) -> Any:
        return x * 2, x


class First(layers.Layer):
    """A layer within gives a tuple; the model one tensor."""

    def __init__(self) -> None:
        self.conv, self.pair = layers.Conv2d(1, 2, 3), Pair()
        self.flatten, self.output = layers.Flatten(), layers.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.output(self.flatten(self.pair(self.conv(x))[0]))


def test_layers_within_may_give_several() -> None:
    model = First()
    assert list(explain.feature_maps(model, IMAGE)) == ["conv"]
    assert explain.last_map(model, IMAGE) == "conv"
    assert explain.grad_cam(model, IMAGE, 0).shape == (4, 4)
    with pytest.raises(ArgumentError, match=r"^grad_cam: pair \(Pair\) gives a tuple, and no feature maps"):
        explain.grad_cam(model, IMAGE, 0, "pair")
