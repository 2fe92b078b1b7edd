"""A GPU's software stack made of files: Python in a process of its own finds this one, and no other."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

WORKING_CUPY = """
import ctypes
import types

import numpy

__version__ = "14.2.0"

class Array(numpy.ndarray):
    def get(self): return numpy.asarray(self)
    @property
    def data(self): return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])

def zeros(shape, dtype): return numpy.zeros(shape, dtype).view(Array)
def ones(shape, dtype): return numpy.ones(shape, dtype).view(Array)

class RawModule:
    def __init__(self, code):
        assert 'extern "C" __global__ void probe_' in code, code
        self.code = code
    def get_function(self, name):
        assert name in self.code
        def launch(grid, block, arguments):
            assert (grid, block) == ((1,), (32,))
            arguments[0][...] += STEP
        return launch

STEP = 1
STATUS = 0
PRODUCT = 2

class cublas_library:
    @staticmethod
    def cublasCreate_v2(handle):
        ctypes.c_void_p.from_address(handle).value = 7
        return 0
    def cublasDestroy_v2(handle): return 0
    def cublasSetStream_v2(handle, stream): return 0
    def cublasSetWorkspace_v2(handle, workspace, size): return 0
    def cublasGemmStridedBatchedEx(*arguments):
        (ctypes.c_float * 4).from_address(arguments[16])[:] = [PRODUCT] * 4
        return STATUS

class cuda:
    class nvrtc:
        @staticmethod
        def getVersion(): return 12, 9
    class cublas: pass
    class runtime:
        @staticmethod
        def getDeviceCount(): return 2
        @staticmethod
        def getDevice(): return 0
        @staticmethod
        def getDeviceProperties(index): return {"name": b"Fake H100 number %d" % index}
        @staticmethod
        def deviceSynchronize(): pass
    @staticmethod
    def get_current_stream(): return types.SimpleNamespace(ptr=0, is_capturing=lambda: False)
    class Memory:
        def __init__(self, size): self.ptr = 0
    class Device:
        compute_capability = "90"
        mem_info = 3 * 2**30, 80 * 2**30
        def __init__(self, index): pass
        def use(self): pass
"""

PRELUDE = """
import functools, importlib.metadata, os, sys, warnings
from gpucnn.backend import installation

installation.newest_cuda = lambda: int(os.environ["FAKE_CUDA"])
installation.driver_version = lambda: "999.88"
installation.device_on_bus = lambda: bool(os.environ.get("FAKE_BUS"))
modules = os.environ["FAKE_MODULES"]
importlib.metadata.distributions = functools.partial(importlib.metadata.distributions, path=[modules])
if not os.path.exists(modules + "/cupy.py"):
    sys.modules["cupy"] = None
"""


def run_with(
    code: str,
    folder: Path,
    cupy: str | None = None,
    distributions: tuple[str, ...] = (),
    driver_cuda: int = 0,
    headers: bool = True,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Python runs `code` in `folder`, and finds the stack that is described.

    `cupy` is the source of the module, None for none; `distributions` are installed, such as "cupy-cuda12x 14.2.0";
    `driver_cuda` is the newest CUDA of the driver, 0 for none.
    """
    modules = folder / "modules"
    (modules / "cuda" / "pathfinder").mkdir(parents=True)
    found = str(modules / "include") if headers else None
    (modules / "cuda" / "pathfinder" / "__init__.py").write_text(
        f"def find_nvidia_header_directory(name): return {{'cudart': {found!r}}}[name]"
    )
    if cupy is not None:
        (modules / "cupy.py").write_text(cupy)
    for distribution in distributions:
        name, version = distribution.split()
        information = modules / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + code],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(modules), str(ROOT)]),
            "FAKE_MODULES": str(modules),
            "FAKE_CUDA": str(driver_cuda),
            "CUPY_CACHE_DIR": str(folder / "cache"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
