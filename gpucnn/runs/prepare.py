"""From a configuration to all that trains: the one place where a run is built, so that it is built alike every time."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from gpucnn import backend, data, models, optim
from gpucnn.backend.group import Group, SingleProcess, of_first
from gpucnn.backend.memory import free_bytes
from gpucnn.data.catalog import FOLDER, TEST_SHARE, Part, cache_notes, folder_of, read_larger
from gpucnn.data.image_folder import keep_inspected, whole_of
from gpucnn.data.inspected_pixels import InspectedPixels
from gpucnn.data.jpeg_decoders import check_decoder
from gpucnn.data.normalization import Normalization
from gpucnn.data.split import split_by_place
from gpucnn.errors import ConfigError, RunError
from gpucnn.layers import Layer
from gpucnn.models.image_model import Stage
from gpucnn.runs import network
from gpucnn.runs.choices import AUGMENTATIONS, MIXES, OPTIMIZERS, SHUFFLES, RunLength, make_schedule
from gpucnn.runs.config import RunConfig
from gpucnn.runs.image_list import ALL, LEARNED, ImageList, files_in
from gpucnn.runs.network import COPY, OnnxCopy, build, check_fits, image_size_of, is_onnx
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.runs.recipe import Photos, why
from gpucnn.runs.transfer import freeze, learning, normalization_for, start_lines
from gpucnn.runs.whitening import start_whitened
from gpucnn.training.can_train import check_last_batch
from gpucnn.training.find_lr import FIND, find_lr

EVALUATION_BATCH = 256
DATA_SHARE = 4
"""A data set may take one part in four of a GPU's free memory."""


class Begun(NamedTuple):
    """What only the beginning of a run knew."""

    normalization: Normalization | None
    """What its images are normalised with; None for not at all."""
    network: OnnxCopy | None
    """The ONNX file that its model is of; None for a model by name."""
    folder: Path
    """Where it is kept."""


class Division(NamedTuple):
    """How a data set is divided into what a run learns from and what it is measured on."""

    test: Callable[[data.Splits], data.Splits]
    """Gives training and test images their places."""
    validation: Callable[[data.Dataset], tuple[data.Dataset, data.Dataset]]
    """Divides the training images into those to learn from and those to measure every epoch on."""


def prepare(
    config: RunConfig, told: Callable[[int, int], None] | None = None, group: Group | None = None
) -> PreparedRun:
    """Build all that `config` asks for: a function of it, of the data set's files and of the device.

    Of a folder of images all are decoded first; `told` is called meanwhile, see `data.inspect`. Processes of a `group` that
    call this alike have the first of them look, and share the search for a learning rate.

    Raises DeviceError if the device does not work, or not in the precision, DataError if files are missing or damaged, ArgumentError for a model that
    does not take the images, StateError for weights that it does not take, ConfigError for a share of validation images
    where there is a part of them, and for more frozen stages than there are, and TrainingError for a learning rate that is to
    be found, where there is none.
    """
    if config.lr == FIND:
        found = find_lr(prepare(dataclasses.replace(config, lr=None), told, group).trainer(group=group))
        # Built anew, as more than the optimizer may depend on the rate.
        return dataclasses.replace(prepare(dataclasses.replace(config, lr=found.lr), None, group), range_test=found)
    pixels = InspectedPixels()
    place, seen = folder_of(config.data, config.data_dir), _seen(config, told, group, pixels)
    unreadable = [] if seen is None else [file.path for file in seen.unreadable]
    division = Division(lambda splits: splits, lambda part: data.split(part, 1 - config.validation, config.seed))
    ready = _build(config, division, None, unreadable, None if seen is None else Photos.of(seen), pixels)
    parts = {"train": ready.train_loader.dataset, "test": ready.splits.test}
    if ready.val_loader is not None:
        parts["validation"] = ready.val_loader.dataset
    listed = of_first(group or SingleProcess(), lambda: ImageList.of(parts, place, unreadable))
    return dataclasses.replace(ready, images=listed, inspection=seen)


def prepare_again(config: RunConfig, images: ImageList | None, begun: Begun) -> PreparedRun:
    """Build a run that has begun, with the `images` that it has begun with; None for the division that was made without a list.

    The weights that it began with are not read: a checkpoint has what became of them, and `begun` what they were trained on.
    Raises what `prepare` does, and RunError if images are gone or have changed.
    """
    place = folder_of(config.data, config.data_dir)
    if images is None:
        place_division = Division(by_place, lambda part: split_by_place(part, 1 - config.validation, config.seed))
        return _build(config, place_division, begun)

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

    ready = _build(config, Division(divided, validation), begun, images.unreadable(place))
    return dataclasses.replace(ready, images=images)


