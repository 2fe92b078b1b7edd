"""Writing a folder of images into a few large tars, as WebDataset lays them out."""

import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import generator, to_host
from gpucnn.checks import as_count, as_path
from gpucnn.data.catalog import FOLDER, load
from gpucnn.data.image_folder import ImageFolder, whole_of
from gpucnn.data.subset import Subset
from gpucnn.data.tar_images import CLASSES
from gpucnn.data.tar_index import key_of
from gpucnn.errors import DataError
from gpucnn.text_table import shortened

SIZE = 1 << 28
"""Bytes of a tar: few files for a million photos, and many enough to shuffle by windows."""

CALLED = {"": "images", "train": "train", "validation": "val", "test": "test"}
"""How the names of a part's tars begin."""

FOR_EACH = 2 * tarfile.BLOCKSIZE
"""Bytes of the headers of an image and its label."""


class WrittenTar(NamedTuple):
    """A tar that was written."""

    path: Path
    images: int
    size: int
    """In bytes."""


def pack(
    folder: str | os.PathLike[str], to: str | os.PathLike[str], size: int = SIZE, seed: int = 0
) -> list[WrittenTar]:
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
    parts = _parts(source)
    work = target.absolute().with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        names = next(iter(parts.values())).class_names
        (work / CLASSES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        written = [one for part, images in parts.items() for one in _write(images, work / CALLED[part], size, seed)]
        os.replace(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return [one._replace(path=target / one.path.name) for one in written]


def _parts(folder: Path) -> dict[str, ImageFolder]:
    """The images of each part; all of them under "" in a folder without parts."""
    splits = load(FOLDER, folder, image_size=1)
    whole = whole_of(splits.train)
    assert isinstance(whole, ImageFolder), "it is the data set of a folder"
    if isinstance(splits.train, Subset):
        return {"": whole}
    assert isinstance(splits.test, ImageFolder)
    parts = {"train": whole, "test": splits.test}
    return parts if not isinstance(splits.validation, ImageFolder) else {**parts, "validation": splits.validation}


def _write(images: ImageFolder, prefix: Path, size: int, seed: int) -> Iterator[WrittenTar]:
    """Write the images of a part into tars whose paths begin with `prefix`."""
    paths, names, labels = images.paths, images.names, to_host(images.labels)
    _check_names(images.folder, names)
    order = generator(seed, "pack").permutation(len(paths))
    number, room = 0, -1
    tar: tarfile.TarFile | None = None
    path, count = prefix, 0
    with closing(images.contents(order)) as contents:
        try:
            for place in order:
                try:
                    content = next(contents)
                except OSError as error:
                    raise DataError(f"{paths[place]}: cannot be read ({error.strerror or error})") from None
                if tar is not None and room < len(content):
                    tar.close()
                    yield WrittenTar(path, count, path.stat().st_size)
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
        yield WrittenTar(path, count, path.stat().st_size)


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
