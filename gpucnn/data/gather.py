"""A batch that a GPU can gather in one launch, before it has."""

from dataclasses import dataclass
from typing import Any

from gpucnn.backend import Array
from gpucnn.data.array_dataset import ArrayDataset
from gpucnn.data.dataset import Batch
from gpucnn.data.pieces import Pieces
from gpucnn.data.preprocess import Preprocess
from gpucnn.kernels.preprocess import Moves


@dataclass(frozen=True, eq=False, slots=True)
class Gather:
    """Which images of an epoch make up a batch, and how they are moved, where all of them are bytes on a GPU.

    It is made at once, or by a step that is recorded, of which the launch is then a part: what changes from batch to batch is
    where it begins.
    """

    dataset: ArrayDataset
    """Of bytes, with a `Preprocess`."""
    samples: Array
    """The order of the whole epoch, int64 (N,), on the device; nobody writes to it."""
    moves: Moves | None
    """What is done to the images, with the keys (N,) of the whole epoch."""
    places: slice
    """Where in the order the batch is."""

    def __len__(self) -> int:
        """The number of images."""
        return int(self.places.stop - self.places.start)

    @property
    def preprocess(self) -> Preprocess:
        """That of the data set."""
        assert isinstance(self.dataset.preprocess, Preprocess)
        return self.dataset.preprocess

    def made(self) -> Batch:
        """Images and labels."""
        samples = self.samples[self.places]
        if self.moves is None:
            return self.dataset[samples]
        return self.dataset.moved(samples, self.moves._replace(keys=self.moves.keys[self.places]))


def made(images: Any, labels: Any) -> tuple[Any, Any]:
    """Images and labels, of a batch that may be a `Gather` in place of the images."""
    return images.made() if isinstance(images, Gather) else (images, labels)


def is_of_a_loader(images: Any) -> bool:
    """Whether they are what only a loader makes in place of the images of a batch."""
    return isinstance(images, Gather | Pieces)
