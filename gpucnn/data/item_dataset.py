"""ItemDataset: anything that gives one (image, label) an index, as a data set."""

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, as_array, choose_device, to_device, to_host
from gpucnn.checks import as_count, labels_fix
from gpucnn.data.dataset import MEMBERS, Batch, Dataset, check_dataset
from gpucnn.data.image_sheet import dataset_html
from gpucnn.errors import ArgumentError, DataError, DTypeError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.text import counted, shape_text, value_text


class Items(Protocol):
    """What has a length, and an (image, label) at each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ItemDataset:
    """The samples of `items`, which may be a class of one's own, a list of pairs or a data set of PyTorch.

    `items[i]` is (image, label) for any i below `len(items)`: an image (C, H, W), an array or a tensor, also PyTorch's, and
    an int from 0 on. With a loader that has workers, several threads ask at the same time.

    - `num_classes`: the number of classes; by default what `items` has under this name, or one more than the largest label.

    `labels` are those of `items`, if it has any, and are else found by asking once for every sample, when they are asked for.
    A loader, `split` and `Subset` make an ItemDataset of such objects by themselves.

    Raises ArgumentError for what has no length or cannot be indexed, and DataError, which names the sample, for one that is no such pair.
    """

    def __init__(self, items: Items, num_classes: int | None = None) -> None:
        _check_items("ItemDataset", items)
        self.items = items
        self._given = None if num_classes is None else as_count(num_classes, "ItemDataset: num_classes")
        self._device = Device()

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"ItemDataset({counted(len(self), 'sample')} of {self._name}, {self.device})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        return dataset_html(self, repr(self))

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        on_host = isinstance(indices, int | slice | list | np.ndarray | np.generic)
        chosen: np.ndarray = np.arange(len(self))[indices if on_host else to_host(indices)]
        samples = [self._sample(int(index)) for index in chosen.reshape(-1)]
        for index, (image, _) in zip(chosen.reshape(-1), samples, strict=True):
            if image.shape != samples[0][0].shape:
                raise DataError(
                    f"{self._name}[{index}]: an image {shape_text(image.shape)} in one batch with one "
                    f"{shape_text(samples[0][0].shape)}; bring them to one size, or give the loader collate"
                )
        images = np.stack([image for image, _ in samples]) if samples else np.zeros((0, 1, 1, 1), np.float32)
        labels = np.array([label for _, label in samples], np.int64)
        images, labels = to_device(images, self.device), to_device(labels, self.device)
        return (images, labels) if chosen.ndim else (images[0], labels[0])

    @property
    def device(self) -> Device:
        """Where batches are moved once they are made."""
        return self._device

    def to(self, device: str | Device) -> Self:
        """The same data set, its batches moved to `device`. DeviceError if that does not work."""
        moved = copy.copy(self)
        moved._device = choose_device(device).device
        moved.__dict__.pop("labels", None)
        return moved

    @cached_property
    def labels(self) -> Array:
        """All labels: int64 (N,)."""
        given = getattr(self.items, "labels", None)
        found = self._found_labels() if given is None else self._checked_labels(given)
        if found.size and found.min() < 0:
            raise DataError(f"{self._name}: labels must be from 0 on, got {found.min()}")
        return to_device(found, self.device)

    @cached_property
    def num_classes(self) -> int:
        """How many classes there are."""
        if self._given is not None:
            return self._given
        if (given := getattr(self.items, "num_classes", None)) is not None:
            return as_count(given, f"{self._name}: num_classes")
        return int(self.labels.max()) + 1 if len(self) else 0

    def _found_labels(self) -> np.ndarray:
        """The labels that the samples have, one after the other."""
        try:
            return np.array([self._label(index, self._pair(index)[1]) for index in range(len(self))], np.int64)
        except DataError as error:
            raise DataError(
                f"{self._name} has no labels; define labels, or give num_classes=... (data.ItemDataset(..., num_classes=10)): {error}"
            ) from None

    def _checked_labels(self, given: object) -> np.ndarray:
        found = to_host(as_array(given))
        if found.shape != (len(self),) or found.dtype.kind not in "iu":
            fix = labels_fix(found.shape, len(self))
            raise DataError(
                f"{self._name}: labels must be integers ({len(self)},), got {value_text(found)}{f'; {fix}' if fix else ''}"
            )
        return found.astype(np.int64)

    @property
    def _name(self) -> str:
        return type(self.items).__name__

    def _sample(self, index: int) -> tuple[np.ndarray, int]:
        """One image and its label, checked."""
        given, label = self._pair(index)
        try:
            image = to_host(array_of(given))
        except DTypeError as error:
            raise DataError(
                f"{self._name}[{index}]: {error}; an image is an array (C, H, W), e.g. of a picture that Pillow has opened "
                f"numpy.asarray(picture).transpose(2, 0, 1)"
            ) from None
        if image.ndim != 3:
            fix = "; grey images need a channel axis: image[None]" if image.ndim == 2 else ""
            raise DataError(f"{self._name}[{index}]: expected an image (C, H, W), got {shape_text(image.shape)}{fix}")
        return image, self._label(index, label)

    def _pair(self, index: int) -> tuple[Any, Any]:
        sample = self.items[index]
        if not _is_pair(sample):
            raise DataError(
                f"{self._name}[{index}] is {value_text(sample)}; expected (image, label), or give the loader collate"
            )
        image, label = sample
        return image, label

    def _label(self, index: int, given: object) -> int:
        try:
            label = to_host(array_of(given))
        except DTypeError:
            label = np.zeros(())
        if label.shape != () or label.dtype.kind not in "iu":
            raise DataError(
                f"{self._name}[{index}]: a label must be an int, got {value_text(given)}; or give the loader collate"
            )
        return int(label)


def as_dataset(owner: str, given: object) -> Dataset:
    """`given`, if it gives whole batches, and an ItemDataset of it, if it gives a sample an index.

    Raises ArgumentError, which names `owner`, for anything else.
    """
    if all(hasattr(given, name) for name in MEMBERS):
        return given  # type: ignore[return-value]
    _check_items(owner, given)
    return ItemDataset(given)  # type: ignore[arg-type]


def sample_of(dataset: Dataset, index: int) -> Any:
    """What a data set has at an index, as whoever wrote it gives it."""
    return dataset.items[index] if isinstance(dataset, ItemDataset) else dataset[index]


def array_of(value: Any) -> Array:
    """An array, a tensor, also another library's, or a list as an array; DTypeError for what is none of them."""
    return value.array if isinstance(value, Tensor) else as_array(value)


def _check_items(owner: str, given: object) -> None:
    """ArgumentError, which names `owner`, unless `given` has a length and samples."""
    missing = [name for name in ("__len__", "__getitem__") if not hasattr(type(given), name)]
    if len(missing) == 1:
        raise ArgumentError(
            f"{owner}: {type(given).__name__} has no {missing[0]}; a data set needs __len__ and __getitem__(i) -> (image, label)"
        )
    if missing or hasattr(given, "dtype") or isinstance(given, str | bytes | Mapping):
        check_dataset(owner, given)
        raise ArgumentError(
            f"{owner}: expected a data set, e.g. data.ArrayDataset(images, labels), got {value_text(given)}"
        )
    if isinstance(given, Sequence) and len(given) and not _is_pair(given[0]):
        raise ArgumentError(
            f"{owner}: expected a data set, e.g. data.ArrayDataset(images, labels), got {value_text(given)}, of which the first "
            f"is no (image, label)"
        )


def _is_pair(sample: object) -> bool:
    return isinstance(sample, tuple | list) and len(sample) == 2
