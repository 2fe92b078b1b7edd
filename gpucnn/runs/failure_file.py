"""A step that failed, in a file with all that it takes to compute it again elsewhere."""

import os
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import choose_device, precision, to_device, to_host
from gpucnn.checks import as_path, is_int
from gpucnn.diagnosis.checked_step import CheckedStep, run_checked
from gpucnn.errors import ConfigError, DeviceError, GpucnnError, RunError
from gpucnn.files.checkpoint_file import load_checkpoint
from gpucnn.functions.dropout import part_of_batch
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.network import build
from gpucnn.runs.transfer import freeze
from gpucnn.text import quoted
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer
from gpucnn.training.trainer_state import restore_layers

BATCH = ("images", "labels", "indices")
"""Arrays of the batch, called "batch/images" ... in the file."""


class Replay(NamedTuple):
    """A failed step that was computed again."""

    step: int
    epoch: int
    batch: int
    """All three counted from 1."""
    diagnosis: str
    """What was found when it failed."""
    indices: np.ndarray
    """The samples of the batch, (N,)."""
    checked: CheckedStep
    device: str
    """Which one computed now, and why."""


class FailureRecorder(Callback):
    """Writes a step whose loss or gradient was not finite to failure-step-41.safetensors in a run's folder.

    It is a checkpoint file of the trainer's state right before the step, with images and labels of the batch beside it, or of
    the shard that fails, and its place in the batch; so it contains samples of the data set. `gpucnn replay` computes it
    again. What cannot be written leaves the error as it is.

    - `config`: what the run was asked to do, JSON values, as in its checkpoints.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config

    def on_failure(self, trainer: Trainer) -> None:
        failed, error = trainer.failed_step, trainer.error
        if failed is None or error is None:
            return
        arrays, values = trainer.snapshot()
        batch = {name: np.array(to_host(getattr(failed, name)), order="C") for name in BATCH}
        arrays |= {f"batch/{name}": array for name, array in batch.items()}
        values |= {"diagnosis": failed.diagnosis, "first_image": failed.first}
        try:
            path = self.folder.add_failure(trainer.step + 1, arrays, values, self.config)
        except RunError as problem:
            error.add_note(f"the step itself is not kept: {problem}")
        else:
            error.add_note(f"look at every layer of that step with: gpucnn replay {quoted(path)}")


def replay(path: str | os.PathLike[str], device: str = "auto") -> Replay:
    """Compute the step in a file that `FailureRecorder` wrote once more, with every layer looked at.

    Neither the data set nor the run is needed, but for the copy of an ONNX file beside it, nor the device that it failed on. Raises RunError, with the reason, for a file
    of another kind, a damaged one, or one that does not fit the model that it names; DeviceError if the device does not work.
    """
    path = as_path(path, "path")
    checkpoint = load_checkpoint(path)
    arrays, values = checkpoint.arrays, checkpoint.values
    if not isinstance(values, dict) or "diagnosis" not in values:
        raise RunError(f"{path}: a checkpoint, but of no step that failed; give a file failure-step-N.safetensors")
    images, labels, indices = (arrays.get(f"batch/{name}", np.empty(0)) for name in BATCH)
    position = [values.get(name, "") for name in ("step", "epoch", "batch")]
    first = values.get("first_image", 0)
    if images.ndim != 4 or images.size == 0 or not images.shape[:1] == labels.shape[:1] == indices.shape:
        raise RunError(f"{path}: no batch of images, labels and indices in it")
    if not all(is_int(number) for number in [*position, first]) or not isinstance(checkpoint.config, dict):
        raise RunError(f"{path}: does not tell which step it is of")
    chosen = choose_device(device)
    try:
        config = RunConfig.from_run(checkpoint.config, str(path))
        model = build(checkpoint.config["create"], path.parent, config.seed).to(chosen.device)
        freeze(model, config)
        weights = {name.removeprefix("model/"): array for name, array in arrays.items() if name.startswith("model/")}
        model.load_state_dict(weights, finite=False)  # what failed is looked at as it was
        restore_layers(model, values["layers"])
        there = (to_device(images, chosen.device), to_device(labels, chosen.device))
        with part_of_batch(first, len(images)), precision(config.precision):
            checked = run_checked(model, *there, config.label_smoothing or 0.0)
    except (ConfigError, DeviceError) as error:
        raise RunError(str(error)) from None
    except (GpucnnError, KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise RunError(f"{path}: does not fit its own description ({error})") from None
    step, epoch, batch = (int(number) + 1 for number in position)
    return Replay(step, epoch, batch, str(values["diagnosis"]), indices, checked, str(chosen))
