"""RunConfig: everything that a run is made of, as plain values.

A setting has one name everywhere: `batch_size` in Python and in files, `--batch-size` on the command line. Files are flat, in
TOML as a user writes them, in JSON as a run keeps them.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpucnn import backend
from gpucnn.checks import as_path, known_name, nearest
from gpucnn.data.catalog import FOLDER, name_and_folder
from gpucnn.data.image_file import AUTO, BACKGROUNDS
from gpucnn.data.image_folder import CHANNELS
from gpucnn.data.jpeg_decoders import DECODERS, PILLOW
from gpucnn.errors import ArgumentError, ConfigError
from gpucnn.regular_file import open_regular
from gpucnn.runs import recipe
from gpucnn.runs.choices import (
    AUGMENTATIONS,
    LOGS,
    MIXES,
    OPTIMIZERS,
    SCHEDULES,
    SHUFFLES,
    Classifier,
    DataSet,
    RunLength,
    make_schedule,
)
from gpucnn.runs.image_list import ENTRY
from gpucnn.runs.network import is_onnx
from gpucnn.runs.notation import Choice
from gpucnn.runs.value_kind import (
    BETWEEN_0_AND_1,
    COUNT,
    COUNT_OR_ZERO,
    POSITIVE,
    POSITIVE_OR_ZERO,
    SEED,
    SHARE,
    Kind,
    Name,
    OrNone,
    OrWord,
    Several,
    Text,
    Truth,
)  # fmt: skip
from gpucnn.text import value_text
from gpucnn.training.find_lr import FIND

LARGEST_FILE = 1 << 20
"""Bytes of a configuration; a file that has more is something else."""

HEAD_ONLY = "head-only"
"""Of `freeze`: all but the head."""

NO_SETTINGS = ("config", "out", "processes", "quiet", "recipe", "report", "resume", "seeds")
"""Options of `gpucnn train` that say nothing of what comes of a run, and stand in no file."""

BESIDE = ("create", "preprocess", "class_names", "versions")
"""What stands beside the settings in a run's config.json."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a field of RunConfig."""

    kind: Kind
    group: str
    placeholder: str
    """What stands for a value in help texts; empty for yes or no."""
    help: str