def resolve(config: RunConfig, told: Callable[[int, int], None] | None = None) -> RunConfig:
    """The configuration with a value for everything, as `prepare` takes it, and config.json keeps it.

    Raises what `prepare` does of the device and of a folder's files.
    """
    seen = _seen(config, told, None, None)
    return _resolved(config, None if seen is None else Photos.of(seen))


def _seen(
    config: RunConfig, told: Callable[[int, int], None] | None, group: Group | None, pixels: InspectedPixels | None
) -> data.Inspection | None:
    """What there is in a folder of images. DataError for files that cannot be read, unless they are to be skipped."""
    backend.choose_device(config.device)  # what cannot be is told before images are decoded
    check_decoder(config.decode)
    if config.data != FOLDER:
        return None
    seen = of_first(
        group or SingleProcess(), lambda: data.inspect(folder_of(config.data, config.data_dir), told, pixels)
    )
    if not config.skip_unreadable:
        seen.check()
    return seen


def _resolved(config: RunConfig, photos: Photos | None) -> RunConfig:
    if config.model is None and config.weights is not None:
        config = dataclasses.replace(config, model=models.of_weights(config.weights))
    resolved = config.resolved(photos)
    model, native = resolved.model, data.native_size(config.data) or 1
    assert model is not None
    image_size = resolved.image_size
    if not is_onnx(model):
        image_size = image_size or models.image_size_for(model, native)
    elif config.image_size is None:
        image_size = image_size_of(model) or image_size or native
    device = backend.choose_device(config.device).device
    return dataclasses.replace(resolved, device=str(device), image_size=image_size)


def by_place(splits: data.Splits) -> data.Splits:
    """The division of a folder's images as it was made before runs kept lists of theirs."""
    if not isinstance(splits.train, data.Subset):
        return splits
    train, test = split_by_place(whole_of(splits.train), 1 - TEST_SHARE)
    return splits._replace(train=train, test=test)


def _why(asked: RunConfig, photos: Photos | None) -> str:
    """Why a model was chosen; empty if it was asked for, or is the same for all of a data set."""
    if asked.model is not None:
        return ""
    if asked.weights is not None:
        return "the one that the weights are of"
    return "" if photos is None else why(photos)


