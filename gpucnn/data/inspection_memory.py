"""What is known of image files from the last time that their folder was looked at: they need not be decoded again."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gpucnn.backend import own_package, user_cache
from gpucnn.data.file_stamp import is_settled, stamp
from gpucnn.data.image_kind import reads_heif

WORTH_KEEPING = 50_000_000
"""Pixels that take about a second to decode: what takes less is not kept."""

MOST_FOLDERS = 100
READERS = (
    "class_images", "decoded_cache", "file_stamp", "image_decoder", "image_file", "image_kind", "image_metadata", "inspected_pixels", "inspection",
    "inspection_memory", "jpeg_decoders", "npy_images",
    "npz", "parquet_file", "parquet_images", "plain_image", "tar_file",
    "tar_format", "tar_images", "tar_index", "timed_file",
)  # fmt: skip
"""The modules that what is kept depends on."""


class Seen(NamedTuple):
    """What is seen in an image file, see `InspectedImage`."""

    size: tuple[int, int]
    mode: str
    digest: str
    pixels: str


class _Known(NamedTuple):
    stamp: list[int]
    """See `stamp_of`."""
    seen: Seen


class InspectionMemory:
    """What is known of the files in `folder`, which any number of threads may ask for and add to.

    It is in a file of the user's folder for caches. A file that has another size, time of change or inode than it had is not
    known, nor is one that may have changed since, nor any under another version of what decodes them. Only what can be read
    is known. A damaged file of the cache is as none, and of two processes that write one the last one wins.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:32]
        self._file = user_cache.cache_folder("images") / f"{name}.json"
        self._versions = reader_versions()
        self._earlier = _read(self._file, self._versions)
        self._files: dict[str, _Known] = {}
        self._decoded = 0

    def find(self, path: Path, status: os.stat_result) -> Seen | None:
        """What was seen in a file, if that is known and its `status` is what it was."""
        name = os.path.relpath(path, self._folder)
        known = self._earlier.get(name)
        if known is None or known.stamp != stamp_of(status):
            return None
        self._files[name] = known
        return known.seen

    def note(self, path: Path, around: tuple[os.stat_result, os.stat_result], seen: Seen) -> None:
        """Remember what was seen in a file; `around` is its status before and after it was read."""
        self._decoded += seen.size[0] * seen.size[1]
        before, after = around
        if stamp_of(before) == stamp_of(after) and is_settled(stamp(after)):
            self._files[os.path.relpath(path, self._folder)] = _Known(stamp_of(after), seen)

    def keep(self, is_whole: bool = True) -> None:
        """Write down what is known, if that was much work. Not `is_whole`: files that were not asked for are kept, too."""
        if self._decoded < WORTH_KEEPING:
            return
        content = {"versions": self._versions, "files": self._files if is_whole else {**self._earlier, **self._files}}
        user_cache.write(self._file, json.dumps(content).encode())
        with suppress(OSError):
            for path in sorted(self._file.parent.glob("*.json"), key=lambda path: -path.stat().st_mtime)[MOST_FOLDERS:]:
                path.unlink()


def _read(file: Path, versions: list[str]) -> dict[str, _Known]:
    """What is known of files, by name; nothing under other versions."""
    try:
        written = json.loads(user_cache.read(file) or b"{}")
        if written.get("versions") != versions:
            return {}
        return {
            name: _Known(stamp, Seen((size[0], size[1]), mode, digest, pixels))
            for name, (stamp, (size, mode, digest, pixels)) in written["files"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):  # another program's
        return {}


def stamp_of(status: os.stat_result) -> list[int]:
    """What is another once a file has changed: size, times and inode."""
    return [*stamp(status), status.st_ino]


def reader_versions() -> list[str]:
    """Of all that decides what is seen in a file, but for decoders of JPEGs beside Pillow."""
    import PIL
    from PIL import Image, ImageFile, features

    source = hashlib.sha256()
    for name in READERS:
        with suppress(OSError):
            source.update(own_package.read(Path(__file__).with_name(f"{name}.py")))
    libraries = [str(features.version_codec(name)) for name in features.codecs if features.check_codec(name)]
    settings = [str(Image.MAX_IMAGE_PIXELS), str(ImageFile.LOAD_TRUNCATED_IMAGES)]
    return [source.hexdigest(), PIL.__version__, *libraries, str(reads_heif()), *settings]
