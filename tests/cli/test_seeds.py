"""`gpucnn train --seeds`: several runs of one kind, each by itself, and what they came to together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpucnn.cli.main import main
from gpucnn.training import RunFolder, Trainer

SETTINGS = ["--model", "mlp", "--epochs", "2", "--batch-size", "300", "--device", "cpu"]


def seeds(*seeds: int, out: Path | str = "group", more: str = "") -> list[str]:
    return ["train", *SETTINGS, "--seeds", *map(str, seeds), "--out", str(out), *more.split()]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of three seeds; tests that write take a copy."""
    place = tmp_path_factory.mktemp("runs") / "group"
    assert main(seeds(3, 5, 8, out=place, more="--quiet")) == 0
    return place


def accuracies(place: Path) -> list[float]:
    return [json.loads(path.read_text())["test_accuracy"] for path in sorted(place.glob("seed-*/summary.json"))]


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_each_seed_is_the_run_that_it_would_be_alone(group: Path, in_tmp_path: Path) -> None:
    assert sorted(path.name for path in group.iterdir()) == ["seed-3", "seed-5", "seed-8"]
    assert main(["train", *SETTINGS, "--seed", "5", "--out", "alone", "--quiet"]) == 0
    assert weights(Path("alone")) == weights(group / "seed-5") != weights(group / "seed-3")
    assert json.loads((group / "seed-8" / "config.json").read_text())["seed"] == 8


def test_mean_and_spread(group: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(group, "group")
    for name, accuracy in (("seed-3", 0.75), ("seed-5", 0.5), ("seed-8", 0.875)):
        summary = json.loads(Path("group", name, "summary.json").read_text())
        Path("group", name, "summary.json").write_text(json.dumps({**summary, "test_accuracy": accuracy}))
    assert main(seeds(8, 3, 5)) == 0
    *single, last = capsys.readouterr().out.splitlines()
    mean, spread = np.mean([0.75, 0.5, 0.875]), np.std([0.75, 0.5, 0.875], ddof=1)
    assert last == f"test accuracy {mean:.4f} +- {spread:.4f} (3 seeds: mean and sample standard deviation)"
    assert [line.split(",")[0] for line in single] == [
        f"seed {seed}: test accuracy {accuracy}" for seed, accuracy in ((8, "0.8750"), (3, "0.7500"), (5, "0.5000"))
    ]
    assert main(seeds(5, more="--quiet")) == 0
    assert capsys.readouterr().out == "test accuracy 0.5000 (1 seed)\n"


def test_what_has_finished_is_not_trained_again_and_what_is_new_is(
    group: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(group, "group")
    trained, fit = list[Trainer](), Trainer.fit

    def listed(trainer: Trainer, epochs: int) -> None:
        trained.append(trainer)
        fit(trainer, epochs)

    monkeypatch.setattr(Trainer, "fit", listed)
    assert main(seeds(3, 5, 13, 8, more="--quiet --workers 2")) == 0
    assert [trainer.train_loader.seed for trainer in trained] == [13]
    assert main(seeds(3, 5, more="--quiet --lr find")) == 0, "whatever was found"
    assert len(trained) == 1
    assert len(accuracies(Path("group"))) == 4


def test_a_stopped_seed_goes_on_to_the_same_bits(
    group: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = Trainer.fit

    def stop_in_the_second(trainer: Trainer, epochs: int) -> None:
        fit(trainer, epochs if trainer.train_loader.seed == 3 else 1)
        if trainer.train_loader.seed == 5:
            raise KeyboardInterrupt("stopped by Ctrl-C after step 5")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stop_in_the_second)
        assert main(seeds(3, 5, 8, out="a group", more="--quiet")) == 130
    said = "stopped by Ctrl-C after step 5; for all seeds: the same command with --out 'a group'"
    assert capsys.readouterr().err == f"gpucnn train: {said}\n"
    assert sorted(path.name for path in Path("a group").iterdir()) == ["seed-3", "seed-5"]
    assert not RunFolder("a group/seed-5").summary_file.exists()
    assert main(seeds(3, 5, 8, out="a group")) == 0
    printed = capsys.readouterr().out
    assert "\ngoing on in epoch 2, after 0 of its 5 batches, from a\n  group/seed-5/checkpoints/" in printed
    for name in ("seed-3", "seed-5", "seed-8"):
        assert weights(Path("a group", name)) == weights(group / name)


def test_without_out_they_are_in_a_new_folder_that_runs_lists(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["train", *SETTINGS, "--epochs", "1", "--seeds", "1", "2", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["runs", "--sort", "seed", "--columns", "seed"]) == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(name, seed) for name, _, seed, _ in listed] == [
        (f"mlp-digits-{number}/seed-{seed}", str(seed)) for seed in (1, 2) for number in (1, 2)
    ]


def test_nothing_is_left_where_nothing_was_trained(in_tmp_path: Path) -> None:
    assert main(["train", "--data", "mnist", "--seeds", "1", "2"]) == 1
    assert list(Path("runs").iterdir()) == []


def test_wrong_combinations(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in group.rglob("*.*") if path.is_file()}
    for arguments, said in (
        (["--seed", "3"], "--seed 3 and --seeds both say what draws follow from; give one of them"),
        (["--resume", str(group / "seed-3")], f"--seeds would make another run of {group}/seed-3; with --resume "),
        (["--lr", "1"], f"{group}/seed-3: is another run: its lr is 0.003, and 1.0 is asked for; choose another --out"),
        (
            ["--epochs", "3"],
            f"{group}/seed-3: is another run: its epochs is 2, and 3 is asked for; choose another --out",
        ),
        (["--out", str(group / "seed-3")], f"{group}/seed-3: is a run itself; choose another --out for the runs of "),
    ):
        command = [
            "train",
            "--seeds",
            "13",
            "3",
            *([] if "--resume" in arguments else [*SETTINGS, "--out", str(group)]),
        ]
        assert main([*command, *arguments]) == 1
        assert capsys.readouterr().err.startswith(f"gpucnn train: {said}")
    assert main(seeds(4, 4)) == 1
    assert "seeds: 4 is given twice" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in group.rglob("*.*") if path.is_file()} == before, "all is as it was"


def test_a_damaged_run_is_told(group: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(group, "group")
    Path("group/seed-5/model.safetensors").write_bytes(b"")
    assert main(seeds(3, 5, more="--quiet")) == 1
    said = capsys.readouterr().err
    assert said.startswith("gpucnn train: group/seed-5/model.safetensors: ")
    assert said.endswith("; or remove group/seed-5 to train it anew\n")
