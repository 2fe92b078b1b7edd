"""The learning-rate range test: which rate suits a model, its optimizer and its data, before they are trained.

Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3.
"""

import itertools
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from gpucnn.checks import as_count, as_function, as_number
from gpucnn.errors import ArgumentError, TrainingError
from gpucnn.html_fragments import Html, escaped, sparkline, text_instead, titled
from gpucnn.layers.forward_state import ForwardState
from gpucnn.text import counted
from gpucnn.training.can_train import check_can_train, check_last_batch
from gpucnn.training.trainer import Trainer

STEPS = 200
LOWEST, HIGHEST = 1e-6, 10.0
FIND = "find"
"""What stands for a rate that is to be found, in the settings of a run."""
FEWEST = 10
"""Steps of which a course can be seen."""
DIVERGED = 4.0
"""So many times the lowest smoothed loss, and the test ends."""
NEIGHBOURS = 0.05
"""The share of all steps over which a loss is smoothed, on either side."""


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What `find_lr` found: the loss after a step with each rate, from the lowest on, as far as it went."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    """The losses, each with those around it; none counts for more than where the test ended."""
    steepest: float
    """The rate at which the smoothed loss falls fastest, by the logarithm of the rate."""
    minimum: float
    """The rate at which it is lowest."""

    @property
    def lr(self) -> float:
        """The rate to train with, to one digit: the steepest, or a tenth of that of the minimum, if it is larger.

        Where the loss first falls at once, as wrong outputs shrink, and then again, as something is learned, the steepest may
        be the first fall, far too low.
        """
        return float(f"{max(self.steepest, self.minimum / 10):.0e}")

    def __str__(self) -> str:
        """One line for the command line."""
        return f"{self.rates_text}; try --lr {_short(self.lr)}"

    def __repr__(self) -> str:
        return f"RangeTest(lr {self.lr:g}; {self.rates_text}; {counted(len(self.rates), 'step')})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        """The rates, and the course of the smoothed loss."""
        course = f"loss, from a rate of {_short(self.rates[0])} to {_short(self.rates[-1])}: "
        return titled(repr(self), escaped(course) + sparkline(self.smoothed, 320, 64))

    @property
    def rates_text(self) -> str:
        """The two rates."""
        return (
            f"steepest at {self.steepest:.1e}, minimum at {self.minimum:.0e} (a tenth of it: {self.minimum / 10:.0e})"
        )


def find_lr(
    trainer: Trainer,
    steps: int = STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    on_step: Callable[[float, float], None] | None = None,
) -> RangeTest:
    """Train at most `steps` steps, the rate of each by the same factor above the last, and see where the loss falls.

    The rates go from `lowest` to `highest`, or until the loss diverges. A step is what it is in training: of the trainer's
    optimizer with its groups, of as many batches as it accumulates, with its clipping and label smoothing. In the end trainer,
    model, optimizer and average are as they were before, to the bit, also after an error. `on_step`: None, or what is told the
    rate and the loss of each step, to show progress.

    Raises ArgumentError for fewer than 10 steps, for rates out of order and for a trainer that cannot train; TrainingError if
    the loss is not finite from the first steps on, or falls at no rate.
    """
    if not isinstance(trainer, Trainer):
        raise ArgumentError(
            f"find_lr: expected a Trainer, got {type(trainer).__name__}; give Trainer(model, optimizer, loader)"
        )
    steps = as_count(steps, "find_lr: steps", FEWEST)
    low, high = as_number(lowest, "find_lr: lowest"), as_number(highest, "find_lr: highest")
    if not 0 < low < high:
        raise ArgumentError(f"find_lr: lowest must be above 0 and below highest, got {low:g} and {high:g}")
    if on_step is not None:
        as_function(on_step, "find_lr: on_step", "of (rate, loss), or None")
    check_can_train(trainer.model)
    check_last_batch(trainer.model, trainer.train_loader, shards=trainer.sharding.shards)
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    with closing(_losses(trainer, rates)) as found:
        for rate, loss in zip(rates, found, strict=False):
            losses.append(loss)
            if on_step is not None:
                on_step(rate, loss)
            if _diverges(losses, steps):
                break
    return _examined(rates, losses, steps)


def _losses(trainer: Trainer, rates: list[float]) -> Generator[float, None, None]:
    """The loss that follows a step with each of the rates, as long as it is finite; then all is put back."""
    schedule, before, (arrays, values) = trainer.schedule, ForwardState(trainer.model), trainer.state()
    loss, failed, first = trainer.loss, trainer.failed_step, trainer.step
    # One more step than there are rates: the loss of a step is that before it.
    trainer.schedule = lambda step: rates[min(step - first, len(rates) - 1)]
    try:
        trainer.model.train()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = _losses_of_steps(trainer)
            next(found)
            yield from itertools.islice(found, len(rates))
    except TrainingError as error:
        if trainer.step < first + FEWEST:
            raise TrainingError(f"find_lr: {error}") from None
    finally:
        trainer.schedule = schedule
        trainer.restore(arrays, values)
        trainer.loss, trainer.failed_step = loss, failed
        before.restore()


def _losses_of_steps(trainer: Trainer) -> Iterator[float]:
    """The mean loss of each step of the optimizer, epoch after epoch."""
    step, batches = trainer.step, []
    while True:
        for images, labels in trainer.training_step.batches(trainer.epoch, trainer.batch):
            trainer.train_step(images, labels)
            assert trainer.loss is not None
            batches.append(trainer.loss.item())
            if trainer.step > step:
                yield sum(batches) / len(batches)
                step, batches = trainer.step, []
        trainer.epoch, trainer.batch = trainer.epoch + 1, 0


def _diverges(losses: list[float], steps: int) -> bool:
    """Whether the loss has been so far above the lowest for some steps that it will not come back."""
    wide = max(1, round(steps * NEIGHBOURS))
    if len(losses) < 2 * wide:
        return not math.isfinite(losses[-1])
    means = np.convolve(losses, np.ones(wide) / wide, "valid")
    return not bool(means[-1] <= DIVERGED * means.min())


def _smoothed(losses: list[float], steps: int) -> np.ndarray:
    """Each loss as the mean of those around it, the nearer the more; without a lag, which would move the rates."""
    wide = max(1, round(steps * NEIGHBOURS))
    most = DIVERGED * np.convolve(losses, np.ones(wide) / wide, "valid").min()  # beyond it the height tells nothing
    bounded = np.minimum(losses, max(most, losses[0]))
    weights = np.exp(-0.5 * (np.arange(-2 * wide, 2 * wide + 1) / wide) ** 2)
    counts = np.convolve(np.ones(len(losses)), weights)[2 * wide : -2 * wide]
    found: np.ndarray = np.convolve(bounded, weights)[2 * wide : -2 * wide] / counts
    return found


def _examined(rates: list[float], losses: list[float], steps: int) -> RangeTest:
    """The two rates that matter. TrainingError if the loss falls at none."""
    smoothed = _smoothed(losses, steps)
    lowest = int(np.argmin(smoothed))
    if lowest == 0:
        raise TrainingError(
            f"find_lr: the loss falls at no rate from {rates[0]:.0e} to {rates[len(losses) - 1]:.0e}; look whether the labels "
            f"belong to the images, or begin lower"
        )
    slopes = np.gradient(smoothed, np.log(rates[: len(losses)]))
    steepest = int(np.argmin(slopes[: lowest + 1]))
    own = tuple(rates[: len(losses)])
    return RangeTest(own, tuple(losses), tuple(smoothed.tolist()), own[steepest], own[lowest])


def _short(rate: float) -> str:
    """A rate as one types it: 4e-3, 0.5, 2."""
    return f"{rate:g}" if rate >= 0.1 else f"{rate:.0e}".replace("e-0", "e-")
