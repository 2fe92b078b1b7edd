"""`gpucnn export`: a run becomes a file, and the command says how it was checked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import gpucnn
from gpucnn.cli.main import main
from gpucnn.export import onnx_file
from tests.cli.small_runs import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "digits-7")


def test_it_writes_a_file_named_after_the_run_and_says_how_near_it_is(
    run: Path, in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run)]) == 0
    told, warned = capfd.readouterr()
    assert not warned
    checked, written = told.splitlines()
    assert checked.startswith(f"checked with onnxruntime {onnxruntime.__version__} on 32 of the run's test images in ")
    assert written.startswith("digits-7.onnx: 0.")
    image = np.diag(np.arange(100, 109, dtype=np.uint8))
    session = onnxruntime.InferenceSession("digits-7.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["probabilities"], {"images": image[None, :, :, None]})[0][0]
    for name, probability in gpucnn.load(run, device="cpu").predict(image, top=10):
        assert abs(found[int(name)] - probability) < 1e-6


def test_options_say_what_goes_in_and_where_it_is_written(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(run), "--float", "--opset", "21", "--weights", "last", "--int8", "--calibrate", "4"]
    assert main(command) == 0
    checked, accuracy, written = capsys.readouterr().out.splitlines()
    assert checked.startswith(f"before int8: checked with onnxruntime {onnxruntime.__version__} on 32 of ")
    assert accuracy.startswith("int8: accuracy on the run's test images: 0.")
    measured = json.loads((run / "metrics.jsonl").read_text())
    assert f", before {measured['test_accuracy']:.4f} ({measured['test_correct']}/360); " in accuracy
    assert written.startswith("digits-7-float-int8.onnx: 0.")
    assert written.endswith(" MB, opset 21")
    session = onnxruntime.InferenceSession("digits-7-float-int8.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["N", 1, 28, 28]
    assert session.get_modelmeta().custom_metadata_map["int8"] == "QDQ, calibrated on 4 of the run's train images"
    assert main(["export", str(run), "--raw", "--out", "mine.onnx"]) == 0
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["digits-7-float-int8.onnx", "mine.onnx"]


def test_answers_too_far_apart_end_it_with_status_1_and_no_file(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpucnn.export.answer_check.LARGEST", 1e-12)
    assert main(["export", str(run)]) == 1
    told, warned = capsys.readouterr()
    assert not told
    assert warned.startswith(
        "gpucnn export: the file's answers are not the run's, so that no file is written: checked with"
    )
    assert warned.count("\n") == 1
    assert not list(in_tmp_path.iterdir())


def test_a_library_that_is_not_there_is_named(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(run), "--int8"]) == 1
    assert 'pip install "gpucnn[onnxruntime]"\n' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(run)]) == 1
    assert 'pip install "gpucnn[onnx]"\n' in capsys.readouterr().err


def test_its_help_loads_no_library() -> None:
    code = (
        "import sys; from gpucnn.cli.commands import parse\n"
        "try: parse(['export', '--help'])\n"
        "except SystemExit: print(sorted({'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "[]"
    assert f"(default: {onnx_file.CALIBRATE})" in told


def test_numpy_writes_a_module_named_after_the_run_and_weights_say_how_they_are_loaded(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime"):  # neither is needed
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["export", str(run), "--format", "numpy"]) == 0
    checked, written = capsys.readouterr().out.splitlines()
    assert checked.startswith(f"checked with NumPy {np.__version__} alone on 32 of the run's test images in ")
    assert written.startswith("digits_7.py: needs NumPy alone, and digits_7.npz beside it, 0.")
    assert main(["export", str(run), "--format", "safetensors", "--out", "w.safetensors"]) == 0
    told, command = capsys.readouterr().out.splitlines()
    assert told.startswith("w.safetensors: 4 arrays, 0.")
    assert command.strip().startswith(
        "model = gpucnn.models.create('mlp', num_classes=10, in_channels=1, image_size=28, "
    )
    assert sorted(path.name for path in in_tmp_path.iterdir()) == ["digits_7.npz", "digits_7.py", "w.safetensors"]
    shutil.copytree(run, "runs/hashlib")
    assert main(["export", "runs/hashlib", "--format", "numpy"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("run_hashlib.py: needs NumPy alone")
    assert main(["export", str(run), "--format", "torch-names"]) == 1
    assert capsys.readouterr().err.startswith("gpucnn export: mlp: torchvision has no such model, ")
