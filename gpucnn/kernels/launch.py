"""The only door to a CUDA launch: the checks that CuPy does not make, and who runs a kernel.

`launch` holds every call against the parameter list that a `Kernel` repeats: CuPy would look neither at the number of
arguments nor at their types, would ignore strides, and would hand a Python float over as a double where the kernel reads a
float.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpucnn.backend import Array, arrays, cuda, xp_of
from gpucnn.checks import is_int
from gpucnn.errors import LaunchError
from gpucnn.kernels.kernel import (
    ARITHMETIC,
    BF16,
    NARROW,
    SCALARS,
    WIDE,
    Kernel,
    Parameter,
    Variant,
    divisor_of,
    source_text,
)

INTEGER_RANGES: dict[np.dtype, tuple[int, int]] = {
    dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in SCALARS.values() if dtype.kind in "iu"
}

MOST_BLOCKS = 16_384
"""More than a GPU runs at a time; what is left over, each thread takes in its loop."""

COUNTED_IN_32_BITS = 2**31
"""Fewer elements, and fewer threads, than this: then a kernel counts in 32 bits."""

MOST_REMEMBERED = 4096
"""Calls that are known to be right; a training step of ResNet-50 makes some hundred different ones."""


class Call(NamedTuple):
    """A call that is right, and what has been made of it."""

    variant: Variant
    device: int | None
    """Of the arrays, if there are any."""
    blocks: int
    """As many as its threads fill."""
    arguments: tuple[Any, ...]
    """What the kernel gets; None for what it takes from each call."""


class Known:
    """The calls that were found to be right, by all that decides whether they are."""

    def __init__(self) -> None:
        self.calls: dict[Hashable, Call] = {}
        self.cupy: ModuleType | None = None

    def add(self, key: Hashable, call: Call) -> None:
        """Remember one more; when there are too many, only that one."""
        if len(self.calls) >= MOST_REMEMBERED:
            self.calls = {}
        self.calls[key] = call

    def forget(self, cupy: ModuleType | None) -> None:
        """Start anew: a stand-in has taken CuPy's place, or left it."""
        self.calls, self.cupy = {}, cupy


_known = Known()


