"""NVRTC for the tests here, and at the end of the run the tables of what every kernel takes."""

import importlib
import os

import pytest

from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc, Resources, find_library
from gpucnn.testing.sass import find_disassembler

for package in (
    "functions",
    "optim",
    "kernels.preprocess",
    "kernels.scores",
    "kernels.tree_sum",
):  # with all that tells KERNELS of its own
    importlib.import_module(f"gpucnn.{package}")

TABLE = pytest.StashKey[dict[tuple[str, str], list[Resources]]]()
SLOTS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    """The compiler; the test is skipped without it, unless GPUCNN_REQUIRE_NVRTC=1 makes that a failure."""
    if find_library() is None and not os.environ.get("GPUCNN_REQUIRE_NVRTC"):
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12, or run nox -s compile")
    return Nvrtc()


@pytest.fixture(scope="session")
def disassembler() -> None:
    """The test is skipped without nvdisasm, unless GPUCNN_REQUIRE_NVRTC=1 makes that a failure."""
    if find_disassembler() is None and not os.environ.get("GPUCNN_REQUIRE_NVRTC"):
        pytest.skip("nvdisasm is not installed: pip install nvidia-cuda-nvdisasm, or run nox -s compile")


@pytest.fixture
def slots(request: pytest.FixtureRequest) -> list[str]:
    """Lines of the table of issue slots."""
    return request.config.stash.setdefault(SLOTS, [])


@pytest.fixture
def table(request: pytest.FixtureRequest) -> dict[tuple[str, str], list[Resources]]:
    """What was found so far, by (kernel, dtype)."""
    return request.config.stash.setdefault(TABLE, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(SLOTS, []):
        terminalreporter.section(f"issue slots in the main loop (NVRTC {Nvrtc().version}, sm_90)")
        for line in lines:
            terminalreporter.write_line(line)
    rows = config.stash.get(TABLE, {})
    if not rows:
        return
    terminalreporter.section(
        f"registers per thread, in the variant that takes the most (NVRTC {Nvrtc().version}), static shared memory in bytes"
    )
    terminalreporter.write_line(
        f"{'kernel':<24}{'dtype':<9}" + "".join(f"{name:>8}" for name in ARCHITECTURES) + "  shared"
    )
    for (kernel, dtype), resources in sorted(rows.items()):
        counts = {
            name: str(max(row.registers for row in resources if row.architecture == name))
            for name in {row.architecture for row in resources}
        }
        shared = max(row.static_shared_bytes for row in resources)
        cells = "".join(f"{counts.get(name, '-'):>8}" for name in ARCHITECTURES)
        terminalreporter.write_line(f"{kernel:<24}{dtype:<9}{cells}{shared:>8}")
