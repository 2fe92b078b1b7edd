"""Whenever a process is killed, there is a checkpoint that loads: the last it told of, or the next."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_process_leaves_a_checkpoint(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """50 times; `pytest --kills 200` for more."""
    kills = int(pytestconfig.getoption("--kills"))
    result = subprocess.run(
        [sys.executable, "-m", "tests.files.kill_writers", str(tmp_path), str(kills)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    match = re.fullmatch(
        rf"{kills} kills, (\d+) of them while a checkpoint was written; [23] files; step (\d+)\n", result.stdout
    )
    assert match, result.stdout
    assert int(match[1]) > 0
    assert int(match[2]) >= kills
