"""CUDA source to C++: which kernels there are, and the one construct that C++ has no counterpart for."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from gpucnn.errors import ArgumentError

_LINE = re.compile(r'\A\s*#\s*line\s+1\s+"([^"]+)"[^\n]*\n')
_GLOBAL = re.compile(r"\b__global__\b")
_TEMPLATE = re.compile(r"template\s*<[^{};]*>\s*\Z")
_WORD = re.compile(r"\s*(?:void|static|inline)\b|\s*__launch_bounds__\s*(?=\()")
_LINKAGE = re.compile(r'(?:extern\s+"C"\s+|static\s+|inline\s+|void\s+)+\Z')
_NAME = re.compile(r"\s*(\w+)\s*(?=\()")
_CONSTANT = re.compile(r"constexpr int (\w+) = (-?\d+);")
_DYNAMIC = re.compile(
    r"\bextern\s+__shared__\s+(?:__align__\s*\([^)]*\)\s*|alignas\s*\([^)]*\)\s*)?([\w:\s]+?)\s*(\w+)\s*\[\s*\]\s*;"
)
_SCALAR = r"(?:unsigned|signed|bool|char|short|int|long|float|double)\b"
_SHARED = re.compile(
    rf"\b__shared__\s+(?:(?:__align__|alignas)\s*\(\s*(\d+)\s*\)\s*)?({_SCALAR}(?:\s+{_SCALAR})*|\w+)([^;]*);"
)
_ALIGNMENTS = {"bool": 1, "char": 1, "short": 2, "half": 2, "__half": 2, "BF16": 2, "int": 4, "float": 4}
_ALIGNMENTS |= dict.fromkeys(
    ("long", "double", "T", "A", "I"), 8
)  # at most: the last three are declared by the launcher
_STRUCT = re.compile(r"\bstruct\s+(\w+)")
_MARKER = re.compile(r"^#[^\n]*$", re.MULTILINE)


class KernelSource(NamedTuple):
    """What the text says about one kernel; its parameters' types are left to the compiler."""

    name: str
    parameters: tuple[str, ...]
    is_template: bool
    launch_bound: str
    """The first argument of `__launch_bounds__` if it is arithmetic on numbers, else "0"."""


class Translation(NamedTuple):
    """A .cu file as C++, with the table of its kernels at the end."""

    code: str
    parameters: dict[str, tuple[str, ...]]
    """Names of the parameters of each kernel in the table."""
    uses_half: bool
    dynamic_arrays: tuple[str, ...]
    shared_alignments: dict[str, int]
    """See the function of this name."""


def split_filename(source: str, filename: str) -> tuple[str, str]:
    """The text, and the name for messages: that of a first line `#line 1 "im2col.cu"` if there is one."""
    match = _LINE.match(source)
    return (source[match.end() :], match[1]) if match else (source, filename)


def define_lines(options: Sequence[str]) -> str:
    """The options -D and -U as preprocessor lines; all others say nothing to this compiler."""
    lines = []
    for option in options:
        name, equals, value = option[2:].partition("=")
        if option.startswith("-D"):
            lines.append(f"#define {name.strip()} {value if equals else '1'}\n")
        elif option.startswith("-U"):
            lines.append(f"#undef {name.strip()}\n")
    return "".join(lines)


def constants_as_variables(text: str) -> tuple[str, dict[str, int]]:
    """Source whose first line declares variables in place of `constexpr int name = value;`, and their values.

    A window's constants then need no compilation of their own: what is compiled once is given other values at each launch.
    """
    first, newline, rest = text.partition("\n")
    values = {name: int(value) for name, value in _CONSTANT.findall(first)}
    return _CONSTANT.sub(r"EMULATOR_EXPORT int \1;", first) + newline + rest, values


