"""Packs: files with many images in them, such as tars. An image in one has a path that goes on into it: photos/train-0.tar/cat/1.png.

What reads image files reads such paths, too, see `read_each`.
"""

import os
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from threading import Lock
from typing import NamedTuple, Protocol

from gpucnn.data.image_listing import Entry, cannot_be_listed, entries
from gpucnn.data.parquet_pack import ParquetPack
from gpucnn.data.part_names import part_of
from gpucnn.data.tar_pack import COMPRESSED_NAMES, INDEX, compressed_text, open_tar
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls, read_regular
from gpucnn.text import names_text
from gpucnn.text_table import shortened

MOST_KNOWN = 16_384
"""Packs that are remembered."""

CLASSES = "classes.txt"
"""The file beside packs that has the names of classes, one a line, for labels that are numbers."""


class Pack(Protocol):
    """A file of images. Any number of threads may ask."""

    images: Sequence[str]
    """The names of the images, each once, with "/" between folders."""
    labels: Sequence[int | str | None]
    """Of each image the number of its class, or its name; None where nothing says it."""
    class_names: tuple[str, ...]
    """What the classes are called, by number; empty where the file does not say it."""
    left_out: Counter[str]
    """How many things of each kind in it are no images."""

    def size(self, name: str) -> int:
        """How many bytes an image has. FileNotFoundError if there is none of this name."""

    def read(self, name: str) -> bytes:
        """The bytes of an image. DataError for one that cannot be read; FileNotFoundError if there is none of this name."""


KINDS: dict[str, Callable[[Path, TimedCalls], Pack]] = {".tar": open_tar, ".parquet": ParquetPack}
"""What opens a pack, by the end of its name. A pack that has changed is looked at anew."""


class PackedImages(NamedTuple):
    """The images in packs."""

    files: dict[str, list[Path]]
    """Of each class, in the order of the labels: paths into the packs, sorted by name."""
    left_out: Counter[str]


def is_pack(entry: Entry) -> bool:
    """Whether it is a file with the name of a pack."""
    return entry.kind == "file" and not entry.name.startswith(".") and entry.path.suffix.lower() in KINDS


def is_of_packs(entry: Entry) -> bool:
    """Whether it is a pack, or what belongs to packs: the names of classes, an index."""
    return is_pack(entry) or entry.name == CLASSES or (entry.name.startswith(".") and entry.name.endswith(INDEX))


def group_of(name: str) -> str:
    """What packs of one group are called by, whose numbers are *: train-*.tar of train-000017.tar and train-00000-of-00002.tar."""
    stem, end = os.path.splitext(name)
    return re.sub(r"[\W_]*(\d[\d_\W]*(of[\d_\W]+)?)?$", "", stem, flags=re.IGNORECASE) + "*" + end.lower()


def is_group(folder: Path) -> bool:
    """Whether it is a group of packs in the folder above it, and no folder."""
    return "*" in folder.name and folder.suffix.lower() in KINDS


def packs_in(folder: Path, inside: Sequence[Entry]) -> list[Path]:
    """The packs in `folder`, which has these entries `inside`; none if it has class folders.

    DataError for compressed tars where there is nothing else.
    """
    found = [entry.path for entry in inside if is_pack(entry)]
    if sum(entry.is_folder for entry in inside) > 1:
        return []
    if not found and not any(entry.is_folder for entry in inside):
        for entry in inside:
            for end, program in COMPRESSED_NAMES.items():
                if entry.kind == "file" and entry.name.lower().endswith(end):
                    raise DataError(compressed_text(entry.path, program))
    return found


def entries_of(folder: Path, timed: TimedCalls) -> list[Entry]:
    """What is in a folder, or which packs are in a group. OSError if it cannot be listed."""
    if not is_group(folder):
        return entries(folder, timed)
    found = [entry for entry in entries(folder.parent, timed) if is_pack(entry) and group_of(entry.name) == folder.name]
    if not found:
        raise FileNotFoundError(2, os.strerror(2), str(folder))
    return found


def packed_images(
    folder: Path, packs: Sequence[Path], expected: Sequence[str] | None, timed: TimedCalls
) -> PackedImages:
    """The images in `packs`, which are in `folder`.

    - `expected`: None, or the names of the classes in the order of their labels; some may lack images.

    Labels that are numbers are called as the packs say, or the file classes.txt beside them, or else as they are. DataError for
    a pack that cannot be read, and for labels that are not those of classes.
    """
    opened = [(path, open_pack(path, timed)) for path in packs]
    told = {pack.class_names for _, pack in opened if pack.class_names}
    if len(told) > 1:
        raise DataError(
            f"{folder}: {names_text([path.name for path in packs])} call their classes differently; give one data set"
        )
    written = next(iter(told), ()) or _written_names(folder, timed)
    by_class: dict[str, list[tuple[tuple[str, ...], Path]]] = {name: [] for name in written}
    order = {name: number for number, name in enumerate(written)}
    for path, pack in opened:
        for image, label in zip(pack.images, pack.labels, strict=True):
            if label is None:
                key = image.partition(".")[0]
                raise DataError(
                    f"{path}: {shortened(image, 60)} has no label; expected {shortened(key, 60)}.cls with one beside it, or a folder "
                    f"of its class, as in cat/{shortened(image, 60)}"
                )
            if isinstance(label, int):
                if written and label >= len(written):
                    raise DataError(
                        f"{path}: {shortened(image, 60)} has the label {label}, and {CLASSES} names {len(written)} classes, from 0 on; add its name"
                    )
                name = written[label] if written else str(label)
                order.setdefault(name, label)
            else:
                name = label
            if (name not in order) if written else ((name in order) != isinstance(label, int)):
                what = f"which {CLASSES} does not have" if written else "where others have numbers"
                raise DataError(
                    f"{path}: {shortened(image, 60)} has the label {shortened(name)!r}, {what}; use one way, and {CLASSES} for the names of numbers"
                )
            by_class.setdefault(name, []).append((PurePath(image).parts, path))
    names = sorted(by_class, key=lambda name: (order.get(name, 0), name))
    files = {name: [path / PurePath(*parts) for parts, path in sorted(by_class[name])] for name in names}
    left_out: Counter[str] = sum((pack.left_out for _, pack in opened), Counter())
    return PackedImages(_as_expected(folder, files, expected), left_out)


