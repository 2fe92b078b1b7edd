"""A folder of images looked at before anything is learned from it: every file is decoded, once."""

import functools
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from gpucnn.backend import to_host
from gpucnn.backend.threads import thread_count
from gpucnn.checks import as_function, as_path
from gpucnn.data.class_folders import comparable
from gpucnn.data.class_images import ClassImages, class_images
from gpucnn.data.file_stamp import FileStamp, stamp
from gpucnn.data.folder_parts import find_parts
from gpucnn.data.image_file import decode_image
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.inspected_pixels import InspectedPixels
from gpucnn.data.inspection_memory import InspectionMemory, Seen
from gpucnn.data.packed import Packed, find_packed
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import ArgumentError, DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text, quoted, value_text
from gpucnn.text_table import shortened

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

PARTS = ("", "train", "validation", "test")
"""In the order in which their images are told; "" of a folder without parts."""

DIGEST_SIZE = 16
MOST_THREADS = 8
"""A thread holds one image, of some 100 MB in memory if it is of 25 million pixels."""

LARGE = 25_000_000
"""Pixels of an image that is decoded while no other one as large is."""

AT_ONCE = 4
"""Files that a thread is given at a time."""

SAMPLE = 128
"""Rows and columns of an image that are compared first: images that differ there are not the same."""

STRIP = 1 << 20
"""Pixels that are hashed at a time where the whole is compared."""

EXPLAINED, NAMED = 3, 10
"""Unreadable files that a message explains, and those that it names if there are more."""


class InspectedImage(NamedTuple):
    """An image that can be read."""

    path: Path
    part: str
    """"train", "validation" or "test"; empty in a folder of classes, without parts."""
    class_name: str
    size: tuple[int, int]
    """Width and height, upright."""
    mode: str
    """Pillow's word for its pixels, e.g. "RGB", "L", "CMYK", "I;16"; of an array that of the image made of it."""
    digest: str
    """Of its bytes: BLAKE2b, 128 bits in hexadecimal, as in the list of images that a run keeps."""
    pixels: str
    """Of its size and its pixels as RGB: equal for files that show the same image, whatever their bytes."""


class UnreadableImage(NamedTuple):
    """A file, or a folder within that of a class, that cannot be read."""

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

    def __repr__(self) -> str:
        return (
            f"Inspection({value_text(str(self.folder))}: {len(self.images):,} images, {len(self.class_names):,} classes, "
            f"{len(self.unreadable):,} unreadable)"
        )

    def check(self) -> None:
        """DataError, which names the files together, if there are any that cannot be read."""
        if not self.unreadable:
            return
        count, whole = len(self.unreadable), len(self.images) + len(self.unreadable)
        names = [shortened(file.path.relative_to(self.folder).as_posix(), 60) for file in self.unreadable]
        if count <= EXPLAINED:
            named = ", ".join(f"{name} ({file.reason})" for name, file in zip(names, self.unreadable, strict=True))
        else:
            named = f"{names_text(names, NAMED)}; gpucnn data {quoted(self.folder)} says why"
        raise DataError(
            f"{self.folder}: {count:,} of {whole:,} images cannot be read: {named}; put them back whole, remove them, or leave "
            f"them out with --skip-unreadable"
        )


