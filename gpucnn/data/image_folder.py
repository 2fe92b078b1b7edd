"""ImageFolder: a data set of image files, one folder a class."""

import copy
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from gpucnn.backend import Array, Device, choose_device, current, to_device, to_host
from gpucnn.checks import as_count, is_int
from gpucnn.data.dataset import Batch, Dataset
from gpucnn.data.image_file import AUTO, centre_crop, check_background, decode_image
from gpucnn.data.preprocess import Preprocess
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError, DataError

CHANNELS = {"rgb": 3, "grey": 1}
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
CACHE_BYTES = 1 << 30


class ImageFolder:
    """The images in `folder`, one folder a class: folder/cat/1.png, folder/dog/1.jpg, ...

    Each is turned upright as its EXIF data says, made RGB or grey, resized so that its shorter side is `image_size`, and
    cropped to the square in its middle. Files are read when their images are first asked for, and decoded images kept as
    bytes. Any number of threads may ask.

    - `mode`: "rgb" or "grey".
    - `preprocess`: a function from raw images, bytes (B, C, image_size, image_size), to what the model takes; by default
      float32 from 0 to 1.
    - `class_names`: the folders that must be there, in the order of their labels, e.g. those of the training set. By
      default all that are, sorted.
    - `cache_bytes`: how much of the host's memory decoded images may take; those beyond it are decoded again whenever
      they are asked for.
    - `background`: what is behind the transparent parts of an image: "white", "black", or "auto", white where most of what
      is to be seen is dark, else black.

    `paths` has the files, sorted within each class, `labels` int64 (N,) their classes. `dataset[5]` is one (image,
    label), `dataset[indices]` a batch of them. Hidden files, those without an image's suffix and those beside the class
    folders are left out. Raises DataError if there is no folder, fewer than two classes or a class without images; and
    when a batch is asked for, if a file is damaged or gone, with its name.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        image_size: int,
        mode: str = "rgb",
        preprocess: Callable[[Array], Array] | None = None,
        class_names: Sequence[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
        background: str = AUTO,
    ) -> None:
        if mode not in tuple(CHANNELS):
            raise ArgumentError(f'mode must be "rgb" or "grey", got {mode!r}')
        if not is_int(cache_bytes) or cache_bytes < 0:
            raise ArgumentError(f"cache_bytes must be an int >= 0, got {cache_bytes!r}")
        channels, size = CHANNELS[mode], as_count(image_size, "image_size")
        self.folder = Path(folder)
        self.class_names = _class_names(self.folder, class_names)
        files = [_images_in(self.folder / name) for name in self.class_names]
        self.paths = tuple(path for paths in files for path in paths)
        self.labels: Array = np.repeat(np.arange(len(files)), [len(paths) for paths in files])
        self.preprocess = preprocess or Preprocess(channels, size, size, 255, "crop")
        self.background = check_background(background)
        self._device = Device()
        self._shape = (channels, size, size)
        # Always the same images: a cache that lets the oldest go would have none left when its turn comes again.
        cached = min(len(self), cache_bytes // (channels * size * size))
        self._cache = np.empty((cached, *self._shape), np.uint8)  # takes no memory before it is written to
        self._is_cached = np.zeros(len(self), bool)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """How many class folders there are."""
        return len(self.class_names)

    @property
    def device(self) -> Device:
        """Where batches are made of the images, which are decoded on the host."""
        return self._device

    def to(self, device: str | Device) -> Self:
        """The same data set, and the same decoded images, its batches moved to `device` and preprocessed there.

        DeviceError if the device does not work.
        """
        moved, chosen = copy.copy(self), choose_device(device).device
        moved._device, moved.labels = chosen, to_device(self.labels, chosen)
        return moved

    def __getitem__(self, indices: int | slice | Array) -> Batch:
        on_host = isinstance(indices, int | slice | list | np.ndarray | np.generic)
        chosen: np.ndarray = np.arange(len(self))[indices if on_host else to_host(indices)]
        raw = self._read(chosen.reshape(-1))
        with current(self.device):
            images = self.preprocess(to_device(raw, self.device))
            labels = self.labels[to_device(chosen.reshape(-1), self.device)]
            return (images, labels) if chosen.ndim else (images[0], labels[0])

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """The raw images at `indices` (B,): bytes (B, C, image_size, image_size)."""
        images = np.empty((len(indices), *self._shape), np.uint8)
        with self._lock:
            known = self._is_cached[indices]
        images[known] = self._cache[indices[known]]
        for place in np.flatnonzero(~known):
            images[place] = self._decode(int(indices[place]))
        return images

    def _decode(self, index: int) -> np.ndarray:
        """One raw image from its file, which is kept if its place is in the cache."""
        try:
            pixels = centre_crop(
                decode_image(self.paths[index], self._shape[0], background=self.background), self._shape[1]
            )
        except DataError as error:
            raise DataError(f"{error}; put it back whole, or start again without it") from None
        if index < len(self._cache):
            with self._lock:
                self._cache[index] = pixels
                self._is_cached[index] = True
        return pixels


def paths_of(dataset: Dataset) -> tuple[Path, ...] | None:
    """The file of each image of an ImageFolder or of a part of one; None for other data sets."""
    if isinstance(dataset, Subset):
        paths = paths_of(dataset.parent)
        return None if paths is None else tuple(paths[index] for index in dataset.indices)
    return dataset.paths if isinstance(dataset, ImageFolder) else None


def _class_names(folder: Path, expected: Sequence[str] | None) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds a folder of images for each class")
    listed = _listed(folder)
    found = tuple(sorted(entry.name for entry in listed if entry.is_dir()))
    if expected is not None and found != tuple(sorted(expected)):
        raise DataError(
            f"{folder}: its class folders are {', '.join(found) or 'none'}, expected {', '.join(expected)}; "
            f"the classes must be those of the training images"
        )
    if len(found) < 2:
        beside = sum(map(_is_image, listed))
        classes = f"one class folder, {found[0]}" if found else "no class folders in it"
        raise DataError(
            f"{folder}: {classes}{f', but {beside} images' if beside else ''}; expected two or more, "
            f"with the images of one class in each, e.g. {folder / 'cat' / '1.png'} and {folder / 'dog' / '1.png'}"
        )
    if unprintable := [name for name in found if not name.isprintable()]:
        raise DataError(f"{folder}: {unprintable[0]!r} cannot be printed as the name of a class; rename the folder")
    return found if expected is None else tuple(expected)


def _images_in(folder: Path) -> list[Path]:
    images = sorted(Path(entry) for entry in _listed(folder) if _is_image(entry))
    if not images:
        raise DataError(f"{folder}: no images in it ({', '.join(SUFFIXES)}); add some, or remove the folder")
    return images


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, without hidden files."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror or error})") from None


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()
