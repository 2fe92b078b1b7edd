"""The images of an epoch's batches, where a recorded step finds them: the order is copied once an epoch, a place in it is fed."""

from typing import Any

import numpy as np

from gpucnn.backend import Array, current, fed
from gpucnn.data.dataset import Batch
from gpucnn.data.gather import Gather
from gpucnn.data.preprocess import Preprocess
from gpucnn.kernels.preprocess import Constants, Stretch, moves_table
from gpucnn.training.recorded_step import Result, Work


class Gathering:
    """What a step needs to gather its own batch, so that nothing of it is left outside of a recording."""

    def __init__(self) -> None:
        self._gather: Gather | None = None
        self._preprocess: Preprocess | None = None
        self._constants: Constants | None = None
        self._table = np.zeros((0, 6), np.uint64)
        """How images are moved in this epoch."""
        self._places: list[Array] = []
        """The order of the epoch, and the keys of its random changes, which may be the same."""

    def work(self, work: Work[Result], images: Any, labels: Any) -> tuple[Work[Result], tuple[Any, ...]]:
        """Work on images and labels, and its inputs: with a `Gather` in place of the images it gathers first, and has none."""
        if not isinstance(images, Gather):
            return work, (images, labels)
        gather = images
        self._follow(gather)
        size = gather.preprocess.image_size
        gathered = Work(
            lambda: work.recorded(*self._batch()),
            lambda: work.as_it_is(*gather.made()),
            work.count_up,
            (work.settings, len(gather), gather.preprocess, None if gather.moves is None else len(gather.moves.moves)),
            {**work.held, **self._arrays()},
            ((len(gather), gather.preprocess.channels, size, size), (len(gather),)),
        )
        return gathered, ()

    def _follow(self, gather: Gather) -> None:
        """Which batch comes next. With another epoch, or another data set, what is on the device changes."""
        before, self._gather = self._gather, gather
        if before is None or before.dataset is not gather.dataset or self._preprocess is not gather.preprocess:
            self._preprocess = gather.preprocess
            self._constants = gather.preprocess.constants(gather.dataset.images)
        if before is None or before.samples is not gather.samples:  # another epoch
            if gather.moves is not None:
                self._table = moves_table(gather.moves.moves, gather.moves.epoch)
            with current(gather.dataset.device):
                self._copy(_own(gather))

    def _arrays(self) -> dict[str, Array]:
        """What a recording finds."""
        gather, constants = self._following()
        images, labels, order, keys = gather.dataset.images, gather.dataset.labels, self._places[0], self._places[-1]
        found = {"images": images, "labels": labels, "order": order, "keys": keys}
        return found | {name: one for name, one in constants._asdict().items() if one is not None}

    def _batch(self) -> Batch:
        """Images and labels, in a step that is recorded: in a replay those of the batch that is followed then."""
        gather, constants = self._following()
        images, device = gather.dataset.images, gather.dataset.device
        with current(device):
            first = fed(self._first, device)
            moves = None if gather.moves is None else fed(lambda: self._table, device)
            stretch = Stretch(len(gather), self._places[0], self._places[-1], moves, first)
            return gather.preprocess.stretch(images, gather.dataset.labels, constants, stretch)

    def _first(self) -> np.ndarray:
        gather, _ = self._following()
        return np.array([gather.places.start], np.int64)

    def _following(self) -> tuple[Gather, Constants]:
        assert self._gather is not None
        assert self._constants is not None
        return self._gather, self._constants

    def _copy(self, given: list[Array]) -> None:
        """Bring an epoch's arrays where recordings find them, or, if they do not fit, to a new place."""
        if [one.shape for one in self._places] != [one.shape for one in given]:
            self._places = [one.copy() for one in given]
            return
        for place, one in zip(self._places, given, strict=True):
            place[...] = one


def _own(gather: Gather) -> list[Array]:
    """The order of the epoch, and the keys if they are others."""
    keys = gather.samples if gather.moves is None else gather.moves.keys
    return [gather.samples] if keys is gather.samples else [gather.samples, keys]
