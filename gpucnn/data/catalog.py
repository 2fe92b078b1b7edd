"""Data sets by name, ready to train on."""

import copy
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from gpucnn.checks import as_choice, as_path, known_name, matching, nearest
from gpucnn.data import cifar, digits, emnist, mnist, svhn
from gpucnn.data.array_dataset import ArrayDataset
from gpucnn.data.class_images import class_images
from gpucnn.data.dataset import Dataset
from gpucnn.data.folder_notes import notes_on_packed, notes_on_parts, notes_on_split, notes_on_whole
from gpucnn.data.folder_parts import find_parts
from gpucnn.data.image_file import AUTO, BACKGROUNDS
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.image_sheet import dataset_html
from gpucnn.data.inspected_pixels import InspectedPixels
from gpucnn.data.layout import Arrays
from gpucnn.data.packed import Packed, find_packed
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.preprocess import Preprocess
from gpucnn.data.split import split
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError, DataError
from gpucnn.html_fragments import Html, text_instead
from gpucnn.text import counted, names_text, size_text, value_text

FOLDER = "folder"
"""The name of the data set that is a folder of images, see `ImageFolder`."""

TEST_SHARE = 0.2
"""Of a folder that has no test images of its own."""

Part: TypeAlias = ArrayDataset | ImageFolder | Subset


