"""`gpucnn runs`: runs of every state, whole and damaged."""

import json
import os
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from gpucnn.cli.main import main
from gpucnn.training import RunFolder, list_runs
from tests.cli.small_runs import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run", epochs=2)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Runs of all kinds, and folders that are none."""
    place = tmp_path / "runs"
    names = ("mlp-10", "mlp-2", "cut", "nomodel", "noconfig", "badlines", "badsummary", "open", "begun", "w" * 60)
    for name in names:
        shutil.copytree(trained, place / name)
    for name in ("open", "begun"):
        (place / name / "summary.json").unlink()
    for path in (place / "begun").glob("*.*"):
        if path.name != "config.json":
            path.unlink()
    (place / "cut" / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes()[:5000])
    (place / "nomodel" / "model.safetensors").unlink()
    (place / "noconfig" / "config.json").unlink()
    (place / "badlines" / "metrics.jsonl").write_text('{"epoch": 1, "test_accuracy": "high"}\n')
    (place / "badsummary" / "summary.json").write_text("{")
    (place / "notes").mkdir()
    (place / "notes" / "thesis.txt").write_text("all of it")
    (place / "empty").mkdir()
    (place / "file").write_text("")
    os.utime(place / "mlp-2" / "summary.json", (1_700_000_000, 1_700_000_000))
    return place


def states(folder: Path, tmp_path: Path) -> dict[str, dict[str, object]]:
    file = tmp_path / "runs.json"
    assert main(["runs", str(folder), "--json", str(file)]) == 0
    return {run["name"]: run for run in json.loads(file.read_text())}


def test_every_state(folder: Path, trained: Path, tmp_path: Path) -> None:
    found = states(folder, tmp_path)
    assert list(found) == [
        "badlines",
        "badsummary",
        "begun",
        "cut",
        "mlp-2",
        "mlp-10",
        "noconfig",
        "nomodel",
        "open",
        "w" * 60,
    ]
    summary = json.loads((trained / "summary.json").read_text())
    whole = found["mlp-2"]
    assert (whole["model"], whole["data"], whole["epochs"]) == ("mlp", "digits", 2)
    assert (whole["accuracy"], whole["state"]) == (summary["test_accuracy"], "finished")
    assert datetime.fromisoformat(str(whole["finished"])).timestamp() == 1_700_000_000
    assert {name: run["state"] for name, run in found.items() if run["state"] not in ("finished", "damaged")} == {
        "begun": "unfinished in epoch 1",
        "open": "unfinished at epoch 2",
    }
    cut = str(found["cut"]["reason"])
    assert cut.startswith(f"{folder}/cut/model.safetensors: not a model that can be read (")
    assert {name: run["reason"] for name, run in found.items() if run["state"] == "damaged"} == {
        "badlines": f"{folder}/badlines/metrics.jsonl: not lines of metrics as gpucnn train writes them",
        "badsummary": f"{folder}/badsummary/summary.json: cannot be read (Expecting property name enclosed in double "
                      "quotes: line 1 column 2 (char 1))",
        "cut": cut,
        "noconfig": f"{folder}/noconfig: no run there (no config.json); give the folder that gpucnn train made",
        "nomodel": f"{folder}/nomodel/model.safetensors: no such model file; train first",
    }  # fmt: skip
    assert {run["reason"] for run in found.values() if run["state"] != "damaged"} == {None}
    assert (found["open"]["finished"], found["begun"]["accuracy"], found["noconfig"]["epochs"]) == (None, None, None)


def test_the_table_of_a_wide_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["runs", str(folder)]) == 0
    table, reasons = capsys.readouterr().out.split("\n\n")
    header, rule, *lines = table.splitlines()
    assert header.split() == ["run", "model", "data", "accuracy", "epochs", "finished", "state"]
    assert set(rule) == {"-"}
    assert len(lines) == 10
    starts = {
        line.index(word) for line in lines for word in ("finished", "unfinished", "damaged") if f"  {word}" in line
    }
    assert starts == {header.index("state")}
    assert max(map(len, lines)) <= 100
    assert [reason.split(": ")[0] for reason in reasons.splitlines()] == [
        str(folder / name)
        for name in (
            "badlines/metrics.jsonl",
            "badsummary/summary.json",
            "cut/model.safetensors",
            "noconfig",
            "nomodel/model.safetensors",
        )
    ]
    assert re.match(r"w{11}\.\.\.w{10}  mlp ", lines[-1])
    assert datetime.fromtimestamp(1_700_000_000).strftime("%Y-%m-%d %H:%M") in lines[4]


