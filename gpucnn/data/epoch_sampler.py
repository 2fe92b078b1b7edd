"""Which samples an epoch has, where a user's sampler says so."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.errors import ArgumentError, DataError
from gpucnn.text import value_text

Sampler: TypeAlias = Iterable[int] | Callable[[int], Iterable[int]]
"""The indices of an epoch's samples: a list, a function of the epoch, or what is iterated anew for each, as PyTorch's are."""
BatchSampler: TypeAlias = Iterable[Sequence[int]] | Callable[[int], Iterable[Sequence[int]]]
"""The same, with the indices of each batch together."""

KEPT = 2
"""Epochs that are remembered, as their samples may be others when they are asked for again."""


class Drawn(NamedTuple):
    """The samples of an epoch, int64 (N,), and where each batch ends among them; None where the batch size says so."""

    samples: np.ndarray
    ends: np.ndarray | None


class EpochSampler:
    """The samples of each epoch of a data set of `count`, as `given` has them, a `Sampler` or a `BatchSampler`.

    `name` is the argument that it was given as, for messages: "sampler" or "batch_sampler"; `first` is what epoch 0 has. Raises ArgumentError for what
    cannot be iterated more than once, and DataError for indices that the data set does not have, and if an epoch has another
    number of them, or of batches, than the first.
    """

    def __init__(self, given: Any, name: str, count: int) -> None:
        self.given, self.name, self.count = given, name, count
        self._drawn: dict[int, Drawn] = {}
        is_iterator = hasattr(given, "__next__")  # which is used up after an epoch
        can_be_iterated = hasattr(given, "__iter__") and not is_iterator and not isinstance(given, str | bytes)
        if not callable(given) and not can_be_iterated:
            raise ArgumentError(
                f"DataLoader: {name} must be a list of indices, a function from the epoch to them, or what can be iterated once an "
                f"epoch, got {value_text(given)}"
            )
        self.first = self.of(0)

    def __repr__(self) -> str:
        return value_text(self.given)

    def of(self, epoch: int) -> Drawn:
        """What an epoch has."""
        if epoch not in self._drawn:
            drawn = self._checked(self._draw(epoch), epoch)
            self._drawn = {number: self._drawn[number] for number in list(self._drawn)[1 - KEPT :]} | {epoch: drawn}
        return self._drawn[epoch]

    def cannot_begin(self, epoch: int, first: int) -> str:
        """Why an epoch cannot be begun at batch `first`, as messages say it; empty if it can."""
        is_fixed = callable(self.given) or hasattr(self.given, "set_epoch")
        is_fixed = is_fixed or isinstance(self.given, Sequence | np.ndarray)
        if first == 0 or is_fixed or epoch in self._drawn:
            return ""
        return (
            f"epoch {epoch} cannot be begun at batch {first}, as nobody knows which samples come there: "
            f"{type(self.given).__name__} may give others each time; give {self.name} a function from the epoch to indices, or one "
            f"with set_epoch"
        )

    def _draw(self, epoch: int) -> list[Any]:
        if callable(self.given):
            found = self.given(epoch)
            if not hasattr(found, "__iter__"):
                raise DataError(f"DataLoader: {self.name}({epoch}) must give indices, got {value_text(found)}")
            return list(found)
        if hasattr(self.given, "set_epoch"):
            self.given.set_epoch(epoch)
        return list(self.given)

    def _checked(self, found: list[Any], epoch: int) -> Drawn:
        """What was drawn as arrays, if it is indices, and as many as in the first epoch."""
        if self.name == "sampler":
            drawn = Drawn(self._indices(found), None)
        else:
            batches = [self._indices(batch) for batch in found]
            if not all(len(batch) for batch in batches):
                raise DataError(
                    f"DataLoader: batch_sampler gave a batch without samples in epoch {epoch}; leave it out"
                )
            flat = np.concatenate(batches) if batches else np.zeros(0, np.int64)
            drawn = Drawn(flat, np.cumsum([len(batch) for batch in batches], dtype=np.int64))
        if self._drawn:
            what, was, now = "samples", len(self.first.samples), len(drawn.samples)
            if drawn.ends is not None and self.first.ends is not None:
                what, was, now = "batches", len(self.first.ends), len(drawn.ends)
            if was != now:
                raise DataError(
                    f"DataLoader: {self.name} gave {now} {what} in epoch {epoch}, and {was} in the first; give as many in every epoch"
                )
        return drawn

    def _indices(self, found: Any) -> np.ndarray:
        try:
            indices = np.asarray([*found])
            indices = indices.astype(np.int64) if indices.size == 0 else indices
        except (TypeError, ValueError):  # not to be iterated, or rows of uneven length
            indices = np.zeros((), object)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            each = "" if self.name == "sampler" else " for each batch"
            raise DataError(f"DataLoader: {self.name} must give ints{each}, got {value_text(found)}")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.count:
            wrong = indices.min() if indices.min() < 0 else indices.max()
            raise DataError(f"DataLoader: {self.name} gave index {wrong}, which {self.count} images do not have")
        return indices.astype(np.int64)
