"""The command of a run asks for that run: read as the command line reads it, it resolves to the same settings."""

import shlex
from typing import Any

import pytest

from gpucnn.cli.commands import parse
from gpucnn.cli.settings import chosen_config
from gpucnn.runs.command import asked, train_command
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import resolve

RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "epochs": {"epochs": 3},
    "model": {"model": "resnet20", "data": "cifar10"},
    "floats": {"lr": 0.1 + 0.2, "weight_decay": 1 / 3, "average": 0.999},
    "lists": {"augment": ("shift:3", "flip"), "logs": ("csv",)},
    "none": {"augment": (), "label_smoothing": 0.0},
    "truths": {"balance": True, "decay_vectors": False, "graph": False, "normalize": True},
    "optimizer": {"optimizer": "sgd:momentum=0.95,nesterov=true", "schedule": "multi_step:2/4"},
    "mnist": {"data": "mnist", "data_dir": "my data/it's $HOME"},
    "dash": {"data": "mnist", "data_dir": "-x"},
    "size": {"image_size": 48, "model": "simplecnn"},
    "stopping": {"early_stopping": 4, "validation": 0.2, "mix": "mixup", "clip_norm": 1.0, "seed": 2**64 - 1},
}


def read_back(command: str) -> RunConfig:
    name, *words = shlex.split(command)
    assert name == "gpucnn"
    return resolve(chosen_config(parse(words)))


@pytest.mark.parametrize("name", RUNS)
def test_it_asks_for_the_same_run(name: str) -> None:
    config = resolve(RunConfig(**{"device": "cpu", **RUNS[name]}))
    assert read_back(train_command(config)) == config


def test_it_says_no_more_than_it_must() -> None:
    assert train_command(resolve(RunConfig(device="cpu"))) == "gpucnn train --device cpu"
    config = resolve(RunConfig(device="cpu", epochs=5, model="mlp"))
    assert train_command(config) == "gpucnn train --model mlp --epochs 5 --device cpu"
    assert asked(config) == {"model": "mlp", "epochs": 5, "device": "cpu"}


def test_of_a_folder_it_says_what_its_images_decide() -> None:
    config = RunConfig(
        data="folder", data_dir="a b", model="resnet20", mode="rgb", image_size=64, epochs=40, batch_size=32,
        label_smoothing=0.1, augment=("crop", "flip"), lr=0.003, weight_decay=0.0, normalize=False, device="cpu",
    )  # fmt: skip
    command = train_command(config)
    assert chosen_config(parse(shlex.split(command)[1:])).resolved() == config
    assert "--data-dir 'a b'" in command
    for option in ("--model resnet20", "--image-size 64", "--epochs 40", "--batch-size 32", "--augment crop flip"):
        assert option in command


def test_with_weights_the_model_is_said() -> None:
    config = RunConfig(weights="r.pth", model="resnet18", data="cifar10", freeze="head-only", image_size=64).resolved()
    command = train_command(config)
    assert "--model resnet18" in command
    assert chosen_config(parse(shlex.split(command)[1:])).resolved() == config
