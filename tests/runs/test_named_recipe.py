"""A recipe by name: what it sets, what wins over it, and that a run of it is resumed to the bit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import data, layers, models, optim
from gpucnn.cli.main import main
from gpucnn.errors import ConfigError
from gpucnn.files.checkpoint_file import load_checkpoint
from gpucnn.runs.recipe import RECIPES
from gpucnn.runs.whitening import start_whitened
from gpucnn.training import FreezeAfter, RunConfig, prepare, resume
from tests.backends import Backend
from tests.runs.tiny_run import BATCHES, contents, go_on, tiny_names, train

SMALL: dict[str, Any] = {"model": "small", "image_size": 9, "batch_size": 8, "epochs": 3, "device": "cpu", "whiten": 1}
STEPS = BATCHES - 1
"""An epoch, without the last batch, which is smaller."""


class Small(models.Airbench94):
    channels = (3, 4, 4)


@pytest.fixture(autouse=True)
def _small_names() -> Iterator[None]:
    with tiny_names(), mock.patch.dict(models._BY_NAME, small=Small):
        yield


def test_every_recipe_is_a_configuration() -> None:
    for name, known in RECIPES.items():
        config = RunConfig.from_recipe(name, data="cifar10")
        assert {key: getattr(config, key) for key in known.settings} == dict(known.settings)
        assert config.to_json() == config.resolved().to_json() | {"image_size": config.image_size}


def test_the_rates_are_those_of_its_source() -> None:
    """airbench94.py: of the sum over a batch lr 11.5 / (1024 * (1 + 1 / 0.15)), and decay 0.0153 * batch / (1024 * (1 + 1 / 0.15))."""
    kilostep = 1024 * (1 + 1 / (1 - 0.85))
    for batch in (128, 1024):
        config = RunConfig.from_recipe("fast", data="cifar10", batch_size=batch)
        assert isinstance(config.lr, float)
        assert config.weight_decay is not None
        assert config.lr == pytest.approx(11.5 / kilostep * batch)
        assert config.lr * config.weight_decay == pytest.approx(0.0153 * batch / kilostep)
    assert RunConfig.from_recipe("fast", data="cifar10", batch_size=1024).lr == pytest.approx(1.5)


def test_what_is_given_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig.from_recipe("fast", lr=0.3, batch_size=7, optimizer="adam", whiten=None)
    assert (config.lr, config.batch_size, config.optimizer, config.whiten) == (0.3, 7, "adam", None)
    (tmp_path / "run.toml").write_text("batch_size = 16\nlabel_smoothing = 0.25\nepochs = 9\n")
    command = ["train", "--recipe", "fast", "--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run")]
    given = ["--model", "small", "--image-size", "9", "--epochs", "1", "--device", "cpu", "--quiet"]
    assert main([*command, *given]) == 0
    assert capsys.readouterr().out.startswith("test accuracy ")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (kept["batch_size"], kept["label_smoothing"], kept["epochs"], kept["whiten"]) == (16, 0.25, 1, 3)
    assert (kept["optimizer"], kept["lookahead"], kept["norm_bias_factor"]) == (
        "sgd:momentum=0.85,nesterov=true",
        5,
        64.0,
    )
    assert kept["lr"] == pytest.approx(1.5 * 16 / 1024)
    assert main(["evaluate", str(tmp_path / "run"), "--views", "mirror_shift"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["train", "--resume", str(tmp_path / "run"), "--recipe", "fast"]) == 1
    assert "gpucnn train: --recipe would make another run of " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fest", {}, "unknown recipe 'fest', expected one of fast; did you mean fast?"),
        ("fast", {"epoch": 3}, "recipe fast: unknown setting 'epoch'; did you mean epochs?"),
        ("fast", {"batch_size": 0}, "batch_size: expected a whole number >= 1, got 0"),
        ("fast", {"weights": "a.pth"}, "whiten is 3, but the model starts from weights, which have a first convolution; leave one of them out"),
        ("fast", {"whiten": None, "weights": "a.pth", "backbone_lr": 0.01}, "backbone_lr is 0.01, and norm_bias_factor 64; choose one of them"),
        ("fast", {"whiten": -1}, "whiten: expected a whole number >= 0, got -1"),
        ("fast", {"lookahead": 0}, "lookahead: expected a whole number >= 1, got 0"),
        ("fast", {"norm_bias_factor": 0}, "norm_bias_factor: expected a number > 0, got 0"),
    ],
)  # fmt: skip
def test_what_is_refused(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig.from_recipe(name, **given)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "mlp"}, "whiten is 3, but mlp has no convolution; leave it out"),
        ({"model": "lenet5"}, "whiten is 3, but the first convolution of lenet5 cannot begin so: whiten: a convolution of 1 channels with filters of 5x5 needs 50 of them in one group, two for each number of a patch; got 6 in 1: give Conv2d(1, 50, (5, 5))"),
        ({"model": "lenet5", "whiten": None, "batch_size": 8}, "norm_bias_factor is 64, but lenet5 has no batch norm whose bias learns; leave it out"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_take_it_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        prepare(RunConfig.from_recipe("fast", device="cpu", **given))
    assert str(raised.value) == message


def test_what_is_built() -> None:
    ready = prepare(RunConfig.from_recipe("fast", **SMALL))
    assert isinstance(ready.model, Small)
    expected = layers.Conv2d(1, 8, 2)
    layers.whiten(expected, next(data.DataLoader(ready.train_loader.dataset, 42).batches(0))[0])
    np.testing.assert_array_equal(ready.model.whiten.weight.numpy(), expected.weight.numpy())
    assert ready.start == (
        "first convolution: 8 filters that whiten the patches of 42 images; they stay, and their bias learns for 1 epoch",
    )
    groups = ready.optimizer.param_groups
    assert ready.config.weight_decay is not None
    rates = {one.path: (group["lr"], group["weight_decay"]) for group in groups for one in group["params"]}
    lr, decay = ready.optimizer.lr, ready.config.weight_decay
    assert {path for path, rate in rates.items() if rate != (lr, decay)} == {
        f"block{block}.norm{norm}.bias" for block in (1, 2, 3) for norm in (1, 2)
    }
    assert rates["block1.norm1.bias"] == (64 * lr, decay / 64)
    assert "whiten.weight" not in rates
    trainer = ready.trainer()
    assert isinstance(trainer.lookahead, optim.Lookahead)
    assert (trainer.lookahead.steps, trainer.lookahead.every) == (3 * STEPS, 5)
    assert [type(one) for one in trainer.callbacks] == [FreezeAfter]


def test_a_resumed_run_is_the_one_that_never_stopped(backend: Backend, tmp_path: Path) -> None:
    """In the middle of Lookahead's interval: of the epoch in which the bias learns, and of a later one."""
    if backend.name in ("plain", "emulated"):
        pytest.skip(
            "how a run goes on is no matter of how its sums are made; its parts go on there, too, in tests/training"
        )
    settings = RunConfig.from_recipe("fast", **{**SMALL, "device": backend.device_name}).to_json()
    settings["checkpoint_every"] = 1
    whole = train(tmp_path / "whole", **settings)
    state = load_checkpoint(whole.checkpoints.files()[-1]).arrays
    for stop in (3, STEPS + 2) if backend.name == "numpy" else (STEPS + 2,):
        halves = train(tmp_path / f"stopped after {stop}", stop, **settings)
        before = load_checkpoint(halves.checkpoints.files()[-1]).arrays
        assert before["lookahead/lookahead/steps"] == stop
        np.testing.assert_array_equal(before["model/whiten.weight"], state["model/whiten.weight"])
        assert (before["model/whiten.bias"] == state["model/whiten.bias"]).all() == (stop > STEPS)
        resumed = resume(halves.path)
        assert not resumed.can_be_longer()
        go_on(resumed)
        found, expected = contents(halves), contents(whole)
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []
    for path, array in state.items():
        if path.startswith("lookahead/") and not path.endswith("/steps"):
            np.testing.assert_array_equal(array, state[f"model/{path.removeprefix('lookahead/')}"])


def test_a_run_with_a_lookahead_cannot_be_made_longer(tmp_path: Path) -> None:
    settings = RunConfig.from_recipe("fast", **SMALL, schedule="constant").to_json()
    halves = train(tmp_path / "run", 3, **{**settings, "checkpoint_every": 1})
    with pytest.raises(ConfigError) as raised:
        resume(halves.path, epochs=5)
    assert str(raised.value) == (
        "epochs cannot be 5: lookahead is laid out for 3; train a new run, or go on without --epochs"
    )


def test_a_convolution_without_a_bias_whitens_too() -> None:
    model = layers.Sequential(layers.Conv2d(1, 8, 2, bias=False), layers.ReLU())
    config = RunConfig.from_recipe("fast", **SMALL)
    first, told = start_whitened(model, config, prepare(config).train_loader.dataset)
    assert first is model[0]
    assert told.endswith("of 42 images; they stay")
