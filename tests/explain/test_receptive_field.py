"""The box that a unit sees is the smallest one around all pixels that change it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers
from gpucnn import functions as F
from gpucnn.autograd import record
from gpucnn.errors import ArgumentError, GraphError
from gpucnn.models.convnext import ChannelNorm, CNBlock


def conv(inputs: int, outputs: int, size: Any, **options: Any) -> layers.Conv2d:
    return layers.Conv2d(inputs, outputs, size, **options)


class Own(layers.Layer):
    """Two convolutions, and a function of one's own between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], channels: int = 3) -> None:
        self.first, self.between, self.last = conv(2, 3, 3, padding=1), between, conv(channels, 2, (2, 1))

    def forward(self, x: Any) -> Tensor:
        return self.last(self.between(self.first(x)))


def by_rows(x: Tensor) -> Tensor:
    """Every pixel as a row, mixed with itself alone, and back, as ConvNeXt does."""
    count, channels, height, width = x.shape
    rows = F.reshape(F.transpose(x, (0, 2, 3, 1)), (count * height * width, channels))
    rows = F.layer_norm(F.linear(rows, np.ones((3, channels)) + np.eye(3, channels)), 3)
    return F.transpose(F.reshape(rows, (count, height, width, 3)), (0, 3, 1, 2))


NETS: dict[str, Callable[[], layers.Layer]] = {
    "windows": lambda: layers.Sequential(
        conv(2, 3, (3, 2), stride=2, padding=((2, 0), (1, 1))), layers.ReLU(), layers.MaxPool2d(2, stride=1),
        conv(3, 2, 3, padding=2, dilation=2),
    ),
    "gaps": lambda: layers.Sequential(conv(2, 3, 2, stride=3), layers.BatchNorm2d(3), conv(3, 2, 2, padding=1)),
    "mean pooling": lambda: layers.Sequential(layers.AvgPool2d(3, 2, padding=1, ceil_mode=True), conv(2, 2, 2)),
    "cells": lambda: layers.Sequential(conv(2, 2, 3), layers.AdaptiveAvgPool2d((3, 4)), layers.AdaptiveMaxPool2d((2, None))),
    "paths": lambda: layers.Residual(
        layers.Sequential(conv(2, 3, 3, padding=1), layers.ReLU(), conv(3, 3, 5, padding=2, stride=2)), conv(2, 3, 1, stride=2),
    ),
    "branches": lambda: layers.Sequential(
        layers.Branches(conv(2, 2, 1), conv(2, 1, (1, 5), padding=(0, 2)), layers.Identity()), conv(5, 2, 2, groups=1)
    ),
    "transposed": lambda: layers.Sequential(
        conv(2, 3, 3, stride=2), layers.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1)
    ),
    "block of ConvNeXt": lambda: layers.Sequential(conv(2, 3, 2, stride=2), ChannelNorm(3), CNBlock(3, 0.5), conv(3, 2, 2)),
    "bilinear": lambda: Own(lambda x: F.interpolate(x, (7, 17), mode="bilinear")),
    "padding": lambda: Own(lambda x: F.pad(x, ((0, 0), (0, 0), (2, 1), (0, 3)), mode="reflect")),
    "a part": lambda: Own(lambda x: x[:, 1:, 2:-1, ::3], 2),
    "rows of pixels": lambda: Own(by_rows),
    "joined": lambda: Own(lambda x: F.concatenate([F.relu(x), x * 2], axis=1), 6),
    "squeezed": lambda: Own(lambda x: x * F.sigmoid(x.mean(axis=(2, 3), keepdims=True))),
    "of a whole image": lambda: Own(lambda x: F.instance_norm(x)),
    "of a whole row": lambda: Own(lambda x: F.softmax(x, axis=3)),
    "flat": lambda: Own(lambda x: F.reshape(F.linear(F.flatten(x), np.ones((60, 3 * 9 * 11))), (-1, 3, 4, 5))),
}  # fmt: skip


