"""From a .cu file to a loaded library."""

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.errors import KernelError
from gpucnn.testing.emulator import cache, coverage
from gpucnn.testing.emulator.compiler import (
    compiler_version,
    kernel_flags,
    require_compiler,
    run,
    runtime_flags,
    sources_folder,
    sources_text,
)
from gpucnn.testing.emulator.source import define_lines, translate

# What NVRTC defines, so that #if in a kernel goes the way that it goes there; and the one name that tells the emulator
# from it, for functions that are inline PTX on a GPU.
_PREDEFINED = ("-D__CUDACC__", "-D__CUDACC_RTC__", "-D__CUDA_ARCH__=800", "-D__GPUCNN_EMULATOR__")
# Nor has NVRTC any standard header to include.
_NO_STANDARD_HEADERS = ("-nostdinc", "-nostdinc++")
_VARIABLE = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) [bBdDuvV] (_Z\w+)$", re.MULTILINE)

_runtimes: dict[str, ctypes.CDLL] = {}


class CudaSource(NamedTuple):
    """All that a compiled module depends on, beside the emulator and the compiler."""

    text: str
    filename: str
    options: tuple[str, ...]
    name_expressions: tuple[str, ...]


class KernelRow(ctypes.Structure):
    """`emulator::Kernel` of runtime/interface.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("invoke", ctypes.c_void_p),
        ("function", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("parameter_count", ctypes.c_int),
        ("launch_bound", ctypes.c_int),
    )


class Variable(NamedTuple):
    """A `__shared__` array that has a size, or a `__device__` or `__constant__` variable."""

    name: str
    is_shared: bool
    address: int
    size: int
    alignment: int
    """Of a `__shared__` array, as it is declared; 0 where that is not known."""


class Library(NamedTuple):
    """A compiled .cu file in memory."""

    path: Path
    rows: Sequence[KernelRow]
    parameters: dict[str, tuple[str, ...]]
    """Names of each kernel's parameters."""
    variables: tuple[Variable, ...]
    dynamic_alignment: int | None
    """Of dynamic shared memory, as it is declared; 0 where that is not known, None if the file uses none."""
    dynamic_shared: int
    """The address of dynamic shared memory."""
    checks_memory: bool
    launch: Callable[[Any], bytes | None]
    """The runtime's function, which takes an `emulator::Launch` and returns what went wrong."""


def load(source: CudaSource, mode: str) -> Library:
    """Compiles what the cache does not have. DeviceError without a compiler, KernelError if it refuses the source."""
    compiler = require_compiler()
    if mode == "coverage":
        return _load_counted(source, compiler)

    def build(folder: Path, library: Path) -> dict[str, Any]:
        return _build_module(source, mode, compiler, folder, library)

    key = cache.digest(_build_key(compiler, kernel_flags(mode)), *source[:2], repr(source[2:]))
    path, content = cache.fetch(f"kernels-{mode}-{key}", build)
    return _open(path, content, _load_runtime(mode, compiler), checks_memory=mode == "check")


@functools.cache
def _load_counted(source: CudaSource, compiler: str) -> Library:
    """With counters of lines, which lie beside the library and are this process's own: it goes into no cache."""
    folder = cache.temporary_folder()
    path = folder / "module.so"
    content = _build_module(source, "coverage", compiler, folder, path)
    library = _open(path, content, _load_runtime("coverage", compiler), checks_memory=False)
    coverage.register(path, source.filename, compiler)
    return library


def _open(path: Path, content: dict[str, Any], runtime: ctypes.CDLL, checks_memory: bool) -> Library:
    table = (KernelRow * len(content["parameters"])).in_dll(ctypes.CDLL(str(path)), "gpucnn_emulator_kernels")
    start = ctypes.addressof(table)
    return Library(
        path,
        tuple(table),
        content["parameters"],
        tuple(
            Variable(name, shared, start + offset, size, alignment)
            for name, shared, offset, size, alignment in content["variables"]
        ),
        content["dynamic_alignment"],
        ctypes.addressof(ctypes.c_char.in_dll(runtime, "gpucnn_emulator_dynamic_shared")),
        checks_memory,
        runtime.gpucnn_emulator_launch,
    )


def locate(library: Library, message: str) -> str:
    """The message with each "@{1a2b}", an offset into the library's code, as "@[im2col.cu:22]"."""
    own_headers = {path.name for path in (sources_folder() / "device").iterdir()}

    def place(match: re.Match[str]) -> str:
        # From the innermost function outwards; a function of our headers is named by the line that calls it.
        found = run(["addr2line", "-i", "-s", "-e", str(library.path), f"0x{match[1]}"], library.path.parent)
        lines = [line.partition(" (")[0] for line in found.splitlines()]
        return f"@[{next((line for line in lines if line.partition(':')[0] not in own_headers), lines[-1])}]"

    return re.sub(r"@\{([0-9a-f]+)\}", place, message)


