"""What is no model is refused by everything that takes one, and the message says what to give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import data, explain, layers, models, optim, plot, training
from gpucnn.errors import ArgumentError
from gpucnn.runs.trained_run import TrainedRun, Weights

IMAGE = np.zeros((1, 4, 4), np.float32)
LOADER = data.DataLoader(data.ArrayDataset(IMAGE[None], [1]), 1)
NET = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Flatten(), layers.Linear(8, 2))
RUN = TrainedRun(NET, data.Preprocess(1, 4, 4, 255, "crop", None, None), "ab", {}, Weights("last", Path("m"), {}))

TAKES: list[tuple[str, Callable[[Any], object]]] = [
    ("evaluate", lambda model: training.evaluate(model, LOADER)),
    ("Trainer", lambda model: training.Trainer(model, optim.SGD(NET.parameters(), 0.1), LOADER)),
    ("CapturedStep", lambda model: training.CapturedStep(model, optim.SGD(NET.parameters(), 0.1))),
    ("WeightAverage", optim.WeightAverage),
    ("grad_cam", lambda model: explain.grad_cam(model, IMAGE, 0)),
]  # fmt: skip
TRAINER = training.Trainer(NET, optim.SGD(NET.parameters(), 0.1), LOADER)


@pytest.mark.parametrize(("name", "call"), TAKES, ids=[name for name, _ in TAKES])
def test_what_is_no_model_is_refused(name: str, call: Callable[[Any], object]) -> None:
    for given, told in (
        (RUN, r"TrainedRun\(.*; give trained.model$"), (TRAINER, r"Trainer\(.*; give trainer.model$"),
        ("lenet5", r"'lenet5'; gpucnn.models.create\(\"lenet5\"\) makes one of a name, gpucnn.load\(folder\).model is that of a run$"),
        (models.LeNet5, r".*; give one of its objects, e.g. LeNet5\(\)$"), (None, "None$"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=f"^{name}: model must be a layer, got {told}"):
            call(given)


def test_figures_take_a_run_and_refuse_a_name() -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    assert plot.filters(RUN).get_suptitle().startswith("0: ")
    with pytest.raises(ArgumentError, match="^filters: model must be a layer, got 'lenet5'; gpucnn.models.create"):
        plot.filters("lenet5")  # type: ignore[arg-type]
