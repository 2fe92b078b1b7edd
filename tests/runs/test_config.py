"""RunConfig: what it takes, what it refuses and in which words, and that it comes back from files unchanged."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gpucnn import data, models
from gpucnn.errors import ConfigError
from gpucnn.runs import recipe
from gpucnn.runs.choices import OPTIMIZERS
from gpucnn.runs.config import LARGEST_FILE, settings
from gpucnn.training import RunConfig

FULL = RunConfig(
    model="resnet20", data="folder", data_dir="some where/ünï", image_size=36, mode="grey", background="white", augment=("flip:0.25", "shift:4,reflect"),
    normalize=True, batch_size=17, epochs=123, optimizer="adam:betas=0.8/0.95", lr=0.1 + 0.2, weight_decay=1e-300,
    decay_vectors=False, schedule="multi_step:30/60,factor=0.3", warmup=2.5, label_smoothing=1 / 3, clip_norm=1e22,
    shards=3, accumulate=4, average=1 - 1e-12, device="cuda:1", seed=(1 << 64) - 1, checkpoint_every=1000, keep=5, early_stopping=8,
    logs=("tensorboard", "csv"), mix="cutmix:0.5", balance=True, validation=0.1, workers=3,
    drop_last=True, precision="tf32", graph=True, skip_unreadable=True, decode="pillow-draft", cache="fast disk", weights="some where/r20.pth", freeze=2,
    backbone_lr=0.1, lookahead=7,
)  # fmt: skip


@pytest.mark.parametrize("config", [RunConfig(), FULL, RunConfig(augment=()), RunConfig().resolved(), FULL.resolved()])
def test_it_comes_back_from_json(config: RunConfig) -> None:
    text = json.dumps(config.to_json(), allow_nan=False)
    again = RunConfig.from_json(json.loads(text), "text")
    assert again == config
    assert hash(again) == hash(config)
    assert json.dumps(again.to_json()) == text


def test_every_setting_of_the_full_one_is_not_its_default() -> None:
    """So that the test above means something, for settings to come as well."""
    same = {name for name, value in RunConfig().to_json().items() if FULL.to_json()[name] == value}
    assert same == {"clip_value", "shuffle", "whiten", "norm_bias_factor"}, (
        "which exclude clip_norm, balance, weights, backbone_lr"
    )


def test_it_comes_back_from_toml(tmp_path: Path) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in FULL.to_json().items() if value is not None]
    (tmp_path / "run.toml").write_text("\n".join(lines), encoding="utf-8")
    assert RunConfig.from_toml(tmp_path / "run.toml") == FULL


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().epochs = 3  # type: ignore[misc]


def test_numbers_may_be_whole_and_lists_lists() -> None:
    config = RunConfig(lr=1, augment=["flip"])  # type: ignore[arg-type]
    assert (config.lr, type(config.lr), config.augment) == (1.0, float, ("flip",))


def test_words_for_nothing_and_for_what_suits() -> None:
    config = RunConfig.from_json(
        {"augment": "none", "epochs": "default", "clip_norm": "none", "data_dir": "default"}, "file"
    )
    assert (config.augment, config.epochs, config.clip_norm, config.data_dir) == ((), None, None, None)
    assert RunConfig(augment="default") == RunConfig()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "label_smoothing", "augment"),
    [
        ("digits", 40, 32, 0.1, ("shift:2",)),
        ("mnist", 3, 64, 0.0, ()),
        ("fashion-mnist", 10, 64, 0.0, ()),
        ("cifar10", 10, 64, 0.0, ("flip", "shift:4")),
        ("folder", 40, 32, 0.1, ("crop", "flip")),
    ],
)
def test_what_suits_a_data_set(
    name: str, epochs: int, batch_size: int, label_smoothing: float, augment: tuple[str, ...]
) -> None:
    config = RunConfig(data=name).resolved()
    assert (config.epochs, config.batch_size) == (epochs, batch_size)
    assert (config.label_smoothing, config.augment) == (label_smoothing, augment)
    assert (config.optimizer, config.lr, config.weight_decay, config.schedule) == ("adam", 0.003, 0.0, "one_cycle")
    own = RunConfig(data=name, epochs=1, augment=(), label_smoothing=0, lr=7.0).resolved()
    assert (own.epochs, own.augment, own.label_smoothing, own.lr) == (1, (), 0.0, 7.0)


def test_what_suits_a_folder_is_for_photographs_or_for_grey_images() -> None:
    assert RunConfig(data="folder").resolved().mode == "rgb"
    grey = RunConfig(data="folder", mode="grey")
    assert (grey.resolved().mode, grey.resolved().augment) == ("grey", ())
    assert dataclasses.replace(grey, augment=("flip",)).resolved().augment == ("flip",)
    assert RunConfig(data="mnist").resolved().mode is None


def test_what_suits_an_optimizer() -> None:
    assert (RunConfig(optimizer="sgd").resolved().lr, RunConfig(optimizer="sgd:0.5").resolved().lr) == (0.03, 0.03)
    assert RunConfig(optimizer="adamw").resolved().weight_decay == 0.01
    assert RunConfig(optimizer="adamw", weight_decay=0).resolved().weight_decay == 0.0


def test_images_are_as_they_are_unless_weights_were_trained_otherwise() -> None:
    assert RunConfig().resolved().normalize is False
    assert RunConfig(normalize=True).resolved().normalize is True
    assert RunConfig(weights="a.pth").resolved().normalize is None
    assert RunConfig(weights="a.pth", normalize=False).resolved().normalize is False


def test_every_data_set_and_optimizer_has_a_recipe() -> None:
    assert list(recipe.DATA_SETS) == data.names()
    assert set(recipe.OPTIMIZERS) == set(OPTIMIZERS.names())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": "lenet"}, "model: unknown name 'lenet', expected one of lenet5, "),
    ({"model": "unet"}, "model: unet labels every pixel, and images have one label here; choose a classifier"),
    ({"model": 5}, "model: expected a name, got 5"),
    ({"model": ["lenet5"]}, "model: expected a name, got ['lenet5']"),
    ({"data": "minst"}, "data: unknown data set 'minst', expected one of digits, mnist, fashion-mnist, cifar10, cifar100, cifar100-coarse, svhn, emnist-byclass, emnist-bymerge, emnist-balanced, emnist-letters, emnist-digits, emnist-mnist, folder, or the path of a folder of images; did you mean mnist?"),
    ({"data": "./photos", "data_dir": "x"}, "data: ./photos is a folder of images, and x is given as the data set's folder, too; give one of them"),
    ({"skip_unreadable": True}, "skip_unreadable is true, but digits has no files of single images; leave it out, or choose data folder"),
    ({"data": 3}, "data: expected a name, got 3"),
    ({"data": "a\0b"}, r"data: expected a name, got 'a\x00b'"),
    ({"data": "folder", "mode": "gray"}, "mode: unknown name 'gray', expected one of rgb, grey; did you mean grey?"),
    ({"data": "cifar10", "mode": "grey"}, "mode is grey, but the images of cifar10 are as they are; leave it out, or choose data folder"),
    ({"data_dir": ""}, "data_dir: expected text, got ''"),
    ({"data_dir": "a\0b"}, r"data_dir: expected text, got 'a\x00b'"),
    ({"epochs": 0}, "epochs: expected a whole number >= 1, got 0"),
    ({"epochs": 2.0}, "epochs: expected a whole number >= 1, got 2.0"),
    ({"epochs": True}, "epochs: expected a whole number >= 1, got True"),
    ({"epochs": "many"}, "epochs: expected a whole number >= 1, got 'many'"),
    ({"epochs": {"most": 3}}, "epochs: expected a whole number >= 1, got {'most': 3}"),
    ({"batch_size": [1] * 1000}, "batch_size: expected a whole number >= 1, got [1, 1, 1, 1, 1, 1, 1, 1, ...]"),
    ({"seed": 1 << 64}, "seed: expected a whole number from 0 to 2^64 - 1, got 18446744073709551616"),
    ({"seed": 1 << 20000}, "seed: expected a whole number from 0 to 2^64 - 1, got a very large number"),
    ({"lr": 10**400}, "lr: expected a number > 0 or find, got 10000000000000000000000000000000000000...0000"),
    ({"lr": float("nan")}, "lr: expected a number > 0 or find, got nan"),
    ({"lr": float("inf")}, "lr: expected a number > 0 or find, got inf"),
    ({"lr": 0}, "lr: expected a number > 0 or find, got 0"),
    ({"lr": "0.1"}, "lr: expected a number > 0 or find, got '0.1'"),
    ({"weight_decay": -1e-9}, "weight_decay: expected a number >= 0, got -1e-09"),
    ({"label_smoothing": 1}, "label_smoothing: expected a number from 0 to below 1, got 1"),
    ({"weights": ""}, "weights: expected text, got ''"),
    ({"freeze": 2}, "freeze is 2, but no weights are given to start from; give weights, too"),
    ({"backbone_lr": 0.001}, "backbone_lr is 0.001, but no weights are given to start from; give weights, too"),
    ({"weights": "a.pth", "freeze": 0}, "freeze: expected a whole number >= 1 or head-only, got 0"),
    ({"weights": "a.pth", "freeze": "heads"}, "freeze: expected a whole number >= 1 or head-only, got 'heads'"),
    ({"weights": "a.pth", "freeze": "head-only", "backbone_lr": 0.001}, "backbone_lr is 0.001, but freeze is head-only; leave one of them out"),
    ({"weights": "a.pth", "backbone_lr": 0.1}, "backbone_lr is 0.1, above lr, 0.001, at which the head learns; it is a rate, too: give e.g. 0.0001"),
    ({"normalize": 1}, "normalize: expected true or false, got 1"),
    ({"normalize": "true"}, "normalize: expected true or false, got 'true'"),
    ({"augment": "flip"}, "augment: expected a list of augmentations, got 'flip'"),
    ({"augment": ["flip", "none"]}, "augment: unknown name 'none', expected one of crop, shift, flip, alternating_flip, rotate, affine, jitter, randaugment, cutout, erase"),
    ({"augment": [["flip"]]}, "augment: expected text such as \"name\" or \"name:setting=value\", got ['flip']"),
    ({"augment": ["shift:-1"]}, "augment: max_shift must be an int >= 0, got -1"),
    ({"augment": ["flip:1,1"]}, "augment: flip takes the settings p, got '1,1'"),
    ({"mix": "mixip"}, "mix: unknown name 'mixip', expected one of mixup, cutmix; did you mean mixup?"),
    ({"mix": "mixup:0"}, "mix: Mixup: alpha must be above 0, got 0.0; for no mix leave it out"),
    ({"mix": ["mixup"]}, "mix: expected text such as \"name\" or \"name:setting=value\", got ['mixup']"),
    ({"balance": 1}, "balance: expected true or false, got 1"),
    ({"validation": 1}, "validation: expected a number from 0 to below 1, got 1"),
    ({"validation": -0.1}, "validation: expected a number from 0 to below 1, got -0.1"),
    ({"workers": -1}, "workers: expected a whole number >= 0, got -1"),
    ({"workers": 1.5}, "workers: expected a whole number >= 0, got 1.5"),
    ({"optimizer": "sgd:nesterov=maybe"}, "optimizer: sgd: nesterov: expected true or false, got 'maybe'"),
    ({"optimizer": "sgd:lr=0.1"}, "optimizer: unknown setting of sgd 'lr', expected one of momentum, nesterov"),
    ({"optimizer": "sgd:0.5,momentum=0.5"}, "optimizer: sgd: momentum is given twice in '0.5,momentum=0.5'"),
    ({"optimizer": "sgd:momentum=0,nesterov=true"}, "optimizer: SGD: nesterov=True needs momentum > 0"),
    ({"optimizer": "adam:betas=0.9"}, "optimizer: Adam: betas must be two numbers, got (0.9,)"),
    ({"optimizer": "adam:betas=0.9/"}, "optimizer: adam: betas: expected a number, got ''"),
    ({"schedule": "constant:1"}, "schedule: constant takes no settings, got '1'"),
    ({"schedule": "multi_step"}, "schedule: multi_step needs milestones; write multi_step:VALUE, or multi_step:milestones=VALUE"),
    ({"schedule": "multi_step:5/3"}, "schedule: milestones must be rising ints >= 1, e.g. [100, 200], got [5, 3]"),
    ({"schedule": "exponential:2"}, "schedule: factor must be a number from 0 to below 1, got 2.0"),
    ({"schedule": "cosine:0.5"}, "schedule cosine:0.5: end, the last rate, must not be above peak=0.003, got 0.5"),
    ({"schedule": "plateau", "warmup": 2}, "schedule plateau: it has no warm-up, as it is no function of the step"),
    ({"clip_norm": 0}, "clip_norm: expected a number > 0, got 0"),
    ({"clip_norm": 1, "clip_value": 2}, "clip_norm is 1 and clip_value 2; choose one of them"),
    ({"average": 0}, "average: expected a number between 0 and 1, got 0"),
    ({"keep": 0}, "keep: expected a whole number >= 1, got 0"),
    ({"logs": ["cvs"]}, "logs: unknown name 'cvs', expected one of csv, tensorboard; did you mean csv?"),
    ({"early_stopping": 0}, "early_stopping: expected a whole number >= 1, got 0"),
    ({"epoch": 3}, "unknown setting 'epoch'; did you mean epochs?"),
    ({"learning_rate": 3}, "unknown setting 'learning_rate'; expected one of model, data, data_dir, "),
    ({"processes": 2}, "unknown setting 'processes'; --processes is an option of gpucnn train, and stands in no file"),
    ({"proceses": 2}, "unknown setting 'proceses'; --processes is an option of gpucnn train, and stands in no file"),
    ({"seeds": [1, 2]}, "unknown setting 'seeds'; --seeds is an option of gpucnn train, and stands in no file"),
    ({"shufle": "full"}, "unknown setting 'shufle'; did you mean shuffle?"),
    ({"cahce": "x"}, "unknown setting 'cahce'; did you mean cache?"),
    ({"shuffle": "widow:2"}, "shuffle: unknown name 'widow', expected one of full, window; did you mean window?"),
    ({"decode": "simplejpg"}, "decode: unknown name 'simplejpg', expected one of pillow, pillow-draft, simplejpeg; did you mean simplejpeg?"),
    ({"modle": "mlp"}, "unknown setting 'modle'; did you mean model?"),
    ({"model": "RESNET"}, "model: unknown name 'RESNET', expected one of lenet5, "),
    ({"optimizer.lr": 3}, "unknown setting 'optimizer.lr'; did you mean optimizer?"),
    ({"optim": {"lr": 3}}, "unknown setting 'optim'; "),
    ({"x" * 10_000: 1}, "unknown setting 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; expected one of model"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_is_wrong_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig.from_json(values, "run.toml")
    assert str(raised.value).startswith(f"run.toml: {message}")
    assert "\n" not in str(raised.value)
    if set(values) <= set(settings()):
        with pytest.raises(ConfigError) as raised:
            RunConfig(**values)
        assert str(raised.value).startswith(message)


def test_tables_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"settings stand in no \[table\]$"):
        RunConfig.from_json({"training": {"epochs": 3}}, "run.toml")


FILES: list[tuple[bytes, str]] = [
    (b"epochs = ", r"not TOML that can be read \(Invalid value \(at end of document\)\)"),
    (b"epochs = 1\nepochs = 2", r"not TOML that can be read \(Cannot overwrite a value \(at end of document\)\)"),
    (b"# fine\n\nlr = 0,1\n", r"not TOML that can be read \(.*\(at line 3, column 7\)\)"),
    (b'model = "lenet5"\n# \xff\n', "line 2 is not UTF-8; save the file as UTF-8 text"),
    (b"\xff\xfee\0p\0o\0c\0h\0s\0", "line 1 is not UTF-8"),
    (b"augment = " + b"[" * 100_000, r"not TOML that can be read \(nested too deeply\)"),
    (b"epochs = " + b"9" * 5000, r"not TOML that can be read \(Exceeds the limit"),
    (b"epochs = 0x" + b"f" * 5000, "epochs: expected a whole number >= 1, got a very large number"),
    (b"#" * (LARGEST_FILE + 1), "more than 1,048,576 bytes, which is no configuration of a run"),
    (b"epochs = 2020-01-01", r"epochs: expected a whole number >= 1, got datetime\.date\(2020, 1, 1\)"),
]


@pytest.mark.parametrize(("content", "message"), FILES, ids=[str(content[:30]) for content, _ in FILES])
def test_files_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        RunConfig.from_toml(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file; give a TOML file with settings such as"):
        RunConfig.from_toml(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        RunConfig.from_toml(tmp_path)
    with pytest.raises(ConfigError, match=r"/dev/zero: cannot be read \(a device, expected a file\)"):
        RunConfig.from_toml("/dev/zero")
    (tmp_path / "large.toml").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ConfigError, match=r"more than 1,048,576 bytes"):
        RunConfig.from_toml(tmp_path / "large.toml")


def test_names_are_those_of_models_and_data() -> None:
    for name in models.classifier_names():
        assert RunConfig(model=name).model == name
    for name in data.names():
        assert RunConfig(data=name).data == name
