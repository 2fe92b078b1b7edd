"""A compiled .cu file."""

import ctypes
from collections.abc import Callable

from gpucnn.errors import ArgumentError
from gpucnn.testing.emulator.arguments import Parameter
from gpucnn.testing.emulator.build import KernelRow, Library
from gpucnn.testing.emulator.function import EmulatedFunction, Schedule


class _ParameterRow(ctypes.Structure):
    """`emulator::Parameter` of runtime/interface.h."""

    _fields_ = (("type", ctypes.c_char_p), ("size", ctypes.c_int))


class EmulatedModule:
    """The kernels of one .cu file, as `Emulator.module` compiles it."""

    def __init__(self, library: Library, schedule: Callable[[], Schedule]) -> None:
        self._functions = {
            name: EmulatedFunction(row, _parameters(row, library.parameters[name]), library, schedule)
            for row in library.rows
            for name in [row.name.decode()]
        }

    def function(self, name: str) -> EmulatedFunction:
        """The kernel `name`, or the instance that a name expression named; ArgumentError if there is none."""
        if name not in self._functions:
            raise ArgumentError(f"there is no kernel {name!r} in this module, only {sorted(self._functions)}")
        return self._functions[name]


def _parameters(row: KernelRow, names: tuple[str, ...]) -> tuple[Parameter, ...]:
    described = (_ParameterRow * row.parameter_count).from_address(row.parameters)
    return tuple(
        Parameter.from_compiler(name, parameter.type.decode(), parameter.size)
        for name, parameter in zip(names, described, strict=True)
    )
