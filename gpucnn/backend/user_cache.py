"""What is kept in files of the user's folder for caches: to have it costs time, to lose it costs no more.

A file's first bytes are a checksum of the rest, and it appears whole or not at all, so that any number of processes may write.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "GPUCNN_CACHE_DIR"
DIGEST_SIZE = hashlib.sha256().digest_size


def cache_folder(kind: str) -> Path:
    """Where files of this kind are kept: in $GPUCNN_CACHE_DIR, or gpucnn in the user's folder for caches."""
    if own := os.environ.get(VARIABLE):
        return Path(own) / kind
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpucnn" / kind
    except RuntimeError:  # a user without a home: nothing can be kept
        return Path(os.devnull)


def read(path: Path) -> bytes | None:
    """The content of a file of the cache; None if there is none, or it is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    return without_checksum(whole)


def with_checksum(content: bytes) -> bytes:
    """The content as a file of the cache has it."""
    return hashlib.sha256(content).digest() + content


def without_checksum(whole: bytes) -> bytes | None:
    """The content in what a file of the cache has; None if it is damaged."""
    digest, content = whole[:DIGEST_SIZE], whole[DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(path: Path, content: bytes) -> None:
    """Keep the content, where that is possible: a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(with_checksum(content))
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
