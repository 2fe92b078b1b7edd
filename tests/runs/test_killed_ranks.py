"""Whichever process of a run is killed, and whenever, all end, and it goes on with any number of them to the same bytes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.sample(0)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_killed_ranks(tmp_path: Path, pytestconfig: pytest.Config, report: Callable[[str], None]) -> None:
    """Skipped without --rank-kills: a kill takes some seconds; nox -s parallel has 20."""
    kills = int(pytestconfig.getoption("--rank-kills"))
    if not kills:
        pytest.skip("give --rank-kills 20, or run nox -s parallel")
    pytest.importorskip("mpi4py")
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.kill_ranks", str(tmp_path), str(kills)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        report(line)
    assert re.search(rf"\n{kills} kills; \d+ runs, each with the bytes of the one left alone;", done.stdout)