def _setting(default: Any, kind: Kind, group: str, placeholder: str, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"setting": Setting(kind, group, placeholder, text)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The settings of a run; None stands for what suits the data set or the optimizer, see `resolved`.

    Every value is checked when a RunConfig is made. ConfigError, which names the setting, what it got and what was expected,
    for one of a wrong type or out of range; for an unknown name also the nearest known one.

    Optimizer, schedule and augmentations are written as "name", "name:value" or "name:setting=value,setting=value", e.g.
    "sgd:momentum=0.95,nesterov=true"; settings of a schedule that are lengths count epochs.
    """

    model: str | None = _setting(
        None, OrNone(Classifier(), "default"), "model and data", "NAME",
        "the network, by name, or an ONNX file, FILE.onnx, which goes on from its weights (default: lenet5; with weights that which "
        "they are of; for a folder of images by their number and size)",
    )  # fmt: skip
    data: str = _setting(
        "digits", DataSet(), "model and data", "NAME",
        "the data set, or the path of a folder of images, which is data folder with that data_dir (default: digits)",
    )  # fmt: skip
    data_dir: str | None = _setting(
        None, OrNone(Text(), "default"), "model and data", "DIR",
        "the folder of the data set's files (default: data/NAME); of data folder: train/CLASS and test/CLASS with image "
        "files, and perhaps val/CLASS, on which every epoch is then measured; or just CLASS, and a fifth of the images is for testing",
    )  # fmt: skip
    image_size: int | None = _setting(
        None, OrNone(COUNT, "default"), "model and data", "N",
        "height and width of images, to which smaller ones, and all of a folder, are fitted (default: by model and data set, or "
        "the sizes of a folder's images)",
    )  # fmt: skip
    mode: str | None = _setting(
        None, OrNone(Name(lambda: list(CHANNELS)), "default"), "model and data", "NAME",
        "what the images of data folder are turned to (default: rgb)",
    )  # fmt: skip
    background: str = _setting(
        AUTO, Name(lambda: list(BACKGROUNDS)), "model and data", "NAME",
        "what is behind the transparent parts of images of data folder; auto is white where most of what is to be seen is "
        "dark, else black (default: auto)",
    )  # fmt: skip
    decode: str = _setting(
        PILLOW, Name(lambda: list(DECODERS)), "model and data", "NAME",
        "what decodes the JPEGs of data folder, each to bits of its own: pillow; pillow-draft, which reads large ones at 1/2, 1/4 or "
        "1/8 of their size where that is enough; or simplejpeg (default: pillow)",
    )  # fmt: skip
    cache: str | None = _setting(
        None, OrNone(Text(), "none"), "model and data", "DIR",
        "a folder on a fast disk in which decoded images of data folder are kept from run to run, which changes no result, or none "
        "(default: none)",
    )  # fmt: skip
    skip_unreadable: bool = _setting(
        False, Truth(), "model and data", "",
        "whether a run begins without those files of data folder that cannot be read, which are named; else it does not begin "
        "(default: no)",
    )  # fmt: skip
    augment: tuple[str, ...] | None = _setting(
        None, OrNone(Several(Choice(AUGMENTATIONS), "a list of augmentations"), "default"), "model and data", "NAME",
        "random changes of training images, one after the other, or none (default: by data set)",
    )  # fmt: skip
    mix: str | None = _setting(
        None, OrNone(Choice(MIXES), "none"), "model and data", "NAME",
        "what blends the training images of a batch, and their labels, or none (default: none)",
    )  # fmt: skip
    weights: str | None = _setting(
        None, OrNone(Text(), "none"), "model and data", "FILE",
        "weights that the model starts from, of torch.save (.pth, .pt) or safetensors, under gpucnn's, torchvision's or timm's "
        "names; a head for other classes starts new, and images are normalised as for the weights (default: none)",
    )  # fmt: skip
    freeze: int | str | None = _setting(
        None, OrNone(OrWord(COUNT, HEAD_ONLY), "none"), "model and data", "N",
        f"how many stages of the model, from its first, stay as the weights have them, or {HEAD_ONLY} for all that comes before "
        f"the head; the run names them (default: none)",
    )  # fmt: skip
    whiten: int | None = _setting(
        None, OrNone(COUNT_OR_ZERO, "none"), "model and data", "N",
        "have the first convolution begin with filters that whiten the training images' patches, and keep them; its bias learns for N "
        "epochs; or none (default: none)",
    )  # fmt: skip
    normalize: bool | None = _setting(
        None, OrNone(Truth(), "default"), "model and data", "",
        "whether pixels are normalised with the training set's mean and standard deviation (default: no; with weights as for "
        "these)",
    )  # fmt: skip
    balance: bool = _setting(
        False, Truth(), "model and data", "",
        "whether training images are drawn so that each class comes as often as any other (default: no)",
    )  # fmt: skip
    shuffle: str = _setting(
        "full", Choice(SHUFFLES), "model and data", "NAME",
        "the order of an epoch's training images: all shuffled, or, of a folder of tars on a slow drive, window:N, which reads from "
        "N of them at a time (default: full)",
    )  # fmt: skip
    validation: float = _setting(
        0.0, SHARE, "model and data", "X",
        "share of the training set that is kept to measure every epoch on, the test set then at the end alone; "
        "0 for the test set every epoch (default: 0)",
    )  # fmt: skip
    batch_size: int | None = _setting(
        None, OrNone(COUNT, "default"), "model and data", "B", "images per step (default: by data set)"
    )

    drop_last: bool = _setting(
        False, Truth(), "model and data", "",
        "whether the last batch of an epoch is left out where it is smaller than the others (default: no)",
    )  # fmt: skip

    epochs: int | None = _setting(
        None, OrNone(COUNT, "default"), "learning", "N", "passes over the training set (default: by data set)"
    )
    optimizer: str = _setting("adam", Choice(OPTIMIZERS), "learning", "NAME", "the update rule (default: adam)")
    lr: float | str | None = _setting(
        None, OrNone(OrWord(POSITIVE, FIND), "default"), "learning", "X",
        "peak learning rate, or find, for what gpucnn lr-find suggests (default: by optimizer)",
    )  # fmt: skip
    backbone_lr: float | None = _setting(
        None, OrNone(POSITIVE, "none"), "learning", "X",
        "peak learning rate of all but the head, with weights; a rate, e.g. a tenth of lr, and no factor (default: lr)",
    )  # fmt: skip
    weight_decay: float | None = _setting(
        None, OrNone(POSITIVE_OR_ZERO, "default"), "learning", "X",
        "how strongly parameters are drawn to zero (default: by optimizer)",
    )  # fmt: skip
    decay_vectors: bool = _setting(
        True, Truth(), "learning", "", "whether biases, and the scales of norms, have weight decay, too (default: yes)"
    )
    norm_bias_factor: float = _setting(
        1.0, POSITIVE, "learning", "X",
        "how many times lr the biases of batch norms learn at; their weight decay is that of the others (default: 1)",
    )  # fmt: skip
    schedule: str = _setting(
        "one_cycle", Choice(SCHEDULES), "learning", "NAME",
        "the learning rate's course, lengths in epochs (default: one_cycle)",
    )  # fmt: skip
    warmup: float = _setting(
        0.0, POSITIVE_OR_ZERO, "learning", "X", "epochs in which the learning rate first rises from 0 (default: 0)"
    )
    label_smoothing: float | None = _setting(
        None, OrNone(SHARE, "default"), "learning", "X",
        "share of the target that all classes have together (default: by data set)",
    )  # fmt: skip
    clip_norm: float | None = _setting(
        None, OrNone(POSITIVE, "none"), "learning", "X",
        "the most that the norm of all gradients may be, or none (default: none)",
    )  # fmt: skip
    clip_value: float | None = _setting(
        None, OrNone(POSITIVE, "none"), "learning", "X",
        "the most that an element of a gradient may be, or none (default: none)",
    )  # fmt: skip
    shards: int = _setting(
        1, COUNT, "learning", "S",
        "parts that each batch is cut into, so that as many processes can share it; a batch norm sees a part's images alone, "
        "and the number of processes changes no bit (default: 1)",
    )  # fmt: skip
    accumulate: int = _setting(1, COUNT, "learning", "N", "batches whose mean gradient makes one step (default: 1)")
    lookahead: int | None = _setting(
        None, OrNone(COUNT, "none"), "learning", "N",
        "every N steps the weights go back to a slow average of theirs, which follows them ever more slowly; or none (default: none)",
    )  # fmt: skip
    average: float | None = _setting(
        None, OrNone(BETWEEN_0_AND_1, "none"), "learning", "X",
        "evaluate and keep a moving average of the weights, of which this share stays at each step, e.g. 0.999 "
        "(default: none)",
    )  # fmt: skip

    device: str = _setting("auto", Text(), "the run", "NAME", "auto (default), cpu, cuda, cuda:1, ...")
    precision: str = _setting(
        "float32", Name(lambda: list(backend.PRECISIONS)), "the run", "NAME",
        "float32; tf32, which rounds what is multiplied to 10 bits of mantissa, and is faster by far on GPUs since Ampere; or bf16, "
        "which rounds it, and what is made of it, to bfloat16; neither makes a CPU faster, or an older GPU (default: float32)",
    )  # fmt: skip
    graph: bool | None = _setting(
        None, OrNone(Truth(), "auto"), "the run", "",
        "whether steps are recorded and replayed, as one graph on a GPU, which changes no result; by default where they can be",
    )  # fmt: skip
    seed: int = _setting(0, SEED, "the run", "S", "decides every random draw (default: 0)")
    workers: int = _setting(
        0, COUNT_OR_ZERO, "the run", "N",
        "threads that make batches ahead, which changes no result (default: 0)",
    )  # fmt: skip
    checkpoint_every: int = _setting(
        0, COUNT_OR_ZERO, "the run", "N", "steps from checkpoint to checkpoint, 0 for one an epoch (default: 0)"
    )
    early_stopping: int | None = _setting(
        None, OrNone(COUNT, "none"), "the run", "N",
        "end after this number of epochs in a row that are no better than the best: of higher accuracy, or equal and with a lower "
        "loss; or none (default: none)",
    )  # fmt: skip
    logs: tuple[str, ...] = _setting(
        (), Several(Name(lambda: list(LOGS)), "a list of logs"), "the run", "NAME",
        "logs beside metrics.jsonl, or none (default: none)",
    )  # fmt: skip
    keep: int = _setting(2, COUNT, "the run", "N", "checkpoints that stay (default: 2)")

    def __post_init__(self) -> None:
        for name, setting in settings().items():
            try:
                object.__setattr__(self, name, setting.kind.check(getattr(self, name)))
            except ArgumentError as error:
                raise ConfigError(f"{name}: {error}") from None
        try:
            name, folder = name_and_folder(self.data, self.data_dir)
        except ArgumentError as error:
            raise ConfigError(f"data: {error}") from None
        object.__setattr__(self, "data", name)
        object.__setattr__(self, "data_dir", None if folder is None else str(folder))
        if self.clip_norm is not None and self.clip_value is not None:
            raise ConfigError(f"clip_norm is {self.clip_norm:g} and clip_value {self.clip_value:g}; choose one of them")
        if self.mode is not None and self.data != FOLDER:
            raise ConfigError(
                f"mode is {self.mode}, but the images of {self.data} are as they are; leave it out, or choose data {FOLDER}"
            )
        if self.background != AUTO and self.data != FOLDER:
            raise ConfigError(
                f"background is {self.background}, but no image of {self.data} is transparent; leave it out, or choose data "
                f"{FOLDER}"
            )
        for name, default in (("decode", PILLOW), ("cache", None)):
            if (given := getattr(self, name)) != default and self.data != FOLDER:
                raise ConfigError(
                    f"{name} is {given}, but {self.data} has no image files to decode; leave it out, or choose data {FOLDER}"
                )
        if self.skip_unreadable and self.data != FOLDER:
            raise ConfigError(
                f"skip_unreadable is true, but {self.data} has no files of single images; leave it out, or choose data {FOLDER}"
            )
        if SHUFFLES.name(self.shuffle) != "full" and self.data != FOLDER:
            raise ConfigError(
                f"shuffle is {self.shuffle}, but {self.data} is in no tars; leave it out, or choose data {FOLDER}"
            )
        if SHUFFLES.name(self.shuffle) != "full" and self.balance:
            raise ConfigError(
                f"shuffle is {self.shuffle}, but with balance images are drawn from all tars; leave one of them out"
            )
        if is_onnx(self.model):
            for name in ("weights", "freeze", "backbone_lr"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name} is {getattr(self, name)}, but the model is an ONNX file, which has weights of its own, and trains "
                        f"as a whole; leave {name} out"
                    )
        whole = {**self.to_json(), **self._suggestions()}
        if self.lr == FIND:
            whole["lr"] = recipe.OPTIMIZERS[OPTIMIZERS.name(self.optimizer)].lr
        for name in ("freeze", "backbone_lr"):
            if getattr(self, name) is not None and self.weights is None:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, but no weights are given to start from; give weights, too"
                )
        if self.whiten is not None and (self.weights is not None or is_onnx(self.model)):
            raise ConfigError(
                f"whiten is {self.whiten}, but the model starts from weights, which have a first convolution; leave one of them out"
            )
        if self.backbone_lr is not None and self.norm_bias_factor != 1:
            raise ConfigError(
                f"backbone_lr is {self.backbone_lr:g}, and norm_bias_factor {self.norm_bias_factor:g}; choose one of them"
            )
        if self.backbone_lr is not None and self.freeze == HEAD_ONLY:
            raise ConfigError(f"backbone_lr is {self.backbone_lr:g}, but freeze is {HEAD_ONLY}; leave one of them out")
        if self.lr != FIND and self.backbone_lr is not None and self.backbone_lr > whole["lr"]:
            raise ConfigError(
                f"backbone_lr is {self.backbone_lr:g}, above lr, {whole['lr']:g}, at which the head learns; it is a rate, too: give "
                f"e.g. {whole['lr'] / 10:g}"
            )
        try:
            make_schedule(self.schedule, self.warmup, whole["lr"], RunLength(whole["epochs"], steps_per_epoch=1))
        except ArgumentError as error:
            raise ConfigError(f"schedule {self.schedule}: {error}") from None

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> "RunConfig":
        """The configuration in a TOML file.

        Raises ConfigError, which names the file, if it cannot be read, is not TOML (with line and column), or has an unknown
        setting (with the nearest known one) or a wrong value.
        """
        return cls.from_json(read_toml(path), str(path))

    @classmethod
    def from_recipe(cls, name: str, **given: Any) -> "RunConfig":
        """The configuration of the recipe called `name`, one of `gpucnn.runs.recipe.RECIPES`, but for the settings `given`.

        Where the recipe has a learning rate for each image of a batch, `lr` goes by the batch size. ConfigError for an unknown
        recipe, an unknown setting or a wrong value.
        """
        try:
            known = recipe.RECIPES[known_name(name, recipe.RECIPES, "recipe")]
        except ArgumentError as error:
            raise ConfigError(str(error)) from None
        check_names(given, f"recipe {name}")
        config = cls(**{**known.settings, **given})
        if "lr" in given:
            return config
        assert config.batch_size is not None
        return dataclasses.replace(config, lr=known.lr_per_image * config.batch_size)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "RunConfig":
        """The configuration whose settings are `values`, by name, as `to_json` gives them; those left out have defaults.

        Raises ConfigError, which starts with `source`, for an unknown setting or a wrong value.
        """
        check_names(values, source)
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def from_run(cls, config: Mapping[str, Any], source: str) -> "RunConfig":
        """The configuration of an earlier run, from what its config.json or a checkpoint holds, which is more than that.

        Raises ConfigError, which starts with `source`, for an unknown setting, e.g. of a later gpucnn, or a wrong value.
        """
        return cls.from_json({name: value for name, value in config.items() if name not in (*BESIDE, ENTRY)}, source)

    def to_json(self) -> dict[str, Any]:
        """All settings by name, as plain JSON values: `from_json` makes an equal RunConfig of them."""
        values = ((name, getattr(self, name)) for name in settings())
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}

    def resolved(self, photos: recipe.Photos | None = None) -> "RunConfig":
        """The same run with a value for all that is None and has one by data set, by optimizer, or without weights.

        `photos` tells of the images of a folder; some 2,000 of 500x375 pixels are taken for those that are not known.
        """
        return dataclasses.replace(self, **self._suggestions(photos))

    def _suggestions(self, photos: recipe.Photos | None = None) -> dict[str, Any]:
        """What suits data set and optimizer, by name, of the settings that are None, and a model without weights."""
        has_weights = self.weights is not None or is_onnx(self.model)
        by_data_set = recipe.for_data_set(self.data, self.mode, self.model, has_weights, photos)._asdict()
        by_optimizer = recipe.OPTIMIZERS[OPTIMIZERS.name(self.optimizer)]
        lr = by_optimizer.lr_with_weights if has_weights else by_optimizer.lr
        suggested = {**by_data_set, "lr": lr, "weight_decay": by_optimizer.weight_decay}
        if not has_weights:
            suggested["normalize"] = False
        return {name: value for name, value in suggested.items() if getattr(self, name) is None}


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a TOML file of settings. ConfigError, which names the file, if it cannot be read, with line and column."""
    path = as_path(path, "path")
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigError(f"{path}: more than {LARGEST_FILE:,} bytes, which is no configuration of a run")
        return tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give a TOML file with settings such as epochs = 10") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8; save the file as UTF-8 text") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML that can be read (nested too deeply)") from None
    except ConfigError:
        raise
    except ValueError as error:  # TOMLDecodeError, and what Python says of numbers with thousands of digits
        raise ConfigError(f"{path}: not TOML that can be read ({error})") from None


def check_names(values: Mapping[str, Any], source: str) -> None:
    """ConfigError, which starts with `source` and has the nearest known name, if one of `values` is no setting."""
    for name, value in values.items():
        if name not in settings():
            like = nearest(name, (*settings(), *NO_SETTINGS))
            hint = f"did you mean {like}?" if like else f"expected one of {', '.join(settings())}"
            if like in NO_SETTINGS:
                hint = f"--{like} is an option of gpucnn train, and stands in no file"
            flat = "; settings stand in no [table]" if isinstance(value, dict) else ""
            raise ConfigError(f"{source}: unknown setting {value_text(name)}; {hint}{flat}")


def settings() -> dict[str, Setting]:
    """What is known of each setting, by name, in the order of the fields."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(RunConfig)}
