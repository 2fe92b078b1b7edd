"""One run in three ways: from Python, by options, and from a file."""

import argparse
import json
from pathlib import Path

import pytest

from gpucnn.cli import train
from gpucnn.cli.main import main
from gpucnn.runs.config import BESIDE, NO_SETTINGS, settings
from gpucnn.training import RunConfig, RunFolder, prepare

OPTIONS = """--model mlp --epochs 2 --batch-size 50 --augment shift:1 cutout:3 --optimizer sgd:momentum=0.5,nesterov=true
--lr 0.02 --weight-decay 0.001 --no-decay-vectors --schedule step_decay:1,factor=0.5 --warmup 0.5 --label-smoothing 0.2
--normalize --clip-norm 2 --accumulate 2 --average 0.9 --seed 3 --checkpoint-every 7 --keep 1
--early-stopping 9 --logs csv --mix mixup:0.4 --balance --drop-last --workers 2 --no-graph --device cpu
--precision tf32"""
TOML = """
model = "mlp"
epochs = 2
batch_size = 50
augment = ["shift:1", "cutout:3"]
optimizer = "sgd:momentum=0.5,nesterov=true"
lr = 0.02
weight_decay = 1e-3
decay_vectors = false
schedule = "step_decay:1,factor=0.5"
warmup = 0.5
label_smoothing = 0.2
normalize = true
clip_norm = 2
accumulate = 2
average = 0.9
seed = 3
checkpoint_every = 7
keep = 1
early_stopping = 9
logs = ["csv"]
mix = "mixup:0.4"
balance = true
drop_last = true
workers = 2
graph = false
device = "cpu"
precision = "tf32"
"""
CONFIG = RunConfig(
    model="mlp", epochs=2, batch_size=50, augment=("shift:1", "cutout:3"), optimizer="sgd:momentum=0.5,nesterov=true",
    lr=0.02, weight_decay=0.001, decay_vectors=False, schedule="step_decay:1,factor=0.5", warmup=0.5,
    label_smoothing=0.2, normalize=True, clip_norm=2, accumulate=2, average=0.9, seed=3, checkpoint_every=7, keep=1,
    early_stopping=9, logs=("csv",), mix="mixup:0.4", balance=True, drop_last=True, workers=2, graph=False, device="cpu",
    precision="tf32",
)  # fmt: skip
EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.toml"


def test_every_option_is_a_setting_or_stands_in_no_file() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    train.add_arguments(parser)
    assert sorted(action.dest for action in parser._actions) == sorted([*settings(), *NO_SETTINGS])


