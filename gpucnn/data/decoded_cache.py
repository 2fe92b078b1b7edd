"""DecodedCache: raw images kept in a file on disk, so that each is decoded once, whichever run or process asks next."""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import threading
import weakref
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.data.inspection_memory import reader_versions
from gpucnn.data.jpeg_decoders import SIMPLEJPEG, simplejpeg_version
from gpucnn.errors import DataError

MAGIC = b"gpucnn decoded images 1\n"
HEADER = 4096
"""Bytes before the entries; the images begin at a multiple of it, too."""

ENTRY = np.dtype([("key", "<u8", (2,)), ("checksum", "<u4"), ("unused", "<u4")])
"""Of an image: what it was made of, and a checksum of that and its pixels. All 0 where none is kept."""

KEY_SIZE = 16


class DecodedCache:
    """Raw images of `decoder`, as many as `count`, in a file of the folder `place`: `find(index, key)`, `keep(index, key, pixels)`.

    - `source`: what the images are of, e.g. a hash of their paths: it names the file, with the decoder and the versions of all that
      decides pixels.
    - `bytes`: the file's size, which it has from the beginning; it takes disk space only as images are kept.

    A key tells what an image was made of, see `key_of`: under another one it is not found. Nor is it if its checksum is wrong, as in a
    damaged file, or where two processes wrote at once: it is then decoded and kept anew. So any number of threads and processes
    may use a file. It is mapped into memory to be read, and written by ordinary calls: a full disk then only ends the keeping.

    The file is made when it is first needed. DataError, which names it, if that cannot be, or the disk has not the space.
    """

    def __init__(self, place: Path, source: str, count: int, decoder: ImageDecoder) -> None:
        versions = [*reader_versions(), *([simplejpeg_version()] if decoder.decode == SIMPLEJPEG else [])]
        self._about = json.dumps([source, count, asdict(decoder), versions]).encode()
        self._shape = (decoder.channels, decoder.size, decoder.size)
        self._count, self._each = count, decoder.channels * decoder.size**2
        self._first = HEADER + -(-count * ENTRY.itemsize // HEADER) * HEADER
        self.bytes = self._first + count * self._each
        self.path = place / f"{hashlib.sha256(self._about).hexdigest()[:32]}.decoded"
        self._lock = threading.Lock()
        self._file: int | None = None
        self._can_keep = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._about, self._shape, self._count)

    def find(self, index: int, key: bytes) -> np.ndarray | None:
        """The raw image (C, S, S) kept at `index`; None if it is another than that of `key`, or damaged."""
        self._open()
        assert self._file is not None
        if os.fstat(self._file).st_size != self.bytes:  # cut off by someone: to read what is gone would end the process
            return None
        entry = self._entries[index]
        if entry["key"].tobytes() != key:
            return None
        checksum, pixels = int(entry["checksum"]), self._pixels[index].copy()
        return pixels if zlib.crc32(pixels.data, zlib.crc32(key)) == checksum else None

    def keep(self, index: int, key: bytes, pixels: np.ndarray) -> None:
        """Write a raw image down, where that is possible."""
        self._open()
        if not self._can_keep:
            return
        content = np.ascontiguousarray(pixels)
        entry = np.zeros((), ENTRY)
        entry["key"], entry["checksum"] = np.frombuffer(key, "<u8"), zlib.crc32(content.data, zlib.crc32(key))
        try:
            self._write(self._first + index * self._each, content.tobytes())
            self._write(HEADER + index * ENTRY.itemsize, entry.tobytes())
        except OSError:  # a full disk: what is not kept is decoded again
            self._can_keep = False

    def _write(self, place: int, content: bytes) -> None:
        assert self._file is not None
        if hasattr(os, "pwrite"):
            done = 0
            while done < len(content):
                done += os.pwrite(self._file, content[done:], place + done)
            return
        with self._lock:
            os.lseek(self._file, place, os.SEEK_SET)
            os.write(self._file, content)

    def _open(self) -> None:
        if self._file is not None:
            return
        with self._lock:
            if self._file is not None:
                return
            try:
                self._pixels, self._entries, file = self._mapped()
            except OSError as error:
                raise DataError(
                    f"{self.path}: the cache cannot be made ({error.strerror or error}); give another folder with --cache, or none"
                ) from None
            self._file = file

    def _mapped(self) -> tuple[np.ndarray, np.ndarray, int]:
        header = (MAGIC + hashlib.sha256(self._about).digest()).ljust(HEADER, b"\0")
        file = self._of(header)
        if file is None:
            self._make(header)
            file = self._of(header)
            if file is None:
                raise OSError("another process writes another file there")
        weakref.finalize(self, os.close, file)
        whole = mmap.mmap(file, self.bytes, access=mmap.ACCESS_READ)
        entries = np.ndarray((self._count,), ENTRY, whole, HEADER)
        return np.ndarray((self._count, *self._shape), np.uint8, whole, self._first), entries, file

    def _of(self, header: bytes) -> int | None:
        """The file, if it is there and whole."""
        try:
            file = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return None
        if os.fstat(file).st_size == self.bytes and os.read(file, HEADER) == header:
            return file
        os.close(file)
        return None

    def _make(self, header: bytes) -> None:
        """A file without images, which appears whole. One that is damaged is replaced."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path.parent).free
        if free < self.bytes:
            raise DataError(
                f"{self.path}: the cache may take {self.bytes:,} bytes, and the disk has {free:,}; give another folder with "
                f"--cache, or none"
            )
        descriptor, name = tempfile.mkstemp(dir=self.path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(header)
                file.truncate(self.bytes)
            if self.path.exists():
                os.replace(name, self.path)
                return
            try:
                os.link(name, self.path)
            except FileExistsError:  # another process was first
                return
            except OSError:  # a file system without links
                os.replace(name, self.path)
        finally:
            with suppress(OSError):
                os.unlink(name)


def key_of(*parts: object) -> bytes:
    """The key of what an image is made of: its path, the file's size and times, ..."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=KEY_SIZE).digest()


def _reopened(path: Path, about: bytes, shape: tuple[int, int, int], count: int) -> DecodedCache:
    source, _, decoder, _ = json.loads(about)
    return DecodedCache(path.parent, source, count, ImageDecoder(**decoder))
