"""A group over MPI, on three ranks, which are no threads here; and how it ends."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpucnn.backend import mpi
from gpucnn.errors import LibraryError

ROOT = Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


@pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs pip install mpi4py mpich"
)
@pytest.mark.parametrize("end", ["", "abort"])
def test_three_ranks(end: str) -> None:
    """Exchanges, gathered values and sums are right, waits sleep, and nothing stays in /dev/shm, even where one aborts."""
    assert MPIEXEC is not None
    run = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "-m", "tests.backend.mpi_ranks", end],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert run.stdout.count("fine") == 3, run.stdout + run.stderr
    assert run.returncode == (3 if end else 0), run.stderr
    places = [
        Path(word) for line in run.stdout.splitlines() if line.startswith("in memory") for word in line.split()[2:]
    ]
    assert [place for place in places if place.exists()] == []


def test_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(LibraryError) as info:
        mpi.world()
    assert str(info.value) == (
        "several processes need mpi4py and an MPI (import of mpi4py halted; None in sys.modules); on a cluster load its MPI "
        "and `pip install mpi4py`, else `pip install mpi4py mpich`"
    )
