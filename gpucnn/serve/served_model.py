"""The model of a service: what computes probabilities, and that it computes what gpucnn does."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.runs.trained_run import TrainedRun


class ServedModel(NamedTuple):
    """What computes the answers."""

    backend: str
    """Its name and version, as the start line tells it."""
    probabilities: Callable[[np.ndarray], np.ndarray]
    """Raw images (N, C, S, S), bytes, to probabilities (N, K)."""


def of_gpucnn(trained: TrainedRun) -> ServedModel:
    """gpucnn's own model, on its device."""

    def probabilities(raw: np.ndarray) -> np.ndarray:
        with no_grad():
            return to_host(F.softmax(trained.model(trained.preprocess(raw))).array)

    return ServedModel("gpucnn", probabilities)
