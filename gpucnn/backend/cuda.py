"""The only import of CuPy: whether it works, and if not, why and what mends it.

Nothing here runs when gpucnn is imported. The first question about a GPU imports CuPy and makes it compute; the answer
is kept for the life of the process. An import that succeeds proves nothing (CuPy imports without a driver), so the
probe allocates, compiles and multiplies.
"""

import functools
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gpucnn.backend import arrays, cublas
from gpucnn.errors import DeviceError

_INSTALL = 'pip install "gpucnn[cuda13]" (or "gpucnn[cuda12]" for a CUDA 12 driver)'


class Problem(NamedTuple):
    """Why the GPU cannot be used, and what to do."""

    cause: str
    fix: str


@contextmanager
def use_in_place_of_cupy(module: ModuleType) -> Iterator[None]:
    """Inside, `module` is taken for CuPy: for stand-ins without a GPU, see `gpucnn.testing`."""
    before, arrays.stand_in = arrays.stand_in, module
    _forget_answers()
    try:
        yield
    finally:
        arrays.stand_in = before
        _forget_answers()


def _forget_answers() -> None:
    find_problem.cache_clear()
    has_tensor_cores.cache_clear()


def cupy() -> ModuleType:
    """The cupy module. Raises DeviceError, with cause and fix, if it cannot be imported."""
    module, problem = (arrays.stand_in, None) if arrays.stand_in else _import_cupy()
    if module is None:
        assert problem is not None
        raise DeviceError(f"{problem.cause}; fix: {problem.fix}")
    return module


@functools.cache
def find_problem() -> Problem | None:
    """None if a CUDA device computes through CuPy, else what is wrong."""
    module, problem = (arrays.stand_in, None) if arrays.stand_in else _import_cupy()
    return problem if module is None else _probe(module)


def device_count() -> int:
    """How many CUDA devices CuPy sees; 0 if it cannot work at all."""
    return 0 if find_problem() is not None else int(cupy().cuda.runtime.getDeviceCount())


@functools.cache
def has_tensor_cores(index: int) -> bool:
    """Whether a GPU multiplies in TF32 and bf16 on tensor cores: since Ampere, compute capability 8.0."""
    return int(cupy().cuda.Device(index).compute_capability) >= 80


def in_the_way() -> Path | None:
    """What `import cupy` finds and is no CuPy: a file or a folder of that name where Python was started, or without a module."""
    try:
        spec = PathFinder.find_spec("cupy")
    except Exception:  # a path that cannot be searched
        return None
    if spec is None:
        return None
    if spec.origin is None:  # a folder without __init__.py, which Python takes for a package if there is no other
        return Path(next(iter(spec.submodule_search_locations or ()), "cupy"))
    place = Path(spec.origin)
    place = place.parent if place.name == "__init__.py" else place
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    beside = {Path.cwd(), *([] if script is None else [Path(script).resolve().parent])}
    return place if place.resolve().parent in beside else None


def _way_problem() -> Problem | None:
    """That something is in the way of CuPy, and how it is moved out."""
    place = in_the_way()
    if place is None:
        return None
    if place.is_dir() and not (place / "__init__.py").exists():
        return Problem(
            f"CuPy is not installed, and the folder {place}, which Python takes for it, is not CuPy", _INSTALL
        )
    return Problem(
        f"{place} is in the way of CuPy: Python finds it first",
        "give it another name, or start Python in another folder",
    )


@functools.cache
def _import_cupy() -> tuple[ModuleType | None, Problem | None]:
    try:
        module = importlib.import_module("cupy")
        problem = None if "cuda" in vars(module) else _way_problem()
        return (module, None) if problem is None else (None, problem)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            return None, _way_problem() or Problem(f"import cupy raised {_quote(error)}", _INSTALL)
        return None, Problem("CuPy is not installed", _INSTALL)
    except BaseException as error:  # a broken CuPy has raised AttributeError, OSError, even SystemExit
        return None, _way_problem() or Problem(
            f"import cupy raised {_quote(error)}", f"pip uninstall -y cupy cupy-cuda12x cupy-cuda13x, then {_INSTALL}"
        )


def _probe(module: Any) -> Problem | None:
    try:
        count = int(module.cuda.runtime.getDeviceCount())
    except Exception as error:
        return Problem(
            f"CuPy finds no working NVIDIA driver ({_quote(error)})",
            "install the NVIDIA driver and check that nvidia-smi lists a GPU",
        )
    if count == 0:
        return Problem(
            "the NVIDIA driver lists no GPU", "check nvidia-smi and the environment variable CUDA_VISIBLE_DEVICES"
        )
    try:
        ones = module.ones((2, 2), dtype="float32")
        product = float(_product(ones).sum())
    except DeviceError as error:
        cause, _, fix = str(error).partition("; fix: ")
        return Problem(f"CuPy sees {count} GPU(s) but matrices cannot be multiplied ({cause})", fix)
    except Exception as error:
        return Problem(
            f"CuPy sees {count} GPU(s) but cannot compute ({_quote(error)})",
            'pip install "cupy-cuda13x[ctk]" (or "cupy-cuda12x[ctk]"), which brings the CUDA libraries CuPy needs',
        )
    if product != 8.0:
        return Problem(
            f"the GPU multiplied wrongly: the sum should be 8, it is {product}", "check the GPU and its driver"
        )
    return None


def _product(ones: Any) -> Any:
    """A small matrix times itself, by cuBLAS."""
    found, size = ones.copy(), len(ones)
    matrix, result = (cublas.Matrix(number, 0, False, size, 0) for number in (0, 1))
    product = cublas.Product(matrix, matrix, result, 1, size, size, size)
    cublas.prepare().multiply(product, (ones.data.ptr, found.data.ptr), ones.dtype)
    return found


def _quote(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
