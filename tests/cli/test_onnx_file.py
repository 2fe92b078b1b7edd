"""Commands that are given an ONNX file, or a run that began with one, as a user gives them."""

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")

from gpucnn.cli.main import main
from tests.cli.small_runs import save_digit, train
from tests.onnx_model.small_files import file_of, node
from tests.runs.test_network import network, written


def test_summary(tmp_path: Path, wide_terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes with weights by their paths, with what they cost by hand: 9 taps of 4 filters at 9 places, 40 products."""
    assert main(["summary", written(tmp_path, network())]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "(N, " in line}
    assert "(N, 1, 8, 8)" in next(line for line in rows.values() if line.startswith("input"))
    assert rows["Conv"].split()[-4:-2] == ["40", "324"]
    assert rows["BatchNormalization"].split()[-4:-2] == ["8", "0"]
    assert rows["Gemm"].split()[-4:-2] == ["50", "40"]


def test_summary_of_open_sizes_and_with_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path, network(size="S"))
    assert main(["summary", source]) == 1
    assert (
        "net.onnx does not tell what images it takes; give CHANNELSxHEIGHTxWIDTH, e.g. 3x32x32"
        in capsys.readouterr().err
    )
    assert main(["summary", source, "--input", "1x8x8", "--batch", "2"]) == 0
    assert "a training step with a batch of 2 and adam takes" in capsys.readouterr().out
    assert main(["summary", source, "--input", "1x8x8", "--classes", "3"]) == 1
    assert "--classes: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["summary", "net.onx"])
    assert "net.onx" in capsys.readouterr().err


def test_train_and_what_takes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(written(tmp_path, network(), "my net.onnx"))
    settings = ["--epochs", "1", "--batch-size", "512", "--augment", "none", "--device", "cpu"]
    assert main(["train", "--model", source.name, *settings]) == 0
    output = capsys.readouterr().out
    assert "model: my net.onnx, 98 parameters" in output
    assert "weights: those of the file, of which the run keeps a copy" in output
    source.unlink()
    run = "runs/my_net-digits-1"
    assert main(["evaluate", run, "--json", "e.json"]) == 0
    accuracy = json.loads(Path("e.json").read_text())["accuracy"]
    assert f"test accuracy {accuracy:.4f}" in output
    capsys.readouterr()
    assert main(["runs", "runs", "--json", "r.json"]) == 0
    assert '"my net.onnx"' in Path("r.json").read_text()
    assert main(["train", "--resume", run]) == 0
    assert f"{run} has finished after" in capsys.readouterr().out


def test_files_that_cannot_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized = file_of(
        [node("DynamicQuantizeLinear", "images", "q s z"), node("Cast", "q", "logits", to=1)], ["N", 1, 8, 8], axes=4
    )
    assert main(["train", "--model", written(tmp_path, quantized)]) == 1
    assert (
        "DynamicQuantizeLinear (the model is quantized: export the one that it was made of)" in capsys.readouterr().err
    )
    assert main(["train", "--model", str(tmp_path / "gone.onnx")]) == 1
    assert "gone.onnx: cannot be read: No such file or directory" in capsys.readouterr().err


def test_predict_as_the_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train(Path("run"))
    for index in range(3):
        save_digit(Path("images", f"{index}.png"), index)
    assert main(["export", "run", "--float", "--out", "net.onnx"]) == 0
    capsys.readouterr()
    told = []
    for name in ("run", "net.onnx"):
        assert main(["predict", name, "images", "--top", "10", "--json", "p.json", "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        told.append((printed.out, printed.err, json.loads(Path("p.json").read_text())))
    assert told[0][:2] == told[1][:2]
    assert len(told[0][0].splitlines()) == 3
    for before, after in zip(told[0][2], told[1][2], strict=True):
        assert before["file"] == after["file"]
        expected, found = ({one["class"]: one["probability"] for one in row["answers"]} for row in (before, after))
        assert set(expected) == set(found) == {str(digit) for digit in range(10)}
        assert all(abs(expected[name] - found[name]) <= 1e-5 for name in expected)


def test_files_that_predict_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, network())
    assert main(["predict", "net.onnx", "image.png"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn predict: net.onnx: no 'preprocess' and no 'class_names' in its metadata, by which gpucnn export RUN --float tells how images "
        "are prepared and what the classes are called; of a file from elsewhere gpucnn train --model net.onnx --data NAME makes a run, and "
        "gpucnn.load_onnx takes arrays\n"
    )
    for command in (["evaluate"], ["report"], ["play", "--no-browser"], ["plot"], ["train", "--resume"]):
        assert main([*command, "net.onnx"]) == 1
        assert capsys.readouterr().err == (
            f"gpucnn {command[0]}: net.onnx: an ONNX file, not the folder of a run, as gpucnn train makes it; of such a file there are "
            f"gpucnn predict, gpucnn summary, gpucnn train --model, and gpucnn.load\n"
        )
