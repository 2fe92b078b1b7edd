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


def test_the_table_fits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
