"""A trained model from where it was kept: the folder of a run, or a file that was exported from one."""

import os

from gpucnn.backend import Device, choose_device
from gpucnn.checks import as_path
from gpucnn.runs.exported_run import load_exported
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.kept_weights import check_wanted
from gpucnn.runs.network import is_onnx
from gpucnn.runs.trained_run import TrainedRun


def load(run: str | os.PathLike[str], weights: str | None = None, device: str = "auto") -> TrainedRun:
    """The trained model of a run, to be shown images: `gpucnn.load("runs/photos-1").predict("cat.jpg")`.

    - `run`: the folder that `gpucnn train` made, or an ONNX file, FILE.onnx, that `gpucnn export RUN --float` wrote of one.
    - `weights`: "best" or "last", of the best epoch or the last; by default as `RunFolder.weights` chooses. A file has one of them.
    - `device`: where to compute, "auto", "cpu", "cuda" or "cuda:1".

    Raises RunError if there is no run that has trained, or it cannot be read, OnnxError for a file that cannot, or that does not
    tell how images are prepared, LibraryError for a file without onnx, and DeviceError if the device does not work.
    """
    return load_run(run, choose_device(device).device, weights)


def load_run(run: str | os.PathLike[str], device: Device, weights: str | None = None) -> TrainedRun:
    """`load` on a device that was chosen."""
    path = as_path(run, "load: run")
    if not is_onnx(path.name) or path.is_dir():
        return RunFolder(path).load(device, weights)
    check_wanted(weights)
    return load_exported(path, device, weights)
