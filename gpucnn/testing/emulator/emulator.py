"""The emulator: from CUDA source to modules, and how their kernels run."""

from collections.abc import Sequence
from typing import Any

from gpucnn.checks import as_choice, is_int
from gpucnn.errors import ArgumentError
from gpucnn.testing.emulator.build import CudaSource, load
from gpucnn.testing.emulator.compiler import MODES
from gpucnn.testing.emulator.module import ORDERS, EmulatedModule, Schedule
from gpucnn.testing.emulator.source import constants_as_variables, split_filename

CHOICES = {"mode": MODES, "order": ORDERS}


class Emulator:
    """Compiles CUDA source for the CPU and runs it on NumPy arrays.

    Parameters
    ----------
    mode : {"fast", "check", "coverage"}
        "check" finds accesses out of bounds, races, uninitialised shared memory and undefined arithmetic; barriers are
        checked in every mode. "fast" is five to ten times as fast. "coverage" counts which lines run, for
        `line_coverage`. May be set later: it then holds for modules that are made from then on.
    order : {"forward", "reverse", "random"}
        The order in which blocks, and the threads of a block, run. May be set later, as may `seed`: both then hold from
        the next launch on, of whichever module.
    seed : int
        Of the order "random".

    Raises ArgumentError for other values.
    """

    def __init__(self, mode: str = "check", order: str = "forward", seed: int = 0) -> None:
        self.mode = mode
        self.order = order
        self.seed = seed
        self._modules: dict[tuple[object, ...], EmulatedModule] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in CHOICES:
            as_choice(value, name, CHOICES[name])
        if name == "seed" and not is_int(value):
            raise ArgumentError(f"seed must be an int, got {value!r}")
        super().__setattr__(name, value)

    def module(
        self,
        source: str,
        options: Sequence[str] = (),
        filename: str = "kernel.cu",
        name_expressions: Sequence[str] = (),
    ) -> EmulatedModule:
        """The compiled source, from the cache if it has been compiled before.

        Parameters
        ----------
        source : str
            CUDA C++. A first line `#line 1 "im2col.cu"` gives the name for messages in place of `filename`.
        options : sequence of str
            As for NVRTC. -D and -U count; all others, such as -std=c++17, say nothing here.
        filename : str
            The name for messages.
        name_expressions : sequence of str
            Instances of template kernels to compile, such as "convolve<float>".

        Raises KernelError, with the compiler's words and the source's lines, if the source does not compile,
        DeviceError if there is no g++, ArgumentError if a name expression names no kernel.

        Compiled modules lie in the folder that the environment variable GPUCNN_EMULATOR_CACHE names, by default
        ~/.cache/gpucnn/emulator; those of mode "coverage" go with the process.
        """
        text, filename = split_filename(source, filename)
        definitions = tuple(option for option in options if option.startswith(("-D", "-U")))
        text, constants = constants_as_variables(text)
        cuda_source = CudaSource(text, filename, definitions, tuple(name_expressions))
        key = (self.mode, cuda_source, *constants.items())
        if key not in self._modules:
            self._modules[key] = EmulatedModule(load(cuda_source, self.mode), self._schedule, constants)
        return self._modules[key]

    def _schedule(self) -> Schedule:
        return Schedule(self.order, self.seed)
