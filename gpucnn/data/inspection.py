"""A folder of images looked at before anything is learned from it: every file is decoded, once."""

import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend.threads import thread_count
from gpucnn.checks import as_path
from gpucnn.data.class_folders import comparable
from gpucnn.data.class_images import ClassImages, class_images
from gpucnn.data.folder_parts import find_parts
from gpucnn.data.image_file import decode_image
from gpucnn.data.image_listing import cannot_be_listed
from gpucnn.data.inspection_memory import InspectionMemory, Seen
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text, quoted
from gpucnn.text_table import shortened

MOST_THREADS = 8
"""A thread holds one image, of some 100 MB in memory if it is of 25 million pixels."""

LARGE = 25_000_000
"""Pixels of an image that is decoded while no other one as large is."""

AT_ONCE = 16
"""Files that a thread is given at a time."""

STRIP = 1 << 20
"""Pixels that are hashed at a time."""

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
    """The same of its size and its pixels as RGB: equal for files that show the same image."""


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


def inspect(place: str | os.PathLike[str], told: Callable[[int, int], None] | None = None) -> Inspection:
    """Look at the folder of images `place`, laid out as the data set "folder" is, and decode all its files, in threads.

    What can be read is remembered in a file of the user's: it is decoded again only when it has changed. `told` is called
    with how many files have been looked at, and how many there are. DataError if `place` is no such folder, or a drive does
    not answer.
    """
    folder = as_path(place, "place")
    found, left_out = _listed(folder)
    problems = {path: problem for one in found.values() for path, problem in one.problems.items()}
    unreadable = [
        UnreadableImage(path, part, _class_of(path, one), problem)
        for part, one in found.items()
        for path, problem in one.problems.items()
    ]
    tasks = [
        (part, name, path)
        for part, one in found.items()
        for name, paths in one.files.items()
        for path in paths
        if path not in problems
    ]
    images: list[InspectedImage] = []
    memory = InspectionMemory(folder)
    try:
        looked_at = zip(tasks, _look_at([path for _, _, path in tasks], memory), strict=True)
        for number, ((part, name, path), seen) in enumerate(looked_at, 1):
            if isinstance(seen, Seen):
                images.append(InspectedImage(path, part, name, *seen))
            else:
                unreadable.append(UnreadableImage(path, part, name, seen))
            if told is not None:
                told(number, len(tasks))
    except BaseException:  # of an hour that ends with Ctrl-C nothing shall be lost
        memory.keep(is_whole=False)
        raise
    memory.keep()
    class_names = next(iter(found.values())).files
    order = {part: number for number, part in enumerate(found)}
    unreadable.sort(key=lambda file: (order[file.part], file.path))
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
    folder = comparable(path.relative_to(found.folder).parts[0])
    return next(name for name in found.files if comparable(name) == folder)


def _look_at(paths: Sequence[Path], memory: InspectionMemory) -> Iterator[Seen | str]:
    """What is seen in each file, or why nothing is. No more images are in memory than there are threads."""
    with ThreadPoolExecutor(min(thread_count(), MOST_THREADS), "gpucnn inspect") as pool:
        chunks = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
        try:
            for some in pool.map(lambda chunk: _look_at_some(chunk, memory), chunks):
                yield from some
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_at_some(paths: Sequence[Path], memory: InspectionMemory) -> list[Seen | str]:
    with TimedCalls() as timed:
        return [_look_at_one(path, timed, memory) for path in paths]


def _look_at_one(path: Path, timed: TimedCalls, memory: InspectionMemory) -> Seen | str:
    try:
        before = timed(path, lambda: os.stat(path))
        known = memory.find(path, before)
        if known is not None:
            return known
        (content,) = timed.read_each([path])
        after = timed(path, lambda: os.stat(path))
    except TimeoutError as error:  # the next would not answer either
        raise cannot_be_listed(path, error) from None
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    try:
        seen = _seen(path, content)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ").replace(f" {str(path)!r}", "")
    memory.note(path, (before, after), seen)
    return seen


_one_large = threading.Lock()


def _seen(path: Path, content: bytes) -> Seen:
    """What is in a file with this content. DataError if it is no image."""
    size, mode = _header(content)
    if size[0] * size[1] > LARGE:
        with _one_large:
            return _decoded(path, content, mode)
    return _decoded(path, content, mode)


def _decoded(path: Path, content: bytes, mode: str) -> Seen:
    image = decode_image(path, 3, read=lambda _: content)
    pixels = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    rows = max(STRIP // image.width, 1)
    for top in range(0, image.height, rows):  # the whole would be in memory twice
        pixels.update(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Seen(image.size, mode or image.mode, digest, pixels.hexdigest())


def _header(content: bytes) -> tuple[tuple[int, int], str]:
    """Size and mode that a file promises; nothing for an array, and where Pillow stumbles over damage."""
    from PIL import Image

    try:
        with quiet_reading(), Image.open(io.BytesIO(content)) as header:
            return header.size, header.mode
    except Exception:
        return (0, 0), ""
