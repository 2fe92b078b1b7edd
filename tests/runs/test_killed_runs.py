"""Whenever `gpucnn train` is killed, and however often, the run can be resumed, and ends with the bytes of one left alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.sample(0)
@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs SIGKILL")
def test_killed_runs_end_as_if_nothing_had_been(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """2 kills; `pytest --run-kills 20` for more."""
    kills = int(pytestconfig.getoption("--run-kills"))
    result = subprocess.run(
        [sys.executable, "-m", "tests.runs.kill_runs", str(tmp_path), str(kills)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    match = re.fullmatch(
        rf"{kills} kills, \d+ of them in training; (\d+) runs resumed to the end, each with the bytes of the one left alone; "
        r"killed in training after the steps[ \d]*\n",
        result.stdout,
    )
    assert match, result.stdout
    assert int(match[1]) >= 1
