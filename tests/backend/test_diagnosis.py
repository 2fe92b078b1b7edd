"""What `diagnose` finds in stacks that are absent, broken link by link, and whole."""

import ast
import ctypes
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpucnn.backend import installation
from gpucnn.backend.diagnosis import Finding
from tests.backend.fake_stack import WORKING_CUPY, run_with

CTK = 'pip install "cupy-cuda12x[ctk]"'
WHEEL = ("cupy-cuda12x 14.2.0",)


def diagnose(folder: Path, *arguments: Any, **options: Any) -> dict[str, Finding]:
    """The findings by name."""
    code = "from gpucnn.backend.diagnosis import diagnose\nprint([tuple(finding) for finding in diagnose()])"
    result = run_with(code, folder, *arguments, **options)
    assert (result.returncode, result.stderr) == (0, "")
    findings = [Finding(*row) for row in ast.literal_eval(result.stdout)]
    found = {finding.name: finding for finding in findings}
    assert len(found) == len(findings)
    return found


def problems(found: dict[str, Finding]) -> list[str]:
    return [name for name, finding in found.items() if finding.problem]


def test_a_whole_stack_has_no_problem(tmp_path: Path) -> None:
    found = diagnose(tmp_path, WORKING_CUPY, WHEEL, 12040)
    assert problems(found) == []
    assert [name for name, finding in found.items() if finding.fix] == []
    assert list(found) == [
        "Python", "CPU path", "NVIDIA driver", "CuPy", "kernel cache", "import cupy", "NVRTC", "cuBLAS", "CUDA headers",
        "GPU 0", "GPU 1", "kernel", "matrix product",
    ]  # fmt: skip
    assert found["CPU path"].value.startswith("NumPy ")
    assert ", BLAS " in found["CPU path"].value
    assert found["CPU path"].value[-1].isdigit()
    assert found["NVIDIA driver"].value == "999.88, for CUDA up to 12.4"
    assert found["CuPy"].value == "cupy-cuda12x 14.2.0"
    assert found["kernel cache"].value == f"{tmp_path / 'cache'}, writable, 0 files"
    assert found["import cupy"].value == "works, version 14.2.0"
    assert found["NVRTC"].value == "found, version 12.9"
    assert found["CUDA headers"].value == f"found in {tmp_path / 'modules' / 'include'}"
    assert found["GPU 1"].value == "Fake H100 number 1, compute capability 9.0, 3.0 of 80.0 GiB free"
    assert found["kernel"].value.startswith("compiled in ")
    assert found["kernel"].value.endswith(" us (this machine, now)")
    assert found["matrix product"].value == "right, through a cuBLAS handle of gpucnn's own"


@pytest.mark.parametrize(("driver_cuda", "extra"), [(0, "cuda13"), (12040, "cuda12"), (13000, "cuda13")])
def test_without_cupy_nothing_is_wrong_and_the_extra_fits_the_driver(
    driver_cuda: int, extra: str, tmp_path: Path
) -> None:
    found = diagnose(tmp_path, driver_cuda=driver_cuda)
    assert problems(found) == []
    assert list(found) == ["Python", "CPU path", "NVIDIA driver", "CuPy"]
    assert found["CuPy"] == Finding("CuPy", "not installed", None, f'pip install "gpucnn[{extra}]"')


