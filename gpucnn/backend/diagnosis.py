"""What there is of a GPU on this machine, link by link from the driver to a kernel that runs: for `gpucnn doctor`.

Every question is asked so that nothing it meets can raise: a broken CuPy raises anything at all, and a report of what
is broken must not break on it.
"""

import functools
import importlib
import os
import platform
import tempfile
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import cuda, installation
from gpucnn.backend.installation import Installation
from gpucnn.errors import DeviceError

_KERNEL = 'extern "C" __global__ void {name}(float* x) {{ x[threadIdx.x] += 1.0f; }}'
_LAUNCHES = 100


class Finding(NamedTuple):
    """One fact, what is wrong with it (None if nothing is), and what would mend it or lead further."""

    name: str
    value: str
    problem: str | None = None
    fix: str | None = None


def diagnose() -> list[Finding]:
    """All facts, in the order in which one needs the other. Raises nothing but KeyboardInterrupt.

    A problem is something that is there and does not work: a machine without a GPU or without CuPy has none.
    """
    findings: list[Finding] = []
    installed = Installation()
    for ask in (_host, _driver, _distributions, _cupy):
        try:
            for finding in ask(installed):
                findings.append(finding)  # one by one: what was found before an error stays
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            findings.append(Finding(ask.__name__.strip("_"), "not known", f"asking for it raised {_quote(error)}"))
    return findings


def _host(installed: Installation) -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU path", f"NumPy {np.__version__}, BLAS {blas['name']} {blas['version']}, usable cores: {cores}")


def _driver(installed: Installation) -> Iterator[Finding]:
    newest = installed.driver_cuda
    problem = fix = None
    if not newest:
        value = "none found"
        if installation.device_on_bus():
            problem, fix = "an NVIDIA device is on the PCI bus, but no driver for it", "install the NVIDIA driver"
    else:
        value = f"{installation.driver_version() or 'nvidia-smi does not tell'}, for CUDA up to {installation.cuda_text(newest)}"
        if newest < 12000:
            problem, fix = "CuPy needs a driver for CUDA 12 or newer", "install the NVIDIA driver 580 or newer"
    yield Finding("NVIDIA driver", value, problem, fix)


def _distributions(installed: Installation) -> Iterator[Finding]:
    value = ", ".join(f"{name} {version}" for name, version in installed.distributions.items())
    if not installed.has_cupy:
        place = cuda.in_the_way()
        beside = "" if place is None else f"; the folder {place}, which Python takes for it, is not CuPy"
        yield Finding("CuPy", f"not installed{beside}", fix=installed.install)
    elif len(installed.distributions) > 1:
        yield Finding("CuPy", value, "each overwrites files of the other", installed.reinstall)
    elif 0 < installed.driver_cuda // 1000 < installed.wheel_cuda:
        its = installation.cuda_text(installed.driver_cuda)
        problem = f"it needs a driver for CUDA {installed.wheel_cuda}, this one is for up to {its}"
        yield Finding("CuPy", value, problem, installed.reinstall)
    else:
        yield Finding("CuPy", value or "a module without an installed distribution")


def _cupy(installed: Installation) -> Iterator[Finding]:
    if not installed.has_cupy:
        return
    cache = _attempt("kernel cache", _kernel_cache, "set CUPY_CACHE_DIR to a folder that can be written")
    yield cache
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            cupy: Any = cuda.cupy()
        except DeviceError as error:  # one of its causes is a cache that cannot be written
            cause, _, fix = str(error).partition("; fix: ")
            fix = fix if cuda.in_the_way() else cache.fix or installed.reinstall
            yield Finding("import cupy", "fails", cause, fix)
            return
    texts = [f", warns: {' '.join(str(warning.message).split())}" for warning in caught]
    yield Finding("import cupy", f"works, version {getattr(cupy, '__version__', 'not known')}{''.join(texts)}")
    for name, ask in _LIBRARIES.items():
        yield _attempt(name, functools.partial(ask, cupy), installed.add_libraries)
    yield from _devices(installed, cupy)


def _devices(installed: Installation, cupy: Any) -> Iterator[Finding]:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:
        if installed.driver_cuda:
            yield Finding("GPU", "none", f"CuPy cannot use the driver: {_quote(error)}", installed.reinstall)
        else:
            yield Finding("GPU", f"none: {_quote(error)}", fix="install the NVIDIA driver, if there is a GPU")
        return
    if count == 0:
        yield Finding("GPU", "none", "the driver lists no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES")
        return
    for index in range(count):
        yield _attempt(f"GPU {index}", functools.partial(_gpu, cupy, index), "check the GPU with nvidia-smi")
    yield _attempt("kernel", functools.partial(_time_kernel, cupy), installed.add_libraries)
    problem = cuda.find_problem()
    if problem is None:
        yield Finding("matrix product", "right, through a cuBLAS handle of gpucnn's own")
    else:
        fix = installed.add_libraries if "[ctk]" in problem.fix else problem.fix
        yield Finding("matrix product", "fails", problem.cause, fix)


def _kernel_cache() -> str:
    folder = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    folder.mkdir(parents=True, exist_ok=True)  # as CuPy does when it is imported
    with tempfile.TemporaryFile(dir=folder):
        return f"{folder}, writable, {sum(1 for _ in folder.iterdir())} files"


def _headers(cupy: Any) -> str:
    folder = importlib.import_module("cuda.pathfinder").find_nvidia_header_directory("cudart")  # whom CuPy asks, too
    if folder is None:
        raise FileNotFoundError("cuda-pathfinder finds no headers of cudart")
    return f"found in {folder}"


_LIBRARIES: dict[str, Callable[[Any], str]] = {
    "NVRTC": lambda cupy: "found, version {}.{}".format(*cupy.cuda.nvrtc.getVersion()),
    "cuBLAS": lambda cupy: "found" if cupy.cuda.cublas else "",
    "CUDA headers": _headers,
}


def _gpu(cupy: Any, index: int) -> str:
    device = cupy.cuda.Device(index)
    name = cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
    free, total = (size / 2**30 for size in device.mem_info)
    major, minor = device.compute_capability[:-1], device.compute_capability[-1]
    return f"{name}, compute capability {major}.{minor}, {free:.1f} of {total:.1f} GiB free"


def _time_kernel(cupy: Any) -> str:
    name = f"probe_{uuid.uuid4().hex}"  # no cache knows it
    x = cupy.zeros(32, "float32")
    start = time.perf_counter()
    function = cupy.RawModule(code=_KERNEL.format(name=name)).get_function(name)
    compiled = time.perf_counter()
    function((1,), (32,), (x,))
    cupy.cuda.runtime.deviceSynchronize()
    begin = time.perf_counter()
    for _ in range(_LAUNCHES):
        function((1,), (32,), (x,))
    cupy.cuda.runtime.deviceSynchronize()
    launch = (time.perf_counter() - begin) / _LAUNCHES
    if not (x.get() == 1 + _LAUNCHES).all():
        raise ArithmeticError(f"{1 + _LAUNCHES} launches that add 1 to 0 gave {x.get()[0]}")
    return f"compiled in {1e3 * (compiled - start):.0f} ms, launched in {1e6 * launch:.1f} us (this machine, now)"


def _attempt(name: str, ask: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name, ask())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Finding(name, "fails", _quote(error), fix)


def _quote(error: BaseException) -> str:
    return " ".join("".join(traceback.format_exception_only(error)).split())
