"""A run that is ready to train: what was built of its configuration, what keeps it, and what came of it."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpucnn import backend, data, optim
from gpucnn.backend.group import Group
from gpucnn.backend.nccl import NcclGroup
from gpucnn.data.jpeg_decoders import SIMPLEJPEG, simplejpeg_version
from gpucnn.files.checkpoint_file import versions
from gpucnn.kernels import ways
from gpucnn.layers import Conv2d, Layer
from gpucnn.runs.choices import LOGS, RunLength, make_schedule
from gpucnn.runs.config import RunConfig
from gpucnn.runs.failure_file import FailureRecorder
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.image_list import ENTRY, ImageList
from gpucnn.runs.kept_weights import LAST
from gpucnn.runs.network import OnnxCopy
from gpucnn.runs.writers import CheckpointWriter, RunRecorder, Stopping
from gpucnn.text import counted
from gpucnn.training.callback import Callback
from gpucnn.training.early_stopping import EarlyStopping
from gpucnn.training.evaluate import evaluate
from gpucnn.training.find_lr import RangeTest
from gpucnn.training.freeze_after import FreezeAfter
from gpucnn.training.sharding import Sharding
from gpucnn.training.trainer import Trainer

LOW_RATE = 0.1
"""The share of a schedule's peak below which it has given what it has to give."""


