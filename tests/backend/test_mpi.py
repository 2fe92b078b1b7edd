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


needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs pip install mpi4py mpich"
)


def on_two_ranks(script: str) -> subprocess.CompletedProcess[str]:
    assert MPIEXEC is not None
    return subprocess.run(
        [MPIEXEC, "-n", "2", sys.executable, "-c", script],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@needs_mpi
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


WITHOUT = """
import os, sys
from gpucnn.backend import mpi
if os.environ["PMI_RANK"] in {ranks}:
    sys.modules["mpi4py"] = None
mpi.world()
"""


@needs_mpi
@pytest.mark.parametrize("ranks", ["0", "01"])
def test_a_rank_without_mpi4py_ends_all(ranks: str) -> None:
    """Also those that have it, and would wait for this one in MPI's beginning."""
    run = on_two_ranks(WITHOUT.format(ranks=list(ranks)))
    assert run.returncode == 1
    assert run.stderr.count("LibraryError: several processes need mpi4py") == len(ranks)
    assert "TERMINATED" not in run.stdout + run.stderr


RAISES = """
from gpucnn.backend import mpi
group = mpi.world()
print("began")
if group.rank == 1:
    raise ValueError("what nobody catches")
group.gather(None)
"""


@needs_mpi
def test_an_exception_that_nobody_catches_ends_all() -> None:
    """In a program of one's own, which the command line does not look after."""
    run = on_two_ranks(RAISES)
    assert run.returncode == 1
    assert "ValueError: what nobody catches\nrank 1 of 2 ends all with this\n" in run.stderr
    assert "began\n" in run.stdout