def test_the_table_fits_80_columns_and_says_what_it_lacks(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["runs", str(folder)]) == 0
    table, notes = capsys.readouterr().out.split("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    assert table.split()[:6] == ["run", "model", "data", "accuracy", "epochs", "state"], "not all have finished"
    assert notes.splitlines()[0] == "left out to fit 80 columns: finished"
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["runs", str(folder)]) == 0
    assert capsys.readouterr().out.split()[:2] == ["run", "state"], "never less than that"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs that differ in rate, seed and augmentation, one of them with a part of the training set to measure on."""
    place = tmp_path_factory.mktemp("compared")
    for name, options in {
        "a": "--seed 1 --lr 1e-5 --epochs 2",
        "b": "--lr 0.003 --augment none --epochs 3",
        "c": "--lr 0.02 --validation 0.2 --epochs 2",
    }.items():
        common = f"--model mlp --device cpu --quiet --out {place / name}"
        assert main(["train", *common.split(), *options.split()]) == 0
    return place


def rows(printed: str) -> list[list[str]]:
    """The cells of a table in which no text has a blank, without the rule."""
    header, _, *lines = printed.partition("\n\n")[0].splitlines()
    return [line.split() for line in (header, *lines)]


def test_runs_side_by_side(
    compared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    accuracy = {
        name: json.loads((compared / name / "summary.json").read_text())["test_accuracy"] for name in ("a", "b", "c")
    }
    assert accuracy["a"] < min(accuracy["b"], accuracy["c"])
    best_first = sorted(accuracy, key=lambda name: -accuracy[name])
    assert main(["runs", str(compared), "--sort", "accuracy", "--columns", "LR,best-epoch", "--differ"]) == 0
    header, *found = rows(capsys.readouterr().out)
    assert header == ["run", "accuracy", "lr", "best_epoch", "augment", "validation", "epochs", "seed", "state"]
    assert [row[0] for row in found] == best_first
    assert {row[0]: row[1] for row in found} == {name: f"{value:.4f}" for name, value in accuracy.items()}
    by_name = {row[0]: row[2:] for row in found}
    metrics = [json.loads(line) for line in (compared / "b" / "metrics.jsonl").read_text().splitlines()]
    scores = [(row["test_accuracy"], -row["test_loss"]) for row in metrics]
    assert by_name["b"] == ["0.003", str(scores.index(max(scores)) + 1), "none", "0", "3", "0", "finished"]
    assert (by_name["a"][0], by_name["a"][5], by_name["c"][3]) == ("1e-05", "1", "0.2")

    file = tmp_path / "runs.json"
    assert main(["runs", str(compared), "--sort", "lr", "--json", str(file)]) == 0
    assert rows(capsys.readouterr().out)[0] == ["run", "model", "data", "accuracy", "lr", "epochs", "finished", "state"]
    written = json.loads(file.read_text())
    assert [(run["name"], run["settings"]["lr"]) for run in written] == [("a", 1e-5), ("b", 0.003), ("c", 0.02)]
    assert written[1]["results"]["train_loss"] == metrics[-1]["train_loss"]
    assert (written[1]["results"]["parameters"], written[1]["settings"]["augment"]) == (79_510, [])


def test_runs_that_are_alike_differ_in_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((folder / "open" / "config.json").read_text())
    del config["precision"]  # of a gpucnn that did not have it
    (folder / "open" / "config.json").write_text(json.dumps(config))
    assert main(["runs", str(folder), "--differ"]) == 0
    assert rows(capsys.readouterr().out)[0] == ["run", "accuracy", "state"]


def test_runs_that_lack_a_column_come_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, score in (("open", 0.25), ("mlp-10", 0.5)):
        (folder / name / "summary.json").unlink(missing_ok=True)
        rows_of = [(score, 0.5), (score, 0.5), (0.125, 0.25)]
        lines = [{"epoch": n, "val_accuracy": one, "val_loss": loss} for n, (one, loss) in enumerate(rows_of, 1)]
        (folder / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "mlp-2" / "summary.json").write_text('{"best_epoch": 7, "test_accuracy": 1, "val_accuracy": 0.75}')
    assert main(["runs", str(folder), "--columns", "val_accuracy,best_epoch", "--sort", "val_accuracy"]) == 0
    found = rows(capsys.readouterr().out)
    assert found[1][:4] == ["mlp-2", "1.0000", "0.7500", "7"]
    assert [row[:3] for row in found[2:4]] == [["mlp-10", "0.1250", "1"], ["open", "0.1250", "1"]]


def test_an_early_end_shows(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["runs", str(folder / "begun")]) == 0
    assert "  0 of 2  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sort", "acuracy"], "unknown column 'acuracy'; did you mean accuracy?"),
        (["--columns", "lr,batchsizes"], "unknown column 'batchsizes'; did you mean batch_size?"),
        (["--columns", "xyz"], "unknown column 'xyz'; expected one of run, model, data, accuracy, epochs, finished, "),
    ],
)
def test_unknown_columns(options: list[str], said: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(trained), *options]) == 1
    assert capsys.readouterr().err.startswith(f"gpucnn runs: {said}")


def test_a_run_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(folder / "mlp-2")]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("mlp-2  mlp ")


def test_no_runs(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp_path / "runs").mkdir()
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no runs in runs; gpucnn train makes one\n"


ACCURACIES = [f'{{"test_accuracy": {value}}}' for value in ("9" * 400, "true", "NaN", "1.5", "-0.1", "null")]


@pytest.mark.parametrize("content", ["[]", "3", '{"epoch": 1}x', "[" * 100_000, "\ud800", *ACCURACIES])
def test_metrics_that_are_none(content: str, folder: Path, tmp_path: Path) -> None:
    (folder / "open" / "metrics.jsonl").write_bytes(content.encode(errors="surrogatepass"))
    assert str(states(folder, tmp_path)["open"]["reason"]).startswith(f"{folder}/open/metrics.jsonl: ")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}"])
def test_configs_that_are_none(content: bytes, folder: Path, tmp_path: Path) -> None:
    (folder / "open" / "config.json").write_bytes(content)
    assert str(states(folder, tmp_path)["open"]["reason"]).startswith(f"{folder}/open/config.json: ")


def test_a_run_with_a_validation_part_is_listed_with_its_test_accuracy(tmp_path: Path) -> None:
    arguments = [
        "train",
        "--epochs",
        "1",
        "--model",
        "mlp",
        "--validation",
        "0.2",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == 0
    folder = RunFolder(tmp_path / "run")
    summary = json.loads(folder.summary_file.read_text())
    assert summary["test_total"] == 360
    assert json.loads(folder.metrics_file.read_text())["val_total"] == 287
    (entry,) = list_runs(tmp_path)
    assert entry.accuracy == summary["test_accuracy"]


def test_names_are_whole_where_all_have_finished(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the state that is left out; and a folder of images is called what the folder is."""
    monkeypatch.setenv("COLUMNS", "80")
    run = tmp_path / "runs" / "mobilenet_v2-holidays"
    shutil.copytree(trained, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data": "folder", "data_dir": "../my/holidays"}))
    assert main(["runs", str(run.parent)]) == 0
    printed = capsys.readouterr().out
    assert rows(printed)[1][:4:2] == ["mobilenet_v2-holidays", "holidays"]
    assert printed.endswith("\nleft out to fit 80 columns: state\n")


def test_what_no_run_was_measured_by_may_be_asked_for(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(trained), "--columns", "val_loss,val_accuracy"]) == 0
    assert rows(capsys.readouterr().out)[0] == ["run", "accuracy", "val_loss", "val_accuracy", "state"]