def _build(
    asked: RunConfig,
    division: Division,
    begun: Begun | None,
    skip: Sequence[Path] = (),
    photos: Photos | None = None,
    pixels: InspectedPixels | None = None,
) -> PreparedRun:
    """All but the list of images; of a folder without what is at the paths `skip`.

    With `begun` the model's weights, which a checkpoint has, are as they were drawn.
    """
    config, chosen = _resolved(asked, photos), backend.choose_device(asked.device)
    assert config.epochs is not None
    assert config.batch_size is not None
    assert isinstance(config.lr, float)
    splits = division.test(
        data.load(config.data, config.data_dir, config.image_size, config.mode, config.background, skip)
    )
    splits = splits.decoded_by(config.decode, config.cache, pixels)
    create: dict[str, Any] = {
        "name": config.model,
        "num_classes": len(splits.class_names),
        "in_channels": splits.preprocess.channels,
        "image_size": config.image_size,
    }
    model, copy, had_softmax = _network(config, create, begun)
    taken = None
    if isinstance(model, models.ImageModel) and config.weights is not None and begun is None:
        taken = models.load_weights(model, config.weights)
    if config.normalize:
        normalization: Normalization | None = data.channel_statistics(_parts(splits, config, division)[0])
    elif begun is not None:
        normalization = begun.normalization
    else:
        normalization = None if taken is None else normalization_for(config, taken)[0]
    if copy is not None and begun is None and config.normalize is None:
        metadata = getattr(model, "metadata", {})
        normalization = network.normalization_of(str(config.model), metadata, create["in_channels"])
    if normalization is not None:
        mean, std = normalization
        splits = splits.with_preprocess(dataclasses.replace(splits.preprocess, mean=mean, std=std))
    frozen = freeze(model, config)
    whitened, told = None, ""
    if config.whiten is not None:
        whitened, told = start_whitened(model, config, _parts(splits, config, division)[0] if begun is None else None)
    model.to(chosen.device)
    splits = splits._replace(train=near(splits.train, chosen.device), test=near(splits.test, chosen.device))
    train_set, val_set = _parts(splits, config, division)
    augment = _augment(config.augment, splits.preprocess)
    sizes = [one.source_size for one in augment.augmentations if isinstance(one, data.RandomResizedCrop)]
    if size := max((size for size in sizes if size is not None), default=0):
        train_set = read_larger(train_set, size)
    for part in (train_set, val_set, splits.test):
        if part is not None:
            keep_inspected(part)
    splits = splits._replace(notes=(*splits.notes, *cache_notes([train_set, val_set, splits.test])))
    train_loader = data.DataLoader(
        train_set,
        config.batch_size,
        shuffle=SHUFFLES.make(config.shuffle),
        seed=config.seed,
        drop_last=config.drop_last,
        augment=augment if augment.augmentations else None,
        mix=None if config.mix is None else MIXES.make(config.mix),
        workers=config.workers,
        weights=data.class_weights(train_set.labels, train_set.num_classes) if config.balance else None,
    )
    check_last_batch(model, train_loader, shards=config.shards)
    optimizer = OPTIMIZERS.make(
        config.optimizer,
        parameters=learning(model, config),
        lr=config.lr,
        weight_decay=config.weight_decay,
        decay_vectors=config.decay_vectors,
    )
    length = RunLength(config.epochs, steps_per_epoch=-(-len(train_loader) // config.accumulate))
    schedule = make_schedule(config.schedule, config.warmup, optimizer.lr, length)
    average = None if config.average is None else optim.WeightAverage(model, config.average)
    lookahead = None if config.lookahead is None else optim.Lookahead(model, length.steps, config.lookahead)
    val_loader, test_loader = (
        None if part is None else data.DataLoader(part, EVALUATION_BATCH, workers=config.workers)
        for part in (val_set, splits.test)
    )
    assert test_loader is not None
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
        lookahead,
        whitened,
        train_loader,
        val_loader,
        test_loader,
        (*_start(model, config, taken, frozen, normalization, had_softmax), *([told] if told else [])),
        None,
        copy,
        _why(asked, photos),
    )


def _network(config: RunConfig, create: dict[str, Any], begun: Begun | None) -> tuple[Layer, OnnxCopy | None, bool]:
    """The model; what the run keeps of an ONNX file, if it is one; and whether its last Softmax was left out. `create` then names the file."""
    if not is_onnx(config.model):
        return models.create(**create, seed=config.seed), None, False
    assert config.model is not None
    copy = OnnxCopy.of(config.model) if begun is None else begun.network
    if copy is None:
        raise RunError(f"{config.model}: the run has no copy of it; begin a new run")
    size = create["image_size"]
    create |= {"name": PurePath(config.model).name, COPY: copy.file_name}
    if begun is not None:
        return build(create, begun.folder, config.seed), copy, False
    model, had_softmax = network.read(config.model, copy)
    check_fits(config.model, model, (create["in_channels"], size, size), create["num_classes"])
    model.seed = config.seed
    return model, copy, had_softmax


def _start(
    model: Layer,
    config: RunConfig,
    taken: models.TakenWeights | None,
    frozen: list[Stage],
    normalization: Normalization | None,
    had_softmax: bool,
) -> tuple[str, ...]:
    """The lines that say what the model starts from."""
    if is_onnx(config.model):
        told = "" if normalization is None or config.normalize else "; images are normalised as it tells"
        told += "; its last Softmax is left out, as the loss takes logits" if had_softmax else ""
        return (f"weights: those of the file, of which the run keeps a copy{told}",)
    return (
        () if taken is None or not isinstance(model, models.ImageModel) else start_lines(model, config, taken, frozen)
    )


def _parts(splits: data.Splits, config: RunConfig, division: Division) -> tuple[data.Dataset, data.Dataset | None]:
    """What to learn from, and the validation images, if there are any."""
    if splits.validation is not None:
        if config.validation:
            raise ConfigError(
                f"validation is {config.validation:g}, but {config.data_dir or config.data} has a part of its own to measure "
                f"every epoch on; leave validation out"
            )
        return splits.train, splits.validation
    return division.validation(splits.train) if config.validation else (splits.train, None)


def _augment(written: Sequence[str] | None, preprocess: data.Preprocess) -> data.Compose:
    given = {"image_size": preprocess.image_size, "mean": preprocess.mean, "std": preprocess.std}
    return data.Compose(*(AUGMENTATIONS.make(one, **given) for one in written or ()))


def near(part: Part, device: backend.Device) -> Part:
    """The data set, on the GPU if it is arrays that take little of its free memory; larger ones, of bytes, are streamed there."""
    if device.kind == "cpu" or not isinstance(part, data.ArrayDataset):
        return part
    if part.nbytes <= free_bytes(device) // DATA_SHARE:
        return part.to(device)
    return part.streamed(device) if part.has_bytes else part
