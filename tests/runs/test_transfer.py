"""A run that starts from weights of another: what it takes, what stays as it is, what learns more slowly, and how it goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpucnn.cli.main import main
from gpucnn.errors import ConfigError, RunError, StateError, TrainingError
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.training import RunConfig, RunFolder, prepare, replay, resume, save_checkpoint
from tests.backends import Backend
from tests.runs.tiny_run import BATCHES, TINY, contents, go_on, tiny_names, train, write_weights

NORMALIZED = ((0.25,), (0.5,))


@pytest.fixture(autouse=True)
def _tiny() -> Iterator[None]:
    with tiny_names():
        yield


def ready(weights: Path, **settings: Any) -> PreparedRun:
    return prepare(RunConfig(**{**TINY, "weights": str(weights), **settings}))


def normalization(run: PreparedRun) -> tuple[Any, Any]:
    return run.splits.preprocess.mean, run.splits.preprocess.std


def test_a_run_starts_from_weights_and_says_so(tmp_path: Path) -> None:
    path = write_weights(tmp_path)
    run, state = ready(path), load_file(path)
    for name, array in run.model.state_dict().items():
        assert name.startswith("output") or (array == state[name]).all(), name
    fresh = prepare(RunConfig(**TINY))
    assert (run.model.state_dict()["output.weight"] == fresh.model.state_dict()["output.weight"]).all()
    assert run.start == (
        "weights: best.safetensors: 6 of 8 arrays taken; output starts new (7 -> 10); normalisation: that of their run",
    )
    assert fresh.start == ()


@pytest.mark.parametrize(
    ("normalize", "expected", "said"),
    [
        (None, NORMALIZED, "normalisation: that of their run"),
        (False, (None, None), "normalisation: none, as asked for; of the weights: that of their run"),
        (True, None, "normalisation: the training set's mean and std, as asked for; of the weights: that of their run"),
    ],
)
def test_images_are_normalised_as_for_the_weights_unless_asked_otherwise(
    normalize: bool | None, expected: Any, said: str, tmp_path: Path
) -> None:
    run = ready(write_weights(tmp_path), normalize=normalize)
    own = normalization(prepare(RunConfig(**{**TINY, "normalize": True})))
    assert normalization(run) == (own if expected is None else expected)
    assert run.start[0].endswith(said)
    image = run.test_loader.dataset[[0]][0]
    raw = prepare(RunConfig(**TINY)).test_loader.dataset[[0]][0]
    mean, std = (run.splits.preprocess.mean or (0,)), (run.splits.preprocess.std or (1,))
    np.testing.assert_allclose(image, (raw - mean[0]) / std[0], rtol=1e-5, atol=1e-6)


def test_what_is_trained_is_fed_alike_ever_after(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", weights=str(write_weights(tmp_path)), epochs=1)
    preprocess = folder.load_preprocess()
    assert (preprocess.mean, preprocess.std) == NORMALIZED
    again = ready(folder.model_file)
    assert normalization(again) == NORMALIZED
    assert "8 of 8 arrays taken; normalisation: that of their run" in again.start[0]


@pytest.mark.parametrize("freeze", [1, "head-only"])
def test_what_is_frozen_stays_to_the_bit(freeze: int | str, backend: Backend, tmp_path: Path) -> None:
    """Running statistics as well, with weight decay, with an average; also where steps are recorded."""
    if backend.name == "plain":
        pytest.skip("that is for NumPy to say")
    path = write_weights(tmp_path)
    graph = True if backend.name == "emulated" else None  # where a step that cannot be recorded is an error
    settings = {
        "weight_decay": 0.1,
        "average": 0.5,
        "optimizer": "adamw",
        "graph": graph,
        "device": backend.device_name,
    }
    run = ready(path, freeze=freeze, **settings)
    assert run.start[1] == "frozen: features.0, 1 of 1 stages before output; 280 parameters learn"
    run.trainer().fit(2)
    state, found = load_file(path), run.model.state_dict()
    for name, array in found.items():
        if name.startswith("features"):
            np.testing.assert_array_equal(array, state[name], err_msg=name)
    fresh = prepare(RunConfig(**TINY)).model.state_dict()
    assert (found["output.weight"] != fresh["output.weight"]).any()
    assert set(run.optimizer.parameters) == {"output.weight", "output.bias"}


def test_all_but_the_head_learns_at_a_rate_of_its_own(tmp_path: Path) -> None:
    """With plain SGD a step is the rate times the gradient: with a tenth of the rate a tenth of the step."""
    path = write_weights(tmp_path)
    settings: dict[str, Any] = {"optimizer": "sgd:momentum=0", "lr": 0.01, "schedule": "constant", "augment": ()}
    steps = []
    for backbone_lr in (None, 0.001):
        run = ready(path, backbone_lr=backbone_lr, **settings)
        before = run.model.state_dict()
        trainer = run.trainer()
        trainer.train_step(*next(iter(run.train_loader)))
        steps.append({name: array - before[name] for name, array in run.model.state_dict().items()})
    for name in ("features.0.weight", "features.1.bias"):
        np.testing.assert_allclose(steps[1][name], 0.1 * steps[0][name], rtol=0.05, atol=1e-6, err_msg=name)
        assert steps[0][name].any()
    np.testing.assert_array_equal(steps[0]["output.weight"], steps[1]["output.weight"])
    assert run.start[1] == "lr 0.001 for what learns before output, 0.01 for output"


def test_a_run_goes_on_without_the_weights_that_it_began_with(tmp_path: Path) -> None:
    settings = {"weights": str(write_weights(tmp_path / "old")), "freeze": 1, "checkpoint_every": 1}
    whole = train(tmp_path / "whole", **settings)
    folder = train(tmp_path / "parts", BATCHES + 2, **settings)
    write_weights(tmp_path / "old", num_classes=3, mean=0.75)  # others under the same name
    resumed = resume(folder.path)
    assert (resumed.ready.start, normalization(resumed.ready)) == ((), NORMALIZED)
    assert resumed.ready.model.features[0].is_frozen  # type: ignore[attr-defined]
    go_on(resumed)
    assert contents(folder) == contents(whole)


def test_a_checkpoint_that_does_not_tell_of_its_normalisation(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", 2, weights=str(write_weights(tmp_path)), checkpoint_every=1)
    checkpoint = folder.checkpoints.load()
    config = {**checkpoint.config, "preprocess": {"mean": [0.5], "std": [-1]}}
    save_checkpoint(checkpoint.path, checkpoint.arrays, checkpoint.values, config)
    with pytest.raises(
        RunError, match=r"step-000000002.safetensors: no valid entry 'preprocess' \(std must be above 0"
    ):
        resume(folder.path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": 2}, "freeze is 2, but tiny has 1 stages before its head: features.0; give at most 1, or head-only"),
        ({"freeze": 1, "backbone_lr": 1e-4}, "backbone_lr is 0.0001, but all before output is frozen; leave it out"),
        ({"weights": "no.pth"}, "no.pth: no such file of weights"),
        ({"weights": ".", "freeze": 2}, r"\.: a folder, expected a file of weights"),
    ],
)
def test_what_cannot_be_is_refused_before_training(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, StateError), match=message):
        prepare(RunConfig(**{**TINY, "weights": str(write_weights(tmp_path)), **settings}))


def test_a_step_that_failed_is_replayed_with_what_was_frozen(tmp_path: Path) -> None:
    """In training a batch norm would use the batch's statistics, and the step would be another one."""
    run = ready(write_weights(tmp_path), freeze=1)
    run.model.output.bias.assign(np.full(10, np.nan))  # type: ignore[attr-defined]
    trainer = run.trainer(run.callbacks(RunFolder(tmp_path / "run")))
    with pytest.raises(TrainingError):
        trainer.fit(1)
    assert trainer.failed_step is not None
    again = replay(tmp_path / "run" / "failure-step-1.safetensors", "cpu").checked
    assert repr(again) == repr(trainer.failed_step.checked)


def test_at_the_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_weights(tmp_path / "a run")
    line = [
        "train",
        "--model",
        "tiny",
        "--image-size",
        "8",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--freeze",
        "head-only",
        "--weights",
    ]
    assert main([*line, str(path), "--out", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[3:6] == [
        "weights: best.safetensors: 6 of 8 arrays taken; output starts new (7 -> 10);",
        "  normalisation: that of their run",
        "frozen: features.0, 1 of 1 stages before output; 280 parameters learn",
    ]
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert (config["weights"], config["freeze"], config["backbone_lr"], config["normalize"]) == (
        str(path),
        "head-only",
        None,
        None,
    )
    assert main([*line, str(tmp_path / "no"), "--quiet"]) == 1
    assert capsys.readouterr().err.startswith(
        f"gpucnn train: {tmp_path / 'no'}: no such file of weights; give a file of"
    )