@pytest.mark.parametrize(
    ("cupy", "cause"),
    [
        ("raise AttributeError('no attribute bool8')", "AttributeError: no attribute bool8"),
        ("raise SystemExit('boom')", "SystemExit: boom"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import cuda.pathfinder, os; raise OSError('libcudart.so.12: not\\n found')", "OSError: libcudart.so.12: not found"),
    ],
)  # fmt: skip
def test_an_import_that_fails_is_quoted_and_mended_by_what_is_installed(cupy: str, cause: str, tmp_path: Path) -> None:
    found = diagnose(tmp_path, cupy, WHEEL, 12080)
    assert problems(found) == ["import cupy"]
    fix = 'pip uninstall -y cupy-cuda12x, then pip install "gpucnn[cuda12]"'
    assert found["import cupy"] == Finding("import cupy", "fails", f"import cupy raised {cause}", fix)
    assert "NVRTC" not in found


def test_two_wheels_clash(tmp_path: Path) -> None:
    wheels = ("cupy-cuda12x 14.1.0", "cupy_cuda13x 14.2.0", "cupyx-tools 1.0")
    warning = "import warnings; warnings.warn('multiple CuPy\\n packages')\n"
    found = diagnose(tmp_path, warning + WORKING_CUPY, wheels, 13000, headers=False)
    assert found["CuPy"] == Finding(
        "CuPy", "cupy-cuda12x 14.1.0, cupy-cuda13x 14.2.0", "each overwrites files of the other",
        'pip uninstall -y cupy-cuda12x cupy-cuda13x, then pip install "gpucnn[cuda13]"',
    )  # fmt: skip
    assert found["import cupy"].value == "works, version 14.2.0, warns: multiple CuPy packages"
    assert problems(found) == ["CuPy", "CUDA headers"]
    assert found["CUDA headers"].fix == found["CuPy"].fix


def test_a_wheel_newer_than_the_driver(tmp_path: Path) -> None:
    cupy = WORKING_CUPY.replace("return 2", "raise RuntimeError('cudaErrorInsufficientDriver')")
    found = diagnose(tmp_path, cupy, ("cupy-cuda13x 14.2.0",), 12040)
    fix = 'pip uninstall -y cupy-cuda13x, then pip install "gpucnn[cuda12]"'
    problem = "it needs a driver for CUDA 13, this one is for up to 12.4"
    assert found["CuPy"] == Finding("CuPy", "cupy-cuda13x 14.2.0", problem, fix)
    assert found["GPU"].problem == "CuPy cannot use the driver: RuntimeError: cudaErrorInsufficientDriver"
    assert found["GPU"].fix == fix


def test_no_driver(tmp_path: Path) -> None:
    cupy = WORKING_CUPY.replace("return 2", "raise RuntimeError('cudaErrorInsufficientDriver')")
    found = diagnose(tmp_path, cupy, WHEEL, 0)
    assert problems(found) == []
    assert found["NVIDIA driver"].value == "none found"
    assert found["GPU"] == Finding(
        "GPU", "none: RuntimeError: cudaErrorInsufficientDriver", None, "install the NVIDIA driver, if there is a GPU"
    )
    assert "kernel" not in found


def test_a_device_without_a_driver(tmp_path: Path) -> None:
    found = diagnose(tmp_path, FAKE_BUS="1")
    assert found["NVIDIA driver"].problem == "an NVIDIA device is on the PCI bus, but no driver for it"
    assert found["NVIDIA driver"].fix == "install the NVIDIA driver"


def test_an_old_driver(tmp_path: Path) -> None:
    found = diagnose(tmp_path, driver_cuda=11040)
    assert found["NVIDIA driver"] == Finding(
        "NVIDIA driver", "999.88, for CUDA up to 11.4", "CuPy needs a driver for CUDA 12 or newer",
        "install the NVIDIA driver 580 or newer",
    )  # fmt: skip


MISSING = {
    "NVRTC": ("return 12, 9", "raise RuntimeError('Failure finding \"libnvrtc.so.12\"')", 'RuntimeError: Failure finding "libnvrtc.so.12"', CTK),
    "cuBLAS": ("class cublas: pass", "", "AttributeError: type object 'cuda' has no attribute 'cublas'", CTK),
    "GPU": ("return 2", "return 0", "the driver lists no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES"),
    "GPU 1": ("return {", "return {} if index else {", "KeyError: 'name'", "check the GPU with nvidia-smi"),
    "kernel": ("assert name in self.code", "raise OSError('no nvrtc')", "OSError: no nvrtc", CTK),
    "a kernel that adds 2": ("STEP = 1", "STEP = 2", "ArithmeticError: 101 launches that add 1 to 0 gave 202.0", CTK),
    "matrix product": ("def ones(", "def ones(*a, **k): raise OSError('libcublas.so.12')\ndef no(", "CuPy sees 2 GPU(s) but cannot compute (OSError: libcublas.so.12)", CTK),
    "a matrix product that is refused": ("return STATUS", "return 8", "CuPy sees 2 GPU(s) but matrices cannot be multiplied (cuBLAS: 1 product(s) of float32, m=2, n=2, k=2, failed with CUBLAS_STATUS_ARCH_MISMATCH)", "look at what `gpucnn doctor` says"),
    "a matrix product that is wrong": ("PRODUCT = 2", "PRODUCT = 1", "the GPU multiplied wrongly: the sum should be 8, it is 4.0", "check the GPU and its driver"),
}  # fmt: skip


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", MISSING)
def test_one_missing_link_is_named_with_its_fix(name: str, tmp_path: Path) -> None:
    old, new, problem, fix = MISSING[name]
    assert WORKING_CUPY.count(old) == 1
    found = diagnose(tmp_path, WORKING_CUPY.replace(old, new), WHEEL, 12040)
    link = next((link for link in ("kernel", "matrix product") if name.startswith(f"a {link}")), name)
    assert problems(found) == [link]
    assert found[link][2:] == (problem, fix)


def test_headers_missing(tmp_path: Path) -> None:
    found = diagnose(tmp_path, WORKING_CUPY, WHEEL, 12040, headers=False)
    assert problems(found) == ["CUDA headers"]
    assert found["CUDA headers"][2:] == ("FileNotFoundError: cuda-pathfinder finds no headers of cudart", CTK)


def test_a_cache_that_cannot_be_written_is_the_fix_of_the_import(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cupy = "import os; os.makedirs(os.environ['CUPY_CACHE_DIR'])"
    found = diagnose(tmp_path, cupy, WHEEL, CUPY_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert problems(found) == ["kernel cache", "import cupy"]
    assert found["kernel cache"].problem == f"NotADirectoryError: [Errno 20] Not a directory: '{tmp_path}/file/cache'"
    assert found["import cupy"].fix == found["kernel cache"].fix == "set CUPY_CACHE_DIR to a folder that can be written"


def test_libraries_of_a_cupy_built_from_source(tmp_path: Path) -> None:
    found = diagnose(tmp_path, WORKING_CUPY, ("cupy 14.2.0",), 12040, headers=False)
    assert found["CUDA headers"].fix == "install the CUDA toolkit that this CuPy was built for"


def test_a_module_that_raises_everywhere_is_reported_too(tmp_path: Path) -> None:
    found = diagnose(tmp_path, "def __getattr__(name): raise SystemExit(name)", WHEEL, 12040)
    assert found["cupy"] == Finding("cupy", "not known", "asking for it raised SystemExit: __version__")
    assert found["CuPy"].value == "cupy-cuda12x 14.2.0"


def test_the_driver_library_tells_its_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, name: str) -> None:
            if name not in ("libcuda.so.1", "nvcuda.dll"):
                raise OSError(name)

        def cuDriverGetVersion(self, pointer: Any) -> int:
            pointer._obj.value = 13010
            return 0

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert installation.newest_cuda() == 13010
    assert installation.cuda_text(13010) == "13.1"

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert installation.newest_cuda() == 0


def test_nvidia_smi_tells_the_driver_s_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installation.driver_version() is None
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 580.159.03 && echo 580.159.03\n')
    program.chmod(0o755)
    assert installation.driver_version() == "580.159.03"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    assert installation.driver_version() is None

    def hang(*arguments: Any, timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert installation.driver_version() is None