def _build_key(compiler: str, flags: Sequence[str]) -> str:
    return cache.digest(sources_text(), compiler, compiler_version(compiler), repr(flags))


def _fetch_runtime(mode: str, compiler: str) -> Path:
    flags = runtime_flags(mode)

    def build(folder: Path, library: Path) -> dict[str, Any]:
        source = str(sources_folder() / "runtime" / "runtime.cpp")
        run([compiler, *flags, "-shared", f"-Wl,-soname,{library.name}", source, "-o", library.name], folder)
        return {}

    return cache.fetch(f"runtime-{_build_key(compiler, flags)}", build)[0]


def _load_runtime(mode: str, compiler: str) -> ctypes.CDLL:
    """The runtime of a mode. Kernels find it by its name, as it is in memory before any of them.

    It must be there once only, even if the cache has moved since.
    """
    path = _fetch_runtime(mode, compiler)
    if path.name not in _runtimes:
        runtime = ctypes.CDLL(str(path))
        runtime.gpucnn_emulator_launch.restype = ctypes.c_char_p
        _runtimes[path.name] = runtime
    return _runtimes[path.name]


def _build_module(source: CudaSource, mode: str, compiler: str, folder: Path, library: Path) -> dict[str, Any]:
    # Under its own name beside the build, so that the compiler's messages can quote it.
    own_name = source.filename if re.fullmatch(r"[\w.-]+\.cuh?", source.filename) else "kernel.cu"
    (folder / own_name).write_text(source.text)
    (folder / "input.cc").write_text(f'{define_lines(source.options)}#line 1 "{source.filename}"\n{source.text}\n')
    include = str(sources_folder() / "include")
    try:
        preprocess = [compiler, *_PREDEFINED, *_NO_STANDARD_HEADERS, "-std=c++17", "-w", "-E", "-I", include]
        preprocessed = run([*preprocess, "input.cc"], folder)
        translation = translate(preprocessed, source.name_expressions)
        (folder / "module.cc").write_text(translation.code)
        headers = ["device.h"]
        headers += ["half.h"] if translation.uses_half else []
        headers += ["coverage.h"] if mode == "coverage" else []
        included = [word for header in headers for word in ("-include", str(sources_folder() / "device" / header))]
        # The folder's name is left out of the debug information: what is built depends on the source alone.
        names = [] if mode == "coverage" else [f"-ffile-prefix-map={folder}=."]
        run([compiler, *kernel_flags(mode), *names, *included, "-c", "module.cc", "-o", "module.o"], folder)
    except KernelError as error:
        raise KernelError(f"{source.filename} does not compile:\n{error}") from None
    profiling = ["--coverage"] if mode == "coverage" else []
    runtime = str(_fetch_runtime(mode, compiler))
    run([compiler, "-shared", *profiling, "module.o", runtime, "-lm", "-o", library.name], folder)

    symbols = run(["nm", "-S", library.name], folder)
    table = re.search(r"^([0-9a-f]+) [0-9a-f]+ \w gpucnn_emulator_kernels$", symbols, re.MULTILINE)
    assert table is not None
    start, alignments = int(table[1], 16), translation.shared_alignments
    variables = [
        (_plain_name(symbol), _is_local(symbol), int(address, 16) - start, int(size, 16))
        for address, size, symbol in _VARIABLE.findall(symbols)
        if "N8emulator" not in symbol
    ]
    return {
        "parameters": translation.parameters,
        "variables": [(*variable, alignments.get(variable[0], 0)) for variable in variables],
        "dynamic_alignment": min((alignments.get(name, 0) for name in translation.dynamic_arrays), default=None),
    }


def _is_local(symbol: str) -> bool:
    """Whether a static variable belongs to a function: then it was `__shared__`."""
    return symbol.startswith("_ZZ")


def _plain_name(symbol: str) -> str:
    """The name in a mangled one, which ends in its length and itself: _ZZ6reducePfE7partial is partial."""
    for match in re.finditer(r"(?:E|_ZL|_Z)(\d+)", symbol):
        end = match.end() + int(match[1])
        if re.fullmatch(r"(?:__?\d+_?)?", symbol[end:]) and end <= len(symbol):
            return symbol[match.end() : end]
    return symbol
