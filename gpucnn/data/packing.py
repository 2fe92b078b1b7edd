"""Writing a folder of images as packs: a few large tars, as WebDataset lays them out."""

import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn.atomic_file import remove_parts
from gpucnn.backend import generator
from gpucnn.checks import as_count, as_path
from gpucnn.data.class_images import ClassImages
from gpucnn.data.inspection import listed
from gpucnn.data.packs import CLASSES, name_below, read_each
from gpucnn.data.tar_pack import key_of
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from gpucnn.text_table import shortened

SIZE = 1 << 28
"""Bytes of a pack: few files for a million photos, and many enough to shuffle by windows."""

CALLED = {"": "images", "train": "train", "validation": "val", "test": "test"}
"""How the names of a part's packs begin."""

FOR_EACH = 2 * tarfile.BLOCKSIZE
"""Bytes of the headers of an image and its label."""


class WrittenPack(NamedTuple):
    """A tar that was written."""

    path: Path
    images: int
    size: int
    """In bytes."""


def pack(
    folder: str | os.PathLike[str], to: str | os.PathLike[str], size: int = SIZE, seed: int = 0
) -> list[WrittenPack]:
    """Write the images of `folder`, laid out as the data set "folder" is, into tars in the new folder `to`.

    Each image is there as it is, under its name in its part, KEY.png, with the number of its class in KEY.cls; `classes.txt` names
    the classes. The parts are in train-000000.tar, val-000000.tar, ...; images that are of no part in images-000000.tar, .... They come in an
    order drawn by `seed`, so that each tar has some of all classes, in tars of `size` bytes or a little more or less. The bytes are a function of
    the images, their names and these arguments; `to` appears whole or not at all.

    Raises DataError if `folder` is none of images, if two of them have one name up to the first dot, and if `to` has something in it; OSError if
    it cannot be written.
    """
    source, target = as_path(folder, "folder"), as_path(to, "to")
    size = as_count(size, "size")
    generator(seed, "pack")  # refuses what cannot be a seed
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "has files in it" if target.is_dir() else "is a file"
        raise DataError(f"{target}: {what}; give a new folder")
    if not target.absolute().parent.is_dir():
        raise DataError(f"{target}: no folder {target.absolute().parent} to write it into; make it first")
    parts, _ = listed(source)
    for one in parts.values():
        for path, problem in one.problems.items():
            raise DataError(f"{path}: {problem}; put it back whole, or remove it")
    work = target.absolute().with_name(f".{target.name}.{os.getpid()}.part")
    remove_parts(target.absolute().parent)
    work.mkdir()
    try:
        names = list(next(iter(parts.values())).files)
        (work / CLASSES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        written = [one for part, images in parts.items() for one in _write(images, work / CALLED[part], size, seed)]
        os.replace(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return [one._replace(path=target / one.path.name) for one in written]


def _write(images: ClassImages, prefix: Path, size: int, seed: int) -> Iterator[WrittenPack]:
    """Write the images of a part into tars whose paths begin with `prefix`."""
    paths = images.paths
    labels = np.repeat(np.arange(len(images.files)), [len(inside) for inside in images.files.values()])
    names = [name_below(path, images.folder) for path in paths]
    _check_names(images.folder, names)
    order = generator(seed, "pack").permutation(len(paths))
    number, room = 0, -1
    tar: tarfile.TarFile | None = None
    path, count = prefix, 0
    with TimedCalls() as timed:
        contents = read_each(timed, [paths[place] for place in order])
        try:
            for place in order:
                try:
                    content = next(contents)
                except OSError as error:
                    raise DataError(f"{paths[place]}: cannot be read ({error.strerror or error})") from None
                if tar is not None and room < len(content):
                    tar.close()
                    yield WrittenPack(path, count, path.stat().st_size)
                    tar = None
                if tar is None:
                    path, count, room = prefix.with_name(f"{prefix.name}-{number:06}.tar"), 0, size
                    tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed when it is full)
                    number += 1
                _add(tar, names[place], content)
                _add(tar, f"{key_of(names[place])}.cls", str(labels[place]).encode())
                count, room = count + 1, room - len(content) - FOR_EACH
        finally:
            if tar is not None:
                tar.close()
    if tar is not None:
        yield WrittenPack(path, count, path.stat().st_size)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file whose owner and time are nobody's and never, so that they change no bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


def _check_names(folder: Path, names: Sequence[str]) -> None:
    """DataError if two images would have one label between them."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.get(key_of(name))) is not None:
            raise DataError(
                f"{folder}: {shortened(other, 60)} and {shortened(name, 60)} are the same up to the first dot, by which a tar's files belong "
                f"together; rename one"
            )
        seen[key_of(name)] = name
