"""A CUDA kernel as it is declared: its `.cu` file, its parameter list, and what the compiler is told before the source.

The `.cu` files are written in types that are declared when a file is compiled, see `Variant`: `T`, of the arrays, `A`, in
which the kernel computes, and `I`, in which it counts: 32 bits, unless the call has more elements than they count. `T` and `A`
differ where arrays are stored as bfloat16, see `BF16`. Every kernel loops over its work in strides of the whole grid, and so
is right for any number of blocks.
"""

import functools
import operator
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import own_package
from gpucnn.errors import LaunchError

TYPE_NAMES: dict[np.dtype, tuple[str, str]] = {
    np.dtype(np.float32): ("float", "float"),
    np.dtype(np.float64): ("double", "double"),
}
"""How `T` and `A` are called for arrays of each dtype that all kernels are compiled for."""

BF16 = np.dtype(np.uint16)
"""How arrays hold bfloat16: the upper halves of float32's bits. NumPy and CuPy take them for integers, and do not see them."""

BF16_TYPE = (
    "struct BF16 { unsigned short bits; BF16() = default; "
    "__device__ BF16(float value) { const unsigned int given = __float_as_uint(value); bits = value != value "
    "? given >> 16 | 0x40 : given + 0x7fff + (given >> 16 & 1) >> 16; } "
    "__device__ operator float() const { return __uint_as_float((unsigned int)bits << 16); } };"
)
"""`T` of such arrays, which all sources know: what is read is a float, what is written is rounded to the nearest, of two the even one. A NaN stays one."""

ARITHMETIC = {**{dtype: dtype for dtype in TYPE_NAMES}, BF16: np.dtype(np.float32)}
"""What `A` is for arrays of each dtype: parameters, sums and statistics, which bfloat16 would be too short for."""

SCALARS: dict[str, np.dtype] = {
    "unsigned char": np.dtype(np.uint8),
    "int": np.dtype(np.int32),
    "long long": np.dtype(np.int64),
    "unsigned long long": np.dtype(np.uint64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}


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
    """What a source is compiled for: the dtype of arrays of `T`, which says what `A` is, too, what `I` is, and its constants."""

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
    - `block`: how many threads a block has. `bf16`: whether arrays of `T` may hold bfloat16; all kernels of a file say the same.
    - `multiply_adds`: of a kernel that multiplies matrices, how many a call takes, from its integers and constants by name.
    - `clocks`: of one that does so on tensor cores, those of one multiprocessor for all blocks, as far as they can be counted.
    """

    def __init__(
        self,
        source: Path,
        name: str,
        signature: str,
        block: int = 256,
        multiply_adds: Callable[[Mapping[str, int]], int] | None = None,
        bf16: bool = False,
        clocks: Callable[[Mapping[str, int]], int] | None = None,
    ) -> None:
        self.source, self.name, self.signature, self.block = source, name, signature, block
        self.multiply_adds, self.bf16, self.clocks = multiply_adds, bf16, clocks
        KERNELS[name] = self

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What a call gives, in order. Raises LaunchError for a type that `launch` cannot check."""
        parameters = tuple(_parse(text) for text in self.signature.split(","))
        for parameter in parameters:
            known = (
                ("int",)
                if parameter.constant
                else ("T", "A", *SCALARS)
                if parameter.pointer
                else ("T", "A", "I", "Divisor", *SCALARS)
            )
            if parameter.type not in known or (parameter.constant and parameter.pointer):
                raise LaunchError(
                    f'{self.name}: "{parameter}" has a type that launch does not know; it knows '
                    f"T, A, {', '.join(SCALARS)}, and I and Divisor for what is no pointer; a constant is an int"
                )
            if self.bf16 and parameter.type == "T" and not parameter.pointer:
                raise LaunchError(f'{self.name}: "{parameter}" is a number, which no bfloat16 holds; declare it as A')
        return parameters

    @property
    def dtypes(self) -> tuple[np.dtype, ...]:
        """What arrays of `T` may hold."""
        return (*TYPE_NAMES, BF16) if self.bf16 else tuple(TYPE_NAMES)

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


_INCLUDE = re.compile(r'^#include "([\w./]+\.cuh)"\n', re.MULTILINE)

KERNELS: dict[str, Kernel] = {}
"""Every kernel by its name, as soon as the module that launches it has been imported."""


def source_text(source: Path, variant: Variant) -> str:
    """The text of a `.cu` file as the compiler gets it for `variant`, with its name for error messages.

    Types and constants are declared, not defined by -D: a macro T would go into NVRTC's own headers and break their
    templates. They stand in front of the first line, which must be no directive, so that all lines keep their numbers.
    """
    storage, arithmetic = ("BF16", "float") if variant.dtype == BF16 else TYPE_NAMES[variant.dtype]
    types = f"{BF16_TYPE} typedef {storage} T; typedef {arithmetic} A; {variant.index_type.declared}"
    constants = "".join(f"constexpr int {name} = {value}; " for name, value in variant.constants)
    text = with_includes(own_package.read(source).decode(), source)
    return f'#line 1 "{source.name}"\n{types} {constants}{text}'


def with_includes(text: str, path: Path) -> str:
    """The text of a `.cu` file with each `.cuh` file in the place of its `#include`, since NVRTC is given no folders.

    Where that is, is told from `path`, the file's own. All lines keep their numbers, under the name of their file. Raises
    LaunchError if it is not there.
    """

    def included(match: re.Match[str]) -> str:
        header = Path(os.path.normpath(path.parent / match[1]))
        try:
            content = with_includes(own_package.read(header).decode(), header)
        except OSError as error:
            raise LaunchError(
                f'{path.name} has #include "{match[1]}", but there is no {header}; give the path from where {path.name} lies'
            ) from error
        following = text.count("\n", 0, match.end()) + 1
        return f'#line 1 "{header.name}"\n{content}\n#line {following} "{path.name}"\n'

    return _INCLUDE.sub(included, text)


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
