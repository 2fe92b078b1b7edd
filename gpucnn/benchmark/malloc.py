"""The C library's memory, kept for arrays to come instead of given back to the system."""

import ctypes

from gpucnn.errors import ArgumentError

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""glibc's names of two of its settings, see `man mallopt`."""


def keep_freed_memory() -> None:
    """From now on freed memory stays with this process: new arrays, whoever makes them, cost no page faults.

    What a program then takes is arithmetic alone, where by default it may mostly be the system's making of pages. It cannot
    be taken back: set once, glibc no longer adapts by itself. Raises ArgumentError where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS; musl has one that does nothing; Windows wants a name
        mallopt = None
    if mallopt is None or not (mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1)):
        raise ArgumentError("freed memory can only be kept with glibc (Linux); measure without --keep-memory")
