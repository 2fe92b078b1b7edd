"""mpiexec, the program that starts a command as several processes of this machine."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from gpucnn.backend import mpi, own_package
from gpucnn.errors import LibraryError

QUESTION = "from mpi4py import MPI; print(MPI.COMM_WORLD.size, *MPI.Get_library_version().split()[:3])"
PATIENCE = 60
"""Seconds in which two processes must have answered a question."""


def find_program() -> str | None:
    """Where it is: beside this Python, as that of the wheel mpich, or on the path; None if it is nowhere."""
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def run(count: int, arguments: Sequence[str]) -> int:
    """Run `python -m gpucnn` with these arguments as so many processes, and return the exit status.

    SIGTERM and Ctrl-C are passed on, and so is the end of a terminal, as SIGTERM. LibraryError without mpiexec or mpi4py.
    """
    mpi.check()
    program = find_program()
    if program is None:
        raise LibraryError(f"--processes needs mpiexec, which is neither beside this Python nor on the PATH; {mpi.FIX}")
    command = [program, "-n", str(count), sys.executable, "-m", "gpucnn", *arguments]
    # In a session of its own, as a Ctrl-C at the terminal would come twice else, which ends training at once.
    child = subprocess.Popen(command, env=own_package.environment(), stdin=subprocess.DEVNULL, start_new_session=True)

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    earlier = {}
    if threading.current_thread() is threading.main_thread():
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        for number in (getattr(signal, name) for name in names):
            if signal.getsignal(number) is not signal.SIG_IGN:
                earlier[number] = signal.signal(number, pass_on)
    try:
        status = child.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def describe() -> tuple[str, str]:
    """What there is of MPI, in words, and what would mend it; empty if several processes can be started."""
    try:
        mpi.check()
    except LibraryError:
        return "mpi4py is not installed: one process alone", f"for --processes: {mpi.FIX}"
    program = find_program()
    if program is None:
        return "mpi4py, but no mpiexec", f"for --processes: {mpi.FIX}"
    command = [program, "-n", "2", sys.executable, "-c", QUESTION]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not start two processes ({error})", mpi.FIX
    answers = [line.split(" ", 1) for line in found.stdout.splitlines() if line[:1].isdecimal()]
    if found.returncode or len(answers) != 2:
        told = (found.stderr.strip() or found.stdout.strip() or f"status {found.returncode}").splitlines()[-1]
        return f"{program} does not start two processes ({told})", mpi.FIX
    size, library = answers[0]
    if size != "2":
        return f"{program} starts processes that mpi4py's {library} takes for single ones", mpi.OTHER_MPI
    return f"{library}, started by {program}", ""
