"""A data set whose images and labels are arrays in memory."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from gpucnn.backend import Array, Device, choose_device, current, device_of, to_device, to_host
from gpucnn.backend.uploads import Uploads
from gpucnn.checks import as_count, as_function, labels_fix
from gpucnn.data.dataset import Batch
from gpucnn.data.image_sheet import dataset_html
from gpucnn.data.preprocess import Preprocess
from gpucnn.errors import ArgumentError, DataError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.kernels.preprocess import Moves
from gpucnn.text import counted, shape_text, size_text, value_text


class HostBatch(NamedTuple):
    """Labels (B,) and bytes (B, C, H, W) that were read, before they are sent."""

    labels: np.ndarray
    images: np.ndarray

    def part(self, places: slice) -> "HostBatch":
        """Some of them."""
        return HostBatch(self.labels[places], self.images[places])


class ArrayDataset:
    """Images (N, C, H, W) with integer labels (N,).

    - `preprocess`: None, or a function from raw images (B, C, H, W) to float32 images, applied to what is asked for.
      Images so stay small in memory, e.g. as bytes.
    - `num_classes`: the number of classes, which all labels must be below; by default one more than the largest label.

    `dataset[5]` is one (image, label), `dataset[indices]` a batch of them. Raises DataError if images and labels do not
    go together.
    """

    class_names: tuple[str, ...] | None = None
    """What the classes are called, in the data sets of `data.load`; None elsewhere."""
    _uploads: Uploads | None = None
    """How batches get to the GPU if images stay on the host."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        preprocess: Callable[[Array], Array] | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.images: Array = _as_array(images, "images")
        self.labels: Array = _as_array(labels, "labels")
        self.preprocess = preprocess
        if preprocess is not None:
            as_function(preprocess, "ArrayDataset: preprocess", "from raw images to images, or None")
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            fixes = [labels_fix(self.labels.shape, len(self.images))] if self.images.ndim else []
            if self.images.ndim != 4:
                fixes.insert(0, "grey images need a channel axis: images[:, None]")
            raise DataError(
                f"expected images (N, C, H, W) and labels (N,), got {shape_text(self.images.shape)} and "
                f"{shape_text(self.labels.shape)}{''.join(f'; {fix}' for fix in fixes if fix)}"
            )
        if self.labels.dtype.kind not in "iu":
            raise DataError(f"labels must be integers, got {self.labels.dtype}; convert with labels.astype('int64')")
        low, high = (int(self.labels.min()), int(self.labels.max())) if self.labels.size else (0, -1)
        self.num_classes = high + 1 if num_classes is None else as_count(num_classes, "ArrayDataset: num_classes")
        if low < 0 or high >= self.num_classes:
            raise DataError(f"labels must be from 0 to {max(self.num_classes, 1) - 1}, got {low} to {high}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._images_text()}, {counted(self.num_classes, 'class')}, {self.device})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        return dataset_html(self, repr(self))

    @property
    def device(self) -> Device:
        """Where images and labels are; of a data set that is streamed, where its batches are made."""
        return device_of(self.images) if self._uploads is None else self._uploads.device

    @property
    def nbytes(self) -> int:
        """The memory that images and labels take."""
        return int(self.images.nbytes) + int(self.labels.nbytes)

    def to(self, device: str | Device) -> Self:
        """The same data set with images and labels on `device`: its batches are gathered and preprocessed there.

        DeviceError if the device does not work.
        """
        moved, chosen = copy.copy(self), choose_device(device).device
        moved._uploads = None
        moved.images = to_device(self.images, chosen)
        # As batches have them, so that none needs to be converted there.
        moved.labels = to_device(
            self.labels if chosen.kind == "cpu" else self.labels.astype(np.int64, copy=False), chosen
        )
        return moved

    def streamed(self, device: str | Device) -> Self:
        """What `to(device)` gives, to the bit, for a GPU that has no room for all images: they stay on the host.

        The bytes of a batch are gathered there, and sent while the GPU computes; all else is done on the GPU. DeviceError if the
        device does not work, ArgumentError if it is no GPU, and for images that are not bytes with a `Preprocess`.
        """
        chosen = choose_device(device).device
        if chosen.kind == "cpu":
            raise ArgumentError('ArrayDataset: streamed("cpu"): images are on the host already; leave it out')
        if not self.has_bytes:
            raise ArgumentError(
                f"ArrayDataset: streamed: expected images of bytes (uint8) and a Preprocess for them, got {self.images.dtype} with "
                f"{value_text(self.preprocess)}; use to(device), or leave the images on the host"
            )
        moved = self.to("cpu")
        moved.labels = moved.labels.astype(np.int64, copy=False)
        moved._uploads = Uploads(chosen)
        return moved

    @property
    def streams(self) -> bool:
        """Whether images stay on the host, and so do indices, though batches are made on a GPU."""
        return self._uploads is not None

    @property
    def has_bytes(self) -> bool:
        """Whether the images are bytes, for which there is a `Preprocess`."""
        return type(self.preprocess) is Preprocess and self.preprocess.takes(self.images)

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        single = isinstance(indices, int | np.integer)
        chosen = np.array([indices]) if single else indices
        if self._uploads is not None:
            images, labels = self._gathered_here(chosen)
            return (images[0], labels[0]) if single else (images, labels)
        if isinstance(chosen, list | np.ndarray):
            chosen = to_device(self._checked(np.asarray(chosen)), self.device)
        with current(self.device):
            if type(self.preprocess) is Preprocess and getattr(chosen, "ndim", None) == 1:
                images, labels = self.preprocess.batch(self.images, self.labels, chosen)
            else:
                images, labels = self.images[chosen], self.labels[chosen]
                images = images if self.preprocess is None else self.preprocess(images)
            # What an array of indices chooses is a copy already; of a slice, or of `...`, it would be a view.
            labels = labels.astype(np.int64, copy=not hasattr(chosen, "ndim"))
            return (images[0], labels[0]) if single else (images, labels)

    def moved_size(self) -> int | None:
        """The size of the images that `moved` gives: of bytes, on a GPU, with a `Preprocess`. None where it cannot be asked for."""
        if self.device.kind == "cpu" or not self.has_bytes:
            return None
        assert isinstance(self.preprocess, Preprocess)
        return self.preprocess.image_size

    def moved(self, indices: Array, moves: Moves) -> Batch:
        """The batch at `indices`, int64 (B,) on the device of the images, and its images moved: all of it one launch."""
        if self._uploads is not None:
            return self._gathered_here(indices, moves)
        assert isinstance(self.preprocess, Preprocess)
        with current(self.device):
            return self.preprocess.batch(self.images, self.labels, indices, moves)

    def _gathered_here(self, indices: slice | Array, moves: Moves | None = None) -> Batch:
        """The batch at `indices` of images that stay on the host: gathered in the memory that they are sent from."""
        given = indices if isinstance(indices, slice | list | np.ndarray) else to_host(indices)
        chosen = np.arange(len(self))[given]

        def fill(labels: np.ndarray, images: np.ndarray) -> None:
            np.take(self.labels, chosen, out=labels, mode="clip")
            np.take(self.images, chosen, 0, images, mode="clip")

        return self._sent(len(chosen), fill, moves)

    def read(self, indices: Array) -> HostBatch:
        """Labels and bytes at `indices`, int64 (B,), of a data set that is streamed, for `sent`. Several threads may read."""
        return HostBatch(self.labels.take(indices), self.images.take(indices, 0))

    def sent(self, read: HostBatch, moves: Moves | None = None) -> Batch:
        """The batch that was read, and its images moved if there are `moves`."""

        def fill(labels: np.ndarray, images: np.ndarray) -> None:
            labels[...], images[...] = read

        return self._sent(len(read.labels), fill, moves)

    def _sent(self, count: int, fill: Callable[[np.ndarray, np.ndarray], None], moves: Moves | None) -> Batch:
        """A batch of `count` images, whose labels and bytes go to the GPU as one; `fill` writes them to the places that it is given."""
        assert self._uploads is not None
        assert isinstance(self.preprocess, Preprocess)
        shape, of_labels = (count, *self.images.shape[1:]), count * self.labels.itemsize

        def parts(sent: Array) -> tuple[Array, Array]:
            return sent[:of_labels].view(self.labels.dtype), sent[of_labels:].reshape(shape)

        with self._uploads.sent(of_labels + math.prod(shape), lambda place: fill(*parts(place))) as there:
            labels, images = parts(there)
            return self.preprocess.batch(images, labels, None, moves)

    def _images_text(self) -> str:
        """How many images there are, and of which size, as they are given, if that is known."""
        count = counted(len(self), "image")
        if isinstance(self.preprocess, Preprocess):
            size = self.preprocess.image_size
            return f"{count} {size_text((self.preprocess.channels, size, size))}"
        raw = size_text(self.images.shape[1:])
        return f"{count} {raw}" if self.preprocess is None else f"{count} of raw {raw}"

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        """`indices`, integers or a mask, if they are within the data set: CuPy would wrap around without a word."""
        if indices.dtype.kind in "iu" and indices.size:
            low, high = int(indices.min()), int(indices.max())
            if low < -len(self) or high >= len(self):
                raise IndexError(f"index {low if low < -len(self) else high} is out of range for {len(self)} images")
        return indices


def _as_array(values: np.ndarray, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{name} must be an array, got rows of uneven length") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} must be numbers, got {value_text(values)}")
    return array