def test_python_options_and_file_train_the_same_model(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text(TOML)
    assert RunConfig.from_toml("run.toml") == CONFIG
    assert main(["train", *OPTIONS.split(), "--out", "options"]) == 0
    assert capsys.readouterr().out.splitlines()[3:8] == [
        "learning: 2 epochs in batches of 50, sgd:momentum=0.5,nesterov=true with lr",
        "  0.02, step_decay:1,factor=0.5; label smoothing 0.2; augmentation shift:1",
        "  cutout:3 mixup:0.4",
        "run folder: options",
        "precision tf32: what is multiplied is rounded to 10 bits of mantissa",
    ]
    assert main(["train", "--config", "run.toml", "--out", "file", "--quiet"]) == 0
    ready = prepare(CONFIG)
    ready.trainer(ready.callbacks(RunFolder("python"))).fit(2)

    ways = [Path(name) for name in ("options", "file", "python")]
    for file in ("model.safetensors", "best.safetensors", "metrics.jsonl", "metrics.csv", "config.json"):
        assert len({(way / file).read_bytes() for way in ways}) == 1, file
    assert len(list(Path("file/checkpoints").iterdir())) == 1
    kept = json.loads(Path("file/config.json").read_text())
    assert RunConfig.from_run(kept, "config.json") == ready.config
    assert {*BESIDE} < {*kept}

    # and the model is evaluated with the mean and the standard deviation that it was trained with
    capsys.readouterr()
    assert main(["evaluate", "file", "--device", "cpu"]) == 0
    accuracy = json.loads(Path("file/metrics.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    assert f"test accuracy {accuracy:.4f}" in capsys.readouterr().out


def test_what_was_kept_of_a_run_gives_the_same_run_again(in_tmp_path: Path) -> None:
    assert main(["train", "--epochs", "1", "--model", "mlp", "--device", "cpu", "--out", "first", "--quiet"]) == 0
    ready = prepare(RunConfig.from_run(RunFolder("first").read_config(), "first/config.json"))
    ready.trainer(ready.callbacks(RunFolder("second"))).fit(1)
    first, second = (Path(name, "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_options_win_over_the_file(in_tmp_path: Path) -> None:
    Path("run.toml").write_text('model = "mlp"\nepochs = 3\naugment = ["flip"]\nclip_norm = 1.0\nnormalize = true\n')
    options = "--epochs 1 --augment none --clip-norm none --no-normalize --device cpu --out run --quiet"
    assert main(["train", "--config", "run.toml", *options.split()]) == 0
    config = RunFolder("run").read_config()
    assert (config["model"], config["epochs"], config["augment"]) == ("mlp", 1, [])
    assert (config["clip_norm"], config["normalize"]) == (None, False)
    assert main(["train", "--config", "run.toml", "--augment", "default", "--epochs", "1", "--out", "run"]) == 0
    assert RunFolder("run").read_config()["augment"] == ["shift:2"]


def test_a_share_of_the_training_set_is_measured_on(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--model mlp --epochs 2 --validation 0.2 --average 0.99 --lr 0.03 --schedule constant --normalize"
    assert main(["train", *options.split(), "--device", "cpu", "--out", "run"]) == 0
    printed = capsys.readouterr().out
    assert "; 1,150 images to learn from, 287 to measure epochs on,\n  360 to test; 28x28 grey\n" in printed
    summary = json.loads(Path("run/summary.json").read_text())
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert (best["val_total"], summary["val_total"], summary["test_total"]) == (287, 287, 360)
    assert summary["best_epoch"] == best["epoch"]
    assert summary["val_accuracy"] == best["val_accuracy"] == summary["val_correct"] / 287
    assert summary["test_accuracy"] == summary["test_correct"] / 360
    epoch = f"epoch {best['epoch']} (val accuracy {best['val_accuracy']:.4f})"
    result = f"test accuracy {summary['test_accuracy']:.4f}"
    assert printed.splitlines()[-1] == f"best: {epoch}; {result} with it"
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"weights: best, of {epoch}"
    assert lines[-1] == f"{result} ({summary['test_correct']}/360)", "of the model that was kept"


def test_a_run_that_gets_no_better_ends(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--model mlp --epochs 30 --lr 1e-30 --schedule constant --early-stopping 2 --device cpu --out run"
    assert main(["train", *options.split()]) == 0
    printed = capsys.readouterr().out
    assert "\nstopped early: no better than epoch 1 (test accuracy " in printed
    assert "\nthe best epoch was chosen on the test images, which flatters it; --validation" in printed
    assert "the run that is there" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert json.loads(Path("run/summary.json").read_text())["epochs"] == 3
    assert main(["train", *options.split(), "--epochs", "1", "--validation", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "\nrun folder: run\nthe run that is there is replaced once an epoch has finished\n" in printed
    assert "flatters" not in printed


def test_help_has_every_setting_in_groups(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for name in RunConfig().to_json():
        assert f"  --{name.replace('_', '-')}" in printed
    for part in ("\nmodel and data:\n", "\nlearning:\n", "\nthe run:\n", "| sgd:momentum=0.9,nesterov=false |",
                 "shift:MAX_SHIFT,fill=zero | flip:p=0.5", ": digits | mnist | fashion-mnist | cifar10"):  # fmt: skip
        assert part in printed


def test_the_example_runs(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", str(EXAMPLE), "--epochs", "2", "--out", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  0.03, cosine; label smoothing 0.1; augmentation shift:2" in lines
    assert float(lines[-1].split()[2]) > 0.85
