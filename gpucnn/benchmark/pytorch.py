"""The only import of PyTorch, which a benchmark compares with where it is installed."""

import functools
import importlib
from typing import Any

import numpy as np

from gpucnn.backend import Device
from gpucnn.backend.threads import thread_count
from gpucnn.errors import DeviceError

_INSTALL = "pip install torch"


def missing(device: Device) -> str:
    """Why PyTorch cannot compute on `device`, and what helps; empty where it can."""
    module, problem = _import()
    if module is None or device.kind == "cpu":
        return problem
    if not module.cuda.is_available():
        return f"PyTorch {module.__version__} sees no GPU: install its CUDA build, see https://pytorch.org"
    return ""


def torch() -> Any:
    """The module torch, with as many threads as gpucnn has, and float32 that is float32. DeviceError if it is missing."""
    module, problem = _import()
    if module is None:
        raise DeviceError(problem)
    if module.get_num_threads() != thread_count():
        module.set_num_threads(thread_count())
    return module


def on_device(array: np.ndarray, device: Device) -> Any:
    """A tensor on `device` that holds a copy of a host array."""
    return torch().from_numpy(np.array(array, order="C")).to(str(device))


def to_host(tensor: Any) -> np.ndarray:
    """The values of a tensor of any device, as a host array."""
    return np.asarray(tensor.detach().cpu().contiguous().numpy())


@functools.cache
def _import() -> tuple[Any, str]:
    try:
        module = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return None, f"PyTorch is not installed: {_INSTALL}"
        return None, f"PyTorch does not work ({error}): {_INSTALL}"
    except Exception as error:  # a broken one raises what it likes
        return None, f"PyTorch does not work ({error}): {_INSTALL}"
    # PyTorch would convolve in TF32 on a GPU, with 10 bits of mantissa; cuDNN then chooses its fastest algorithm.
    module.backends.cudnn.allow_tf32 = False
    module.backends.cuda.matmul.allow_tf32 = False
    module.backends.cudnn.benchmark = True
    return module, ""
