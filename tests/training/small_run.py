"""A run of a few small steps whose state has everything a state can have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpucnn import data, layers, optim
from gpucnn.training import Callback, Trainer

BATCHES = 4
"""An epoch: three batches of four images, and one of two."""

MakeOptimizer = Callable[[Sequence[layers.Parameter]], optim.Optimizer]
State = tuple[dict[str, np.ndarray], dict[str, Any]]


def small_set(count: int = 14, seed: int = 0) -> data.ArrayDataset:
    draw = np.random.default_rng(seed)
    return data.ArrayDataset(draw.standard_normal((count, 1, 4, 4)).astype(np.float32), draw.integers(0, 3, count))


def small_model() -> layers.Sequential:
    """With running statistics, and masks drawn anew at every step."""
    return layers.Sequential(
        layers.Conv2d(1, 2, 3),
        layers.BatchNorm2d(2),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Linear(8, 3),
    )


def sgd(parameters: Sequence[layers.Parameter]) -> optim.Optimizer:
    return optim.SGD(parameters, 0.1, 0.9)


class Counting(Callback):
    """Has a state: all losses added up."""

    def __init__(self) -> None:
        self.total = 0.0

    def on_batch_end(self, trainer: Trainer) -> None:
        assert trainer.loss is not None
        self.total += trainer.loss.item()

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total = float(state["total"])


def small_trainer(
    *callbacks: Callback,
    optimizer: MakeOptimizer = sgd,
    schedule: optim.Schedule | None = None,
    average: bool = False,
    lookahead: int | None = None,
    device: str = "cpu",
    **options: Any,
) -> Trainer:
    model = small_model().to(device)
    return Trainer(
        model,
        optimizer(list(model.parameters())),
        data.DataLoader(small_set(), 4, shuffle=True, seed=3, augment=data.RandomShift(1)),
        data.DataLoader(small_set(6, seed=1), 4),
        schedule,
        [*callbacks, Counting()],
        average=optim.WeightAverage(model, 0.9) if average else None,
        lookahead=None if lookahead is None else optim.Lookahead(model, 3 * BATCHES, lookahead),
        **options,
    )


def assert_same(found: State, expected: State) -> None:
    """Equal in every bit."""
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    for name, array in expected[0].items():
        assert found[0][name].dtype == array.dtype, name
        assert found[0][name].tobytes() == array.tobytes(), name
