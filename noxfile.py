"""Checks in fresh environments: `nox` runs what a laptop can, `nox -s NAME` one of them."""

import os
import shutil
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

LEFT_OUT = {
    "bounds": "it takes as long as the test suite, and Python 3.11",
    "mutants": "it takes an hour",
    "fuzz": "it takes some minutes",
    "sweep": "it installs optuna, which brings 115 MB",
    "oracle": "it installs PyTorch, which is large",
    "onnx": "it takes half an hour",
    "bench": "it installs PyTorch, and wants a machine that does nothing else",
    "serving": "it installs PyTorch, needs wrk, and wants a machine that does nothing else",
    "parallel": "it takes some minutes, and installs mpich",
    "arm": "it needs Debian's qemu-user",
    "gpu": "it needs a GPU",
}
"""What `nox` alone does not run, and why; `nox -s NAME` does."""
if shutil.which(os.environ.get("CXX") or "g++") is None:
    LEFT_OUT["emulated"] = "it needs g++, which is not here"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
if not any(map(shutil.which, CHROMIUM)):
    LEFT_OUT["browser"] = "it needs Chromium, which is not here"
if sys.platform == "darwin":
    LEFT_OUT["compile"] = "NVIDIA has no NVRTC for macOS"
EVERY_SESSION = (
    *("lint", "types", "plain", "numpy", "jit", "emulated", "compile", "examples", "browser"),
    *("bounds", "mutants", "fuzz", "sweep", "oracle", "onnx", "bench", "serving", "parallel", "arm", "gpu"),
)
nox.options.sessions = [*(name for name in EVERY_SESSION if name not in LEFT_OUT), "left_out"]

ON_ARM = ("exponential", "loop", "by_images", "builder", "code_size")
"""Tests of compiled loops that an emulated processor runs in minutes."""

ASK_ARM = "import platform; from gpucnn.kernels import ways; print(platform.machine(), ways.describe())"


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: style, order of imports, docstrings, formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def plain(session: nox.Session) -> None:
    """The plain way, which is written to be read: its row of the test matrix."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "plain", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def numpy(session: nox.Session) -> None:
    """The test suite on NumPy, on every Python there is."""
    session.install("-e", ".[dev]")
    session.run("pytest", "--backend", "numpy", *session.posargs)


@nox.session
def jit(session: nox.Session) -> None:
    """Compiled loops: their row of the test matrix, and what only they have."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "jit", "--require-jit", *session.posargs)
    session.run("pytest", "tests/kernels/compiled", "--backend", "numpy", "--require-jit", *session.posargs)


@nox.session
def emulated(session: nox.Session) -> None:
    """The GPU path on the CPU: every kernel with all checks in three thread orders, and the lines of the `.cu` files that ran."""
    session.install("-e", ".[dev]")
    session.run("pytest", "--backend", "emulated", "--require-emulator", "--kernel-coverage", *session.posargs)


@nox.session(python="3.11")
def bounds(session: nox.Session) -> None:
    """What pyproject.toml allows: the test suite with the lowest versions of all, the limits of threads with each threadpoolctl."""
    session.install(*lower_bounds(["fast", "plot", "tensorboard", "dev"]))
    session.install("--no-deps", "-e", ".")
    session.run("pytest", "--backend", "numpy", "--backend", "jit", *session.posargs)
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    lowest = [bound for bound in lower_bounds([]) if bound.startswith("threadpoolctl")]
    for version in (lowest, ["--upgrade", "threadpoolctl"]):
        session.install(*version)
        session.run("pytest", "tests/backend/test_blas.py", "tests/backend/test_threads.py", *session.posargs)


