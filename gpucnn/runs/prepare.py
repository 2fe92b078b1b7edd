"""From a configuration to all that trains: the one place where a run is built, so that it is built alike every time."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpucnn import backend, data, models, optim
from gpucnn.backend.memory import free_bytes
from gpucnn.data.catalog import TEST_SHARE, Part, folder_of, read_larger
from gpucnn.data.image_folder import whole_of
from gpucnn.data.split import split_by_place
from gpucnn.errors import ConfigError, RunError
from gpucnn.files.checkpoint_file import versions
from gpucnn.kernels import ways
from gpucnn.layers import Layer
from gpucnn.runs.choices import AUGMENTATIONS, LOGS, MIXES, OPTIMIZERS, RunLength, make_schedule
from gpucnn.runs.config import RunConfig
from gpucnn.runs.failure_file import FailureRecorder
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.image_list import ALL, ENTRY, LEARNED, ImageList, files_in
from gpucnn.runs.writers import CheckpointWriter, RunRecorder
from gpucnn.text import counted
from gpucnn.training.callback import Callback
from gpucnn.training.can_train import check_last_batch
from gpucnn.training.early_stopping import EarlyStopping
from gpucnn.training.evaluate import evaluate
from gpucnn.training.trainer import Trainer

EVALUATION_BATCH = 256
DATA_SHARE = 4
"""A data set may take one part in four of a GPU's free memory."""


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
    train_loader: data.DataLoader
    test_loader: data.DataLoader
    """What every epoch is measured on: the test set, the `validation` share of the training set, or a folder's part val."""
    images: ImageList | None
    """The files of these sets, which the run keeps; None if they are not in files, and for a run that has begun without."""

    def __repr__(self) -> str:
        config, length = self.config, self.length
        return (
            f"PreparedRun({config.model} on {config.data}, {counted(len(self.train_loader.dataset), 'image')} to learn from, "
            f"{len(self.test_loader.dataset):,} to measure on, {counted(length.epochs, 'epoch')} of "
            f"{counted(length.steps_per_epoch, 'step')}, "
            f"{config.optimizer}, {config.device})"
        )

    def trainer(self, callbacks: Sequence[Callback] = ()) -> Trainer:
        """A trainer of this run, to be asked for `config.epochs` epochs. ArgumentError for a callback with an unknown hook."""
        assert self.config.label_smoothing is not None
        return Trainer(
            self.model, self.optimizer, self.train_loader, self.test_loader, self.schedule, callbacks,
            self.config.label_smoothing, self.config.accumulate, self.config.clip_norm, self.config.clip_value, self.average,
            self.config.precision, "auto" if self.config.graph is None else self.config.graph,
        )  # fmt: skip

    def callbacks(self, folder: RunFolder) -> list[Callback]:
        """What keeps the run in `folder`, and may end it early, as it is configured.

        Raises RunError if the folder cannot be written, LibraryError if a log needs a library that is not installed.
        """
        config, description = self.config, self.description()
        folder.images = self.images
        return [
            RunRecorder(folder, description),
            FailureRecorder(folder, description),
            CheckpointWriter(folder, description, config.checkpoint_every, config.keep),
            *(LOGS[name](folder) for name in config.logs),
            *([] if config.early_stopping is None else [EarlyStopping(config.early_stopping)]),
        ]

    @property
    def has_validation(self) -> bool:
        """Whether epochs are measured on other images than those of the test set."""
        return bool(self.config.validation) or self.splits.validation is not None

    def final_scores(self, trainer: Trainer) -> dict[str, float]:
        """The last epoch's "test_accuracy", "test_correct" and "test_total".

        With validation images these are measured now, on the test set, and the epoch's own are "validation_accuracy", ...
        """
        names = ("accuracy", "correct", "total")
        last = {name: trainer.history[-1][f"test_{name}"] for name in names}
        if not self.has_validation:
            return {f"test_{name}": last[name] for name in names}
        with backend.precision(self.config.precision), trainer.evaluation_weights():
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
            **({} if self.images is None else {ENTRY: self.images.file_name}),
            "versions": _versions_on(backend.choose_device(self.config.device).device),
        }


class Division(NamedTuple):
    """How a data set is divided into what a run learns from and what it is measured on."""

    test: Callable[[data.Splits], data.Splits]
    """Gives training and test images their places."""
    validation: Callable[[data.Dataset], tuple[data.Dataset, data.Dataset]]
    """Divides the training images into those to learn from and those to measure every epoch on."""


def prepare(config: RunConfig) -> PreparedRun:
    """Build all that `config` asks for: a function of it, of the data set's files and of the device.

    Raises DeviceError if the device does not work, DataError if files are missing or damaged, ArgumentError for a model that
    does not take the images, and ConfigError for a share of validation images where there is a part of them.
    """
    ready = _build(
        config, Division(lambda splits: splits, lambda part: data.split(part, 1 - config.validation, config.seed))
    )
    parts = {"train": ready.train_loader.dataset, "test": ready.splits.test}
    if ready.has_validation:
        parts["validation"] = ready.test_loader.dataset
    return dataclasses.replace(ready, images=ImageList.of(parts, folder_of(config.data, config.data_dir)))


