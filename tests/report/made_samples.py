"""What a model made of images, without a model."""

from types import SimpleNamespace
from typing import Any

import numpy as np


def made_samples(label: np.ndarray, answer: np.ndarray, probability: np.ndarray, loss: np.ndarray) -> Any:
    """The arrays of `Samples`."""
    by_loss = np.array(
        sorted(range(len(loss)), key=lambda place: -np.inf if np.isnan(loss[place]) else -loss[place]), int
    )
    return SimpleNamespace(
        label=label, answer=answer, probability=probability, loss=loss, index=np.arange(len(label)), by_loss=lambda: by_loss
    )  # fmt: skip
