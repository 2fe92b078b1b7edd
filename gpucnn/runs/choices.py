"""What a run chooses by name: models, optimizers, learning-rate schedules, augmentations, logs. A new one is a line in its table."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpucnn import data, models, optim
from gpucnn.checks import as_number, matching
from gpucnn.data.augment import Augment, Mix, Range
from gpucnn.data.catalog import name_and_folder
from gpucnn.errors import ArgumentError
from gpucnn.layers import Parameter
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.logs import CSVLog, TensorBoardLog
from gpucnn.runs.network import is_onnx
from gpucnn.runs.notation import Choices
from gpucnn.runs.value_kind import Name
from gpucnn.training.callback import Callback


class RunLength(NamedTuple):
    """How long a run is; a user's schedule is written in epochs, a function of the step is made of it."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch


def _step_decay(lr: float, length: RunLength, every: int, factor: float = 0.1) -> optim.Schedule:
    return optim.step_decay(lr, every * length.steps_per_epoch, factor)


def _multi_step(lr: float, length: RunLength, milestones: tuple[int, ...], factor: float = 0.1) -> optim.Schedule:
    return optim.multi_step(lr, [epoch * length.steps_per_epoch for epoch in milestones], factor)


def _exponential(lr: float, length: RunLength, factor: float) -> optim.Schedule:
    return optim.exponential(lr, as_number(factor, "factor", below=1) ** (1 / length.steps_per_epoch))


def _cosine(lr: float, length: RunLength, end: float = 0.0) -> optim.Schedule:
    return optim.cosine(lr, length.steps, end)


def _cosine_restarts(lr: float, length: RunLength, period: int, growth: int = 1, end: float = 0.0) -> optim.Schedule:
    return optim.cosine_restarts(lr, period * length.steps_per_epoch, growth, end)


def _one_cycle(lr: float, length: RunLength, warmup: float = 0.3) -> optim.Schedule:
    return optim.one_cycle(lr, length.steps, warmup)


def _polynomial(lr: float, length: RunLength, power: float = 1.0, end: float = 0.0) -> optim.Schedule:
    return optim.polynomial(lr, length.steps, power, end)


def _rotate(degrees: float | Range, fill: str = "zero") -> Augment:
    return data.RandomAffine(degrees, fill=fill)


def _triangle(
    lr: float, length: RunLength, warmup: float = 0.23, start: float = 0.2, end: float = 0.07
) -> optim.Schedule:
    return optim.triangle(lr, length.steps, warmup, start, end)


OPTIMIZERS: Choices[optim.Optimizer] = Choices(
    {
        "adam": optim.Adam,
        "adamw": optim.AdamW,
        "sgd": functools.partial(optim.SGD, momentum=0.9),
        "rmsprop": optim.RMSprop,
        "adagrad": optim.Adagrad,
        "lion": optim.Lion,
    },
    trial={
        "parameters": [Parameter((1,), lambda _, shape: np.zeros(shape))],
        "lr": 1.0,
        "weight_decay": 0.0,
        "decay_vectors": True,
    },
)
"""Made of a model's parameters; learning rate and weight decay are settings of the run."""

SCHEDULES: Choices[optim.Schedule] = Choices(
    {
        "constant": optim.constant,
        "step_decay": _step_decay,
        "multi_step": _multi_step,
        "exponential": _exponential,
        "cosine": _cosine,
        "cosine_restarts": _cosine_restarts,
        "one_cycle": _one_cycle,
        "polynomial": _polynomial,
        "triangle": _triangle,
        "plateau": optim.ReduceOnPlateau,
    },
    trial={"lr": 1e300, "length": RunLength(epochs=1, steps_per_epoch=1)},
)
"""Made of the run's learning rate and its length."""

AUGMENTATIONS: Choices[Augment] = Choices(
    {
        "crop": data.RandomResizedCrop,
        "shift": data.RandomShift,
        "flip": data.RandomFlip,
        "alternating_flip": data.AlternatingFlip,
        "rotate": _rotate,
        "affine": data.RandomAffine,
        "jitter": data.ColorJitter,
        "randaugment": data.RandAugment,
        "cutout": data.Cutout,
        "erase": data.RandomErasing,
    },
    trial={"image_size": None, "mean": None, "std": None},
)
"""Made of the size that images are to have, and of what they are normalised with, where that matters."""

SHUFFLES: Choices["bool | data.WindowShuffle"] = Choices({"full": lambda: True, "window": data.WindowShuffle}, trial={})

MIXES: Choices[Mix] = Choices({"mixup": data.Mixup, "cutmix": data.CutMix}, trial={})

LOGS: dict[str, Callable[[RunFolder], Callback]] = {
    "csv": lambda folder: CSVLog(folder.path / "metrics.csv"),
    "tensorboard": lambda folder: TensorBoardLog(folder.path / "tensorboard"),
}
"""Made of the folder of the run."""


def make_schedule(written: str, warmup: float, lr: float, length: RunLength) -> optim.Schedule:
    """The schedule that is `written`, with a rise over `warmup` epochs before it, if that is above 0.

    Raises ArgumentError for what cannot be.
    """
    schedule = SCHEDULES.make(written, lr=lr, length=length)
    if not warmup:
        return schedule
    if isinstance(schedule, optim.ReduceOnPlateau):
        raise ArgumentError(
            f"it has no warm-up, as it is no function of the step; choose another, or warmup 0, got {warmup:g}"
        )
    return optim.warm_up(schedule, max(1, round(warmup * length.steps_per_epoch)))


class DataSet(Name):
    """The name of a data set, or the path of a folder of images."""

    def __init__(self) -> None:
        super().__init__(data.names)

    def check(self, value: object) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise self.refusal(value)
        name, folder = name_and_folder(value)
        return name if folder is None else str(folder)


class Classifier(Name):
    """The name of a model that gives one row of logits an image, or the path of an ONNX file."""

    def __init__(self) -> None:
        super().__init__(models.classifier_names)

    def check(self, value: object) -> Any:
        if isinstance(value, str) and is_onnx(value) and "\0" not in value:
            return value
        name = matching(value, models.names()) if isinstance(value, str) else None
        if name is not None and name not in models.classifier_names():
            raise ArgumentError(
                f"{name} labels every pixel, and images have one label here; choose a classifier, e.g. resnet20"
            )
        return super().check(value)
