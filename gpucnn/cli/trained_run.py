"""A trained run as `gpucnn evaluate` and `gpucnn predict` take it up."""

import os
from typing import Any, NamedTuple

from gpucnn.backend import Device
from gpucnn.data import Preprocess
from gpucnn.errors import RunError
from gpucnn.layers import Layer
from gpucnn.training import RunFolder


class TrainedRun(NamedTuple):
    """The model of a run, in evaluation mode, and what belongs to it."""

    model: Layer
    preprocess: Preprocess
    class_names: tuple[str, ...]
    config: dict[str, Any]


def load_run(path: str | os.PathLike[str], device: Device) -> TrainedRun:
    """The run in a folder that `gpucnn train` made, its model on `device`. RunError if it cannot be read."""
    folder = RunFolder(path)
    config = folder.read_config()
    model, preprocess = folder.load_model().to(device), folder.load_preprocess()
    class_names = tuple(str(name) for name in config["class_names"])
    try:
        outputs = model.output_shape((1, preprocess.channels, preprocess.image_size, preprocess.image_size))[1]
    except ValueError as error:
        # a ShapeError, or what NumPy says of sizes beyond all measure
        raise RunError(f"{folder.config_file}: its preprocess does not fit the model ({error})") from None
    if len(class_names) != outputs:
        raise RunError(f"{folder.config_file}: {len(class_names)} class_names, but the model has {outputs} outputs")
    return TrainedRun(model, preprocess, class_names, config)
