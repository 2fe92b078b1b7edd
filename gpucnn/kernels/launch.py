"""The only door to a CUDA launch: what a kernel takes, the checks CuPy does not make, and who runs it.

A `Kernel` names a function of a `.cu` file and repeats its parameter list. `launch` holds every call against that list:
CuPy would look neither at the number of arguments nor at their types, would ignore strides, and would hand a Python
float over as a double where the kernel reads a float.

The `.cu` files are written in types that are declared when a file is compiled, see `Variant`: `T`, of the arrays, `A`, in
which the kernel computes, and `I`, in which it counts: 32 bits, unless the call has more elements than they count. Every
kernel loops over its work in strides of the whole grid, and so is right for any number of blocks.
"""

import functools
import operator
import re
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpucnn.backend import Array, arrays, cuda, own_package, xp_of
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

COUNTED_IN_32_BITS = 2**31
"""Fewer elements, and fewer threads, than this: then a kernel counts in 32 bits."""

MOST_REMEMBERED = 4096
"""Calls that are known to be right; a training step of ResNet-50 makes some hundred different ones."""


@dataclass(frozen=True, eq=False)
class IndexType:
    """What `I` is, and `Divisor`, a number that indices are divided by: a kernel writes `i / width`, and `width.value`."""

    declared: str
    integer: type[np.unsignedinteger]
    divisor: np.dtype


NARROW = IndexType(
    "typedef unsigned int I; "
    "struct Divisor { I value, multiplier, shift; }; "
    "__device__ I operator/(I n, Divisor d) { return __umulhi(2 * n, d.multiplier) >> d.shift; } "
    "__device__ I operator%(I n, Divisor d) { return n - n / d * d.value; }",
    np.uint32,
    np.dtype([("value", np.uint32), ("multiplier", np.uint32), ("shift", np.uint32)]),
)
"""Indices below 2^31, and no division: a multiplication, see `divisor_of`."""

WIDE = IndexType(
    "typedef unsigned long long I; "
    "struct Divisor { I value; }; "
    "__device__ I operator/(I n, Divisor d) { return n / d.value; } "
    "__device__ I operator%(I n, Divisor d) { return n % d.value; }",
    np.uint64,
    np.dtype([("value", np.uint64)]),
)
"""Indices below 2^63. A GPU divides them in software, at some 40 times the cost."""


class Variant(NamedTuple):
    """What a source is compiled for: the arrays' dtype, which says what `T` and `A` are, what `I` is, and its constants."""

    dtype: np.dtype
    index_type: IndexType
    constants: tuple[tuple[str, int], ...] = ()


WINDOW = (
    "Divisor height, Divisor width, int kernel_height, int kernel_width, Divisor stride_height, Divisor stride_width, "
    "int padding_top, int padding_left, int dilation_height, int dilation_width, "
    "Divisor output_height, Divisor output_width"
)
"""The parameters of a kernel that slides windows over images, in the order of `Window.sizes`."""

COMPILED_WINDOW = re.sub(r"\w+ (?=kernel_|stride_|dilation_)", "constant int ", WINDOW)
"""The same where the compiler is to know the shape of the window, so that no tap costs a division or a loop's end."""


class Parameter(NamedTuple):
    """One parameter of a kernel: `type` is its C type without `const` and `*`.

    A `constant` is an int that the compiler is to know: the launcher declares it before the source, and it is not among
    the kernel's arguments there.
    """

    name: str
    type: str
    pointer: bool
    const: bool
    nullable: bool
    constant: bool

    @property
    def integer(self) -> bool:
        """Whether a call gives an integer for it."""
        return not self.pointer and self.type not in ("T", "A", "float", "double")

    def __str__(self) -> str:
        return f"{'const ' if self.const else ''}{self.type}{'*' if self.pointer else ''} {self.name}"


