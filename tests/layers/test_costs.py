"""Costs of operations: literal numbers for LeNet-5, and what a tape really holds for all models."""

import functools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models
from gpucnn import functions as F
from gpucnn.errors import ShapeError
from gpucnn.kernels.workspace import LARGEST_KEPT, workspace
from gpucnn.layers import Layer, Parameter
from gpucnn.layers.costs import Cost, costs, plainly_allocated
from gpucnn.layers.initialization import ones

FLOAT, INDEX = 4, 4
QUICK = {
    "lenet5": (1, 32, 32),
    "simplecnn": (1, 28, 28),
    "mlp": (1, 28, 28),
    "vgg_mini": (3, 32, 32),
    "resnet20": (3, 32, 32),
}
"""Models that a test can run, and their images."""


class Scaled(Layer):
    """Functions around layers, and a parameter of its own."""

    def __init__(self) -> None:
        self.conv = layers.Conv2d(2, 4, 3, padding=1, bias=False)
        self.gamma = Parameter((4, 1, 1), ones)
        self.head = layers.Sequential(layers.Flatten(), layers.Linear(4 * 36, 5))

    def forward(self, x: Any) -> Tensor:
        y = self.conv(F.relu(x))
        y = self.conv(y[:, :2]) * self.gamma + y
        return self.head(F.sigmoid(y))


def test_lenet5_by_hand() -> None:
    pixels = [6 * 28 * 28, 6 * 14 * 14, 16 * 10 * 10, 16 * 5 * 5]
    assert costs(models.LeNet5, (1, 32, 32)) == [
        Cost("conv1", "Conv2d", (1, 6, 28, 28), 156, 117_600, pixels[0] * FLOAT, 25 * 28 * 28 * FLOAT),
        Cost("pool1", "MaxPool2d", (1, 6, 14, 14), 0, 0, pixels[1] * INDEX, 0),
        Cost("conv2", "Conv2d", (1, 16, 10, 10), 2416, 240_000, (pixels[1] + pixels[2]) * FLOAT, 150 * 100 * FLOAT),
        Cost("pool2", "MaxPool2d", (1, 16, 5, 5), 0, 0, pixels[3] * INDEX, 0),
        Cost("flatten", "Flatten", (1, 400), 0, 0, 0, 0),
        Cost("fc1", "Linear", (1, 120), 48_120, 48_000, (pixels[3] + 120) * FLOAT, 0),
        Cost("fc2", "Linear", (1, 84), 10_164, 10_080, 84 * FLOAT, 0),
        Cost("output", "Linear", (1, 10), 850, 840, 0, 0),
    ]


def test_functions_have_rows_of_the_layer_around_them() -> None:
    rows = costs(Scaled, (2, 6, 6))
    assert [(row.path, row.kind) for row in rows] == [
        ("conv", "Conv2d"), ("Scaled", "getitem"), ("conv", "Conv2d"), ("Scaled", "multiply"), ("Scaled", "add"),
        ("Scaled", "sigmoid"), ("head.0", "Flatten"), ("head.1", "Linear"),
    ]  # fmt: skip
    assert [row.output_shape[1:] for row in rows[1:4]] == [(2, 6, 6), (4, 6, 6), (4, 6, 6)]
    assert [row.parameters for row in rows] == [72, 0, 0, 4, 0, 0, 0, 725], "those of a shared layer once"
    assert [row.multiply_adds for row in rows] == [72 * 36, 0, 72 * 36, 0, 0, 0, 0, 720]
    relu, y, scaled = 2 * 36 * FLOAT, 4 * 36 * FLOAT, 4 * 36 * FLOAT
    assert [row.activation_bytes for row in rows] == [relu, 0, y, scaled, 0, 4 * 36 * FLOAT, 0, 0]


@pytest.mark.parametrize("name", QUICK)
def test_no_byte_is_lost(name: str) -> None:
    shape = QUICK[name]
    create: Callable[[], Layer] = functools.partial(models.create, name, 10, *shape[:2])
    rows = costs(create, shape)
    model = create()

    def held(batch: int) -> int:
        before, _ = tracemalloc.get_traced_memory()
        with plainly_allocated():
            output = model(Tensor(np.zeros((batch, *shape), np.float32)))
        output.data = np.empty(0)  # the logits, which the caller holds and not the tape
        return tracemalloc.get_traced_memory()[0] - before

    workspace((LARGEST_KEPT,), np.empty(0, np.uint8))  # memory that a thread keeps: none of it shall be new
    for batch in (2, 12):  # which may take other kernels
        held(batch)
    tracemalloc.start()
    try:
        held(2)
        image = (held(12) - held(2)) / 10
    finally:
        tracemalloc.stop()
    expected = sum(row.activation_bytes for row in rows) + np.prod(shape) * FLOAT
    # What is as large for any batch, and objects of Python, differ by some bytes between two runs.
    assert abs(image - expected) < 2e-3 * expected + 5000
    assert sum(row.parameters for row in rows) == model.parameter_count()
    assert sum(row.multiply_adds for row in rows) == model.multiply_adds((1, *shape))
    assert sum(row.im2col_bytes for row in rows) == model.im2col_bytes((1, *shape))


def test_columns_of_groups_and_of_transposed_convolutions() -> None:
    grouped = layers.Conv2d(4, 8, (3, 2), stride=2, groups=2)
    assert grouped.im2col_bytes((1, 4, 9, 8)) == 4 * 3 * 2 * (4 * 4) * FLOAT
    assert grouped.im2col_bytes((5, 4, 9, 8)) == 5 * grouped.im2col_bytes((1, 4, 9, 8))
    transposed = layers.ConvTranspose2d(4, 3, 2, stride=2)
    assert transposed.im2col_bytes((2, 4, 5, 6)) == 2 * 3 * 4 * (5 * 6) * FLOAT
    assert layers.MaxPool2d(2).im2col_bytes((1, 4, 8, 8)) == 0
    both = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Conv2d(2, 2, 3)).astype(np.float64)
    assert both.im2col_bytes((3, 1, 8, 8)) == 3 * 8 * (9 * 36 + 18 * 16)
    assert both[1].im2col_bytes((3, 2, 6, 6)) == 3 * 8 * 18 * 16


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected images"):
        costs(models.LeNet5, (1, 28, 28))
