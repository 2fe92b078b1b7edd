"""A run goes on where its newest whole checkpoint left it."""

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gpucnn.backend.group import Group
from gpucnn.data.catalog import FOLDER, folder_of
from gpucnn.data.class_folders import comparable
from gpucnn.data.normalization import Normalization, as_normalization
from gpucnn.errors import ArgumentError, ConfigError, DeviceError, RunError, StateError
from gpucnn.files.checkpoint_file import Checkpoint
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.image_list import Changes, ImageList, check_there, files_in
from gpucnn.runs.network import OnnxCopy
from gpucnn.runs.prepare import Begun, prepare_again
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.text_table import LONGEST, shortened
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer
from gpucnn.training.trainer_state import check_weights

CHANGEABLE = ("epochs", "data_dir", "device", "workers", "cache", "checkpoint_every", "keep", "graph")
"""The settings that may be others in a resumed run: they leave alone what has been trained already."""


class ResumedRun(NamedTuple):
    """A run that `resume` has taken up; nothing of it has trained yet."""

    ready: PreparedRun
    folder: RunFolder
    checkpoint: Checkpoint
    notes: tuple[str, ...]
    """What the user should know: checkpoints that were passed over, and why bits may differ."""

    def trainer(self, callbacks: Sequence[Callback] = (), group: Group | None = None) -> Trainer:
        """A trainer that stands where the run was, to be asked for `config.epochs - trainer.epoch` epochs; see `PreparedRun.trainer`.

        `callbacks` must have those of `ready.callbacks(folder)` among them, in their order. Raises RunError if the state
        that was saved does not fit the run.
        """
        trainer = self.ready.trainer(callbacks, group)
        try:
            check_weights(trainer.model, self.checkpoint.arrays)
        except StateError as error:
            raise RunError(f"{self.checkpoint.path}: {error}") from None
        try:
            trainer.restore(self.checkpoint.arrays, self.checkpoint.values)
        except StateError as error:
            raise RunError(f"{self.checkpoint.path}: does not fit the run that it describes ({error})") from None
        return trainer

    def can_be_longer(self) -> bool:
        """Whether the run can go on for more epochs than it was asked for, see `resume`."""
        if self.ready.lookahead is not None:
            return False
        return self.ready.other_rate(self.ready.length.epochs + 1, _steps(self.checkpoint)) is None


def resume(path: str | os.PathLike[str] | RunFolder, **changes: Any) -> ResumedRun:
    """Take up the run in the folder `path`, or in a RunFolder, with its own configuration but for `changes`, which are some of CHANGEABLE.

    Whenever and however often it was stopped, the run then ends as the one that never was: weights, optimizer state, average
    and metrics are the same, to the bit. That holds for the same files of the data set, the same versions of gpucnn, NumPy,
    and llvmlite or CuPy, and the same device: the same kind of processor, and the same way to compute on it; or the same
    model of GPU. How many threads compute, or load, changes nothing. On a GPU our kernels sum in a fixed order, without
    atomics, and matrix products come from cuBLAS, which promises the same bits for the same version on GPUs of one
    architecture with as many multiprocessors, as long as one stream is used.

    A larger `epochs` is taken where the run then is, to the bit, one that was asked for them from the beginning. It is refused
    where the schedule would have given other rates already, as one that is laid out for the whole run mostly does.

    Raises RunError if there is no run, no whole checkpoint, or one that does not fit, and if another process is going
    on with the run; ConfigError for changes that would make another run, DeviceError if the device does not work, DataError
    if the data set's files are missing. Images that have come into a folder since the run began are left out; RunError if
    some of the run's are gone or have changed.
    """
    folder = path if isinstance(path, RunFolder) else RunFolder(path)
    folder.check_begun()
    with folder.lock:
        return _taken_up(folder, changes)


def _taken_up(folder: RunFolder, changes: dict[str, Any]) -> ResumedRun:
    checkpoint = folder.checkpoints.load()
    for name in changes:
        if name not in CHANGEABLE:
            raise ConfigError(
                f"{name} is a setting of the run from its beginning; a run that goes on takes {', '.join(CHANGEABLE)}"
            )
    config = RunConfig.from_run(checkpoint.config, str(checkpoint.path))
    if config.data == FOLDER:
        check_there(folder_of(FOLDER, changes.get("data_dir", config.data_dir)))
    images = folder.read_images(checkpoint.config)
    create = checkpoint.config.get("create")
    network = OnnxCopy.read(create, folder.path) if isinstance(create, dict) else None
    has_weights = config.weights is not None or network is not None
    begun = Begun(_normalization(checkpoint) if has_weights else None, network, folder.path)
    ready = _prepared(dataclasses.replace(config, **changes), config.device, images, begun)
    _check_description(ready, checkpoint)
    if ready.val_loader is not None:
        checkpoint.values["history"] = _named_by_validation(checkpoint.values.get("history"))
    if ready.length.epochs != config.epochs:
        _check_epochs(ready.length.epochs, config, ready, checkpoint)
    return ResumedRun(ready, folder, checkpoint, tuple(_notes(ready, config, checkpoint)))


