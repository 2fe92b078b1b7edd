"""What tells that a file has changed, as far as its status shows it."""

import os
import time
from typing import TypeAlias

FileStamp: TypeAlias = tuple[int, int, int]

SETTLED = 2_000_000_000
"""Nanoseconds after which a change shows in a file's times, also where a file system counts in seconds."""


def stamp(status: os.stat_result) -> FileStamp:
    """What is another once a file has changed: size, time of its content, and time of its status, which no program can set."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(found: FileStamp) -> bool:
    """Whether every change to come will show in the stamp of a file, since the latest is long ago."""
    return time.time_ns() - max(found[1:]) > SETTLED