class Kernel:
    """A CUDA kernel, as the launcher knows it.

    - `source`: the `.cu` file. `name`: its function there, declared `extern "C" __global__ void`.
    - `signature`: its parameter list as it stands in the source; `= null` behind a pointer's name allows None. A
      `constant int` does not stand there: it is declared before the source, for all kernels of the file.
    - `block`: how many threads a block has.
    """

    def __init__(self, source: Path, name: str, signature: str, block: int = 256) -> None:
        self.source, self.name, self.signature, self.block = source, name, signature, block
        KERNELS[name] = self

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What a call gives, in order. Raises LaunchError for a type that `launch` cannot check."""
        parameters = tuple(_parse(text) for text in self.signature.split(","))
        for parameter in parameters:
            known = (
                ("int",)
                if parameter.constant
                else ("T", *SCALARS)
                if parameter.pointer
                else ("T", "A", "I", "Divisor", *SCALARS)
            )
            if parameter.type not in known or (parameter.constant and parameter.pointer):
                raise LaunchError(
                    f'{self.name}: "{parameter}" has a type that launch does not know; it knows '
                    f"T, {', '.join(SCALARS)}, and A, I and Divisor for what is no pointer; a constant is an int"
                )
        return parameters

    @functools.cached_property
    def arguments(self) -> tuple[Parameter, ...]:
        """The parameters as they stand in the source: without constants."""
        return tuple(parameter for parameter in self.parameters if not parameter.constant)

    @functools.cached_property
    def integers(self) -> Callable[[tuple[Any, ...]], Any]:
        """Picks the integers out of what a call gives."""
        places = [place for place, parameter in enumerate(self.parameters) if parameter.integer]
        return operator.itemgetter(*places) if places else lambda given: None

    @functools.cached_property
    def pointers(self) -> tuple[int, ...]:
        """Where the arrays are in what a call gives."""
        return tuple(place for place, parameter in enumerate(self.parameters) if parameter.pointer)

    @functools.cached_property
    def taken(self) -> tuple[tuple[int, int], ...]:
        """What the kernel gets as a call gives it, arrays and floats: (where it is there, where among the arguments)."""
        places = [(self.parameters.index(parameter), own) for own, parameter in enumerate(self.arguments)]
        return tuple((place, own) for place, own in places if not self.parameters[place].integer)


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
KERNELS: dict[str, Kernel] = {}
"""Every kernel by its name, as soon as the module that launches it has been imported."""


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

    Arrays must be C-contiguous, of the dtype that the parameter's type says, and all on one device, where it runs. Integers
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


def source_text(source: Path, variant: Variant) -> str:
    """The text of a `.cu` file as the compiler gets it for `variant`, with its name for error messages.

    Types and constants are declared, not defined by -D: a macro T would go into NVRTC's own headers and break their
    templates. They stand in front of the first line, which must be no directive, so that all lines keep their numbers.
    """
    storage, arithmetic = TYPE_NAMES[variant.dtype]
    types = f"typedef {storage} T; typedef {arithmetic} A; {variant.index_type.declared}"
    constants = "".join(f"constexpr int {name} = {value}; " for name, value in variant.constants)
    return f'#line 1 "{source.name}"\n{types} {constants}{own_package.read(source).decode()}'


def divisor_of(value: int, index: IndexType) -> np.ndarray:
    """The `Divisor` of an index type, as a kernel takes it: an array () of its dtype.

    A narrow one has a multiplier, so that `2 * n * multiplier >> 32 + shift` is `n // value` for all n below 2^31: with
    2^shift the smallest power of 2 from `value` on, that is n / value times 1 + e, where e is at most 2^-31, and so too
    little to reach the next whole number. (Granlund and Montgomery, "Division by invariant integers using multiplication",
    1994.) Where there is nothing to divide `value` may be 0.
    """
    if index is WIDE:
        return np.array((value,), index.divisor)
    shift = max(value - 1, 0).bit_length()
    multiplier = (1 << 31 + shift) // value + 1 if value else 0
    return np.array((value, multiplier, shift), index.divisor)


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


def _parse(text: str) -> Parameter:
    declaration, _, default = (part.strip() for part in text.partition("="))
    type_text, _, name = declaration.rpartition(" ")
    constant, const, pointer = (
        type_text.startswith("constant "),
        type_text.startswith("const "),
        type_text.endswith("*"),
    )
    c_type = type_text.removeprefix("constant ").removeprefix("const ").removesuffix("*")
    return Parameter(name, c_type, pointer, const, default == "null", constant)


def _picker(places: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes the items at `places` out of a tuple."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda items: tuple(items[place] for place in places)


def _check_arrays(kernel: Kernel, arguments: tuple[Any, ...]) -> tuple[np.dtype | None, int | None]:
    """Hold the arrays against the pointers. Returns the dtype of T and the device, None for what no array tells."""
    dtype, first, device = None, "", None
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
            device = own_device
        if own_device != device:
            raise LaunchError(
                f"{kernel.name}: {parameter.name} is on cuda:{own_device}, the arrays before it on cuda:{device}; "
                f"bring all arrays to one device"
            )
    return dtype, device


def _number(kernel: Kernel, parameter: Parameter, value: Any, dtype: np.dtype | None) -> np.generic:
    """The value as the kernel takes it; of an index, which must be from 0 on, the widest form."""
    target = SCALARS["long long"] if parameter.type in ("I", "Divisor") else SCALARS.get(parameter.type)
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