def _named_by_validation(history: Any) -> Any:
    """The rows of a run that is measured on validation images: the version before called what it found there "test_..."."""
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        return history  # Trainer.restore refuses it
    return [
        {re.sub("^test_", "val_", str(name)): value for name, value in row.items()}
        if "test_accuracy" in row and "val_accuracy" not in row
        else row
        for row in history
    ]


def _normalization(checkpoint: Checkpoint) -> Normalization | None:
    """What the run's images have been normalised with. RunError if it does not tell."""
    try:
        written = checkpoint.config["preprocess"]
        return as_normalization(written["mean"], written["std"])
    except (KeyError, TypeError, ArgumentError) as error:
        raise RunError(f"{checkpoint.path}: no valid entry 'preprocess' ({shortened(str(error), LONGEST)})") from None


def _prepared(config: RunConfig, earlier_device: str, images: ImageList | None, begun: Begun) -> PreparedRun:
    try:
        return prepare_again(config, images, begun)
    except DeviceError as error:
        if config.device != earlier_device:
            raise
        raise DeviceError(f"{error}; or go on elsewhere, e.g. with --device cpu, with other bits") from None


def _check_description(ready: PreparedRun, checkpoint: Checkpoint) -> None:
    """RunError if the data set, or the model that goes with it, is not the one that the run has begun with."""
    now = json.loads(json.dumps(ready.description()))
    for name in ("create", "preprocess", "class_names"):
        then = checkpoint.config.get(name)
        if now[name] != then and not (name == "class_names" and _are_alike(now[name], then)):
            raise RunError(
                f"{checkpoint.path}: its {name} is {shortened(repr(then), LONGEST)}, and would be "
                f"{shortened(repr(now[name]), LONGEST)} now; go on with the data set, and the gpucnn, that the run has begun with"
            )


def _are_alike(now: list[str], then: Any) -> bool:
    """Whether class names are the same but for how Unicode writes them, which a copy to another system may change."""
    return isinstance(then, list) and list(map(comparable, now)) == [comparable(str(name)) for name in then]


def _check_epochs(epochs: int, config: RunConfig, ready: PreparedRun, checkpoint: Checkpoint) -> None:
    """ConfigError unless the run, asked for `epochs` from the beginning, would stand where it stands."""
    assert config.epochs is not None
    if epochs < config.epochs:
        raise ConfigError(
            f"epochs is {epochs}, but the run was asked for {config.epochs}; it can be made longer, not shorter"
        )
    if checkpoint.values.get("stop_reason"):
        raise ConfigError(f"epochs cannot be changed, as the run was stopped: {checkpoint.values['stop_reason']}")
    if config.lookahead is not None:
        raise ConfigError(
            f"epochs cannot be {epochs}: lookahead is laid out for {config.epochs}; train a new run, or go on without --epochs"
        )
    other = ready.other_rate(config.epochs, _steps(checkpoint))
    if other is not None:
        raise ConfigError(
            f"epochs cannot be {epochs}: the schedule {config.schedule} is laid out for {config.epochs}, and for {epochs} "
            f"would have had another learning rate from step {other + 1} on; train a new run, or go on without --epochs"
        )


def _steps(checkpoint: Checkpoint) -> int:
    """How many steps the run has made."""
    step = checkpoint.values.get("step")
    return step if isinstance(step, int) else 0  # what it is else, Trainer.restore refuses


def _notes(ready: PreparedRun, config: RunConfig, checkpoint: Checkpoint) -> list[str]:
    found = [checkpoint.warning] if checkpoint.warning else []
    if ready.config.device != config.device:
        found.append(f"the run was on {config.device} and goes on on {ready.config.device}: bits may differ")
    earlier, now = checkpoint.config.get("versions"), ready.description()["versions"]
    known = earlier if isinstance(earlier, dict) else {}
    changed = [f"{name} was {known[name]}, is {now[name]}" for name in now if known.get(name, now[name]) != now[name]]
    if changed:
        found.append(f"{'; '.join(changed)}: bits may differ")
    if ready.config.data == FOLDER:
        place = folder_of(FOLDER, ready.config.data_dir)
        if ready.images is None:
            found.append(
                f"the run was made before runs kept lists of their images: it goes on rightly if {place} is unchanged"
            )
        elif new := ready.images.changes(files_in(ready.splits, place), ()).new:
            found.append(f"{Changes(new, (), ())}; the run goes on without")
    return found
