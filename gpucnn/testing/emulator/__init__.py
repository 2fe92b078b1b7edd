"""Runs CUDA C source on the CPU: the unchanged .cu file, compiled with g++, on NumPy arrays.

    emulator = Emulator()
    kernel = emulator.module(source, options=["-DT=float"], filename="im2col.cu").function("im2col")
    kernel((11,), (128,), (images, columns, np.int32(4)))

It says what a GPU would not: an access out of bounds, a race, shared memory read before it is written, a barrier that
some threads never reach, a copy by cp.async that is read before it was waited for, each with kernel, line, block and
thread. It says nothing about speed, nor about what blocks that run at the same time see of each other; and an access
beyond a shared array that hits another shared array passes. Needs g++ >= 10 on Linux.

How it works: a block's threads are fibers that run in turn (runtime/scheduler.h); the compiler's sanitizers call checks
of our own before each access (runtime/checks.h), and arrays are copied to where they lie far apart (staging.py); what a
kernel sees of CUDA is in device/.
"""

from gpucnn.checks import public_names as _public_names
from gpucnn.testing.emulator.compiler import compiler as compiler
from gpucnn.testing.emulator.coverage import line_coverage as line_coverage
from gpucnn.testing.emulator.emulator import Emulator as Emulator
from gpucnn.testing.emulator.module import EmulatedFunction as EmulatedFunction
from gpucnn.testing.emulator.module import EmulatedModule as EmulatedModule

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
