"""Whether a model is right as often as it says it is.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from dataclasses import dataclass

import numpy as np

from gpucnn.checks import as_count
from gpucnn.errors import ArgumentError
from gpucnn.text import counted, value_text
from gpucnn.training.evaluate import Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The answers of an evaluation in bins of equal width, by the probability that the model gave them."""

    confidence: np.ndarray
    """float64 (bins,): the mean probability of a bin's answers; NaN in an empty one."""
    accuracy: np.ndarray
    """float64 (bins,): the share of them that are right; NaN in an empty one."""
    count: np.ndarray
    """int64 (bins,): how many there are."""
    left_out: int
    """Answers whose probability is NaN, and in no bin."""

    @property
    def edges(self) -> np.ndarray:
        """float64 (bins + 1,): bin i has the probabilities above edges[i], up to edges[i + 1]."""
        return np.linspace(0, 1, len(self.count) + 1)

    @property
    def expected_calibration_error(self) -> float:
        """How far accuracy and confidence are apart, on average over the answers; NaN where there are none."""
        there = self.count > 0
        if not there.any():
            return float("nan")
        gaps = np.abs(self.accuracy[there] - self.confidence[there])
        return float((gaps * self.count[there]).sum() / self.count.sum())

    @property
    def mean_confidence(self) -> float:
        """The mean probability of all answers; NaN where there are none."""
        there = self.count > 0
        total = float((self.confidence[there] * self.count[there]).sum())
        return total / int(self.count.sum()) if there.any() else float("nan")

    def sureness(self, result: Evaluation) -> str:
        """Whether the model is "too sure" or "less sure" than it is right, on the whole; "" where the images are too few to tell.

        It can be told where the 95 % interval of the accuracy does not hold the mean probability.
        """
        low, high = result.accuracy_interval
        if self.mean_confidence > high:
            return "too sure"
        return "less sure" if self.mean_confidence < low else ""

    def __repr__(self) -> str:
        return (
            f"Calibration({counted(int(self.count.sum()), 'image')} in {counted(len(self.count), 'bin')}; expected calibration error "
            f"{self.expected_calibration_error:.4f})"
        )


def calibration(result: Evaluation, bins: int = 10) -> Calibration:
    """How confidence and accuracy go together in what `evaluate` found. ArgumentError for what is no result of it."""
    if not isinstance(result, Evaluation):
        raise ArgumentError(f"calibration: result must be what evaluate gives, got {value_text(result)}")
    bins = as_count(bins, "calibration: bins")
    samples = result.samples
    probability = samples.probability.astype(np.float64)
    known = ~np.isnan(probability)
    probability, right = probability[known], (samples.answer == samples.label)[known]
    # Bins have their upper edge, as in the paper: a probability of 1 is in the last.
    place = np.clip(np.ceil(probability * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # of an empty bin
        confidence = np.bincount(place, probability, bins) / count
        accuracy = np.bincount(place, right, bins) / count
    return Calibration(confidence, accuracy, count, int((~known).sum()))
