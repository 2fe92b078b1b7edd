"""`gpucnn replay`, and what `gpucnn train` says when it goes wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

from gpucnn import data
from gpucnn.cli.main import main
from gpucnn.errors import DataError
from gpucnn.training import load_checkpoint, save_checkpoint

DIVERGES = (
    "train --epochs 2 --lr 1e6 --schedule constant --optimizer sgd --device cpu --out run --quiet --checkpoint-every 2"
)


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_a_run_that_diverges_and_its_step_again(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(DIVERGES.split()) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"gpucnn train: step 3 \(epoch 1, batch 3\): the loss became (nan|inf); first not finite is the output of \w+ \(\w+\): .*; "
        r"likely fix: the numbers have grown too large: lower the learning rate, or clip gradients \(clip_norm\); the learning "
        r"rate was 1e\+06; look at every layer of that step with: gpucnn replay run/failure-step-3.safetensors; "
        r"run/checkpoints/step-000000002.safetensors is the last good checkpoint; gpucnn train --resume run goes on from "
        r"there, and with the same settings leads here again\n",
        said,
    )
    assert main(["replay", "run/failure-step-3.safetensors", "--device", "cpu"]) == 1
    printed = lines(capsys.readouterr().out)
    diagnosis = said.removeprefix("gpucnn train: ").partition("; look at")[0]
    assert printed[1] == f"when it failed: {diagnosis}"
    assert [line.split("  ")[0] for line in printed[5:15]] == [
        "images", "conv1 (Conv2d) output", "pool1 (MaxPool2d) output", "conv2 (Conv2d) output", "pool2 (MaxPool2d) output",
        "flatten (Flatten) output", "fc1 (Linear) output", "fc2 (Linear) output", "output (Linear) output", "LeNet5 output",
    ]  # fmt: skip
    assert [line.split("  ")[0] for line in printed[15:18]] == [
        "loss",
        "output.bias gradient",
        "output.weight gradient",
    ]
    assert printed[-1].startswith(
        "step 3 (epoch 1, batch 3, 32 samples) fails again: the loss became nan; first not finite"
    )


def test_a_step_that_does_not_fail_here(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(DIVERGES.split()) == 1
    kept = load_checkpoint(Path("run/failure-step-3.safetensors"))
    arrays = {name: array * 0 if name.startswith("model/") else array for name, array in kept.arrays.items()}
    save_checkpoint(Path("mended.safetensors"), arrays, kept.values, kept.config)
    capsys.readouterr()
    assert main(["replay", "mended.safetensors", "--device", "cpu"]) == 0
    assert lines(capsys.readouterr().out)[-1] == (
        "step 3 (epoch 1, batch 3, 32 samples) does not fail here: the loss is 2.303, and every output and gradient is finite"
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nothing", "nothing: no such checkpoint"),
        ("text", "text: not a checkpoint that can be read"),
        ("run/model.safetensors", "run/model.safetensors: a safetensors file, but not a checkpoint that gpucnn wrote"),
        ("run/checkpoints/step-000000045.safetensors", "run/checkpoints/step-000000045.safetensors: a checkpoint, but of no step"),
    ],
)  # fmt: skip
def test_files_that_are_none(file: str, message: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text").write_text("this is no checkpoint")
    assert main(["train", "--model", "mlp", "--epochs", "1", "--device", "cpu", "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["replay", file]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"gpucnn replay: {message}")
    assert said.count("\n") == 1


def test_data_that_vanishes_names_the_samples_and_how_to_go_on(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    read = data.ArrayDataset.__getitem__

    def vanish(dataset: data.ArrayDataset, indices: np.ndarray) -> data.Batch:
        asked.append(indices)
        if len(asked) == 9:
            raise DataError("digits.npz: no such file; put it back")
        return read(dataset, indices)

    command = "train --model mlp --epochs 1 --device cpu --out run --quiet --checkpoint-every 4"
    with monkeypatch.context() as patch:
        patch.setattr(data.ArrayDataset, "__getitem__", vanish)
        assert main(command.split()) == 1
    assert re.fullmatch(
        r"gpucnn train: digits.npz: no such file; put it back; in batch 8 of epoch 0, samples [\d, ]+ and 16 more of the data "
        r"set; run/checkpoints/step-000000008.safetensors is saved, go on with: gpucnn train --resume run\n",
        capsys.readouterr().err,
    )
    assert load_checkpoint(Path("run/checkpoints/step-000000008.safetensors")).values["step"] == 8
