"""Loss and accuracy over many batches, and whether a label is among the k highest scores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor, on_their_device
from gpucnn.backend import (
    Array,
    Device,
    as_array,
    beside,
    device_of,
    fed,
    overwrite,
    recording,
    to_device,
    to_host,
    xp_of,
)
from gpucnn.checks import as_count, labels_fix, unknown_name
from gpucnn.errors import ArgumentError, CaptureError, DTypeError, ShapeError, StateError
from gpucnn.html_fragments import Html, html_table, sparkline, text_instead, titled
from gpucnn.kernels.scores import Counts, count_scores
from gpucnn.text import counted, shape_text, value_text


class Scores(NamedTuple):
    """What `Metrics` found: the mean loss, and how many of all images were classified right."""

    loss: float
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """correct / total."""
        return self.correct / self.total if self.total else float("nan")


LAST_ROWS = 5
"""Of a history, in a notebook."""


class History(list[dict[str, float]]):
    """A row for every epoch, by name, e.g. "train_loss"; what is printed of it is the last one.

    `history["train_loss"]` is that of all epochs, e.g. for a plot. ArgumentError if no row has it.
    """

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, str):
            return super().__getitem__(place)
        names = self.names()
        if place not in names:
            raise ArgumentError(f"History: no {value_text(place)}; there is {', '.join(names) or 'no row yet'}")
        return [row[place] for row in self if place in row]

    def __getattr__(self, name: str) -> Any:
        words = {"history": 'the rows themselves: history["train_loss"]', "keys": "history[-1].keys()"}
        known = {key: f'history["{key}"]' for row in self for key in row}
        raise unknown_name("History", name, (), {**words, **known})

    def __repr__(self) -> str:
        last = (
            [f"{name} {value:.4g}" for name, value in self[-1].items() if name != "epoch"] if self else ["no row yet"]
        )
        return f"History({counted(len(self), 'epoch')}; {', '.join(last)})"

    def _repr_html_(self) -> str | None:
        return history_html(self, counted(len(self), "epoch"))

    def names(self) -> list[str]:
        """What the rows have, in order."""
        return list(dict.fromkeys(name for row in self for name in row))


@text_instead
def history_html(history: History, title: str) -> Html | None:
    """What a notebook shows of a history: the course of each number over all epochs, and the last rows. None without a row."""
    names = history.names()
    course = ["" if name == "epoch" else sparkline(history[name]) for name in names]
    rows = [[f"{row[name]:.4g}" if name in row else "" for name in names] for row in history[-LAST_ROWS:]]
    return titled(title, html_table(names, [course, *rows], "r" * len(names))) if history else None


class Metrics:
    """Adds up loss and correct answers batch by batch, on the model's device; only `scores` waits for it.

    The sums stand in the same arrays from the first batch on, also after `reset` and `load_state_dict`, so that `update` can
    be part of a step that is recorded: it is `count`, on the host, before each replay, and `add`, in the recording.
    """

    def __init__(self) -> None:
        self.total = 0
        self._counts: Counts | None = None

    def __repr__(self) -> str:
        scores = self.scores()
        return f"Metrics(loss {scores.loss:.4f}, accuracy {scores.accuracy:.4f}; {counted(scores.total, 'image')})"

    def update(self, loss: Tensor, logits: Tensor, labels: Array) -> None:
        """Count one batch: its mean loss (), its logits (N, classes) and labels (N,).

        Of labels (N, classes), probabilities as mixed images have them, the most probable class is the right one. With
        logits (N, classes, d1, ...) and labels (N, d1, ...) every position counts. Raises ShapeError for labels of another
        shape.
        """
        self.add(loss, logits, labels)
        self.count(logits)

    def count(self, logits: Tensor) -> None:
        """Count the images, or positions, of logits: the host's part of `update`."""
        self.total += logits.size // logits.shape[1]

    @on_their_device
    def add(self, loss: Tensor, logits: Tensor, labels: Array) -> None:
        """Add loss and correct answers: the device's part of `update`. One kernel on a GPU for logits (N, classes)."""
        expected = (logits.shape[0], *logits.shape[2:])
        if labels.shape not in (logits.shape, expected):
            fix = labels_fix(labels.shape, logits.shape[0]) if logits.ndim == 2 else ""
            raise ShapeError(
                f"Metrics: expected labels {shape_text(expected)} or {shape_text(logits.shape)} for logits "
                f"{shape_text(logits.shape)}, got {shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
            )

        def classes() -> Array:
            return labels.argmax(axis=1) if labels.ndim == logits.ndim else labels

        counts = self._counts_on(logits.device, loss.dtype)
        on_host = isinstance(
            labels, np.ndarray
        )  # fed, as a step that is recorded finds other labels there in each replay
        there = fed(classes, logits.device) if on_host else to_device(classes(), logits.device)
        count_scores(counts, loss.array, logits.array, there)

    def add_sums(self, loss_sum: float, correct: int, positions: int, loss: Tensor) -> None:
        """Count what was added up elsewhere: the losses of so many positions, and the right answers; `loss` has the dtype."""
        counts = self._counts_on(loss.device, loss.dtype)
        for array, number in zip(counts, (loss_sum, correct), strict=True):
            with beside(array):
                array += array.dtype.type(number)
        self.total += positions

    def arrays(self) -> list[Array]:
        """What a step writes to."""
        return list(self._counts or ())

    def _counts_on(self, device: Device, dtype: np.dtype) -> Counts:
        """The arrays to count in; new ones for the first batch, and where the model has moved."""
        if self._counts is None or device_of(self._counts.correct) != device:
            if recording():
                raise CaptureError("Metrics: nothing was counted yet; count a batch before a step is recorded")
            before = self._counts or Counts(np.zeros((), dtype), np.zeros((), np.int64))
            self._counts = Counts(*(to_device(array, device) for array in before))
        return self._counts

    def reset(self) -> None:
        """Begin anew, in the same arrays. Not within a step that is recorded."""
        self.total = 0
        for array in self._counts or ():
            with beside(array):
                array[...] = 0

    def scores(self) -> Scores:
        """The figures over everything counted so far."""
        if self._counts is None or not self.total:
            return Scores(float("nan"), 0, 0)
        return Scores(float(self._counts.loss_sum) / self.total, int(self._counts.correct), self.total)

    def state_dict(self) -> dict[str, np.ndarray]:
        """What was counted so far, in numpy arrays of shape (). Waits for the device."""
        if self._counts is None or not self.total:
            return {}
        sums = {name: np.array(to_host(array)) for name, array in self._counts._asdict().items()}
        return {"total": np.array(self.total), **sums}

    def load_state_dict(self, state: Mapping[str, Any], device: Device) -> None:
        """Take over what `state_dict` gave, to count on on `device`. StateError if it is something else."""
        kinds = {"total": "i", "loss_sum": "f", "correct": "i"}
        if not state:
            self.reset()
            return
        if {name: (array.dtype.kind, array.shape) for name, array in state.items()} != {
            name: (kind, ()) for name, kind in kinds.items()
        }:
            raise StateError(f"Metrics: expected single numbers {', '.join(kinds)}, got {', '.join(state)}")
        self.total = int(state["total"])
        for array, values in zip(
            self._counts_on(device, state["loss_sum"].dtype), (state["loss_sum"], state["correct"]), strict=True
        ):
            overwrite(array, values.astype(array.dtype))