class Runner(Protocol):
    """What runs a kernel once its arguments are known to fit."""

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Run `kernel`, compiled for `variant`, in `blocks` blocks. Need not wait until it has ended.

        `arguments` are those of `kernel.arguments`: arrays, None, NumPy scalars of exactly the type, and for a Divisor a
        NumPy array that holds one.
        """


class CupyRunner:
    """Compiles with NVRTC and launches on the current stream, through CuPy. Compiles a kernel once a variant."""

    def __init__(self) -> None:
        self.compile_seconds: dict[tuple[str, str], float] = {}
        """How long the variants of each (kernel, dtype) took to compile, or to load from CuPy's cache on the disk."""
        self._cupy: ModuleType | None = None
        self._functions: dict[tuple[Kernel, Variant], Callable[..., None]] = {}

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        cupy = cuda.cupy()
        if cupy is not self._cupy:  # a stand-in has taken CuPy's place, or left it
            self._cupy, self._functions = cupy, {}
        function = self._functions.get((kernel, variant))
        if function is None:
            start = time.perf_counter()
            module = cupy.RawModule(code=source_text(kernel.source, variant))
            function = self._functions[kernel, variant] = module.get_function(kernel.name)
            key = kernel.name, str(variant.dtype)
            self.compile_seconds[key] = self.compile_seconds.get(key, 0.0) + time.perf_counter() - start
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

    Arrays must be C-contiguous, of the dtype that the parameter's type says, and all on one device, where it runs: those of `T`
    of one dtype, those of `A` of the dtype in which the kernel then computes, see `kernel.ARITHMETIC`. Integers
    are taken as Python or NumPy ints and cast to the parameter's type. A float must be a NumPy scalar of the exact
    type; what changes from step to step belongs in a small device array, as a captured CUDA graph keeps scalars.

    A call that was right once is right again: all that decides it is compared, and nothing is checked twice.

    Raises LaunchError, which names the kernel and the parameter, for anything else.
    """
    cupy = arrays.loaded()
    if cupy is not _known.cupy:
        _known.forget(cupy)
    try:
        # What things are, integers' values (types tell 1 from 1.0 and True), and what a kernel has to know of an array. Not
        # what floats are: the kernel takes them as they are given.
        facts = [kernel, size, type(size), tuple(map(type, arguments)), kernel.integers(arguments)]
        for place in kernel.pointers:
            array = arguments[place]
            if array is not None:
                facts += array.dtype, array.flags.c_contiguous, array.data.device_id, array.size < COUNTED_IN_32_BITS
        key: Hashable = tuple(facts)
        call = _known.calls.get(key)
    except (AttributeError, IndexError, TypeError):  # no array, too few arguments, or a list for a number
        key = call = None
    if call is None:
        call = _check(kernel, size, arguments)
        if key is not None:
            _known.add(key, call)
    variant, device, blocks, known = call
    if blocks == 0:
        return
    passed = [*known]
    for place, own in kernel.taken:
        passed[own] = arguments[place]
    if blocks > MOST_BLOCKS:
        blocks = MOST_BLOCKS
    if device is None or cupy is None or cupy.cuda.runtime.getDevice() == device:
        _runner.run(kernel, variant, blocks, tuple(passed))
    else:
        with cupy.cuda.Device(device):
            _runner.run(kernel, variant, blocks, tuple(passed))


def _check(kernel: Kernel, size: Any, arguments: tuple[Any, ...]) -> Call:
    """Hold a call against the kernel's parameters. Raises LaunchError unless it is right."""
    if not is_int(size) or size < 0:
        raise LaunchError(f"{kernel.name}: size, the number of threads, must be an int from 0, got {size!r}")
    parameters = kernel.parameters
    if len(arguments) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise LaunchError(f"{kernel.name} takes {len(parameters)} arguments ({names}), got {len(arguments)}")
    (dtype, device), counts = _check_arrays(kernel, arguments), [size]
    numbers: dict[str, Any] = {}
    for parameter, argument in zip(parameters, arguments, strict=True):
        if parameter.pointer:
            counts += [] if argument is None else [argument.size]
            continue
        numbers[parameter.name] = _number(kernel, parameter, argument, dtype)
        if parameter.type in ("I", "Divisor"):
            counts.append(argument)
    index = NARROW if max(counts) < COUNTED_IN_32_BITS else WIDE
    for parameter in kernel.arguments:
        if parameter.type == "I":
            numbers[parameter.name] = index.integer(numbers[parameter.name])
        elif parameter.type == "Divisor":
            numbers[parameter.name] = divisor_of(int(numbers[parameter.name]), index)
    constants = tuple((name, int(numbers[name])) for name, *_, constant in parameters if constant)
    given = tuple(numbers[parameter.name] if parameter.integer else None for parameter in kernel.arguments)
    return Call(Variant(dtype or np.dtype(np.float32), index, constants), device, -(-int(size) // kernel.block), given)


def _check_arrays(kernel: Kernel, arguments: tuple[Any, ...]) -> tuple[np.dtype | None, int | None]:
    """Hold the arrays against the pointers. Returns the dtype of T and the device, None for what no array tells."""
    dtype, first, device = None, "", None
    gpu_array = getattr(arrays.loaded(), "ndarray", ())
    in_order = sorted(zip(kernel.parameters, arguments, strict=True), key=lambda one: one[0].type == "A")
    for parameter, argument in in_order:  # T's first: they tell what A is
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
        known = kernel.dtypes if parameter.type == "T" else ARITHMETIC.values() if parameter.type == "A" else ()
        if dtype is None and own in known:
            dtype, first = own, parameter.name
        if own != _dtype(parameter, dtype):
            wanted = f"{_dtype(parameter, dtype)}, as {first} is" if dtype else "float32 or float64"
            if dtype is None and kernel.bf16 and parameter.type == "T":
                wanted += " or uint16 (bfloat16)"
            elif dtype == BF16 and parameter.type == "A":
                wanted = f"float32, with which {first}, of bfloat16, is computed"
            wanted = str(SCALARS.get(parameter.type) or wanted)
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
            device = own_device
        if own_device != device:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is on cuda:{own_device}, the arrays before it on cuda:{device}; "
                f"bring all arrays to one device"
            )
    return dtype, device


def _dtype(parameter: Parameter, dtype: np.dtype | None) -> np.dtype | None:
    """What arrays of a parameter hold where those of T hold `dtype`; None where no array tells."""
    if parameter.type == "A":
        return None if dtype is None else ARITHMETIC[dtype]
    return dtype if parameter.type == "T" else SCALARS[parameter.type]


def _number(kernel: Kernel, parameter: Parameter, value: Any, dtype: np.dtype | None) -> np.generic:
    """The value as the kernel takes it; of an index, which must be from 0 on, the widest form."""
    target = SCALARS["long long"] if parameter.type in ("I", "Divisor") else SCALARS.get(parameter.type)
    if target is None:  # T or A
        if dtype is None:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is of type {parameter.type}, but no array tells which that is; "
                f"give at least one array of T"
            )
        target = ARITHMETIC[dtype]
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
    low = 0 if parameter.type in ("I", "Divisor") else low
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
