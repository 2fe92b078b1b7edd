"""The engine of the CPU's compiled loops: from a loop's description to machine code that runs on all threads.

Builder and dispatch import llvmlite, so they are loaded when the first loop is compiled.
"""

from gpucnn.checks import public_names as _public_names

PARAMETERS = ("first", "last", "part", "arrays", "scratch")
"""What every function gets: the items to work on, the number of the part, a table of addresses, and scratch memory."""

MOST_WRITTEN_OUT = 50
"""Turns of a loop that an `unroll` writes out one by one, at most."""

LARGEST_CODE = 6_000
"""Instructions of a loop, at most: what would take more, and cannot be a loop, is left to another way."""

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