@on_their_device
def in_top_k(logits: Array, labels: Array, k: int) -> Array:
    """Truth values (N,): whether fewer than `k` classes come before the label.

    `logits` are (N, classes), `labels` (N,) integers on the same device. Of equal scores the class with the lower number
    comes first, as with argmax. A row with a NaN has no order: its label is in no top k. Raises ArgumentError unless `k`
    is an int >= 1, ShapeError if logits and labels do not go together.
    """
    k = as_count(k, "k")
    logits, labels = (value.array if isinstance(value, Tensor) else as_array(value) for value in (logits, labels))
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"in_top_k: labels must be integers, got {labels.dtype}; convert with astype('int64')")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        fix = labels_fix(labels.shape, len(logits) if logits.ndim else None)
        raise ShapeError(
            f"in_top_k: expected logits (N, classes) and labels (N,), got {shape_text(logits.shape)} and "
            f"{shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
        )
    xp = xp_of(logits, labels)
    if xp is np and labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ArgumentError(
            f"in_top_k: labels must be from 0 to {logits.shape[1] - 1}, got {labels.min()} to {labels.max()}"
        )
    classes = xp.arange(logits.shape[1])
    own = logits[xp.arange(len(labels)), labels][:, None]
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return (before.sum(axis=1) < k) & ~xp.isnan(logits).any(axis=1)