def net_named(name: str) -> layers.Layer:
    """The net in float64, with weights above 0, so that what is brighter makes brighter what sees it."""
    net = NETS[name]().astype("float64")
    for parameter in net.parameters():
        parameter.data = np.abs(parameter.array) + 0.1
    return net.eval()


@pytest.mark.parametrize("name", NETS)
def test_the_box_of_a_unit_is_around_all_pixels_that_change_it(name: str) -> None:
    net, image = net_named(name), np.random.default_rng(0).random((2, 9, 11))
    height, width = image.shape[1:]
    spots = np.repeat(image[None], height * width, axis=0)
    for place in range(height * width):
        spots[place, :, place // width, place % width] += 5
    values, before = np.asarray(net(spots).data), np.asarray(net(image[None]).data)
    changed = (np.abs(values - before) > 1e-9 * np.abs(before)).any(axis=1)
    changed = changed.reshape(height, width, *changed.shape[1:])
    expected = np.empty((*changed.shape[2:], 4), int)
    for row, column in np.ndindex(changed.shape[2:]):
        rows, columns = np.nonzero(changed[:, :, row, column])
        expected[row, column] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    layer = {path: one for path, one in net.named_layers() if path}
    last = net if name == "paths" else list(layer)[-1] if name != "block of ConvNeXt" else "3"
    np.testing.assert_array_equal(explain.receptive_field(net, image, last), expected)


def scaled(x: Tensor) -> Tensor:
    """An operation of one's own, which is none of `gpucnn.functions`."""
    return record("scaled", x.array * 2, [x], lambda gradient: (gradient * 2,))


class OwnOperation(layers.Layer):
    def __init__(self) -> None:
        self.first, self.last = conv(2, 3, 3), conv(3, 2, 1)
        self.idle, self.scaling, self.aside = conv(2, 2, 1), layers.Lambda(scaled), conv(2, 2, 1)

    def forward(self, x: Any) -> Tensor:
        self.aside(Tensor(np.zeros((1, 2, 4, 4), np.float32)))
        return self.last(self.scaling(self.first(x)))


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        ("last", GraphError, r"last \(Conv2d\): conv2d is given what was computed with other than the functions of gpucnn.functions"),
        ("idle", ArgumentError, r"receptive_field: idle \(Conv2d\) is not called by the model in evaluation mode; give another layer"),
        ("aside", ArgumentError, r"receptive_field: what aside \(Conv2d\) gives does not depend on the image"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(layer: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        explain.receptive_field(OwnOperation(), np.ones((2, 6, 6)), layer)


def test_what_comes_before_an_own_operation_can_be_told() -> None:
    model = layers.Sequential(conv(2, 3, 3), layers.ReLU(), layers.Lambda(scaled))
    assert explain.receptive_field(model, np.ones((2, 4, 5)), model[1])[1, 2].tolist() == [1, 2, 4, 5]
    with pytest.raises(
        GraphError, match=r"receptive_field: 2 \(Lambda\) computes with other than the functions of gpucnn"
    ):
        explain.receptive_field(model, np.ones((2, 4, 5)), "2")


def test_one_pixel_alone_is_seen_whole() -> None:
    """Also by a net of images that are one pixel high."""
    model = layers.Sequential(
        conv(1, 2, (1, 3), padding=(0, 1)), layers.Flatten(), layers.Linear(8, 8), layers.Lambda(square)
    )
    assert explain.receptive_field(model, np.ones((1, 1, 4)), "0")[0].tolist() == [
        [0, 0, 1, 2],
        [0, 0, 1, 3],
        [0, 1, 1, 4],
        [0, 2, 1, 4],
    ]
    assert explain.receptive_field(model, np.ones((1, 1, 4)), "3")[1, 1].tolist() == [0, 0, 1, 4]


def square(x: Tensor) -> Tensor:
    return F.reshape(x, (-1, 2, 2, 2))
