"""From a configuration to all that trains: the one place where a run is built, so that it is built alike every time."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpucnn import backend, data, models, optim
from gpucnn.backend.memory import free_bytes
from gpucnn.data.augment import Augment
from gpucnn.data.catalog import Part
from gpucnn.layers import Layer
from gpucnn.training.callback import Callback
from gpucnn.training.checkpoint_writer import CheckpointWriter
from gpucnn.training.choices import AUGMENTATIONS, LOGS, MIXES, OPTIMIZERS, Pace, make_schedule
from gpucnn.training.early_stopping import EarlyStopping
from gpucnn.training.evaluate import evaluate
from gpucnn.training.failure_file import FailureRecorder
from gpucnn.training.run_config import RunConfig
from gpucnn.training.run_folder import RunFolder, RunRecorder
from gpucnn.training.trainer import Trainer
from gpucnn.training.versions import versions_on

EVALUATION_BATCH = 256
DATA_SHARE = 4
"""A data set may take one part in so many of a GPU's free memory."""


@dataclass(frozen=True, slots=True)
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
    pace: Pace
    schedule: optim.Schedule
    average: optim.WeightAverage | None
    train_loader: data.DataLoader
    test_loader: data.DataLoader
    """What every epoch is measured on: the test set, or the `validation` share of the training set."""

    def trainer(self, callbacks: Sequence[Callback] = ()) -> Trainer:
        """A trainer of this run, to be asked for `config.epochs` epochs. ArgumentError for a callback that is none."""
        assert self.config.label_smoothing is not None
        return Trainer(
            self.model,
            self.optimizer,
            self.train_loader,
            self.test_loader,
            self.schedule,
            callbacks,
            self.config.label_smoothing,
            self.config.accumulate,
            self.config.clip_norm,
            self.config.clip_value,
            self.average,
        )

    def callbacks(self, folder: RunFolder) -> list[Callback]:
        """What keeps the run in `folder`, and may end it early, as it is configured.

        Raises RunError if the folder cannot be written, LibraryError if a log needs a library that is not installed.
        """
        config, description = self.config, self.description()
        return [
            RunRecorder(folder, description),
            FailureRecorder(folder, description),
            CheckpointWriter(folder, description, config.checkpoint_every, config.keep),
            *(LOGS[name](folder) for name in config.logs),
            *([] if config.early_stopping is None else [EarlyStopping(config.early_stopping)]),
        ]

    def final_scores(self, trainer: Trainer) -> dict[str, float]:
        """The last epoch's "test_accuracy", "test_correct" and "test_total".

        With `validation` these are measured now, on the test set, and the epoch's own are "validation_accuracy", ...
        """
        names = ("accuracy", "correct", "total")
        last = {name: trainer.history[-1][f"test_{name}"] for name in names}
        if not self.config.validation:
            return {f"test_{name}": last[name] for name in names}
        with trainer.evaluation_weights():
            test = evaluate(
                self.model, data.DataLoader(self.splits.test, EVALUATION_BATCH, workers=self.config.workers)
            )
        return {
            **{f"test_{name}": getattr(test, name) for name in names},
            **{f"validation_{name}": last[name] for name in names},
        }

    def description(self) -> dict[str, Any]:
        """What config.json of the run's folder has: the configuration, and what the model needs to be built and fed again."""
        return {
            "create": self.create,
            "preprocess": dataclasses.asdict(self.splits.preprocess),
            "class_names": self.splits.class_names,
            **self.config.to_json(),
            "versions": versions_on(backend.choose_device(self.config.device).device),
        }


def prepare(config: RunConfig) -> PreparedRun:
    """Build all that `config` asks for: a function of it, of the data set's files and of the device.

    Raises DeviceError if the device does not work, DataError if files are missing or damaged, and ArgumentError for a model
    that does not take the images.
    """
    chosen = backend.choose_device(config.device)
    image_size = config.image_size or models.image_size_for(config.model, data.native_size(config.data) or 1)
    config = dataclasses.replace(config.resolved(), device=str(chosen.device), image_size=image_size)
    assert config.epochs is not None
    assert config.batch_size is not None
    splits = data.load(config.data, config.data_dir, image_size, config.mode, config.background)
    if config.normalize:
        mean, std = data.channel_statistics(_parts(splits, config)[0])
        splits = splits.with_preprocess(dataclasses.replace(splits.preprocess, mean=mean, std=std))
    create: dict[str, Any] = {
        "name": config.model,
        "num_classes": len(splits.class_names),
        "in_channels": splits.preprocess.channels,
        "image_size": image_size,
    }
    model = models.create(**create, seed=config.seed).to(chosen.device)
    splits = splits._replace(train=_near(splits.train, chosen.device), test=_near(splits.test, chosen.device))
    train_set, test_set = _parts(splits, config)
    train_loader = data.DataLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        augment=_augment(config.augment, splits.preprocess),
        mix=None if config.mix is None else MIXES.make(config.mix),
        workers=config.workers,
        weights=data.class_weights(train_set.labels, train_set.num_classes) if config.balance else None,
    )
    optimizer = OPTIMIZERS.make(
        config.optimizer,
        parameters=model.parameters(),
        lr=config.lr,
        weight_decay=config.weight_decay,
        decay_vectors=config.decay_vectors,
    )
    pace = Pace(config.epochs, steps_per_epoch=-(-len(train_loader) // config.accumulate))
    schedule = make_schedule(config.schedule, config.warmup, optimizer.lr, pace)
    average = None if config.average is None else optim.WeightAverage(model, config.average)
    test_loader = data.DataLoader(test_set, EVALUATION_BATCH, workers=config.workers)
    return PreparedRun(
        config, str(chosen), create, splits, model, optimizer, pace, schedule, average, train_loader, test_loader
    )


def _parts(splits: data.Splits, config: RunConfig) -> tuple[data.Dataset, data.Dataset]:
    """What to learn from, and what to measure every epoch on."""
    if not config.validation:
        return splits.train, splits.test
    return data.split(splits.train, 1 - config.validation, config.seed)


def _augment(written: Sequence[str] | None, preprocess: data.Preprocess) -> Augment | None:
    if not written:
        return None
    return data.Compose(*(AUGMENTATIONS.make(one, mean=preprocess.mean, std=preprocess.std) for one in written))


def _near(part: Part, device: backend.Device) -> Part:
    """The data set, on the GPU if it is arrays that take little of its free memory: batches then need not be sent there."""
    if device.kind == "cpu" or not isinstance(part, data.ArrayDataset):
        return part
    return part if part.nbytes > free_bytes(device) // DATA_SHARE else part.to(device)