class Splits(NamedTuple):
    """A data set's training and test part, and what belongs to both."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    preprocess: Preprocess
    notes: tuple[str, ...] = ()
    """What whoever uses the images should know: files that were left out, classes without images in a part."""
    validation: Part | None = None
    """What a folder with the parts train, val and test has to measure every epoch on; None elsewhere."""

    def __repr__(self) -> str:
        to_validate = "" if self.validation is None else f", {len(self.validation):,} to validate with"
        size = size_text((self.preprocess.channels, self.preprocess.image_size, self.preprocess.image_size))
        return (
            f"Splits({counted(len(self.train), 'image')} to train on{to_validate}, {len(self.test):,} to test, {size}, "
            f"{counted(len(self.class_names), 'class')}: {names_text(self.class_names, 6)})"
        )

    @text_instead
    def _repr_html_(self) -> Html | None:
        return dataset_html(self.train, repr(self), self.class_names)

    def decoded_by(self, decode: str, cache: str | None = None, pixels: InspectedPixels | None = None) -> "Splits":
        """The same images, those of files decoded by another decoder, and kept in the folder `cache`."""
        train, test = (decoded_by(part, decode, cache, pixels) for part in (self.train, self.test))
        validation = None if self.validation is None else decoded_by(self.validation, decode, cache, pixels)
        return self._replace(train=train, test=test, validation=validation)

    def with_preprocess(self, preprocess: Preprocess) -> "Splits":
        """The same images, fed with `preprocess`, for example one that normalises."""
        train, test = (changed(part, preprocess=preprocess) for part in (self.train, self.test))
        validation = None if self.validation is None else changed(self.validation, preprocess=preprocess)
        return self._replace(train=train, test=test, validation=validation, preprocess=preprocess)


def changed(part: Part, **attributes: Any) -> Part:
    """The same images, with other `attributes` of the whole data set that they are of."""
    if isinstance(part, Subset):
        assert isinstance(part.parent, Part)
        return Subset(changed(part.parent, **attributes), part.indices)
    other = copy.copy(part)
    vars(other).update(attributes)
    return other


def read_larger(part: Dataset, image_size: int) -> Dataset:
    """The same images, those of a folder read at `image_size`, for a `RandomResizedCrop` that makes smaller ones of them.

    Those of other data sets are what they are.
    """
    if isinstance(part, Subset):
        return Subset(read_larger(part.parent, image_size), part.indices)
    return part.at_size(image_size) if isinstance(part, ImageFolder) else part


def decoded_by(part: Part, decode: str, cache: str | None = None, pixels: InspectedPixels | None = None) -> Part:
    """The same images, those of files decoded by another decoder, kept in the folder `cache`, or taken from `pixels`, see `ImageFolder.decoded_by`."""
    if isinstance(part, Subset):
        assert isinstance(part.parent, Part)
        return Subset(decoded_by(part.parent, decode, cache, pixels), part.indices)
    return part.decoded_by(decode, cache, pixels) if hasattr(part, "decoded_by") else part


def cache_notes(parts: Iterable[Dataset | None]) -> tuple[str, ...]:
    """Where decoded images of these data sets are kept, and how many bytes they may take there."""
    caches = {}
    for part in parts:
        while isinstance(part, Subset):
            part = part.parent
        if (cache := getattr(part, "cache", None)) is not None:
            caches[cache.path] = f"{cache.path}: decoded images are kept there, {cache.bytes:,} bytes at most"
    return tuple(caches.values())


class Source(NamedTuple):
    """What is known of a data set before its files are read."""

    channels: int
    native_size: int
    full_scale: int
    fit: Literal["pad", "resize"]
    class_names: tuple[str, ...]
    read: Callable[[Path], tuple[Any, ...]]
    """Of the folder of its files: an `Arrays`, or the four arrays that one begins with."""
    is_light_on_dark: bool = False


_DIGIT_NAMES = tuple(str(digit) for digit in range(10))
_SOURCES = {
    "digits": Source(
        1, digits.IMAGE_SIZE, digits.FULL_SCALE, "resize", _DIGIT_NAMES, lambda _: digits.read_digits(),
        is_light_on_dark=True,
    ),
    "mnist": Source(1, mnist.IMAGE_SIZE, 255, "pad", _DIGIT_NAMES, mnist.find_mnist, is_light_on_dark=True),
    "fashion-mnist": Source(
        1, mnist.IMAGE_SIZE, 255, "pad", mnist.FASHION_NAMES, mnist.find_fashion_mnist, is_light_on_dark=True
    ),
    "cifar10": Source(3, cifar.IMAGE_SIZE, 255, "pad", cifar.CLASS_NAMES, cifar.read_cifar10),
    **{
        name: Source(
            3, cifar.IMAGE_SIZE, 255, "pad", cifar.NAMES[labels], functools.partial(cifar.read_cifar100, labels=labels)
        )
        for name, labels in (("cifar100", "fine"), ("cifar100-coarse", "coarse"))
    },
    "svhn": Source(3, svhn.IMAGE_SIZE, 255, "pad", _DIGIT_NAMES, svhn.read_svhn),
    **{
        f"emnist-{split}": Source(
            1, mnist.IMAGE_SIZE, 255, "pad", class_names, functools.partial(emnist.read_emnist, split=split),
            is_light_on_dark=True,
        )
        for split, class_names in emnist.CLASS_NAMES.items()
    },
}  # fmt: skip


def names() -> list[str]:
    """The names that `load` knows."""
    return [*_SOURCES, FOLDER]


def native_size(name: str) -> int | None:
    """Height and width of the images of the data set called `name`; None for a folder's, which have any.

    ArgumentError for an unknown name.
    """
    name = known_name(name, names(), "data set")
    return None if name == FOLDER else _SOURCES[name].native_size


def is_light_on_dark(name: str) -> bool:
    """Whether the data set called `name` is known to be light on dark, as MNIST's digits are; a folder's images may be any."""
    known = matching(name, _SOURCES)
    return known is not None and _SOURCES[known].is_light_on_dark


def name_and_folder(
    name: str | Path, folder: str | os.PathLike[str] | None = None
) -> tuple[str, str | os.PathLike[str] | None]:
    """The data set that is meant by `name`, and its `folder`: a path is the data set "folder" with the images there.

    A path is what is no name, and is a folder or has a separator in it. ArgumentError for what is neither, and for a path
    beside a `folder`.
    """
    text = str(name) if isinstance(name, str | Path) else ""
    if matching(text, names()) is None and _is_path(text):
        if folder is not None:
            raise ArgumentError(
                f"{text} is a folder of images, and {os.fspath(folder)} is given as the data set's folder, too; give one of them"
            )
        return FOLDER, text
    others = ", or the path of a folder of images"
    if os.path.isfile(text):
        others += f" ({text} is a file; give the folder of class folders)"
    elif text and matching(text, names()) is None and (near := nearest(text, _folders_here())):
        others += f"; there is no folder {text} here, but {near}"
    return known_name(cast("str", text or name), names(), "data set", others), folder


def _folders_here() -> list[str]:
    with suppress(OSError), os.scandir() as inside:
        return sorted(entry.name for entry in inside if entry.is_dir() and not entry.name.startswith("."))
    return []


def _is_path(text: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return any(separator in text for separator in separators) or os.path.isdir(text)


def load(
    name: str | Path,
    folder: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    mode: str | None = None,
    background: str = AUTO,
    skip: Collection[Path] = (),
) -> Splits:
    """The data set called `name`, in upper or lower case, its images fitted to `image_size` (by default their own).

    The path of a folder of images is a name, too: that of the data set "folder", with these images.

    `folder` holds its files, or those below it where torchvision or an archive puts them, in any form that is read; it is
    by default data/NAME, and the digits need none. That of the data set "folder" holds a folder of
    images for each class, CLASS, and then about a fifth of the images of each class is for testing, by their names, see
    `split`; or train/CLASS and test/CLASS, and perhaps val/CLASS, which is `validation`. With train and val alone, val is what is
    tested with. These may be called Training, valid, test_set, ..., see `folder_parts.NAMES`. It needs an `image_size`, and
    has a `mode`, "rgb" (default) or "grey", and a `background`, see `ImageFolder`. What is at the paths `skip`, e.g. those that
    `inspect` finds unreadable, is passed over, as if it were not there.

    Raises ArgumentError for an unknown name, a size smaller than the images, or a mode or background where there is none;
    DataError if files are missing or damaged.
    """
    name, folder = name_and_folder(name, folder)
    place = folder_of(name, folder)
    if isinstance(skip, str) or not isinstance(skip, Collection):
        raise ArgumentError(f"skip must be a list of paths, got {value_text(skip)}")
    skip = [as_path(path, "skip: each path") for path in skip]
    if name == FOLDER:
        return _load_folder(place, image_size, mode or "rgb", background, skip)
    known = _SOURCES[name]
    if mode is not None:
        raise ArgumentError(f'{name}: mode is {value_text(mode)}, but only the data set "folder" has one; leave it out')
    if as_choice(background, "background", BACKGROUNDS) != AUTO:
        raise ArgumentError(
            f'{name}: background is {value_text(background)}, but only the data set "folder" has transparent images; leave it out'
        )
    size = known.native_size if image_size is None else image_size
    preprocess = Preprocess(known.channels, known.native_size, size, known.full_scale, known.fit)
    arrays = Arrays(*known.read(place))
    class_names = arrays.class_names or known.class_names
    train = ArrayDataset(arrays.train_images, arrays.train_labels, preprocess, len(class_names))
    test = ArrayDataset(arrays.test_images, arrays.test_labels, preprocess, len(class_names))
    train.class_names = test.class_names = class_names
    return Splits(train, test, class_names, preprocess, arrays.notes)


def folder_of(name: str, folder: str | os.PathLike[str] | None) -> Path:
    """The folder of the files of the data set called `name`, if `folder` is what was asked for; None for the usual one."""
    return Path("data") / name if folder is None else as_path(folder, "folder")


def _load_folder(folder: Path, image_size: int | None, mode: str, background: str, skip: Collection[Path]) -> Splits:
    if image_size is None:
        raise ArgumentError("image_size: the images of a folder may have any; give the one to bring them to, e.g. 32")

    if (packed := find_packed(folder)) is not None:
        return _load_packed(folder, packed, image_size, mode, background, skip)

    def images_in(place: Path, class_names: Sequence[str] | None = None) -> ImageFolder:
        return ImageFolder(
            class_images(place, class_names).without(skip, may_be_empty=class_names is not None),
            image_size,
            mode,
            background=background,
        )

    train: Part
    test: Part
    validation: Part | None = None
    if (parts := find_parts(folder)) is not None:
        known = train = images_in(parts.train)
        test = images_in(parts.test, known.class_names)
        if parts.validation is not None:
            validation = images_in(parts.validation, known.class_names)
        notes = notes_on_parts(parts, [part for part in (train, validation, test) if isinstance(part, ImageFolder)])
    else:
        known = images_in(folder)
        train, test = split(known, 1 - TEST_SHARE)
        notes = notes_on_split(known, train, test)
    for part in (train, validation, test):
        if part is not None and len(part) == 0:
            where = part.folder if isinstance(part, ImageFolder) else folder
            raise DataError(
                f"{where}: no images in it to {'learn from' if part is train else 'measure with'}; add some"
            )
    assert isinstance(known.preprocess, Preprocess), "its own, as none was given"
    return Splits(train, test, known.class_names, known.preprocess, notes, validation)


def _load_packed(
    folder: Path, packed: Packed, image_size: int, mode: str, background: str, skip: Collection[Path]
) -> Splits:
    def images_in(files: Sequence[Path], class_names: Sequence[str] | None = None) -> ImageFolder:
        return packed.kind(PackedFiles(files, skip), image_size, mode, class_names=class_names, background=background)

    train: Part
    test: Part
    validation: Part | None = None
    if packed.test:
        known = train = images_in(packed.train)
        parts = {"train": known, "test": images_in(packed.test, known.class_names)}
        if packed.validation:
            validation = parts["validation"] = images_in(packed.validation, known.class_names)
        test, notes = parts["test"], notes_on_packed(parts)
    else:
        known = images_in(packed.train)
        train, test = split(known, 1 - TEST_SHARE)
        notes = (*known.notes, *notes_on_split(known, train, test))
    for part in (train, validation, test):
        if part is not None and len(part) == 0:
            raise DataError(f"{folder}: no images to {'learn from' if part is train else 'measure with'}; add some")
    assert isinstance(known.preprocess, Preprocess), "its own, as none was given"
    return Splits(train, test, known.class_names, known.preprocess, (*packed.notes, *notes), validation)


def load_to_measure(
    folder: Path,
    part: str,
    image_size: int,
    mode: str,
    class_names: Sequence[str],
    background: str = AUTO,
    skip: Collection[Path] = (),
) -> tuple[ImageFolder, tuple[str, ...]]:
    """All images of a folder, for a model that was trained on others, labelled as `class_names`; and notes on them.

    Of a folder with parts, see `load`, those of `part`, "train" or "test". Classes may lack images or not be there. What is at
    the paths `skip` is passed over.

    Raises DataError for folders that are not classes, and if there are no images.
    """
    if (packed := find_packed(folder)) is not None:
        files = packed.test if part == "test" and packed.test else packed.train
        images = packed.kind(PackedFiles(files, skip), image_size, mode, class_names=class_names, background=background)
        if len(images) == 0:
            raise DataError(f"{folder}: no images in it to measure with; add some")
        return images, (*packed.notes, *notes_on_packed({part: images}))
    parts = find_parts(folder)
    place = folder if parts is None else parts.train if part == "train" else parts.test
    found = class_images(place, class_names).without(skip, may_be_empty=True)
    images = ImageFolder(found, image_size, mode, class_names=class_names, background=background)
    if len(images) == 0:
        raise DataError(f"{place}: no images in it to measure with; add some")
    return images, notes_on_whole(images) if parts is None else notes_on_parts(parts, [images])
