"""Fixtures that all tests share."""

import gc
import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from gpucnn import data
from gpucnn.testing.emulator.module import ORDERS
from tests.backends import NAMES, ON_CPU, Backend, emulated_cupy
from tests.grid_sample import row_of, sampled, wants_whole_grids

# The same examples every time, and no limit on how long a slow or busy machine takes for one. A backend is the same
# object for all examples of a test, so it may be a fixture.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpucnn")
    group.addoption("--require-gpu", action="store_true", help="fail, instead of skipping, where no GPU works")
    group.addoption("--require-emulator", action="store_true", help="fail, instead of skipping, where g++ is missing")
    group.addoption("--require-jit", action="store_true", help="fail, instead of skipping, where llvmlite is missing")
    group.addoption(
        "--require-browser", action="store_true", help="fail, instead of skipping, where Chromium is missing"
    )
    group.addoption("--mutants", action="store_true", help="see whether changed source turns tests red (minutes)")
    group.addoption(
        "--every-mutant", action="store_true", help="with --mutants: all those of compiled loops, not a sample"
    )
    group.addoption("--oracle", action="store_true", help="collect tests/pytorch, too, which compares with PyTorch")
    group.addoption(
        "--onnx", action="store_true", help="every model, function and opset as ONNX, not a sample (minutes)"
    )
    group.addoption(
        "--parallel", action="store_true", help="several processes: every backend, model and number of them (minutes)"
    )
    group.addoption(
        "--rank-kills",
        type=int,
        default=1,
        metavar="N",
        help="kill one of a run's processes so often, and resume on others (1)",
    )
    group.addoption("--kernel-coverage", action="store_true", help="count the lines of the .cu files that tests run")
    group.addoption(
        "--kills", type=int, default=50, metavar="N", help="kill processes that write checkpoints so often (50)"
    )
    group.addoption(
        "--fuzz-inputs",
        type=int,
        metavar="N",
        help="so many changed files for the readers, and a line for each of them",
    )
    group.addoption(
        "--bad-requests", type=int, metavar="N", help="send a service so many bad requests, and count answers"
    )
    group.addoption("--run-kills", type=int, default=2, metavar="N", help="kill and resume training so often (2)")
    group.addoption(
        "--whole-grids", action="store_true", help="the whole suite: every row of each grid of parameters, not a sample"
    )
    group.addoption("--backend", action="append", choices=NAMES, help="run these backends' rows alone")


ORACLE = Path(__file__).parent / "pytorch"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite is run by as many processes as there are cores, if pytest-xdist is there; `-n 0` for one alone."""
    if not config.pluginmanager.hasplugin("xdist") or "PYTEST_XDIST_WORKER" in os.environ:
        return
    alone = config.option.file_or_dir or any(
        config.getoption(name) for name in ("mutants", "kernel_coverage", "usepdb")
    )
    if config.option.numprocesses is None and not alone:
        config.option.numprocesses, config.option.dist = min(MOST_PROCESSES, os.cpu_count() or 1), "worksteal"


MOST_PROCESSES = 4
"""Each has threads of its own."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "sample(rows): dear and alike, so many on each backend are enough; see grid_sample.py"
    )
    for name in NAMES:
        config.addinivalue_line("markers", f"{name}: a row of the test matrix, on this backend; choose with -m {name}")
    wanted = config.getoption("--oracle")
    if wanted and importlib.util.find_spec("torch") is None:
        raise pytest.UsageError("--oracle needs PyTorch: pip install torch, or run nox -s oracle")
    given = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    if not wanted and any(path.is_relative_to(ORACLE) for path in given):
        raise pytest.UsageError("tests/pytorch is collected with --oracle alone: give that, or run nox -s oracle")
    if not wanted and any(ORACLE.is_relative_to(path) for path in given):
        reports.append("tests/pytorch was not collected: give --oracle where PyTorch is, or run nox -s oracle")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path == ORACLE and not config.getoption("--oracle") else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--backend") or NAMES
        names = [name for name in wanted if name not in ON_CPU or "gpu" not in metafunc.fixturenames]
        if "order" not in metafunc.fixturenames:
            rows_of_one = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
            metafunc.parametrize("backend", rows_of_one, indirect=True)
            return
        rows = [(name, order) for name in names if name == "emulated" for order in ORDERS[1:]]
        metafunc.parametrize(("backend", "order"), rows, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of each grid of parameters the whole suite runs a sample."""
    if wants_whole_grids(config.option):
        return
    rows = [row_of(item) for item in items]
    chosen = sampled(rows, absent=[name for name in NAMES if Backend(name).missing()])
    left_out = [item for item in items if item.nodeid not in chosen]
    items[:] = [item for item in items if item.nodeid in chosen]
    config.hook.pytest_deselected(items=left_out)
    reports.append(f"{len(items)} of {len(rows)} tests, as of each grid a sample runs: all with --whole-grids")


def pytest_collection_finish() -> None:
    """What is loaded by now stays. `gc.collect`, which every recording of a step calls, need not go through it each time."""
    gc.collect()
    gc.freeze()


REQUIRED = {"cupy": "--require-gpu", "emulated": "--require-emulator", "jit": "--require-jit"}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend, its device ready. `cupy` is skipped without a GPU, unless --require-gpu makes that a failure."""
    found = Backend(request.param)
    request.node.user_properties.append(("backend", found.name))
    if missing := found.missing():
        required = REQUIRED[found.name]
        if request.config.getoption(required):
            pytest.fail(f"{missing}, and {required} was given")
        pytest.skip(missing)
    with found.active():
        yield found


@pytest.fixture
def gpu(backend: Backend) -> Backend:
    """A backend that has a GPU, or seems to."""
    return backend


@pytest.fixture
def order(request: pytest.FixtureRequest, backend: Backend) -> Iterator[str]:
    """An order in which the emulator runs blocks and threads, other than that of all other tests."""
    emulated_cupy().emulator.order = request.param
    yield request.param
    emulated_cupy().emulator.order = ORDERS[0]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    backend = dict(report.user_properties).get("backend")
    if backend and (report.when == "call" or (report.when == "setup" and not report.passed)):
        counts[backend, report.outcome] += 1


counts: Counter[tuple[str, str]] = Counter()
reports: list[str] = []


@pytest.fixture(scope="session")
def report() -> Callable[[str], None]:
    """Call it to have a line printed at the end of the run."""
    return reports.append


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of the processes of pytest-xdist
        session.config.workeroutput["reports"] = reports


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of pytest-xdist has to say, but for what they all say."""
    reports.extend(line for line in node.workeroutput["reports"] if line not in reports)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in reports:
        terminalreporter.write_line(line)
    if counts:
        parts = []
        for name in NAMES:
            outcomes = [f"{counts[name, outcome]} {outcome}" for outcome in ("passed", "failed", "skipped")
                        if counts[name, outcome]]  # fmt: skip
            parts.append(f"{name}: {', '.join(outcomes) or 'did not run'}")
        terminalreporter.write_line("backends: " + "; ".join(parts))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def image_folder() -> Path:
    """The folder of the large data sets, beside the checkout; tests that need it skip where it is not there."""
    folder = Path(os.environ.get("GPUCNN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with mnist/ and cifar-10-batches-bin/; name it with GPUCNN_TEST_DATA")
    return folder


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which every table stands as one."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh current folder, so that runs/ and data/ are looked for there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def digits() -> data.Splits:
    return data.load("digits", image_size=32)