def prepare_again(config: RunConfig, images: ImageList | None) -> PreparedRun:
    """Build a run that has begun, with the `images` that it has begun with; None for the division that was made without a list.

    Raises what `prepare` does, and RunError if images are gone or have changed.
    """
    place = folder_of(config.data, config.data_dir)
    if images is None:
        return _build(config, Division(by_place, lambda part: split_by_place(part, 1 - config.validation, config.seed)))

    def divided(splits: data.Splits) -> data.Splits:
        changes = images.changes(files_in(splits, place), ALL)
        if changes.gone or changes.changed:
            raise RunError(
                f"{place}: {changes._replace(new=())}; put them back as they were, or begin a new run with the images that "
                f"there are"
            )
        learned, measured = whole_of(splits.train), whole_of(splits.test)
        test = images.subset(measured, place, "test")
        if splits.validation is None:
            return splits._replace(train=images.subset(learned, place, *LEARNED), test=test)
        watched = images.subset(whole_of(splits.validation), place, "validation")
        return splits._replace(train=images.subset(learned, place, "train"), validation=watched, test=test)

    def validation(part: data.Dataset) -> tuple[data.Dataset, data.Dataset]:
        return images.subset(part, place, "train"), images.subset(part, place, "validation")

    return dataclasses.replace(_build(config, Division(divided, validation)), images=images)


def by_place(splits: data.Splits) -> data.Splits:
    """The division of a folder's images as it was made before runs kept lists of theirs."""
    if not isinstance(splits.train, data.Subset):
        return splits
    train, test = split_by_place(whole_of(splits.train), 1 - TEST_SHARE)
    return splits._replace(train=train, test=test)


def _build(config: RunConfig, division: Division) -> PreparedRun:
    """All but the list of images."""
    chosen = backend.choose_device(config.device)
    image_size = config.image_size or models.image_size_for(config.model, data.native_size(config.data) or 1)
    config = dataclasses.replace(config.resolved(), device=str(chosen.device), image_size=image_size)
    assert config.epochs is not None
    assert config.batch_size is not None
    splits = division.test(data.load(config.data, config.data_dir, image_size, config.mode, config.background))
    if config.normalize:
        mean, std = data.channel_statistics(_parts(splits, config, division)[0])
        splits = splits.with_preprocess(dataclasses.replace(splits.preprocess, mean=mean, std=std))
    create: dict[str, Any] = {
        "name": config.model,
        "num_classes": len(splits.class_names),
        "in_channels": splits.preprocess.channels,
        "image_size": image_size,
    }
    model = models.create(**create, seed=config.seed).to(chosen.device)
    splits = splits._replace(train=_near(splits.train, chosen.device), test=_near(splits.test, chosen.device))
    train_set, test_set = _parts(splits, config, division)
    augment = _augment(config.augment, splits.preprocess)
    sizes = [one.source_size for one in augment.augmentations if isinstance(one, data.RandomResizedCrop)]
    if size := max((size for size in sizes if size is not None), default=0):
        train_set = read_larger(train_set, size)
    train_loader = data.DataLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        drop_last=config.drop_last,
        augment=augment if augment.augmentations else None,
        mix=None if config.mix is None else MIXES.make(config.mix),
        workers=config.workers,
        weights=data.class_weights(train_set.labels, train_set.num_classes) if config.balance else None,
    )
    check_last_batch(model, train_loader)
    optimizer = OPTIMIZERS.make(
        config.optimizer,
        parameters=model.parameters(),
        lr=config.lr,
        weight_decay=config.weight_decay,
        decay_vectors=config.decay_vectors,
    )
    length = RunLength(config.epochs, steps_per_epoch=-(-len(train_loader) // config.accumulate))
    schedule = make_schedule(config.schedule, config.warmup, optimizer.lr, length)
    average = None if config.average is None else optim.WeightAverage(model, config.average)
    test_loader = data.DataLoader(test_set, EVALUATION_BATCH, workers=config.workers)
    return PreparedRun(
        config,
        str(chosen),
        create,
        splits,
        model,
        optimizer,
        length,
        schedule,
        average,
        train_loader,
        test_loader,
        None,
    )


def _parts(splits: data.Splits, config: RunConfig, division: Division) -> tuple[data.Dataset, data.Dataset]:
    """What to learn from, and what to measure every epoch on."""
    if splits.validation is not None:
        if config.validation:
            raise ConfigError(
                f"validation is {config.validation:g}, but {config.data_dir or config.data} has a part of its own to measure "
                f"every epoch on; leave validation out"
            )
        return splits.train, splits.validation
    return division.validation(splits.train) if config.validation else (splits.train, splits.test)


def _augment(written: Sequence[str] | None, preprocess: data.Preprocess) -> data.Compose:
    given = {"image_size": preprocess.image_size, "mean": preprocess.mean, "std": preprocess.std}
    return data.Compose(*(AUGMENTATIONS.make(one, **given) for one in written or ()))


def _versions_on(device: backend.Device) -> dict[str, str]:
    """What bits depend on beside config and data: versions, and which GPU, or which processor and compiler, computes."""
    if device.kind == "cuda":
        properties = device.xp.cuda.runtime.getDeviceProperties(device.index)
        return {**versions(), "gpu": properties["name"].decode(), "cupy": str(device.xp.__version__)}
    compiler = {"llvmlite": importlib.metadata.version("llvmlite")} if ways.mode() == "jit" else {}
    return {**versions(), "cpu": ways.describe(), **compiler}


def _near(part: Part, device: backend.Device) -> Part:
    """The data set, on the GPU if it is arrays that take little of its free memory: batches then need not be sent there."""
    if device.kind == "cpu" or not isinstance(part, data.ArrayDataset):
        return part
    return part if part.nbytes > free_bytes(device) // DATA_SHARE else part.to(device)
