"""NVIDIA's compiler without a GPU: does a kernel compile for an architecture, and what does it take there?

NVRTC comes as a wheel of its own (pip install nvidia-cuda-nvrtc-cu12) and needs no driver. It is given the options that
CuPy gives, and reports registers, spills and shared memory.
"""

import ctypes
import ctypes.util
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.errors import DeviceError, KernelError

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""From Turing to Blackwell, in data centres and in laptops: what CUDA 12.8 and 13 both know."""

REGISTERS_PER_BLOCK = 65_536
WARP_THREADS = 32
REGISTERS_PER_GRANT = 8
"""Registers are given out by warps, and to each thread of a warp in eights (CUDA's occupancy rules, 3.0 to 10.0)."""

STATIC_SHARED_BYTES = 48 << 10

CUPY_OPTIONS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds to the options of a RawModule."""


class Resources(NamedTuple):
    """What one thread, or block, of a kernel takes on one architecture."""

    kernel: str
    architecture: str
    registers: int
    spilled_bytes: int
    """Stored and loaded, as the registers do not suffice."""
    static_shared_bytes: int

    def problems(self, block: int) -> list[str]:
        """What stands against launching it with `block` threads, in words; nothing if all is well."""
        place = f"{self.kernel} on {self.architecture}"
        found = []
        if self.spilled_bytes:
            found.append(f"{place} spills {self.spilled_bytes} bytes; use fewer values at a time")
        registers = -(-self.registers // REGISTERS_PER_GRANT) * REGISTERS_PER_GRANT
        threads = -(-block // WARP_THREADS) * WARP_THREADS
        if registers * threads > REGISTERS_PER_BLOCK:
            found.append(
                f"{place} takes {self.registers} registers x {block} threads ({registers} x {threads} as they are given "
                f"out), a block has {REGISTERS_PER_BLOCK}; use a smaller block"
            )
        if self.static_shared_bytes > STATIC_SHARED_BYTES:
            found.append(
                f"{place} takes {self.static_shared_bytes} bytes of shared memory, a block has {STATIC_SHARED_BYTES}; "
                f"use a smaller tile"
            )
        return found


class Nvrtc:
    """The compiler. DeviceError if its library is not to be found, or cannot be loaded."""

    def __init__(self) -> None:
        path = find_library()
        if path is None:
            raise DeviceError("NVRTC is not installed; fix: pip install nvidia-cuda-nvrtc-cu12")
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise DeviceError(
                f"NVRTC cannot be loaded ({error}); fix: pip install --force-reinstall nvidia-cuda-nvrtc-cu12"
            ) from error

    @property
    def version(self) -> str:
        """Such as "12.9"."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, source: str, architecture: str, options: Sequence[str] = ()) -> list[Resources]:
        """Compile CUDA source for an architecture such as "sm_90": what each of its kernels takes.

        `options` come on top of those that CuPy gives. KernelError, with the compiler's words, if it does not compile.
        """
        words = (*CUPY_OPTIONS, *options, f"-arch={architecture}")
        machine_code, log = self._run(source, (*words, "--ptxas-options=-v"))
        if not machine_code:
            # NVRTC 12.9 drops what ptxas complains of when ptxas reports too: ask once more, for the complaint alone.
            complaint = self._run(source, words)[1]
            raise KernelError(f"NVRTC {self.version} does not compile this for {architecture}: {complaint.strip()}")
        return _resources(log)

    def machine_code(self, source: str, architecture: str) -> bytes:
        """The cubin of CUDA source for an architecture. KernelError, with the compiler's words, if it does not compile."""
        cubin, log = self._run(source, (*CUPY_OPTIONS, f"-arch={architecture}"))
        if not cubin:
            raise KernelError(f"NVRTC {self.version} does not compile this for {architecture}: {log.strip()}")
        return cubin

    def _run(self, source: str, options: Sequence[str]) -> tuple[bytes, str]:
        """The cubin that it compiles to with exactly these options, empty if it does not, and the log."""
        program = ctypes.c_void_p()
        self._library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
        try:
            arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            failed = self._library.nvrtcCompileProgram(program, len(options), arguments)
            return b"" if failed else self._cubin(program), self._log(program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _cubin(self, program: Any) -> bytes:
        size = ctypes.c_size_t()
        self._library.nvrtcGetCUBINSize(program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._library.nvrtcGetCUBIN(program, content)
        return content.raw

    def _log(self, program: Any) -> str:
        size = ctypes.c_size_t()
        self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._library.nvrtcGetProgramLog(program, text)
        return text.value.decode(errors="replace")


def find_library() -> Path | None:
    """NVRTC's library: of the pip wheels for CUDA 12 and 13, else the system's; None if there is none."""
    package = importlib.util.find_spec("nvidia")
    for folder in (package.submodule_search_locations or []) if package else []:
        for pattern in ("cuda_nvrtc/lib/libnvrtc.so.*", "cu13/lib/libnvrtc.so.*"):
            for path in sorted(Path(folder).glob(pattern)):
                return path
    name = ctypes.util.find_library("nvrtc")
    return Path(name) if name else None


def _resources(log: str) -> list[Resources]:
    """Parse what ptxas says of each kernel, "entry function" by "entry function"."""
    found = []
    for part in log.split("Compiling entry function")[1:]:
        names = re.match(r" '(\w+)' for '(\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        if names is None or registers is None:
            raise KernelError(f"ptxas reports in a form that is not known here: {part.strip()[:200]!r}")
        spilled = sum(int(size) for size in re.findall(r"(\d+) bytes spill (?:stores|loads)", part))
        shared = re.search(r"(\d+) bytes smem", part)
        found.append(Resources(names[1], names[2], int(registers[1]), spilled, int(shared[1]) if shared else 0))
    return found
