"""A folder of images looked at before anything is learned from it: every file is decoded, once."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.checks import as_path
from gpucnn.data.class_images import ClassImages, class_images
from gpucnn.data.folder_parts import find_parts
from gpucnn.data.image_file import decode_image
from gpucnn.data.image_listing import cannot_be_listed
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls

AT_ONCE = 16
"""Files that a thread is given at a time."""

MOST_THREADS = 16


class InspectedImage(NamedTuple):
    """An image that can be read."""

    path: Path
    part: str
    """"train", "validation" or "test"; empty in a folder of classes, without parts."""
    class_name: str
    size: tuple[int, int]
    """Width and height, upright."""
    mode: str
    """Pillow's word for its pixels, e.g. "RGB", "L", "CMYK", "I;16"; of an array its dtype."""
    digest: str
    """Of its bytes: BLAKE2b, 128 bits in hexadecimal, as in an `ImageList`."""
    pixels: str
    """The same of its size and its pixels as RGB: equal for files that show the same image."""


class UnreadableImage(NamedTuple):
    """A file, or a folder within a class, that cannot be read."""

    path: Path
    part: str
    class_name: str
    reason: str
    """What is wrong and what to do, without its name."""


class Inspection(NamedTuple):
    """What is in a folder of images. Images are in the order of parts, classes and names."""

    folder: Path
    class_names: tuple[str, ...]
    images: tuple[InspectedImage, ...]
    unreadable: tuple[UnreadableImage, ...]
    left_out: Counter[str]
    """How many of each kind of file are passed over: hidden ones, other suffixes, see `left_out_text`."""


def inspect(place: str | os.PathLike[str], told: Callable[[int, int], None] | None = None) -> Inspection:
    """Look at the folder of images `place`, laid out as the data set "folder" is, and decode all its files, in threads.

    `told` is called with how many files have been looked at, and how many there are. DataError if
    `place` is no such folder.
    """
    folder = as_path(place, "place")
    found, left_out = _listed(folder)
    tasks = [(part, name, path) for part, one in found.items() for name, paths in one.files.items() for path in paths]
    problems = {path: problem for one in found.values() for path, problem in one.problems.items()}
    images: list[InspectedImage] = []
    unreadable = [
        UnreadableImage(path, part, _class_of(path, one), problem)
        for part, one in found.items()
        for path, problem in one.problems.items()
    ]
    readable = [task for task in tasks if task[2] not in problems]
    looked_at = zip(readable, _look_at([path for _, _, path in readable]), strict=True)
    for number, ((part, name, path), seen) in enumerate(looked_at, 1):
        if isinstance(seen, str):
            unreadable.append(UnreadableImage(path, part, name, seen))
        else:
            images.append(InspectedImage(path, part, name, *seen))
        if told is not None:
            told(number, len(readable))
    class_names = next(iter(found.values())).files
    return Inspection(folder, tuple(class_names), tuple(images), tuple(unreadable), left_out)


def _listed(folder: Path) -> tuple[dict[str, ClassImages], Counter[str]]:
    """The images of each part, and what is left out."""
    parts = find_parts(folder)
    if parts is None:
        whole = class_images(folder, None)
        return {"": whole}, whole.left_out
    train = class_images(parts.train, None)
    found = {"train": train}
    if parts.validation is not None:
        found["validation"] = class_images(parts.validation, tuple(train.files))
    found["test"] = class_images(parts.test, tuple(train.files))
    return found, sum((one.left_out for one in found.values()), parts.files_beside)


def _class_of(path: Path, found: ClassImages) -> str:
    return next(name for name in found.files if (found.folder / name) in path.parents)


Seen = tuple[tuple[int, int], str, str, str]
"""Of an image: size, mode, and the digests of its bytes and pixels."""


def _look_at(paths: Sequence[Path]) -> Iterator[Seen | str]:
    """What is seen in each file, or why nothing is; no more images are in memory than there are threads."""
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    with ThreadPoolExecutor(threads, "gpucnn inspect") as pool:
        chunks = (paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE))
        try:
            for some in pool.map(_look_at_some, chunks):
                yield from some
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_at_some(paths: Sequence[Path]) -> list[Seen | str]:
    with TimedCalls() as timed:
        return [_look_at_one(path, timed) for path in paths]


def _look_at_one(path: Path, timed: TimedCalls) -> Seen | str:
    def read(path: Path) -> bytes:
        return next(timed.read_each([path]))

    try:
        content = read(path)
    except TimeoutError as error:  # the next would not answer either
        raise cannot_be_listed(path, error) from None
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    try:
        image = decode_image(path, 3, read=lambda _: content)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    pixels = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    pixels.update(np.ascontiguousarray(image).data)
    return (
        image.size,
        _mode(content, image.mode),
        hashlib.blake2b(content, digest_size=16).hexdigest(),
        pixels.hexdigest(),
    )


def _mode(content: bytes, otherwise: str) -> str:
    """How the file has its pixels, before they were made RGB."""
    from PIL import Image

    try:
        with quiet_reading(), Image.open(io.BytesIO(content)) as header:
            return header.mode
    except Exception:  # an array, or a file whose metadata are damaged
        return otherwise