def inspect(
    place: str | os.PathLike[str],
    told: Callable[[int, int], None] | None = None,
    pixels: InspectedPixels | None = None,
) -> Inspection:
    """Look at the folder of images `place`, laid out as the data set "folder" is, and decode all its files, in threads.

    What can be read is remembered in a file of the user's: it is decoded again only when it has changed. `told` is called
    with how many files have been looked at, and how many there are. Small images that are decoded are kept in `pixels`. DataError if `place` is no such folder, or a drive does
    not answer.
    """
    folder = as_path(place, "place")
    if told is not None:
        as_function(told, "inspect: told", "of two counts, or None")
    if not isinstance(pixels, InspectedPixels | None):
        raise ArgumentError(f"inspect: pixels must be an InspectedPixels or None, got {value_text(pixels)}")
    packed = find_packed(folder)
    listed = _listed(folder) if packed is None else _listed_in(packed)
    unreadable, tasks = listed.unreadable, listed.tasks
    images: list[InspectedImage] = []
    memory = InspectionMemory(folder)
    try:
        looked_at = zip(
            tasks, _in_threads(lambda task, timed: _look_at(task, timed, memory, pixels), tasks), strict=True
        )
        for number, (task, seen) in enumerate(looked_at, 1):
            if isinstance(seen, Seen):
                images.append(InspectedImage(task.path, task.part, task.class_name, *seen))
            else:
                unreadable.append(UnreadableImage(task.path, task.part, task.class_name, seen))
            if told is not None:
                told(number, len(tasks))
    except BaseException:  # of an hour that ends with Ctrl-C nothing shall be lost
        memory.keep(is_whole=False)
        raise
    memory.keep()
    order = {part: number for number, part in enumerate(PARTS)}
    unreadable.sort(key=lambda file: (order[file.part], file.path))
    compared = _compared(images, {task.path: task for task in tasks})
    return Inspection(folder, listed.class_names, tuple(compared), tuple(unreadable), listed.left_out)


class _Task(NamedTuple):
    """An image that is to be looked at."""

    part: str
    class_name: str
    path: Path
    file: Path
    """Where it is: the image's own, or one of many."""
    read: Callable[[TimedCalls], bytes]
    opened_stamp: FileStamp | None = None
    """Of the file, if it is open already."""


class _Listed(NamedTuple):
    """What there is to be looked at."""

    class_names: tuple[str, ...]
    tasks: list[_Task]
    unreadable: list[UnreadableImage]
    """What is known to be none before it is read."""
    left_out: Counter[str]


def _listed(folder: Path) -> _Listed:
    """The images in class folders."""
    parts = find_parts(folder)
    if parts is None:
        whole = class_images(folder, None)
        found, left_out = {"": whole}, whole.left_out
    else:
        train = class_images(parts.train, None)
        found = {"train": train}
        if parts.validation is not None:
            found["validation"] = class_images(parts.validation, tuple(train.files))
        found["test"] = class_images(parts.test, tuple(train.files))
        left_out = sum((one.left_out for one in found.values()), parts.files_beside)
    problems = {path for one in found.values() for path in one.problems}
    tasks = [
        _Task(part, name, path, path, functools.partial(_content, path))
        for part, one in found.items()
        for name, paths in one.files.items()
        for path in paths
        if path not in problems
    ]
    unreadable = [
        UnreadableImage(path, part, _class_of(path, one), problem)
        for part, one in found.items()
        for path, problem in one.problems.items()
    ]
    return _Listed(tuple(next(iter(found.values())).files), tasks, unreadable, left_out)


def _content(path: Path, timed: TimedCalls) -> bytes:
    (content,) = timed.read_each([path])
    return content


def _listed_in(packed: Packed) -> _Listed:
    """The images in a few large files."""
    files = {"train" if packed.test else "": packed.train, "validation": packed.validation, "test": packed.test}
    tasks: list[_Task] = []
    class_names: tuple[str, ...] | None = None
    for part, some in files.items():
        if some:
            images = packed.kind(PackedFiles(some), 1, class_names=class_names)
            class_names = images.class_names
            tasks += [
                _Task(
                    part,
                    class_names[label],
                    path,
                    images.file_of(place),
                    functools.partial(_stored, images, place),
                    images.opened_stamp(place),
                )
                for place, (path, label) in enumerate(zip(images.paths, to_host(images.labels).tolist(), strict=True))
            ]
    assert class_names is not None, "there are files"
    return _Listed(class_names, tasks, [], Counter())


def _stored(images: ImageFolder, place: int, timed: TimedCalls) -> bytes:
    return next(images.contents(np.array([place])))


def _class_of(path: Path, found: ClassImages) -> str:
    folder = comparable(path.relative_to(found.folder).parts[0])
    return next(name for name in found.files if comparable(name) == folder)


