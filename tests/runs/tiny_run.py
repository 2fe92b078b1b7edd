"""A run by its configuration, tiny: a part of the digits, and a model whose state has all that a model's can have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors.numpy import save_file

from gpucnn import models
from gpucnn.autograd import Tensor
from gpucnn.data import catalog
from gpucnn.data.digits import read_digits
from gpucnn.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential
from gpucnn.models import ImageModel
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.runs.verification import StopAt
from gpucnn.training import ResumedRun, RunConfig, RunFolder, prepare

TRAIN, TEST = 42, 16
BATCHES = 6
"""An epoch: five of eight images, and one of two."""
TINY: dict[str, Any] = {"model": "tiny", "batch_size": 8, "epochs": 3, "image_size": 8, "device": "cpu"}
TIMES = {"times.jsonl", "summary.json"}
"""The files of a run that are others every time."""


class Tiny(ImageModel):
    """Running statistics, and masks drawn anew at every step."""

    in_channels, image_size, training_size = 1, 8, 8

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: int = 8, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.features = Sequential(Conv2d(in_channels, 3, 3, stride=2), BatchNorm2d(3), ReLU(), Dropout(0.3), Flatten())
        self.output = Linear(3 * ((image_size - 1) // 2) ** 2, num_classes)

    def forward(self, x: Any) -> Tensor:
        return self.output(self.features(x))


def _few_digits(folder: Path) -> tuple[np.ndarray, ...]:
    train_images, train_labels, test_images, test_labels = read_digits()
    return train_images[:TRAIN], train_labels[:TRAIN], test_images[:TEST], test_labels[:TEST]


@contextmanager
def tiny_names() -> Iterator[None]:
    """Inside, there is a model "tiny", and the data set "digits" has few images."""
    digits = catalog._SOURCES["digits"]._replace(read=_few_digits)  # type: ignore[arg-type]
    with mock.patch.dict(models._BY_NAME, tiny=Tiny), mock.patch.dict(catalog._SOURCES, digits=digits):
        yield


def write_weights(folder: Path, num_classes: int = 7, mean: float = 0.25) -> Path:
    """A folder of a run that has learned other classes, on images that were normalised; the file of its weights."""
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(9)
    state = {
        path: draw.uniform(0.5, 1.5, array.shape).astype(np.float32)
        for path, array in Tiny(num_classes).state_dict().items()
    }
    save_file(state, folder / "best.safetensors", {"gpucnn": json.dumps({"name": "tiny", "num_classes": num_classes})})
    (folder / "config.json").write_text(json.dumps({"preprocess": {"mean": [mean], "std": [0.5]}}))
    return folder / "best.safetensors"


def train(path: Path, until: int = 10**9, **settings: Any) -> RunFolder:
    """The folder of a new run that is trained until a step, or until its end."""
    ready, folder = prepare(RunConfig(**{**TINY, **settings})), RunFolder(path)
    _fit(ready, folder, until)
    return folder


def go_on(resumed: ResumedRun, until: int = 10**9) -> None:
    """Train what is left of a run, or until a step."""
    _fit(resumed.ready, resumed.folder, until, resumed)


def _fit(ready: PreparedRun, folder: RunFolder, until: int, resumed: ResumedRun | None = None) -> None:
    callbacks = [*ready.callbacks(folder), StopAt(until)]
    trainer = ready.trainer(callbacks) if resumed is None else resumed.trainer(callbacks)
    assert ready.config.epochs is not None
    with suppress(StopAt.Reached):
        trainer.fit(ready.config.epochs - trainer.epoch)


def contents(folder: RunFolder) -> dict[str, bytes]:
    """All files of a run but those that are others every time, by name."""
    files = (path for path in folder.path.rglob("*") if path.is_file() and path.name not in TIMES)
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}
