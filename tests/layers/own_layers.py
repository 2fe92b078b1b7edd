"""Layers that people write themselves, which count what they draw."""

from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn import layers
from gpucnn.autograd import Tensor
from gpucnn.layers.initialization import zeros


class Noise(layers.Layer):
    """Counts as `layers.Dropout` does, and declares nothing."""

    def __init__(self) -> None:
        self.drawn = 0

    def forward(self, x: Tensor) -> Tensor:
        drawn, self.drawn = self.drawn, self.drawn + 1
        return F.dropout(x, 0.5, seed=self.seed, purpose=f"noise {self.path}", counter=int(drawn))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]


class DeclaredNoise(Noise):
    """Says what a pass changes, in words of its own."""

    def forward_state(self) -> dict[str, Any]:
        return {"masks": self.drawn}

    def set_forward_state(self, state: dict[str, Any]) -> None:
        self.drawn = state["masks"]


class CountedByTheClass(Noise):
    """Its counter begins as an attribute of the class."""

    drawn = 0

    def __init__(self) -> None:
        pass


class NumPyCounter(Noise):
    """Its counter is no Python int."""

    def __init__(self) -> None:
        self.drawn = np.int16(0)


class Fading(layers.Layer):
    """Draws less and less: its state is a float of few digits, and a text."""

    def __init__(self) -> None:
        self._scale, self.phase = np.float32(1), "early"

    def forward(self, x: Tensor) -> Tensor:
        scale = self._scale
        self._scale = self._scale * np.float32(0.7)
        self.phase = "early" if self._scale > 0.1 else "late"
        return x * (1 + float(scale)) if self.phase == "early" else x

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]


class Generating(layers.Layer):
    """Draws from a generator, whose state it declares."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.generator.uniform(0.5, 1.5, x.shape).astype(x.dtype)

    def forward_state(self) -> dict[str, Any]:
        return {"generator": self.generator.bit_generator.state}

    def set_forward_state(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]


class RunningScale(layers.Layer):
    """Keeps a running statistic in a buffer, and writes into its array, in one of two ways; it tells no shape."""

    def __init__(self, assign: bool = True) -> None:
        self.running = layers.Buffer((1,), zeros)
        self.assign = assign

    def forward(self, x: Tensor) -> Tensor:
        fresh = 0.5 * self.running.data + abs(x.data).mean()
        if self.assign:
            self.running.assign(fresh)
        else:
            self.running.data[...] = fresh
        return x * float(fresh[0])


class BufferCounter(layers.Layer):
    """Its counter is an integer buffer."""

    def __init__(self) -> None:
        self.drawn = layers.Buffer((), zeros, np.int64)

    def forward(self, x: Tensor) -> Tensor:
        drawn = int(self.drawn.data)
        self.drawn.assign(np.array(drawn + 1))
        return F.dropout(x, 0.5, seed=self.seed, purpose=f"noise {self.path}", counter=drawn)


OWN = (
    BufferCounter,
    Noise,
    DeclaredNoise,
    CountedByTheClass,
    NumPyCounter,
    Fading,
    Generating,
    RunningScale,
    lambda: RunningScale(False),
)
