"""`gpucnn doctor` as a user runs it, on stacks that are absent, broken and whole."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import testing
from gpucnn.backend import ChosenDevice, Device, mpi, mpiexec
from gpucnn.backend.diagnosis import Finding
from gpucnn.cli import agree, doctor
from gpucnn.cli.main import main
from gpucnn.kernels import ways
from tests.backend.fake_stack import WORKING_CUPY, run_with

COMMAND = "from gpucnn.cli.main import main\nraise SystemExit(main(['doctor']))"
NOT_COMPARED = (
    "cpu and cuda were not compared, as no GPU works; to see the GPU path computed on the CPU: "
    "gpucnn agree --devices cpu emulated"
)


def test_without_cupy_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_CPU", "numpy")  # what compiling takes is measured below
    result = run_with(COMMAND, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line[:17] for line in lines[:4]] == [
        "  Python         ", "  CPU path       ", "  NVIDIA driver  ", "  CuPy           ",
    ]  # fmt: skip
    assert lines[2:6] == [
        "  NVIDIA driver  none found",
        "  CuPy           not installed",
        'fix: pip install "gpucnn[cuda13]"',
        "",
    ]
    assert re.fullmatch(r"loops on the CPU: NumPy \(GPUCNN_CPU=numpy\); threads: \d+", lines[6])
    assert lines[-3:] == [
        "",
        "--device auto takes cpu (no GPU: CuPy is not installed)",
        NOT_COMPARED,
    ]


@pytest.mark.sample(0)
@pytest.mark.skipif(ways.missing() != "", reason=ways.missing())
def test_compiled_loops_and_what_their_first_use_costs(capsys: pytest.CaptureFixture[str]) -> None:
    with ways.use("jit"):
        main(["doctor"])
    printed = capsys.readouterr().out
    assert "loops on the CPU: compiled by llvmlite for " in printed
    told = re.search(
        r"first step of vgg_mini: (\d+) loops compiled in (\S+) s; in another process, from the cache, ready in (\S+) s",
        printed,
    )
    assert told
    assert int(told[1]) > 10
    with ways.use("numpy"):
        main(["doctor"])
    assert "loops on the CPU: NumPy (" in capsys.readouterr().out


def test_what_is_broken_is_marked_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_CPU", "numpy")  # nothing is compiled
    cupy = WORKING_CUPY.replace("class cublas: pass", "").replace("return 2", "raise RuntimeError('no driver')")
    result = run_with(COMMAND, tmp_path, cupy, ("cupy-cuda12x 14.2.0",), headers=False)
    assert result.returncode == 1
    assert result.stderr == (
        "gpucnn doctor: 2 of these do not work: cuBLAS, CUDA headers; see the lines above with ! and fix\n"
    )
    lines = result.stdout.splitlines()
    assert "! cuBLAS         fails; AttributeError: type object 'cuda' has no attribute 'cublas'" in lines
    assert "  GPU            none: RuntimeError: no driver" in lines
    assert [line for line in lines if line.startswith("fix: ")] == [
        'fix: pip install "cupy-cuda12x[ctk]"',
        "fix: install the NVIDIA driver, if there is a GPU",
    ]
    assert lines[-1] == NOT_COMPARED


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, with which the emulator compiles kernels")
def test_the_gpu_that_is_compared_computes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda: [Finding("GPU 0", "emulated")])
    monkeypatch.setattr(doctor, "_first_uses", lambda: "measured elsewhere")
    with testing.emulated_gpu():
        assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "--device auto takes cuda:0 (a GPU that works was found)" in lines
    assert sum(line.startswith("conv2.weight ") for line in lines) == 2
    assert lines[-3].startswith("largest relative difference ")
    assert lines[-3].endswith(": within 1e-04")
    assert re.fullmatch(r"first use of \d+ kernels took \d+\.\d s: compiled, or found in CuPy's cache", lines[-1])


@pytest.fixture
def gpu_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda: [Finding("GPU 0", "Fake H100")])
    monkeypatch.setattr(doctor, "_first_uses", lambda: "measured elsewhere")
    monkeypatch.setattr(
        doctor, "choose_device", lambda name: ChosenDevice(Device("cuda"), "a GPU that works was found")
    )


@pytest.mark.usefixtures("gpu_that_works")
@pytest.mark.parametrize("difference", [0.0, 0.5])
def test_a_gpu_that_works_is_compared(
    difference: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step_on(device: str, *arguments: Any, **options: Any) -> dict[str, np.ndarray]:
        return {"conv1 output": np.ones(2) + (difference if device == "cuda" else 0)}

    monkeypatch.setattr(agree, "step_on", step_on)
    assert main(["doctor"]) == (1 if difference else 0)
    printed = capsys.readouterr()
    assert printed.out.startswith("  GPU 0  Fake H100\n\nloops on the CPU: ")
    assert (
        "\n\n--device auto takes cuda:0 (a GPU that works was found)\n"
        "one training step of lenet5 in float32, 8 images: cuda against cpu\n"
    ) in printed.out
    if difference:
        assert printed.err.startswith("gpucnn doctor: cuda does not agree with cpu: conv1 output is the first to be")
    else:
        assert "\nlargest relative difference 0.0e+00 at conv1 output: within 1e-04\n" in printed.out
        assert printed.err == ""


@pytest.mark.usefixtures("gpu_that_works")
def test_a_step_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def step_on(device: str, *arguments: Any, **options: Any) -> None:
        raise OSError("libcublas.so\n is lost")

    monkeypatch.setattr(agree, "step_on", step_on)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn doctor: a training step on the GPU raised OSError: libcublas.so is lost\n"
    )


@pytest.mark.usefixtures("gpu_that_works")
def test_accelerate_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(agree, "step_on", lambda *arguments, **options: {"conv1 output": np.ones(2)})
    for accelerate in (False, True):
        monkeypatch.setattr(doctor, "has_false_alarms", lambda accelerate=accelerate: accelerate)
        assert main(["doctor"]) == 0
        assert (
            "NumPy's products: by Apple's Accelerate, which decides itself" in capsys.readouterr().out
        ) == accelerate


def test_whether_several_processes_can_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    if mpiexec.describe().startswith("none ("):
        pytest.skip("several processes need an MPI: pip install mpich")
    assert re.fullmatch(r".*mpiexec starts them, .*[MO].*\d+\.\d+.*", mpiexec.describe())
    monkeypatch.setattr(mpiexec.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mpiexec.describe() == f"none (--processes needs mpiexec, and there is none; {mpi.FIX})"
    broken = tmp_path / "mpiexec"
    for script, told in [
        (
            "echo 1 MPICH 5.0; echo 1 MPICH 5.0",
            f"none, as those of {broken} are single ones to mpi4py's MPICH 5.0: {mpi.OTHER_MPI}",
        ),
        (
            "echo no such host >&2; exit 3",
            f"none, as {broken} and mpi4py do not go together (no such host); reinstall both: {mpi.FIX}",
        ),
        ("exit 4", f"none, as {broken} and mpi4py do not go together (status 4); reinstall both: {mpi.FIX}"),
    ]:
        broken.write_text(f"#!/bin/sh\n{script}\n")
        broken.chmod(0o755)
        assert mpiexec.describe() == told
    broken.write_text("#!/no/such/shell\n")
    assert mpiexec.describe() == (
        f"none, as {broken} does not start any ([Errno 2] No such file or directory: '{broken}'); reinstall it: {mpi.FIX}"
    )
    monkeypatch.setattr(mpi.importlib.util, "find_spec", lambda name: None)
    assert mpiexec.describe() == f"none (several processes need mpi4py; {mpi.FIX})"
