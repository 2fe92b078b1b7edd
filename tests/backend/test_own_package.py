"""gpucnn from a zip file on Python's path: a zipapp, or what PySpark hands to its workers."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gpucnn
from gpucnn.backend import own_package
from gpucnn.testing.emulator import cache
from gpucnn.testing.emulator.compiler import sources_text

PACKAGE = Path(gpucnn.__file__).parent

SOURCES = """
import numpy as np
from gpucnn import layers, optim
from gpucnn.kernels import launch, preprocess, scores, tree_sum
from gpucnn.kernels.kernel import KERNELS, NARROW, Variant, source_text
texts = [source_text(kernel.source, Variant(np.dtype("float32"), NARROW)) for kernel in KERNELS.values()]
print(len(texts), all("__global__" in text for text in texts))
"""


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "app.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        for file in PACKAGE.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, Path("gpucnn", file.relative_to(PACKAGE)))
        archive.writestr("__main__.py", "from gpucnn.cli.main import main\nraise SystemExit(main())\n")
    return path


def output_of(archive: Path, folder: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(archive), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def python_in(archive: Path, folder: Path, code: str, **environment: str) -> str:
    where = f"import gpucnn\nassert gpucnn.__file__.startswith({str(archive)!r}), gpucnn.__file__\n"
    return output_of(archive, folder, "-c", where + code, **environment)


def test_the_command_runs(archive: Path, tmp_path: Path) -> None:
    assert output_of(archive, tmp_path, str(archive), "--version") == f"gpucnn {gpucnn.__version__}\n"


def test_a_run_is_trained(archive: Path, tmp_path: Path) -> None:
    arguments = ("--epochs", "1", "--batch-size", "256", "--device", "cpu", "--out", "run")
    done = subprocess.run(
        [sys.executable, str(archive), "train", *arguments],
        cwd=tmp_path,
        env={**os.environ, "GPUCNN_CPU": "numpy"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, (tmp_path / "run" / "model.safetensors").exists()) == (0, True), done.stderr


def test_loops_are_compiled(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("llvmlite")
    code = (
        "import numpy as np\n"
        "from gpucnn import functions as F\n"
        "from gpucnn.kernels.compiler import loop\n"
        "F.max_pool2d(gpucnn.Tensor(np.ones((4, 8, 32, 32), np.float32)), 2)\n"
        "print(loop.loaded() > 0)\n"
    )
    cache = str(tmp_path / "cache")
    assert python_in(archive, tmp_path, code, GPUCNN_CPU="jit", GPUCNN_CACHE_DIR=cache) == "True\n"


def test_a_new_process_finds_the_package_that_this_one_has(archive: Path, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "from gpucnn.backend import own_package\n"
        "look = [sys.executable, '-c', 'import gpucnn; print(gpucnn.__file__)']\n"
        "env = own_package.environment()\n"
        "print(env['PYTHONPATH'].partition(os.pathsep)[0])\n"
        "sys.stdout.flush()\n"
        "subprocess.run(look, env=env, check=True)\n"
    )
    assert python_in(archive, tmp_path, code).splitlines() == [str(archive), f"{archive}/gpucnn/__init__.py"]


def test_any_file_is_read_and_one_that_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "kernel.cu").write_bytes(b"// mine")
    assert own_package.read(tmp_path / "kernel.cu") == b"// mine"
    with pytest.raises(FileNotFoundError, match=r"other\.cu"):
        own_package.read(tmp_path / "other.cu")


def test_kernels_are_read(archive: Path, tmp_path: Path) -> None:
    kernels = sum(path.read_text().count("__global__ void") for path in PACKAGE.rglob("kernels/**/*.cu"))
    assert python_in(archive, tmp_path, SOURCES) == f"{kernels} True\n"


@pytest.mark.sample(0)
def test_a_report_has_its_template(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    code = (
        "import jinja2\n"
        "from gpucnn.report.page import page\n"
        "try:\n"
        "    page({})\n"
        "except jinja2.UndefinedError as error:\n"  # it is filled in, and something is missing
        "    print(error)\n"
    )
    assert "is undefined" in python_in(archive, tmp_path, code)


def test_the_emulator_has_its_sources(archive: Path, tmp_path: Path) -> None:
    """As files, which the compiler needs; they are gone when the process is."""
    code = (
        "from gpucnn.testing.emulator import cache\n"
        "from gpucnn.testing.emulator.compiler import sources_folder, sources_text\n"
        "place = sources_folder()\n"
        "print(place, cache.digest(sources_text()), (place / 'device' / 'device.h').is_file())\n"
    )
    place, digest, found = python_in(archive, tmp_path, code).split()
    assert (digest, found) == (cache.digest(sources_text()), "True")
    assert not Path(place).exists()
