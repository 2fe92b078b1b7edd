"""mpiexec, the program that starts a command as several processes of this machine."""

import ctypes
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

QUESTION = """
import os
from mpi4py import MPI
library = " ".join(MPI.Get_library_version().splitlines()[0].split())
os.write(1, f"{MPI.COMM_WORLD.size} {library}\\n".encode())  # at once, as print does not
"""
END_WITH_PARENT = 1
"""Linux's constant PR_SET_PDEATHSIG."""

PATIENCE = 60
"""Seconds in which two processes must have answered a question."""


def run(count: int, arguments: Sequence[str], module: str = "gpucnn") -> int:
    """Run `python -m module` with these arguments as so many processes, and return the exit status.

    SIGTERM and Ctrl-C are passed on, and so is the end of a terminal, as SIGTERM, and on Linux that of this process, if it is
    killed. LibraryError without mpiexec or mpi4py.
    """
    mpi.check()
    command = [_program(), "-n", str(count), sys.executable, "-m", module, *arguments]
    # In a session of its own, as a Ctrl-C at the terminal would come twice else, which ends training at once.
    child = subprocess.Popen(
        command, env=own_package.environment(), stdin=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )  # fmt: skip

    passed_on: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        passed_on.append(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        child.send_signal(passed_on[-1])

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
        mpi.remove_left_behind()
    if status in passed_on:  # MPICH's way to tell that it ended processes which had not begun to listen
        return 128 + status
    return 128 - status if status < 0 else status


def describe() -> str:
    """What starts several processes here, and by which MPI they would speak; or what is missing, and the fix."""
    try:
        mpi.check()
        program = _program()
    except LibraryError as error:
        return f"none ({error})"
    command = [program, "-n", "2", sys.executable, "-c", QUESTION]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"none, as {program} does not start any ({error}); reinstall it: {mpi.FIX}"
    told = sorted(asked.stdout.splitlines())
    if asked.returncode == 0 and len(told) == 2 and all(line.startswith("1 ") for line in told):
        return f"none, as those of {program} are single ones to mpi4py's {told[0][2:]}: {mpi.OTHER_MPI}"
    if asked.returncode or len(told) != 2 or not all(line.startswith("2 ") for line in told):
        last = (asked.stderr.strip().splitlines() or [f"status {asked.returncode}"])[-1]
        return f"none, as {program} and mpi4py do not go together ({last}); reinstall both: {mpi.FIX}"
    return f"{program} starts them, {told[0][2:]}"


def _program() -> str:
    """Where it is: beside this Python, as that of a virtual environment, or on the path. LibraryError if it is nowhere."""
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if found is None:
        raise LibraryError(f"--processes needs mpiexec, and there is none; {mpi.FIX}")
    return found


def _end_with_parent() -> None:
    """Have the system send SIGTERM once the parent is gone: what it has started would train on else."""
    ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGTERM)