def translate(preprocessed: str, name_expressions: Sequence[str]) -> Translation:
    """C++ from preprocessed CUDA; ArgumentError if a name expression names no kernel of it."""
    kernels = {kernel.name: kernel for kernel in find_kernels(preprocessed)}
    rows = [(name, kernel) for name, kernel in kernels.items() if not kernel.is_template]
    for expression in name_expressions:
        base = expression.partition("<")[0].strip()
        if base not in kernels:
            raise ArgumentError(f"name expression {expression!r}: there is no kernel {base!r}, only {sorted(kernels)}")
        rows.append((expression, kernels[base]))
    entries = "".join(
        f'    emulator::describe("{name}", {name}, {kernel.launch_bound}),\n' for name, kernel in dict(rows).items()
    )
    body = members_without_keyword(_DYNAMIC.sub(_dynamic_array, preprocessed))
    code = (
        f'{body}\n#line 1 "table of kernels"\n'
        f'extern "C" EMULATOR_EXPORT emulator::Kernel gpucnn_emulator_kernels[] = {{\n{entries}    {{}}\n}};\n'
    )
    return Translation(
        code,
        {name: kernel.parameters for name, kernel in rows},
        uses_half='cuda_fp16.h"' in preprocessed,
        dynamic_arrays=tuple(name for _, name in _DYNAMIC.findall(preprocessed)),
        shared_alignments=shared_alignments(preprocessed),
    )


def members_without_keyword(preprocessed: str) -> str:
    """Constructors and conversions of structs without `__device__`: it is `static` to g++, which no such member may be."""
    names = "|".join(rf"{name}\(" for name in _STRUCT.findall(preprocessed))
    return re.sub(rf"\b__device__\s+(?=operator\s+[a-z]{f'|{names}' if names else ''})", "", preprocessed)


def shared_alignments(preprocessed: str) -> dict[str, int]:
    """To how many bytes each `__shared__` variable is aligned, as it is declared or as its elements are; 0 if unknown.

    g++ aligns arrays to 16 bytes and more, which would hide that a GPU need not. Where several have one name, the most that
    one of them has; types that may bring an alignment of their own, such as float4, are not known here.
    """
    found: dict[str, list[int]] = {}
    for declared, type_text, rest in _SHARED.findall(preprocessed):
        words = [word for word in type_text.split() if word not in ("unsigned", "signed")] or ["int"]
        alignment = int(declared or _ALIGNMENTS.get(words[0], 0))
        for text in split_arguments(_MARKER.sub("", rest)):
            found.setdefault(_parameter_name(text), []).append(alignment)
    return {name: 0 if 0 in alignments else max(alignments) for name, alignments in found.items()}


def find_kernels(preprocessed: str) -> list[KernelSource]:
    """The kernels in source that has no comments and no macros of its own left."""
    kernels = []
    for match in _GLOBAL.finditer(preprocessed):
        before = _LINKAGE.sub("", preprocessed[: match.start()])
        position, bound = match.end(), "0"
        while word := _WORD.match(preprocessed, position):
            position = word.end()
            if "__launch_bounds__" in word[0]:
                arguments, position = _parenthesized(preprocessed, position)
                bound = _constant(split_arguments(arguments)[0])
        name = _NAME.match(preprocessed, position)
        if name is None:
            continue
        parameters, _ = _parenthesized(preprocessed, name.end())
        kernels.append(
            KernelSource(
                name[1],
                tuple(_parameter_name(text) for text in split_arguments(_MARKER.sub("", parameters))),
                _TEMPLATE.search(before) is not None,
                bound,
            )
        )
    return kernels


def split_arguments(text: str) -> list[str]:
    """Text between parentheses, cut at the commas that belong to it and to nothing within."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "(<[{") - (character in ")>]}")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip() not in ("", "void")]


def _parenthesized(text: str, start: int) -> tuple[str, int]:
    """What stands between the parenthesis at `start` and its partner, and the position after that."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return text[start + 1 : position], position + 1
    return text[start + 1 :], len(text)


def _constant(text: str) -> str:
    return text if re.fullmatch(r"[\d\s()+*/-]+", text) else "0"


def _parameter_name(text: str) -> str:
    names = re.findall(r"\w+", text.partition("=")[0].partition("[")[0])
    return names[-1] if names else ""


def _dynamic_array(match: re.Match[str]) -> str:
    lines = "\n" * match[0].count("\n")
    return f"{match[1]}* const {match[2]} = ({match[1]}*)emulator::gpucnn_emulator_dynamic_shared;{lines}"
