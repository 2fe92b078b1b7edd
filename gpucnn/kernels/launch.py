"""The only door to a CUDA launch: what a kernel takes, the checks CuPy does not make, and who runs it.

A `Kernel` names a function of a `.cu` file and repeats its parameter list. `launch` holds every call against that list:
CuPy would look neither at the number of arguments nor at their types, would ignore strides, and would hand a Python
float over as a double where the kernel reads a float.

The `.cu` files are written in two types: `T`, of the arrays, and `A`, in which the kernel computes. Both are declared
when a file is compiled, so that half-precision storage needs no other source. Every kernel loops over its work in
strides of the whole grid, and so is right for any number of blocks.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpucnn.backend import Array, arrays, beside, cuda, own_package, xp_of
from gpucnn.checks import is_int
from gpucnn.errors import LaunchError

TYPE_NAMES: dict[np.dtype, tuple[str, str]] = {
    np.dtype(np.float32): ("float", "float"),
    np.dtype(np.float64): ("double", "double"),
}
"""How `T` and `A` are called for arrays of each dtype that the kernels are compiled for."""

SCALARS: dict[str, np.dtype] = {
    "unsigned char": np.dtype(np.uint8),
    "int": np.dtype(np.int32),
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}

INTEGER_RANGES: dict[np.dtype, tuple[int, int]] = {
    dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in SCALARS.values() if dtype.kind in "iu"
}

MOST_BLOCKS = 16_384
"""More than a GPU runs at a time; what is left over, each thread takes in its loop."""

WINDOW = (
    "int height, int width, int kernel_height, int kernel_width, int stride_height, int stride_width, "
    "int padding_top, int padding_left, int dilation_height, int dilation_width, int output_height, int output_width"
)
"""The parameters of a kernel that slides windows over images, in the order of `Window.sizes`."""


class Parameter(NamedTuple):
    """One parameter of a kernel: `type` is its C type without `const` and `*`."""

    name: str
    type: str
    pointer: bool
    const: bool
    nullable: bool

    def __str__(self) -> str:
        return f"{'const ' if self.const else ''}{self.type}{'*' if self.pointer else ''} {self.name}"


class Kernel:
    """A CUDA kernel, as the launcher knows it.

    - `source`: the `.cu` file. `name`: its function there, declared `extern "C" __global__ void`.
    - `signature`: its parameter list as it stands in the source; `= null` behind a pointer's name allows None.
    - `block`: how many threads a block has.
    """

    def __init__(self, source: Path, name: str, signature: str, block: int = 256) -> None:
        self.source, self.name, self.signature, self.block = source, name, signature, block
        KERNELS[name] = self

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order. Raises LaunchError for a type that `launch` cannot check."""
        parameters = tuple(_parse(text) for text in self.signature.split(","))
        for parameter in parameters:
            if parameter.type not in ("T", *SCALARS) and (parameter.pointer or parameter.type != "A"):
                raise LaunchError(
                    f'{self.name}: "{parameter}" has a type that launch does not know; it knows '
                    f"T, {', '.join(SCALARS)}, and A for what is no pointer"
                )
        return parameters


KERNELS: dict[str, Kernel] = {}
"""Every kernel by its name, as soon as the module that launches it has been imported."""


