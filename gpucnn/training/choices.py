"""What a run chooses by name: models, optimizers, learning-rate schedules, augmentations. A new one is a line in its table."""

import functools
from typing import Any, NamedTuple

import numpy as np

from gpucnn import data, models, optim
from gpucnn.data.augment import Augment
from gpucnn.errors import ArgumentError
from gpucnn.layers import Parameter
from gpucnn.training.notation import Choices
from gpucnn.training.value_kind import Name


class Pace(NamedTuple):
    """How long a run is; a user's schedule is written in epochs, a function of the step is made of it."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch


def _one_cycle(peak: float, pace: Pace, warmup: float = 0.3) -> optim.Schedule:
    return optim.one_cycle(peak, pace.steps, warmup)


OPTIMIZERS: Choices[optim.Optimizer] = Choices(
    {
        "adam": optim.Adam,
        "sgd": functools.partial(optim.SGD, momentum=0.9),
    },
    trial={
        "parameters": [Parameter((1,), lambda _, shape: np.zeros(shape))],
        "lr": 1.0,
        "weight_decay": 0.0,
    },
)
"""Made of a model's parameters; lr and weight decay are settings of the run."""

SCHEDULES: Choices[optim.Schedule] = Choices(
    {
        "one_cycle": _one_cycle,
    },
    trial={"peak": 1.0, "pace": Pace(epochs=1, steps_per_epoch=1)},
)
"""Made of the run's learning rate and its length."""

AUGMENTATIONS: Choices[Augment] = Choices(
    {
        "shift": data.RandomShift,
        "flip": data.RandomFlip,
    },
    trial={},
)


class Classifier(Name):
    """The name of a model that gives one row of logits an image."""

    def __init__(self) -> None:
        super().__init__(models.classifier_names)

    def check(self, value: object) -> Any:
        if value in models.names() and value not in models.classifier_names():
            raise ArgumentError(
                f"{value} labels every pixel, and images have one label here; choose a classifier, e.g. resnet20"
            )
        return super().check(value)
