"""`gpucnn agree` as a user runs it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import testing
from gpucnn.cli import agree
from gpucnn.cli.main import main
from tests.backend.fake_stack import run_with


def test_a_device_agrees_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agree", "--devices", "cpu", "cpu", "--batch-size", "2"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "one training step of lenet5 in float32, 2 images: cpu against cpu"
    assert lines[2].split() == ["array", "absolute", "relative"]
    assert re.fullmatch(r"conv1 output +0 +0", lines[4])
    assert sum("gradient" in line for line in lines) == sum("after the step" in line for line in lines) == 10
    assert lines[-1] == "largest relative difference 0.0e+00 at conv1 output: within 1e-04"
    assert printed.err == ""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, with which the emulator compiles kernels")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_emulated_gpu_agrees_with_the_cpu(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    limit = {"float32": "1e-05", "float64": "1e-13"}[dtype]
    command = ["agree", "--devices", "cpu", "emulated", "--batch-size", "2", "--dtype", dtype, "--tolerance", limit]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"one training step of lenet5 in {dtype}, 2 images: emulated against cpu\n")
    assert printed.out.endswith(f": within {limit}\n")


def test_a_disagreement_is_named_where_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places: list[tuple[str, bool]] = []
    emulating = False

    @contextmanager
    def emulated_gpu() -> Iterator[None]:
        nonlocal emulating
        emulating = True
        yield
        emulating = False

    def step_on(device: str, *arguments: Any, **options: Any) -> dict[str, np.ndarray]:
        places.append((device, emulating))
        shift = 0.25 if device == "cuda" else 0.0
        return {"conv1 output": np.ones(2), "loss": np.array(2 + shift), "fc.weight gradient": np.ones(2) + 4 * shift}

    monkeypatch.setattr(testing, "emulated_gpu", emulated_gpu, raising=False)
    monkeypatch.setattr(agree, "step_on", step_on)
    assert main(["agree", "--devices", "cpu", "emulated", "--tolerance", "0.1"]) == 1
    assert places == [("cpu", False), ("cuda", True)]
    printed = capsys.readouterr()
    assert printed.err == (
        "gpucnn agree: emulated does not agree with cpu: loss is the first to be beyond the tolerance 1e-01, "
        "with a relative difference of 1.2e-01\n"
    )
    assert [line.split()[0] for line in printed.out.splitlines() if line.endswith("beyond 1e-01")] == [
        "loss", "fc.weight",
    ]  # fmt: skip
    assert "within" not in printed.out

    assert main(["agree", "--devices", "cuda:1", "cuda"]) == 1
    assert places[2:] == [("cuda:1", False), ("cuda", False)]


def test_model_shape_and_batch_are_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agree", "--devices", "cpu", "cpu", "--model", "mlp", "--input", "3x8x8", "--batch-size", "1"]) == 0
    assert capsys.readouterr().out.startswith("one training step of mlp in float32, 1 images: cpu against cpu\n")


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("--devices cpu tpu", 2, "argument --devices: unknown device 'tpu', expected cpu, cuda, cuda:N or emulated"),
        ("--devices auto cpu", 2, "argument --devices: unknown device 'auto', expected cpu, cuda, cuda:N or emulated"),
        ("--devices cpu", 2, "argument --devices: expected 2 arguments"),
        ("--tolerance 0", 2, "argument --tolerance: expected a number > 0, got '0'"),
        ("--dtype float16", 2, "argument --dtype: unknown name 'float16', expected one of float32, float64"),
        ("--input 1x28x32", 1, "--input: expected a square image, got 28x32"),
        ("--input 1x28x28 --devices cpu cpu", 1, "LeNet5 takes images of 32x32, got image_size=28"),
    ],
)
def test_wrong_usage_is_one_line(command: str, status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        ended = main(["agree", *command.split()])
    except SystemExit as exit_:
        ended = exit_.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert ended == status
    assert printed.err.startswith(f"gpucnn agree: {message}")
    assert printed.err.count("\n") == 1


def test_without_a_gpu_it_says_why(tmp_path: Path) -> None:
    result = run_with("from gpucnn.cli.main import main\nraise SystemExit(main(['agree']))", tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(
        'gpucnn agree: device "cuda" cannot be used: CuPy is not installed; fix: pip install "gpucnn[cuda13]"'
    )
    assert result.stderr.count("\n") == 1
