"""The C++ compiler: which one it is, what it is told in each mode, how it is called."""

import functools
import importlib.resources
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from gpucnn.errors import DeviceError, KernelError
from gpucnn.testing.emulator.cache import temporary_folder

MODES = ("fast", "check", "coverage")

_X86 = platform.machine() in ("x86_64", "AMD64")

# -fno-builtin: exp(float) and its like are our functions; they use the builtins by their own names.
# -ffp-contract=off: one rounding per operation, as written. -fsigned-char: as CUDA has it, on ARM too.
_COMMON = ("-std=c++17", "-fPIC", "-w", "-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off", "-fsigned-char")
_KERNEL = (*_COMMON, "-fno-builtin", "-fno-strict-aliasing", "-fno-math-errno", "-fno-exceptions")
_KERNEL_MODE = {
    "fast": ("-O2",),
    "check": (
        "-DEMULATOR_CHECKS",
        "-O1",
        "-g1",
        "-gdwarf-4",
        "-fsanitize=thread,undefined,bounds-strict",
        "-fno-sanitize=vptr",
        "-fno-sanitize-recover=all",
        "--param=tsan-instrument-func-entry-exit=0",
    ),
    "coverage": ("-O0", "--coverage"),
}
# Fortified longjmp takes a jump to another stack for an attack, and shadow stacks would not follow it.
_RUNTIME = (*_COMMON, "-O2", "-U_FORTIFY_SOURCE", *(("-fcf-protection=none",) if _X86 else ()))


@functools.cache
def sources_folder() -> Path:
    """Where the emulator's own C++ is, for the compiler: unpacked for this process if gpucnn is in a zip file."""
    packed = importlib.resources.files(__package__)
    if isinstance(packed, Path):
        return packed
    place = temporary_folder()
    _unpack(packed, place)
    return place


def _unpack(packed: Traversable, place: Path) -> None:
    for item in packed.iterdir():
        if item.is_dir():
            (place / item.name).mkdir()
            _unpack(item, place / item.name)
        else:
            (place / item.name).write_bytes(item.read_bytes())


def compiler() -> str | None:
    """The path of the C++ compiler: what the environment variable CXX names, else g++. None if it is not there."""
    return shutil.which(os.environ.get("CXX") or "g++")


def require_compiler() -> str:
    """`compiler()`; DeviceError, which says how to install one, if there is none or it is not g++."""
    path = compiler()
    if path is None:
        named = os.environ.get("CXX")
        cause = f"the environment variable CXX names {named!r}, which is not there" if named else "g++ is not there"
        raise DeviceError(
            f"the CUDA emulator compiles kernels, but {cause}; fix: install g++ (Debian: apt-get install g++)"
        )
    if "clang" in compiler_version(path):
        raise DeviceError(
            f"the CUDA emulator needs g++, but {path} is clang; fix: set CXX=g++, "
            "or install g++ (Debian: apt-get install g++)"
        )
    return path


@functools.cache
def compiler_version(path: str) -> str:
    """What the compiler says of itself."""
    return run([path, "--version"], sources_folder())


def kernel_flags(mode: str) -> tuple[str, ...]:
    """Flags that kernels are compiled with. F16C makes _Float16 fast where the CPU has it."""
    return (*_KERNEL, *_KERNEL_MODE[mode], *_half_flags())


def runtime_flags(mode: str) -> tuple[str, ...]:
    """Flags that the runtime is compiled with; it is the same for modes without checks."""
    return (*_RUNTIME, *(("-DEMULATOR_CHECKS",) if mode == "check" else ()))


@functools.cache
def sources_text() -> str:
    """The emulator's own sources, these included: what a compiled kernel depends on beside its own."""
    files = sorted(path for path in sources_folder().rglob("*") if path.suffix in (".h", ".cpp", ".py"))
    return "".join(f"{path.name}\n{path.read_text()}" for path in files)


def run(command: Sequence[str], folder: Path) -> str:
    """Runs a command in a folder and returns what it prints; KernelError with its complaint if it fails."""
    environment = os.environ | {"LC_ALL": "C"}  # messages in English
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise DeviceError(
            f"the CUDA emulator needs {command[0]}; fix: install g++, which brings it (Debian: apt-get install g++)"
        ) from error
    if done.returncode:
        raise KernelError(done.stderr.strip() or f"{' '.join(command)} ended with status {done.returncode}")
    return done.stdout


@functools.cache
def _half_flags() -> tuple[str, ...]:
    try:
        return ("-mf16c",) if _X86 and " f16c" in Path("/proc/cpuinfo").read_text() else ()
    except OSError:
        return ()
