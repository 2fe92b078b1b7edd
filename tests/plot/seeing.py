"""A model of which it is known what it sees, for the figures that show that."""

from typing import Any

import numpy as np

from gpucnn import layers
from gpucnn.autograd import Tensor


class Corner(layers.Layer):
    """Class 1 is what is bright in the upper left quarter of an 8x8 image, class 0 what is bright elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2d(1, 2, 1, bias=False)
        self.pool = layers.AvgPool2d(2)
        self.flatten = layers.Flatten()
        self.output = layers.Linear(32, 2, bias=False)
        self.conv.weight.data[...] = np.reshape([1.0, -1.0], (2, 1, 1, 1))
        corner = np.zeros((4, 4))
        corner[:2, :2] = 1
        self.output.weight.data[...] = [[*np.ravel(1 - corner), *np.zeros(16)], [*np.ravel(corner), *np.zeros(16)]]

    def forward(self, x: Any) -> Tensor:
        return self.output(self.flatten(self.pool(self.conv(x))))


IMAGE = np.zeros((1, 8, 8), np.float32)
IMAGE[0, 1, 2] = 1
