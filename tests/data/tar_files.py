"""Tars to make data sets of, written by Python's tarfile, which shares no code with what reads them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: int = 6) -> bytes:
    """A small PNG."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


def tar(files: Mapping[str, bytes], format_: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar with these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format_) as archive:
        for name, inside in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(inside)
            archive.addfile(member, io.BytesIO(inside))
    return content.getvalue()


def write_tars(folder: Path, images: Path, count: int = 3) -> Path:
    """The files in a folder of class folders, dealt out to `count` tars."""
    folder.mkdir()
    paths = sorted(images.rglob("*.png"))
    for number in range(count):
        chosen = {path.relative_to(images).as_posix(): path.read_bytes() for path in paths[number::count]}
        (folder / f"photos-{number:03}.tar").write_bytes(tar(chosen))
    return folder