def _compared(images: Sequence[InspectedImage], tasks: Mapping[Path, _Task]) -> list[InspectedImage]:
    """The images, those whose samples are the same told apart by all their pixels."""
    alike: dict[str, list[InspectedImage]] = {}
    for image in images:
        if max(image.size) > SAMPLE:
            alike.setdefault(image.pixels, []).append(image)
    of_bytes = {
        image.digest: tasks[image.path]
        for group in alike.values()
        if len({image.digest for image in group}) > 1
        for image in group
    }
    whole = dict(zip(of_bytes, _in_threads(_all_pixels, list(of_bytes.values())), strict=True))
    return [image._replace(pixels=whole.get(image.digest) or image.pixels) for image in images]


def _in_threads(look: Callable[[_Task, TimedCalls], T], tasks: Sequence[_Task]) -> Iterator[T]:
    """look(task, timed) of each of `tasks`. No more images are in memory than there are threads."""

    def look_at_some(some: Sequence[_Task]) -> list[T]:
        with TimedCalls() as timed:
            return [look(task, timed) for task in some]

    with ThreadPoolExecutor(min(thread_count(), MOST_THREADS), "gpucnn inspect") as pool:
        chunks = [tasks[start : start + AT_ONCE] for start in range(0, len(tasks), AT_ONCE)]
        try:
            for found in pool.map(look_at_some, chunks):
                yield from found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_at(task: _Task, timed: TimedCalls, memory: InspectionMemory, pixels: InspectedPixels | None) -> Seen | str:
    """What is seen in a file, or why nothing is."""
    path = task.path
    try:
        before = timed(path, lambda: os.stat(task.file))
        is_there = task.opened_stamp in (None, stamp(before))  # else another is there now in its place
        known = memory.find(path, before) if is_there else None
        if known is not None:
            return known
        content = task.read(timed)
        after = timed(path, lambda: os.stat(task.file))
    except TimeoutError as error:  # the next would not answer either
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except DataError as error:
        if (reason := str(error).removeprefix(f"{path}: ")) == str(error):  # of the file that has it, and many others
            raise
        return reason
    try:
        image, mode = _decoded(path, content)
    except DataError as error:
        if isinstance(error.__context__, MemoryError):  # which says nothing of the file
            raise error.__context__ from None
        return str(error).removeprefix(f"{path}: ").replace(f" {str(path)!r}", "")
    digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE).hexdigest()
    seen = Seen(image.size, mode or image.mode, digest, _sample(image))
    if is_there:
        memory.note(path, (before, after), seen)
        if pixels is not None:
            pixels.note(path, (before, after), content, image)
    return seen


def _all_pixels(task: _Task, timed: TimedCalls) -> str:
    """The digest of all pixels of an image; empty if it can be read no more."""
    try:
        image, _ = _decoded(task.path, task.read(timed))
    except (OSError, DataError):
        return ""
    found, rows = hashlib.blake2b(digest_size=DIGEST_SIZE), max(STRIP // image.width, 1)
    for top in range(0, image.height, rows):  # the whole would be in memory twice
        found.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    return found.hexdigest()


def _sample(image: "Image.Image") -> str:
    """The digest of an image's size and of some of its pixels; of all, if they are few."""
    from PIL import Image

    width, height = image.size
    pixels = image.resize((min(width, SAMPLE), min(height, SAMPLE)), Image.Resampling.NEAREST).tobytes()
    return hashlib.blake2b(f"{width}x{height}".encode() + pixels, digest_size=DIGEST_SIZE).hexdigest()


_one_large = threading.Lock()


def _decoded(path: Path, content: bytes) -> tuple["Image.Image", str]:
    """The image in a file with this content, as RGB, and the mode that it has there. DataError if it is none."""
    size, mode = _header(content)
    with _one_large if size[0] * size[1] > LARGE else nullcontext():
        return decode_image(path, 3, read=lambda _: content), mode


def _header(content: bytes) -> tuple[tuple[int, int], str]:
    """Size and mode that a file promises; nothing for an array, and where Pillow stumbles over damage."""
    from PIL import Image

    try:
        with quiet_reading(), Image.open(io.BytesIO(content)) as header:
            return header.size, header.mode
    except Exception:
        return (0, 0), ""
