"""`gpucnn bench` as a user runs it, with no look at a time."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend.cuda import Problem
from gpucnn.benchmark import limit, pytorch, report, suite
from gpucnn.cli.main import main
from tests.backends import Backend
from tests.data.image_files import write_two_classes

pytestmark = pytest.mark.usefixtures("wide_terminal")

TINY = ["bench", "--models", "lenet5", "--batch-sizes", "4", "--seconds", "0.001", "--cpu", "numpy"]


@pytest.fixture
def without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "_import", lambda: (None, "PyTorch is not installed: pip install torch"))
    monkeypatch.setattr(limit, "MATRIX_SIZES", {"cpu": 64})


@pytest.mark.usefixtures("without_pytorch")
def test_a_tiny_run(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--json", "bench.json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "measuring lenet5, batch 4\n"
    lines = printed.out.splitlines()
    assert lines[5] == "PyTorch    PyTorch is not installed: pip install torch"
    table = lines.index("training step: milliseconds")
    assert lines[table + 1].split() == ["gpucnn", "numpy", "limit", "numpy/limit"]
    assert lines[table + 3].startswith("lenet5 4 ")
    assert any(line.startswith("training step: peak memory in MB") for line in lines)
    assert "ratios" not in printed.out

    found = json.loads((in_tmp_path / "bench.json").read_text())
    assert found["settings"] == {"device": "cpu", "seconds": 0.001, "keep_memory": False, "avx2": False}
    (row,) = found["steps"]
    assert row["workload"] == "lenet5 4"
    assert list(row["contestants"]) == ["gpucnn numpy"]
    assert row["contestants"]["gpucnn numpy"]["median_seconds"] > 0
    assert row["ratios"] == {}


@pytest.mark.usefixtures("without_pytorch")
def test_operations_are_measured_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = suite.operations(4)[-1:]
    monkeypatch.setattr(suite, "operations", lambda batch: chosen)
    monkeypatch.setattr(suite, "peak_bytes", lambda *rest: None)
    assert main([*TINY, "--operations"]) == 0
    printed = capsys.readouterr()
    rows = [line.partition("  ")[0] for line in printed.out.partition("operation: milliseconds")[2].splitlines()]
    assert rows[3:6] == [
        "cross-entropy 10 4 forward",
        "cross-entropy 10 4 backward",
        "SGD, momentum, 524,288 parameters",
    ]
    assert printed.err.splitlines() == ["measuring lenet5, batch 4", "measuring cross-entropy 10 4", "measuring SGD"]


@pytest.mark.usefixtures("without_pytorch")
def test_wrong_results_are_not_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    values = iter([1.0, 1.5, 1.5])
    monkeypatch.setattr("gpucnn.benchmark.rivals.missing", lambda: "")
    monkeypatch.setattr(suite, "peak_bytes", lambda *rest: None)
    monkeypatch.setattr(suite, "training_step", lambda *rest: None)
    monkeypatch.setattr(suite, "losses", lambda step: {"loss of step 1": np.array(next(values))})

    def measure(*rest: Any) -> None:
        pytest.fail("it was timed")

    monkeypatch.setattr(suite, "measure", measure)
    assert main([*TINY, "jit"]) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(
            "gpucnn bench: lenet5 with batch 4: gpucnn jit and gpucnn numpy differ in the loss of step 1 by 5.0e-01"
        )
    )


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("--models lenet6", 2, "argument --models: unknown name 'lenet6', expected one of lenet5, simplecnn, vgg_mini, resnet20, resnet18, resnet50, mobilenet_v2"),
        ("--batch-sizes 0", 2, "argument --batch-sizes: expected a whole number >= 1, got '0'"),
        ("--seconds 0", 2, "argument --seconds: expected a number > 0, got '0'"),
        ("--cpu fast", 2, "argument --cpu: unknown name 'fast', expected one of plain, numpy, jit"),
        ("--json no/where.json", 1, "no/where.json: cannot be written (no folder no); make it first"),
        ("--device tpu", 1, "unknown device 'tpu'; expected"),
        ("--models resnet50", 1, "--models resnet50 is predicted, not measured: give --device cuda --model, too"),
        ("--gpu h100", 1, "--gpu h100 is for predictions: give --model, too"),
        ("--model", 1, "--model is about a GPU, and the device is cpu: give --device cuda"),
        ("--device cudafoo --model", 1, "--model is about a GPU, and the device is cudafoo: give --device cuda"),
        ("--device cuda --model --operations", 1, "--operations are measured, not predicted: leave out --model, or --operations"),
        ("--device cuda --model --gpu k80", 2,
         "argument --gpu: unknown name 'k80', expected one of h200, h100, a100, rtx4090, rtx4060"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(command: str, status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        ended = main(["bench", *command.split()])
    except SystemExit as exit_:
        ended = exit_.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert ended == status
    assert printed.err.startswith(f"gpucnn bench: {message}")
    assert printed.err.count("\n") == 1


PREDICTED = ["bench", "--device", "cuda", "--model", "--models", "lenet5", "--batch-sizes", "4", "--json", "bench.json"]


def test_a_step_is_predicted_without_a_gpu(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem("CuPy is not installed", "pip install it")
    monkeypatch.setattr("gpucnn.cli.bench.find_problem", lambda: problem)
    assert main(PREDICTED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "PREDICTED for NVIDIA H200 SXM: nothing here ran on a GPU"
    assert lines[-1] == "nothing was measured: CuPy is not installed"
    assert any(line.startswith("lenet5 4 ") for line in lines)
    assert any(line.startswith("total ") for line in lines)
    found = json.loads((in_tmp_path / "bench.json").read_text())
    assert list(found) == ["prediction"]
    (step,) = found["prediction"]["steps"]
    assert (step["workload"], step["waits"]) == ("lenet5 4", 0)

    assert main([*PREDICTED, "--gpu", "RTX4060", "--models", "lenet5", "resnet18"]) == 0
    assert capsys.readouterr().out.startswith("PREDICTED for NVIDIA GeForce RTX 4060 Laptop: ")
    steps = json.loads((in_tmp_path / "bench.json").read_text())["prediction"]["steps"]
    assert [step["workload"] for step in steps] == ["lenet5 4", "resnet18 4"]


@pytest.mark.sample(0)
@pytest.mark.usefixtures("without_pytorch")
def test_a_prediction_stands_beside_what_is_measured(
    backend: Backend,
    gpu: Backend,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limit, "MATRIX_SIZES", {"cuda": 64})
    monkeypatch.setattr(limit, "BYTES_A_PASS", 1 << 20)
    monkeypatch.setattr(suite, "peak_bytes", lambda *rest: None)
    assert main([*PREDICTED, "--seconds", "0.001", "--models", "lenet5", "resnet18"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines.index("training step: milliseconds")
    assert lines[table + 1].split() == [
        *("gpucnn", "cuda", "gpucnn", "cuda", "graph", "limit", "cuda/limit", "cuda", "graph/limit", "predicted", ">")
    ]
    assert lines[table + 3].startswith("lenet5 4 ")
    assert not lines[table + 4].startswith("resnet18"), "it is not measured"
    assert report.PREDICTED_LEGEND in lines
    found = json.loads((in_tmp_path / "bench.json").read_text())
    predicted = found["prediction"]["steps"][0]["predicted_eager_seconds_at_least"]
    assert lines[table + 3].split()[-1] == f"{predicted * 1e3:.3f}"
    (row,) = found["steps"]
    assert row["contestants"]["gpucnn cuda"]["median_seconds"] > 0


def test_jit_that_does_not_work_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("gpucnn.benchmark.rivals.missing", lambda: "llvmlite is not installed")
    assert main(["bench", "--cpu", "jit"]) == 1
    assert capsys.readouterr().err == "gpucnn bench: jit was asked for, but llvmlite is not installed\n"


def test_loading_is_measured_by_decoder(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Every decoder that is installed, and no torchvision where there is none."""
    write_two_classes(in_tmp_path / "photos", 3)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert main(["bench", "--loading", "photos", "--workers", "1", "--json", "bench.json"]) == 0
    printed = capsys.readouterr()
    ours = ["pillow", "pillow-draft"]
    told = [f"measuring {name}, {number} of 3" for number in (1, 2, 3) for name in ours]
    assert printed.err.splitlines() == told
    assert [line.split()[0] for line in printed.out.splitlines()[-2:]] == ours
    found = json.loads((in_tmp_path / "bench.json").read_text())["loading"]
    assert list(found) == ours
    assert all(np.isfinite(rate) and rate > 0 for rate in found.values())


def test_loading_of_what_is_no_folder_of_images(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--loading", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err.splitlines()[-1]
