"""From a configuration to all that trains: the one place where a run is built, so that it is built alike every time."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpucnn import backend, data, models, optim
from gpucnn.backend.memory import free_bytes
from gpucnn.data.augment import Augment
from gpucnn.layers import Layer
from gpucnn.training.callback import Callback
from gpucnn.training.checkpoint_writer import CheckpointWriter
from gpucnn.training.choices import AUGMENTATIONS, LOGS, OPTIMIZERS, Pace, make_schedule
from gpucnn.training.early_stopping import EarlyStopping
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
            CheckpointWriter(folder, description, config.checkpoint_every, config.keep),
            *(LOGS[name](folder) for name in config.logs),
            *([] if config.early_stopping is None else [EarlyStopping(config.early_stopping)]),
        ]

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
    source = data.source(config.data)
    image_size = config.image_size or models.image_size_for(config.model, source.native_size)
    config = dataclasses.replace(config.resolved(), device=str(chosen.device), image_size=image_size)
    assert config.epochs is not None
    assert config.batch_size is not None
    splits = data.load(config.data, config.data_dir, image_size)
    if config.normalize:
        mean, std = data.channel_statistics(splits.train)
        splits = splits.with_preprocess(dataclasses.replace(splits.preprocess, mean=mean, std=std))
    create: dict[str, Any] = {
        "name": config.model,
        "num_classes": len(splits.class_names),
        "in_channels": source.channels,
        "image_size": image_size,
    }
    model = models.create(**create, seed=config.seed).to(chosen.device)
    train_set, test_set = (_near(part, chosen.device) for part in (splits.train, splits.test))
    train_loader = data.DataLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        augment=_augment(config.augment, splits.preprocess),
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
    test_loader = data.DataLoader(test_set, EVALUATION_BATCH)
    return PreparedRun(
        config, str(chosen), create, splits, model, optimizer, pace, schedule, average, train_loader, test_loader
    )


def _augment(written: Sequence[str] | None, preprocess: data.Preprocess) -> Augment | None:
    if not written:
        return None
    return data.Compose(*(AUGMENTATIONS.make(one, mean=preprocess.mean, std=preprocess.std) for one in written))


def _near(dataset: data.ArrayDataset, device: backend.Device) -> data.ArrayDataset:
    """The data set, on the GPU if it takes little of its free memory: batches then need not be sent there."""
    if device.kind == "cpu" or dataset.nbytes > free_bytes(device) // DATA_SHARE:
        return dataset
    return dataset.to(device)