@dataclass(frozen=True, slots=True, repr=False)
class PreparedRun:
    """What `prepare` built of a configuration; nothing of it has trained yet."""

    config: RunConfig
    """With a value for everything, the device that was chosen among them."""
    device: str
    """Which device it is, and why."""
    create: dict[str, Any]
    """The arguments of `models.create`, but for the seed."""
    splits: data.Splits
    model: Layer
    optimizer: optim.Optimizer
    length: RunLength
    schedule: optim.Schedule
    average: optim.WeightAverage | None
    lookahead: optim.Lookahead | None
    whitened: Conv2d | None
    """The convolution that whitens, whose bias learns in the first epochs alone; None without."""
    train_loader: data.DataLoader
    val_loader: data.DataLoader | None
    """What every epoch is measured on: the `validation` share of the training set, or a folder's part val; None without."""
    test_loader: data.DataLoader
    """The test set: measured at the end alone, if there are validation images, else after every epoch."""
    start: tuple[str, ...]
    """Lines that say what the model starts from, and what of it learns, of a run that begins with weights of others."""
    images: ImageList | None
    """The files of these sets, which the run keeps; None if they are not in files, and for a run that has begun without."""
    network: OnnxCopy | None
    """The ONNX file that the model is of, which the run keeps, too; None for a model by name."""
    why: str
    """Why it has the model that it has; empty if that was asked for, or is the same for all of a data set."""
    inspection: data.Inspection | None = None
    """What was seen in a folder of images; None for other data sets, and for a run that goes on."""
    range_test: RangeTest | None = None
    """By what the learning rate was found, if it was to be."""

    def __repr__(self) -> str:
        config, length = self.config, self.length
        return (
            f"PreparedRun({config.model} on {config.data}, {counted(len(self.train_loader.dataset), 'image')} to learn from, "
            f"{len((self.val_loader or self.test_loader).dataset):,} to measure on, {counted(length.epochs, 'epoch')} of "
            f"{counted(length.steps_per_epoch, 'step')}, "
            f"{config.optimizer}, {config.device})"
        )

    def trainer(self, callbacks: Sequence[Callback] = (), group: Group | None = None) -> Trainer:
        """A trainer of this run, to be asked for `config.epochs` epochs, on this process alone or as one of a `group`.

        Processes with GPUs exchange gradients straight from one to another, by NCCL. Raises ArgumentError for a callback with
        an unknown hook, and for more processes than `config.shards`, DeviceError where NCCL is missing, or GPUs are shared.
        """
        assert self.config.label_smoothing is not None
        device = backend.choose_device(self.config.device).device
        if group is not None and group.size > 1 and device.kind == "cuda":
            group = NcclGroup(group, device)
        return Trainer(
            self.model, self.optimizer, self.train_loader, None if self.val_loader else self.test_loader, self.schedule,
            [*callbacks, *self._freezing()], self.config.label_smoothing, self.config.accumulate, self.config.clip_norm, self.config.clip_value,
            self.average, self.config.precision, "auto" if self.config.graph is None else self.config.graph, self.val_loader,
            Sharding(self.config.shards, group), self.lookahead,
        )  # fmt: skip

    def callbacks(self, folder: RunFolder) -> list[Callback]:
        """What keeps the run in `folder`, and may end it early, as it is configured.

        A folder that another process writes is left alone.
        Raises RunError if the folder cannot be written, LibraryError if a log needs a library that is not installed.
        """
        if not folder.is_written:
            return [Stopping(), *self._deciding()]
        config, description = self.config, self.description()
        folder.images, folder.network = self.images, self.network
        writers: list[Callback] = [
            RunRecorder(folder, description),
            FailureRecorder(folder, description),
            CheckpointWriter(folder, description, config.checkpoint_every, config.keep),
            *(LOGS[name](folder) for name in config.logs),
        ]
        return [*writers, *self._deciding()]

    def _freezing(self) -> list[Callback]:
        """What ends the learning of the bias of a convolution that whitens."""
        if self.whitened is None or self.whitened.bias is None or self.config.whiten is None:
            return []
        return [FreezeAfter([self.whitened.bias], self.config.whiten)]

    def _deciding(self) -> list[Callback]:
        """What ends the run early, if it is configured to."""
        return [] if self.config.early_stopping is None else [EarlyStopping(self.config.early_stopping)]

    def final_scores(self, trainer: Trainer, folder: RunFolder) -> dict[str, float]:
        """What came of the run: "test_accuracy", "test_correct" and "test_total" of the weights that are its result.

        Those in `folder` of the best epoch, if there are validation images, or early stopping; then "best_epoch" tells which
        it was, and "val_accuracy", ... what it was chosen by, if that was not the test set. Else those of the last epoch.
        """
        group = trainer.sharding.group
        found: dict[str, float] = group.gather(self._scores_in(folder, trainer) if group.rank == 0 else None)[0]
        return found

    def _scores_in(self, folder: RunFolder, trainer: Trainer) -> dict[str, float]:
        names = ("accuracy", "correct", "total")
        weights = folder.weights()
        if weights.name == LAST:
            return {f"test_{name}": trainer.history[-1][f"test_{name}"] for name in names}
        row = weights.row
        best = {"best_epoch": row["epoch"]} if row else {}
        best |= {f"val_{name}": row[f"val_{name}"] for name in names if f"val_{name}" in row}
        if "test_accuracy" in row:
            return {**best, **{f"test_{name}": row[f"test_{name}"] for name in names}}
        with backend.precision(self.config.precision):
            test = evaluate(folder.load_model(weights.name).to(trainer.device), self.test_loader)
        return {**best, **{f"test_{name}": getattr(test, name) for name in names}}

    def other_rate(self, epochs: int, steps: int) -> int | None:
        """The first of the run's first `steps` that would have another learning rate in a run of `epochs`; None if none has."""
        own, other = self._schedule_for(self.length.epochs), self._schedule_for(epochs)
        return next((step for step in range(steps) if own(step) != other(step)), None)

    def cut_short(self, trainer: Trainer) -> str:
        """What to say if early stopping ended a schedule that is laid out for more epochs, before its rate was low; else empty."""
        config, epochs, steps = self.config, self.length.epochs, self.length.steps_per_epoch
        assert isinstance(config.lr, float)
        if config.early_stopping is None or not trainer.stop_reason or trainer.epoch >= epochs:
            return ""
        if self.other_rate(epochs + 1, self.length.steps) is None:
            return ""
        own = self._schedule_for(epochs)
        share = max(own(step) for step in range(trainer.step, self.length.steps, steps)) / config.lr
        if share < LOW_RATE:
            return ""
        return (
            f"early stopping ended after {trainer.epoch} of the {epochs} epochs that {config.schedule} is laid out for, with the "
            f"rate at {trainer.optimizer.lr / config.lr:.0%} of its peak; consider --schedule constant or plateau"
        )

    def _schedule_for(self, epochs: int) -> optim.Schedule:
        """The schedule of the same run over so many epochs."""
        assert isinstance(self.config.lr, float)
        return make_schedule(
            self.config.schedule, self.config.warmup, self.config.lr, self.length._replace(epochs=epochs)
        )

    def finish(self, trainer: Trainer, folder: RunFolder) -> dict[str, float]:
        """Train what is left of the run, if there is something left, and write how it ended: its `final_scores`."""
        if trainer.batch or (trainer.epoch < self.length.epochs and not trainer.stop_reason):
            trainer.fit(self.length.epochs - trainer.epoch)
        scores = self.final_scores(trainer, folder)
        if trainer.sharding.group.rank == 0:
            self._write_end(trainer, folder, scores)
        return scores

    def _write_end(self, trainer: Trainer, folder: RunFolder, scores: dict[str, float]) -> None:
        folder.finish(
            {
                **scores,
                "epochs": len(trainer.history),
                "device": self.config.device,
                "seconds": sum(folder.read_times().values()),
                "parameters": self.model.parameter_count(),
            }
        )

    def description(self) -> dict[str, Any]:
        """What config.json of the run's folder has: the configuration, and what the model needs to be built and fed again."""
        return {
            "create": self.create,
            "preprocess": dataclasses.asdict(self.splits.preprocess),
            "class_names": self.splits.class_names,
            **self.config.to_json(),
            **({} if self.images is None else {ENTRY: self.images.file_name}),
            "versions": {
                **_versions_on(backend.choose_device(self.config.device).device),
                **_decoder_version(self.config),
            },
        }


def _versions_on(device: backend.Device) -> dict[str, str]:
    """What bits depend on beside config and data: versions, and which GPU, or which processor and compiler, computes."""
    if device.kind == "cuda":
        properties = device.xp.cuda.runtime.getDeviceProperties(device.index)
        return {**versions(), "gpu": properties["name"].decode(), "cupy": str(device.xp.__version__)}
    compiler = {"llvmlite": importlib.metadata.version("llvmlite")} if ways.mode() == "jit" else {}
    return {**versions(), "cpu": ways.describe(), **compiler}


def _decoder_version(config: RunConfig) -> dict[str, str]:
    """Of a library beside Pillow that decodes images."""
    return {SIMPLEJPEG: simplejpeg_version()} if config.decode == SIMPLEJPEG else {}