class Runner(Protocol):
    """What runs a kernel once its arguments are known to fit."""

    def run(self, kernel: Kernel, dtype: np.dtype, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Run `kernel`, compiled for arrays of `dtype`, in `blocks` blocks. Need not wait until it has ended."""


class CupyRunner:
    """Compiles with NVRTC and launches on the current stream, through CuPy. Compiles a kernel once a dtype."""

    def __init__(self) -> None:
        self.compile_seconds: dict[tuple[str, str], float] = {}
        """How long the first use of each (kernel, dtype) took to compile, or to load from CuPy's cache on the disk."""
        self._cupy: ModuleType | None = None
        self._functions: dict[tuple[Kernel, np.dtype], Callable[..., None]] = {}

    def run(self, kernel: Kernel, dtype: np.dtype, blocks: int, arguments: tuple[Any, ...]) -> None:
        cupy = cuda.cupy()
        if cupy is not self._cupy:  # a stand-in has taken CuPy's place, or left it
            self._cupy, self._functions = cupy, {}
        function = self._functions.get((kernel, dtype))
        if function is None:
            start = time.perf_counter()
            module = cupy.RawModule(code=source_text(kernel.source, dtype))
            function = self._functions[kernel, dtype] = module.get_function(kernel.name)
            self.compile_seconds[kernel.name, str(dtype)] = time.perf_counter() - start
        function((blocks,), (kernel.block,), arguments)


cupy_runner = CupyRunner()
_runner: Runner = cupy_runner


@contextmanager
def use_runner(runner: Runner) -> Iterator[None]:
    """Inside, kernels are handed to `runner`: to count, time or leave out launches."""
    global _runner
    before, _runner = _runner, runner
    try:
        yield
    finally:
        _runner = before


def contiguous(array: Array | None) -> Array | None:
    """The array in C order, as a kernel takes it; None stays None."""
    return None if array is None else xp_of(array).ascontiguousarray(array)


def launch(kernel: Kernel, size: int, *arguments: Any) -> None:
    """Run `kernel` with `size` threads, or with fewer that share their work. Nothing happens for a size of 0.

    Arrays must be C-contiguous, of the dtype that the parameter's type says, and all on one device, where it runs. Integers
    are taken as Python or NumPy ints and cast to the parameter's type. A float must be a NumPy scalar of the exact
    type; what changes from step to step belongs in a small device array, as a captured CUDA graph keeps scalars.

    Raises LaunchError, which names the kernel and the parameter, for anything else.
    """
    if not is_int(size) or size < 0:
        raise LaunchError(f"{kernel.name}: size, the number of threads, must be an int from 0, got {size!r}")
    parameters = kernel.parameters
    if len(arguments) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise LaunchError(f"{kernel.name} takes {len(parameters)} arguments ({names}), got {len(arguments)}")
    dtype, array = _check_arrays(kernel, arguments)
    checked = tuple(
        argument if parameter.pointer else _scalar(kernel, parameter, argument, dtype)
        for parameter, argument in zip(parameters, arguments, strict=True)
    )
    if size > 0:
        blocks = min(-(-int(size) // kernel.block), MOST_BLOCKS)
        with nullcontext() if array is None else beside(array):
            _runner.run(kernel, dtype or np.dtype(np.float32), blocks, checked)


def source_text(source: Path, dtype: np.dtype) -> str:
    """The text of a `.cu` file as the compiler gets it for arrays of `dtype`, with its name for error messages.

    `T` and `A` are declared, not defined by -D: a macro T would go into NVRTC's own headers and break their templates.
    They stand in front of the first line, which must be no directive, so that all lines keep their numbers.
    """
    storage, arithmetic = TYPE_NAMES[dtype]
    types = f"typedef {storage} T; typedef {arithmetic} A;"
    return f'#line 1 "{source.name}"\n{types} {own_package.read(source).decode()}'


def _parse(text: str) -> Parameter:
    declaration, _, default = (part.strip() for part in text.partition("="))
    type_text, _, name = declaration.rpartition(" ")
    const, pointer = type_text.startswith("const "), type_text.endswith("*")
    return Parameter(name, type_text.removeprefix("const ").removesuffix("*"), pointer, const, default == "null")


def _check_arrays(kernel: Kernel, arguments: tuple[Any, ...]) -> tuple[np.dtype | None, Array | None]:
    """Hold the arrays against the pointers, all on one device. Returns the dtype of T, None if no array tells, and an array."""
    dtype, first, device, array = None, "", None, None
    gpu_array = getattr(arrays.loaded(), "ndarray", ())
    for parameter, argument in zip(kernel.parameters, arguments, strict=True):
        if not parameter.pointer or (argument is None and parameter.nullable):
            continue
        if argument is None:
            raise LaunchError(
                f'{kernel.name}: {parameter.name} must be a GPU array, got None; only "= null" in the signature allows it'
            )
        if not isinstance(argument, gpu_array):
            raise LaunchError(
                f"{kernel.name}: {parameter.name} must be a GPU array, got {_kind(argument)}; "
                f'give tensor.to("cuda").data, or backend.to_device(array, device)'
            )
        own: np.dtype = argument.dtype
        if parameter.type == "T" and dtype is None and own in TYPE_NAMES:
            dtype, first = own, parameter.name
        if own != (dtype if parameter.type == "T" else SCALARS[parameter.type]):
            wanted = str(SCALARS.get(parameter.type) or (f"{dtype}, as {first} is" if dtype else ""))
            wanted = wanted or " or ".join(map(str, TYPE_NAMES))
            raise LaunchError(
                f"{kernel.name}: {parameter.name} must be an array of {wanted}, got {own}; convert it with astype"
            )
        if not argument.flags.c_contiguous:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is not C-contiguous (a transposed array or a slice), and a kernel knows no strides; "
                f"give xp.ascontiguousarray({parameter.name})"
            )
        own_device = argument.data.device_id
        if device is None:
            device, array = own_device, argument
        if own_device != device:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is on cuda:{own_device}, the arrays before it on cuda:{device}; "
                f"bring all arrays to one device"
            )
    return dtype, array


def _scalar(kernel: Kernel, parameter: Parameter, value: Any, dtype: np.dtype | None) -> np.generic:
    target = SCALARS.get(parameter.type)
    if target is None:  # T, or A, which has its width as long as there are no kernels for half precision
        if dtype is None:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is of type {parameter.type}, but no array tells which that is; "
                f"give at least one array of T"
            )
        target = dtype
    if target.kind == "f":
        if not isinstance(value, np.floating) or value.dtype != target:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} must be a numpy.{target}, got {_kind(value)}; a kernel would read "
                f"its bytes as another number; give numpy.{target}(...), or a device array if it changes from step to step"
            )
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise LaunchError(
            f"{kernel.name}: {parameter.name} must be an int ({parameter.type}), got {_kind(value)}; give int(...)"
        )
    low, high = INTEGER_RANGES[target]
    if not low <= value <= high:
        raise LaunchError(
            f"{kernel.name}: {parameter.name} must be from {low} to {high} ({parameter.type}), got {value}"
        )
    scalar: np.generic = target.type(value)
    return scalar


def _kind(value: Any) -> str:
    own = type(value)
    if value is None:
        return "None"
    if own.__module__ == "builtins":
        return f"a Python {own.__name__}"
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") and not isinstance(value, np.generic) else ""
    return f"a {own.__module__.partition('.')[0]}.{own.__name__}{dtype}"
