"""NVRTC for the tests here, and the table of what every kernel takes at the end of the run."""

import os

import pytest

from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc, Resources, find_library

TABLE = pytest.StashKey[dict[tuple[str, str], list[Resources]]]()


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    """The compiler; the test is skipped without it, unless GPUCNN_REQUIRE_NVRTC=1 makes that a failure."""
    if find_library() is None and os.environ.get("GPUCNN_REQUIRE_NVRTC") != "1":
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12, or run nox -s compile")
    return Nvrtc()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> dict[tuple[str, str], list[Resources]]:
    """What was found so far, by (kernel, dtype)."""
    return request.config.stash.setdefault(TABLE, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(TABLE, {})
    if not rows:
        return
    terminalreporter.section(f"registers per thread (NVRTC {Nvrtc().version}), static shared memory in bytes")
    terminalreporter.write_line(
        f"{'kernel':<24}{'dtype':<9}" + "".join(f"{name:>8}" for name in ARCHITECTURES) + "  shared"
    )
    for (kernel, dtype), resources in sorted(rows.items()):
        counts = {row.architecture: str(row.registers) for row in resources}
        shared = max(row.static_shared_bytes for row in resources)
        cells = "".join(f"{counts.get(name, '-'):>8}" for name in ARCHITECTURES)
        terminalreporter.write_line(f"{kernel:<24}{dtype:<9}{cells}{shared:>8}")
