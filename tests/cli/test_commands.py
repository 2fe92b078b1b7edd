"""The commands as a user runs them."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.cli.commands import NAMES
from gpucnn.cli.main import main
from gpucnn.training import RunConfig, RunFolder, Trainer, load_checkpoint
from tests.cli.processes import PATIENCE, on_a_terminal, waits_at
from tests.data.idx_files import write_small_mnist

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "gpucnn"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet-5 trained for a few epochs on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "lenet5"
    assert main(["train", "--epochs", "6", "--out", str(folder), "--quiet", "--device", "cpu"]) == 0
    return folder


def test_train_tells_device_epochs_and_the_result(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "mlp", "--epochs", "2", "--device", "cpu", "--no-graph"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "device: cpu (asked for)"
    assert lines[1:7] == [
        "data: digits, 10 classes; 1,437 images to learn from, 360 to test; 28x28 grey",
        "model: mlp, 79,510 parameters",
        "learning: 2 epochs in batches of 32, adam with lr 0.003, one_cycle; label",
        "  smoothing 0.1; augmentation shift:2",
        "run folder: runs/mlp-digits-1",
        "train loss is with label smoothing 0.1, test loss without",
    ]
    assert [line.split()[0] for line in lines[7:10]] == ["epoch", "1/2", "2/2"]
    assert re.fullmatch(r"test accuracy 0\.\d{4} \(\d+/360\)", lines[10])
    assert len(lines) == 11


def test_a_run_has_all_its_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.name for path in run.iterdir()} == {
        "best.safetensors",
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "summary.json",
        "times.jsonl",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) == {
        "test_accuracy", "test_correct", "test_total", "epochs", "device", "seconds", "parameters",
    }  # fmt: skip
    assert (summary["test_total"], summary["epochs"], summary["device"]) == (360, 6, "cpu")
    assert summary["parameters"] == 61_706
    assert summary["test_accuracy"] == summary["test_correct"] / 360 > 0.93
    config = json.loads((run / "config.json").read_text())
    assert (config["data"], config["optimizer"], config["seed"]) == ("digits", "adam", 0)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["test_accuracy"] == summary["test_accuracy"]

    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == f"test accuracy {summary['test_accuracy']:.4f} ({summary['test_correct']}/360)"
    )


def test_the_same_command_gives_the_same_bytes(in_tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["train", "--epochs", "1", "--seed", "7", "--out", name, "--quiet"]) == 0
    assert main(["train", "--epochs", "1", "--seed", "8", "--out", "c", "--quiet"]) == 0
    first, second, other = (Path(name, "model.safetensors").read_bytes() for name in ("a", "b", "c"))
    assert first == second != other


def save_digit(pixels: np.ndarray, path: Path, kind: str) -> Path:
    """A digit of bytes (8, 8) as the kind of file that `kind` names."""
    large = Image.fromarray(pixels).resize((80, 80), Image.Resampling.BILINEAR)
    wide = np.asarray(large).astype(np.uint16) * 257
    images = {
        "grey.png": large,
        "colour.jpg": large.convert("RGB"),
        "palette.gif": large.convert("P"),
        "cmyk.jpg": large.convert("RGB").convert("CMYK"),
        "transparent.png": Image.merge("LA", [Image.new("L", (80, 80), 255), large]),
        "sixteen.png": Image.fromarray(wide),
        "sixteen.tif": Image.fromarray(wide),
        "int32.tif": Image.fromarray(wide.astype(np.int32)),
        "float.tif": Image.fromarray(np.asarray(large).astype(np.float32) / 255),
    }
    arrays = {
        "bytes.npy": pixels,
        "channel.npy": pixels[None].astype(np.float32) / 255,
        "colour.NPY": np.repeat(pixels[:, :, None], 3, axis=2),
        "int64.npy": pixels.astype(np.int64),
    }
    path = path.with_name(f"{path.name} {kind}")
    if kind in images:
        images[kind].save(path)
    else:
        with path.open("wb") as file:
            np.save(file, arrays[kind])
    return path


@pytest.mark.parametrize(
    "kind",
    ["grey.png", "colour.jpg", "palette.gif", "cmyk.jpg", "transparent.png", "sixteen.png", "sixteen.tif", "int32.tif",
     "float.tif", "bytes.npy", "channel.npy", "colour.NPY", "int64.npy"],
)  # fmt: skip
def test_predict_reads_every_kind_of_file(
    kind: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = data.load("digits")
    raw, labels = splits.test.images[:12, 0].astype(float), splits.test.labels[:12]
    paths = [
        save_digit(np.rint(pixels * 255 / 16).astype(np.uint8), tmp_path / f"ünï {index}", kind)
        for index, pixels in enumerate(raw)
    ]
    assert main(["predict", str(run), *map(str, paths), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "device: cpu (asked for)\n"
    right = 0
    for line, path, label in zip(printed.out.splitlines(), paths, labels, strict=True):
        name, answer, probability = re.split(r"\s{2,}", line)
        assert name == str(path)
        assert 0.1 <= float(probability) <= 1
        right += answer == str(label)
    assert right >= 11, "as good as on the test set itself, whatever the file"


def test_a_mask_of_truth_values_is_black_and_white(run: Path, tmp_path: Path) -> None:
    preprocess = RunFolder(run).load_preprocess()
    np.save(tmp_path / "mask.npy", np.eye(8, dtype=bool))
    np.testing.assert_array_equal(data.read_image(tmp_path / "mask.npy", preprocess)[0, 0], 16 * np.eye(8))


def test_a_closed_output_is_no_trouble(tmp_path: Path) -> None:
    for line in ("summary mlp >&-", "train --model mlp --epochs 1 --out run >&-"):
        command = f"{' '.join(COMMAND)} {line}"
        result = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")


def test_names_that_the_terminal_cannot_show(run: Path, tmp_path: Path) -> None:
    path = save_digit(np.zeros((8, 8), np.uint8), tmp_path / "ünï", "grey.png")
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run([*COMMAND, "predict", str(run), str(path)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    assert "\\xfcn\\xef grey.png" in result.stdout


def test_idx_data_from_a_folder(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp_path / "data" / "mnist").mkdir(parents=True)
    write_small_mnist(in_tmp_path / "data" / "mnist", ".gz")
    for arguments in (["--data", "mnist"], ["--data", "fashion-mnist", "--data-dir", "data/mnist"]):
        assert main(["train", *arguments, "--model", "simplecnn", "--epochs", "1", "--out", "run", "--quiet"]) == 0
        assert main(["evaluate", "run"]) == 0
        assert "/50)" in capsys.readouterr().out
    with Path("run/config.json").open() as file:
        assert json.load(file)["class_names"][9] == "Ankle boot"


def test_the_seed_decides_weights_and_order(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda trainer, epochs: trainers.append(trainer) or fit(trainer, epochs))
    assert main(["train", "--model", "mlp", "--epochs", "1", "--seed", "8", "--quiet"]) == 0
    assert (trainers[0].model.seed, trainers[0].train_loader.seed) == (8, 8)
    assert trainers[0].train_loader.shuffle


def test_sgd_and_a_rate_of_one_s_own(in_tmp_path: Path) -> None:
    arguments = [
        "--optimizer",
        "sgd",
        "--lr",
        "0.05",
        "--batch-size",
        "100",
        "--epochs",
        "1",
        "--out",
        "run",
        "--quiet",
    ]
    assert main(["train", *arguments]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert (config["optimizer"], config["lr"], config["batch_size"]) == ("sgd", 0.05, 100)


def start(arguments: list[str], folder: Path, command: Sequence[str] = COMMAND) -> "subprocess.Popen[str]":
    """The command, ready to be interrupted, as a shell may have let this process ignore Ctrl-C."""
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)]
)
def test_a_signal_leaves_a_checkpoint_and_the_model_of_the_last_finished_epoch(
    number: signal.Signals, name: str, status: int, tmp_path: Path
) -> None:
    process = start(["train", "--model", "mlp", "--epochs", "1000", "--out", "run"], tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[0] == "2/1000":
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    match = re.fullmatch(
        rf"gpucnn train: stopped by {name} after step (\d+); (run/checkpoints/step-\d+.safetensors) is saved, "
        rf"go on with: gpucnn train --resume run\n",
        errors,
    )
    assert match
    state = load_checkpoint(tmp_path / match[2])
    assert (state.values["step"], state.config["epochs"]) == (int(match[1]), 1000)
    assert RunConfig.from_run(state.config, "checkpoint").model == "mlp"
    result = subprocess.run(
        [*COMMAND, "evaluate", "run"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == state.values["epoch"] >= 2
    assert f"test accuracy {json.loads(rows[-1])['test_accuracy']:.4f}" in result.stdout
    assert not (tmp_path / "run" / "summary.json").exists()


def test_ctrl_c_before_the_first_epoch_ended(tmp_path: Path) -> None:
    process = start(["train", "--batch-size", "1", "--out", "run"], tmp_path, waits_at(3))
    assert process.stdout is not None
    while process.stdout.readline() != "waiting\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors == (
        "gpucnn train: stopped by Ctrl-C after step 3; run/checkpoints/step-000000003.safetensors is saved, go on with: "
        "gpucnn train --resume run\n"
    )


def test_plain_lines_without_a_terminal_and_a_bar_on_one(tmp_path: Path) -> None:
    arguments = [*COMMAND, "train", "--model", "mlp", "--epochs", "1", "--out", "run"]
    plain = subprocess.run(arguments, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert plain.stderr == ""
    assert not re.search(r"[\r\b\x1b]", plain.stdout)

    often = {**ENVIRONMENT, "TQDM_MININTERVAL": "0"}  # an epoch may be over before the bar is drawn a second time
    status, shown, _ = on_a_terminal(arguments, often, tmp_path, printed=False)
    assert status == 0
    assert re.search(rb"epoch 1/1 +\d+% \|.+\| loss \d\.\d\d \| \d+ s left of \d+ s", shown)
    assert b"\r" in shown
    assert shown.rstrip().splitlines()[-1].startswith(b"test accuracy")


def test_quiet_prints_one_line(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "mlp", "--epochs", "1", "--quiet"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_reader_that_goes_away_is_no_trouble(tmp_path: Path) -> None:
    command = " ".join(COMMAND)
    line = f"({command} summary lenet5; echo status $? >&2) | true"
    result = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.stderr in ("status 1\n", "status 0\n")  # 0 where the reader went after the last line


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "--batch-size" in capsys.readouterr().out


def test_without_a_command_there_is_help_and_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (2, "")
    assert printed.out.startswith("usage: gpucnn ")
    assert [name for name in NAMES if f"\n    {name}" not in printed.out] == []


def test_the_real_mnist_by_command(image_folder: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "mnist", "--data-dir", str(image_folder / "mnist"), "--model", "mlp", "--epochs", "1"]
    assert main(["train", *arguments, "--batch-size", "256", "--quiet"]) == 0
    assert float(capsys.readouterr().out.split()[2]) > 0.92