def lower_bounds(extras: Iterable[str]) -> list[str]:
    """What the project requires, with some of its extras, each at exactly the lowest version: "numpy==2.0", ..."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
    requirements = [Requirement(text) for text in texts]
    return [
        f"{requirement.name}=={bound.version}"
        for requirement in requirements
        for bound in requirement.specifier
        if bound.operator == ">="
    ]


@nox.session
def mutants(session: nox.Session) -> None:
    """Do changes of kernels, compiled loops and training turn the tests red? An hour; `-- -k FILE` tries those of one file."""
    session.install("-e", ".[dev]", "nvidia-cuda-nvrtc-cu12")  # which reads the PTX
    session.run("pytest", "tests/test_mutants.py", "--mutants", "--every-mutant", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """100,000 changed files for all that reads files; prints how many were read and refused. Linux, some minutes.

    And every optimizer with every schedule and feature of the trainer: recorded steps are those computed as they are.
    """
    session.install("-e", ".[dev]")
    session.run(
        "pytest",
        "tests/fuzz",
        "tests/training/test_captured_equals_eager.py",
        "--fuzz-inputs",
        "100000",
        *session.posargs,
    )


@nox.session
def arm(session: nox.Session) -> None:
    """The compiled loops on an emulated 64-bit ARM processor, where they do not run by themselves. Some minutes.

    On Debian, with its package qemu-user (`apt-get install qemu-user`), without being root: what ARM needs, Debian's
    packages and PyPI's wheels, goes into a folder, see `tests/kernels/compiled/arm_machine.py`. After `--` other tests may be
    named. Like macOS there, qemu leaves LLVM's map of the processor's features empty.
    """
    folder = session.cache_dir / "arm"
    session.run("python", "tests/kernels/compiled/arm_machine.py", str(folder))
    tests = session.posargs or [f"tests/kernels/compiled/test_{name}.py" for name in ON_ARM]
    for arguments in (["-c", ASK_ARM], ["-m", "pytest", "--backend", "jit", "--require-jit", *tests]):
        session.run(str(folder / "python"), *arguments, external=True, env={"GPUCNN_CACHE_DIR": str(folder / "code")})


@nox.session
def compile(session: nox.Session) -> None:
    """NVIDIA's compiler on every kernel, for every architecture: registers, spills, issue slots. Needs no GPU."""
    session.install("-e", ".[dev]", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvdisasm")
    session.run("pytest", "tests/kernels/compile", *session.posargs, env={"GPUCNN_REQUIRE_NVRTC": "all"})


@nox.session
def gpu(session: nox.Session) -> None:
    """The test suite on a GPU; fails without one. `nox -s gpu -- cuda12` for a driver of CUDA 12."""
    wheel = next((argument for argument in session.posargs if argument in ("cuda12", "cuda13")), "cuda13")
    session.install("-e", f".[dev,{wheel}]")
    rest = [argument for argument in session.posargs if argument != wheel]
    session.run("gpucnn", "doctor")
    session.run("pytest", "--backend", "cupy", "--backend", "numpy", "--require-gpu", *rest)


@nox.session
def examples(session: nox.Session) -> None:
    """The lessons, run as a reader would."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/examples", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The pages in headless Chromium, driven by Playwright: the network in JavaScript beside gpucnn, `gpucnn play`, the report."""
    session.install("-e", ".[dev]", "playwright>=1.55")  # the first that waits in pages which allow no eval
    session.run("pytest", "tests/browser", "--require-browser", *session.posargs)


@nox.session
def sweep(session: nox.Session) -> None:
    """Sweeps with optuna, which the other sessions do without."""
    session.install("-e", ".[dev,sweep]")
    session.run("pytest", "tests/cli/test_sweep.py", "tests/runs/test_sweep.py", *session.posargs)


@nox.session
def oracle(session: nox.Session) -> None:
    """Functions, layers, optimizers and training against PyTorch; weights that torchvision's and timm's models have saved."""
    session.install("torch==2.13.0", "torchvision==0.28.0", "timm==1.0.31", "expecttest")
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/pytorch", "--oracle", *session.posargs)


@nox.session
def onnx(session: nox.Session) -> None:
    """Every model, function and opset as ONNX, beside onnxruntime and onnx's reference evaluator."""
    session.install("-e", ".[dev,onnx,onnxruntime]")
    session.run("pytest", "tests/export", "tests/onnx_model", "--onnx", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed beside PyTorch: `nox -s bench -- --operations --json FILE`. For a machine that does nothing else."""
    session.install("torch==2.13.0")
    session.install("-e", ".[fast]")
    session.run("gpucnn", "bench", *session.posargs)


@nox.session
def serving(session: nox.Session) -> None:
    """`gpucnn serve` under load beside a plain app of Starlette and PyTorch, and 10,000 bad requests. Needs wrk (Debian's package wrk)."""
    session.install("torch==2.13.0")
    session.install("-e", ".[dev]")
    run = session.create_tmp() + "/run"
    session.run("gpucnn", "train", "--epochs", "3", "--seed", "0", "--out", run, "--quiet")
    session.run("python", "-m", "tests.serve.load", run, *session.posargs)
    session.run("pytest", "tests/serve", "--bad-requests", "10000")


@nox.session
def parallel(session: nox.Session) -> None:
    """Several processes: the same bytes on every backend and number of them, and after 20 kills."""
    session.install("-e", ".[dev,mpi]", "mpich")
    tests = ("tests/training/test_parallel.py", "tests/runs/test_killed_ranks.py", "tests/cli/test_verify_parallel.py")
    session.run("pytest", *tests, "-n", "0", "--parallel", "--rank-kills", "20", *session.posargs)


@nox.session(venv_backend="none")
def left_out(session: nox.Session) -> None:
    """What `nox` alone did not run, and why."""
    for name, reason in LEFT_OUT.items():
        session.log(f"{name} was left out: {reason}; nox -s {name}")