def images_of_packs(folder: Path) -> list[Path]:
    """All images in the packs that are in `folder`, in their order there, whether they have labels or not; none if there are none."""
    with TimedCalls() as timed:
        try:
            packs = packs_in(folder, entries(folder, timed))
        except OSError as error:
            raise cannot_be_listed(folder, error) from None
        return [path / PurePath(name) for path in packs for name in open_pack(path, timed).images]


def _as_expected(folder: Path, files: dict[str, list[Path]], expected: Sequence[str] | None) -> dict[str, list[Path]]:
    if expected is None:
        if len(files) < 2:
            raise DataError(f"{folder}: its packs have one class, {next(iter(files))}; expected two or more")
        for name, inside in files.items():
            if not inside:
                raise DataError(
                    f"{folder}: no images of {name} in its packs; add some, or take the name out of {CLASSES}"
                )
        return files
    if unknown := [name for name, inside in files.items() if inside and name not in expected]:
        raise DataError(
            f"{folder}: has images of classes that the training images do not have: {names_text(unknown)}; the classes are "
            f"{names_text(expected)}; take these images out, or name numbers in {folder / CLASSES}"
        )
    return {name: files.get(name, []) for name in expected}


def _written_names(folder: Path, timed: TimedCalls) -> tuple[str, ...]:
    """The names of classes in the file beside packs, or beside the folder of a part; none without it."""
    places = [folder.parent] if is_group(folder) else [folder, *([folder.parent] if part_of(folder.name) else [])]
    for place in places:
        path = place / CLASSES
        try:
            (content,) = timed.read_each([path])
            names = tuple(line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not UTF-8; write one name of a class a line") from None
        if len(set(names)) < len(names) or len(names) < 2:
            raise DataError(
                f"{path}: expected two names of classes or more, each once, one a line, got {names_text(names) or 'none'}"
            )
        return names
    return ()


def read_each(timed: TimedCalls, paths: Sequence[Path]) -> Iterator[bytes]:
    """The contents of image files, and of images in packs. OSError or DataError for one that cannot be read."""
    return timed.read_each(paths, _read_in_pack)


def read_image_file(path: Path) -> bytes:
    """The content of an image file, or of an image in a pack. Raises what `read_each` does."""
    found = _read_in_pack(path)
    return read_regular(path) if found is None else found


def file_of(path: Path) -> Path:
    """The file that an image is in: itself, or a pack."""
    found = _split(path)
    return path if found is None else found[0]


def size_in_pack(path: Path) -> int | None:
    """How many bytes an image in a pack has; None for one in a file of its own."""
    found = _split(path)
    return None if found is None else _known(found[0]).size(found[1])


def name_below(path: Path, folder: Path) -> str:
    """What an image is called in `folder`, or in the pack that it is in, with "/" between folders."""
    found = _split(path)
    return path.relative_to(folder).as_posix() if found is None else found[1]


def open_pack(path: Path, timed: TimedCalls) -> Pack:
    """A pack as it is now. DataError for one that cannot be read."""
    pack = KINDS[path.suffix.lower()](path, timed)
    with _lock:
        _packs[str(path)] = pack
        _packs.move_to_end(str(path))
        while len(_packs) > MOST_KNOWN:
            _packs.popitem(last=False)
    return pack


def _known(path: Path) -> Pack:
    """A pack as it was when it was last opened."""
    pack = _packs.get(str(path))
    if pack is None:
        with TimedCalls() as timed:
            return open_pack(path, timed)
    return pack


def _read_in_pack(path: str | os.PathLike[str]) -> bytes | None:
    """The bytes of an image in a pack; None for a path that goes into none."""
    found = _split(path)
    return None if found is None else _known(found[0]).read(found[1])


def _split(path: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """The pack that a path goes into, and the name of the image in it; None for other paths."""
    text = os.fspath(path)
    for found in _INTO_PACK.finditer(text):
        pack = text[: found.end() - 1]
        if pack in _packs or os.path.isfile(pack):  # a folder may be called as packs are
            return Path(pack), text[found.end() :].replace(os.sep, "/")
    return None


_packs: OrderedDict[str, Pack] = OrderedDict()
_lock = Lock()  # a fork waits for it: in the child it would never be opened
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_INTO_PACK = re.compile(rf"({'|'.join(map(re.escape, KINDS))})[/{re.escape(os.sep)}]", re.IGNORECASE)
