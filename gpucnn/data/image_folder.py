"""ImageFolder: a data set of image files, one folder a class."""

import copy
import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpucnn.backend import Array, Device, choose_device, current, to_device, to_host
from gpucnn.checks import as_choice, as_count, as_function, as_path, is_int
from gpucnn.data.class_images import ClassImages, class_images
from gpucnn.data.dataset import Batch, Dataset
from gpucnn.data.decoded_cache import DecodedCache, key_of
from gpucnn.data.file_stamp import FileStamp, is_settled, stamp
from gpucnn.data.fork_lock import fork_lock
from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.data.image_file import AUTO, BACKGROUNDS
from gpucnn.data.image_sheet import dataset_html
from gpucnn.data.inspected_pixels import InspectedPixels
from gpucnn.data.jpeg_decoders import PILLOW
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.preprocess import Preprocess
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError, DataError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.regular_file import TimedCalls
from gpucnn.text import counted, size_text, value_text

CHANNELS = {"rgb": 3, "grey": 1}
CACHE_BYTES = 1 << 30
PUT_BACK = "put it back whole, or start again without it"


class ImageFolder:
    """The images in `folder`, one folder a class: folder/cat/1.png, folder/dog/1.jpg, ...

    Each is turned upright as its EXIF data says, made RGB or grey, resized so that its shorter side is `image_size`, and
    cropped to the square in its middle. Files are read when their images are first asked for, and decoded images kept as
    bytes. Any number of threads may ask.

    - `folder`: a path, or what `class_images` has found there.
    - `mode`: "rgb" or "grey".
    - `preprocess`: a function from raw images, bytes (B, C, image_size, image_size), to what the model takes; by default
      float32 from 0 to 1.
    - `class_names`: the classes in the order of their labels, e.g. those of the training set: then there may be no other
      folders, and some of these may lack images or not be there. By default all folders that are there, sorted.
    - `cache_bytes`: how much of the host's memory decoded images may take; those beyond it are decoded again whenever
      they are asked for.
    - `background`: what is behind the transparent parts of an image: "white", "black", or "auto", white where most of what
      is to be seen is dark, else black.

    `paths` has the files, those in folders within a class folder, too, sorted within each class; `labels` int64 (N,) has
    their classes. `dataset[5]` is one (image, label), `dataset[indices]` a batch of them. Left out are hidden files, those
    without the suffix of an image that Pillow reads here (PNG, JPEG, GIF, BMP, WebP, TIFF, PPM, PGM, PBM, AVIF and, with
    pillow-heif, HEIC) or of a .npy array, what is not a regular file, and what is beside the class folders: `left_out` counts
    them by kind. Class names may be in any script, but must be seen and do nothing else to a terminal.

    Raises DataError if there is no folder, fewer than two classes, a class without images where no `class_names` are given,
    a link that leads nowhere or a drive that does not answer; and when a batch is asked for, if a file is damaged or gone,
    with its name. It can be copied and pickled; a pickle is without the decoded images.
    """

    notes: tuple[str, ...] = ()
    """What whoever uses the images should know."""

    def __init__(
        self,
        folder: str | os.PathLike[str] | ClassImages | PackedFiles,
        image_size: int,
        mode: str = "rgb",
        preprocess: Callable[[Array], Array] | None = None,
        class_names: Sequence[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
        background: str = AUTO,
    ) -> None:
        if not is_int(cache_bytes) or cache_bytes < 0:
            raise ArgumentError(f"cache_bytes must be an int >= 0, got {value_text(cache_bytes)}")
        if preprocess is not None:
            as_function(preprocess, "ImageFolder: preprocess", "from raw images to images, or None")
        if class_names is not None and (isinstance(class_names, str) or not isinstance(class_names, Sequence)):
            raise ArgumentError(f"ImageFolder: class_names must be a list of names, got {value_text(class_names)}")
        channels, size = CHANNELS[as_choice(mode, "mode", CHANNELS)], as_count(image_size, "image_size")
        self._find(folder, class_names)
        self.preprocess = preprocess or Preprocess(channels, size, size, 255, "crop")
        self.background = as_choice(background, "background", BACKGROUNDS)
        self._device = Device()
        self._shape = (channels, size, size)
        self._decoder = ImageDecoder(channels, size, self.background)
        self._cache_folder: Path | None = None
        self._pixels: InspectedPixels | None = None
        self.cache: DecodedCache | None = None
        # Always the same images: a cache that lets the oldest go would have none left when its turn comes again.
        self._cache_bytes = int(cache_bytes)
        cached = min(len(self), self._cache_bytes // (channels * size * size))
        self._decoded = _DecodedImages(len(self), cached, self._shape)

    def _find(self, folder: Any, class_names: Sequence[str] | None) -> None:
        """Where the images are, and their classes."""
        found = folder if isinstance(folder, ClassImages) else class_images(as_path(folder, "folder"), class_names)
        for path, problem in found.problems.items():
            raise DataError(f"{path}: {problem}; put it back whole, or remove it")
        self.folder, self.paths, self.left_out = found.folder, found.paths, found.left_out
        self.class_names = tuple(found.files)
        self.labels: Array = np.repeat(np.arange(self.num_classes), [len(paths) for paths in found.files.values()])

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        images = f"{counted(len(self), 'image')} {size_text(self._shape)}"
        return f"{type(self).__name__}({images}, {counted(self.num_classes, 'class')}, {self.device}, {str(self.folder)!r})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        return dataset_html(self, repr(self))

    @property
    def num_classes(self) -> int:
        """How many class folders there are."""
        return len(self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called, as "class/name"."""
        return tuple(path.relative_to(self.folder).as_posix() for path in self.paths)

    def contents(self, indices: np.ndarray) -> Generator[bytes]:
        """The files of the images at `indices` (B,), as they are. OSError or DataError for one that cannot be read."""
        with TimedCalls() as timed:
            yield from timed.read_each([self.paths[index] for index in indices])

    def file_of(self, index: int) -> Path:
        """The file in which an image is."""
        return self.paths[index]

    def opened_stamp(self, index: int) -> FileStamp | None:
        """The stamp of the file in which an image is, as it was opened; None for one that is opened whenever it is read."""
        return None

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

    def at_size(self, image_size: int) -> Self:
        """The same files, brought to another size. A `preprocess` that is no `Preprocess` must take that, too.

        ArgumentError unless the size is an int >= 1.
        """
        other, size = copy.copy(self), as_count(image_size, "image_size")
        other._shape = (self._shape[0], size, size)
        cached = min(len(self), self._cache_bytes // math.prod(other._shape))
        other._decoded = _DecodedImages(len(self), cached, other._shape)
        other._decoder = dataclasses.replace(self._decoder, size=size)
        other.cache = other._new_cache()
        if isinstance(self.preprocess, Preprocess):
            other.preprocess = dataclasses.replace(self.preprocess, native_size=size, image_size=size)
        return other

    def decoded_by(
        self,
        decode: str = PILLOW,
        cache: str | os.PathLike[str] | None = None,
        pixels: InspectedPixels | None = None,
    ) -> Self:
        """The same files, JPEGs decoded by another decoder, see `read_image`; with a `cache`, the folder of a `DecodedCache`.

        Images of `pixels`, which an inspection has decoded, are taken from there, if that is what `decode` gives.

        ArgumentError for an unknown decoder, LibraryError without its library.
        """
        other = copy.copy(self)
        other._decoder = dataclasses.replace(self._decoder, decode=decode)
        if decode != self._decoder.decode:
            other._decoded = _DecodedImages(len(self), len(self._decoded.pixels), self._shape)
        other._pixels = pixels if decode == PILLOW else None
        other._cache_folder = None if cache is None else as_path(cache, "cache")
        other.cache = other._new_cache()
        return other

    def _new_cache(self) -> DecodedCache | None:
        if self._cache_folder is None:
            return None
        source = hashlib.sha256(os.fsencode(os.path.realpath(self.folder)))
        beginning = os.path.join(self.folder, "")
        for path in self.paths:
            source.update(b"\0" + os.fsencode(os.fspath(path).removeprefix(beginning)))
        return DecodedCache(self._cache_folder, source.hexdigest(), len(self), self._decoder)

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
        is_known = self._decoded.copy_to(images, indices)
        if not is_known.all():
            self._read_missing(images, indices, np.flatnonzero(~is_known).tolist())
        return images

    def _read_missing(self, images: np.ndarray, indices: np.ndarray, places: list[int]) -> None:
        """Those `places` of `images` (B, C, S, S) from the cache on disk, and from their files."""
        chosen = {place: int(indices[place]) for place in places}
        keys = self._keys([*chosen.values()])
        for place, index in chosen.items():
            if self.cache is not None and (key := keys.get(index)) is not None:
                found = self.cache.find(index, key)
                if found is not None:
                    images[place] = found
                    self._decoded.keep(index, found)
                    places.remove(place)
        inspected = self._inspected([chosen[place] for place in places])
        unread = [index for place in places if (index := chosen[place]) not in inspected]
        with closing(self._contents(unread)) as contents:
            for place in places:
                index = chosen[place]
                pixels = inspected[index] if index in inspected else self._decode(self.paths[index], next(contents))
                images[place] = pixels
                self._decoded.keep(index, pixels)
                if self.cache is not None and (key := keys.get(index)) is not None:
                    self.cache.keep(index, key, pixels)

    def keep_inspected(self, indices: np.ndarray) -> None:
        """Bring those images at `indices` (B,) that an inspection has decoded to their size now, so that no batch waits for it."""
        if self.cache is None:  # in which all that is decoded is kept, as batches ask for it
            for index, pixels in self._inspected(indices[indices < len(self._decoded.pixels)].tolist()).items():
                self._decoded.keep(index, pixels)

    def _inspected(self, indices: list[int]) -> dict[int, np.ndarray]:
        """Those raw images that an inspection has decoded, by index, if their files have not changed since."""
        if not self._pixels:
            return {}
        each = list(dict.fromkeys(indices))  # a batch may have one twice
        with TimedCalls() as timed:
            statuses = timed.status_of_each([self.file_of(index) for index in each])
            taken = {
                index: self._pixels.take(self.paths[index], status, *self._shape[:2])
                for index, status in zip(each, statuses, strict=True)
            }
        return {index: pixels for index, pixels in taken.items() if pixels is not None}

    def _keys(self, indices: list[int]) -> dict[int, bytes]:
        """What the cache knows files by; without those that have changed just now, and may again without it being seen."""
        if self.cache is None:
            return {}
        keys = {}
        with TimedCalls() as timed:
            statuses = timed.status_of_each([self.file_of(index) for index in indices])
            for index, status in zip(indices, statuses, strict=True):
                if status is None or not is_settled(found := stamp(status)):
                    continue
                # In place of the file that is open another may be there now.
                if self.opened_stamp(index) in (None, found):
                    keys[index] = key_of(self.paths[index].relative_to(self.folder).as_posix(), *found)
        return keys

    def _contents(self, indices: list[int]) -> Generator[bytes]:
        """The images' files. DataError for one that cannot be read."""
        with closing(self.contents(np.array(indices, np.int64))) as each:
            for index in indices:
                try:
                    content = next(each)
                except FileNotFoundError:
                    raise DataError(f"{self.paths[index]}: no such image file; {PUT_BACK}") from None
                except OSError as error:
                    raise DataError(
                        f"{self.paths[index]}: cannot be read ({error.strerror or error}); {PUT_BACK}"
                    ) from None
                yield content

    def _decode(self, path: Path, content: bytes) -> np.ndarray:
        """One raw image from its file."""
        try:
            return self._decoder(content, str(path))
        except DataError as error:
            raise DataError(f"{error}; {PUT_BACK}") from None


_lock = fork_lock()


class _DecodedImages:
    """The first `most` of `count` raw images of one `shape`, once they are known. For any number of threads.

    A pickle of it has none.
    """

    def __init__(self, count: int, most: int, shape: tuple[int, ...]) -> None:
        self.pixels = np.empty((most, *shape), np.uint8)  # takes no memory before it is written to
        self._is_known = np.zeros(count, bool)

    def copy_to(self, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """A mask (B,) of those `indices` that are known, after their pixels were copied into `images` (B, C, H, W)."""
        with _lock:
            is_known: np.ndarray = self._is_known[indices]
        images[is_known] = self.pixels[indices[is_known]]
        return is_known

    def keep(self, index: int, pixels: np.ndarray) -> None:
        """Remember an image, if its place is among the first."""
        if index < len(self.pixels):
            with _lock:
                self.pixels[index] = pixels
                self._is_known[index] = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _DecodedImages, (len(self._is_known), len(self.pixels), self.pixels.shape[1:])


def paths_of(dataset: Dataset) -> tuple[Path, ...] | None:
    """The file of each image of an ImageFolder or of a part of one; None for other data sets."""
    places, whole = places_of(dataset)
    return tuple(whole.paths[place] for place in places) if isinstance(whole, ImageFolder) else None


def names_of(dataset: Dataset) -> tuple[str, ...] | None:
    """What each image of an ImageFolder or of a part of one is called, as "class/name"; None for other data sets."""
    places, whole = places_of(dataset)
    if not isinstance(whole, ImageFolder):
        return None
    names = whole.names
    return tuple(names[place] for place in places)


def places_of(dataset: Dataset) -> tuple[np.ndarray, Dataset]:
    """Where the samples of a data set, or of a part of one, stand in the whole; and this."""
    if not isinstance(dataset, Subset):
        return np.arange(len(dataset)), dataset
    places, whole = places_of(dataset.parent)
    return places[dataset.indices], whole


def keep_inspected(dataset: Dataset) -> None:
    """See `ImageFolder.keep_inspected`, for a part of one, too. Other data sets have no such images."""
    places, whole = places_of(dataset)
    if isinstance(whole, ImageFolder):
        whole.keep_inspected(places)


def whole_of(dataset: Dataset) -> Dataset:
    """The data set of which `dataset` is a part, or a part of a part; itself if it is not a part."""
    while isinstance(dataset, Subset):
        dataset = dataset.parent
    return dataset
