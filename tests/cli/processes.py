"""The command line in processes of its own: one that waits for a signal where it is to come, and one on a terminal."""

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PATIENCE = 120
"""Seconds that a process may take for what takes a moment, on a machine that does much else."""

WAITS = """
import signal, sys, time
from gpucnn.cli.main import main
from gpucnn.training import CheckpointWriter

on_savepoint = CheckpointWriter.on_savepoint

def wait(self, trainer):
    if trainer.step == {step}:
        print("waiting", flush=True)
        until = time.monotonic() + {patience}
        while trainer.sharding.signal is None and time.monotonic() < until:
            time.sleep(0.001)
    on_savepoint(self, trainer)

CheckpointWriter.on_savepoint = wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process that runs in the background lacks
sys.exit(main())
"""


def waits_at(step: int) -> list[str]:
    """What to type before the arguments of `gpucnn train`, for a run that prints "waiting" after a step until a signal comes.

    So it comes there, however fast the machine trains, and however late whoever sends it is.
    """
    return [sys.executable, "-c", WAITS.format(step=step, patience=PATIENCE)]


class Shown(NamedTuple):
    """What came of a process with a terminal."""

    status: int
    on_terminal: bytes
    printed: str
    """To its standard output; empty if that is the terminal, too."""


def on_a_terminal(command: list[str], environment: Mapping[str, str], cwd: Path, printed: bool = True) -> Shown:
    """Run a command whose errors, and what it prints unless `printed` is kept apart, go to a terminal of 24x100."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    seen: list[bytes] = []

    def read() -> None:
        """All the while: a terminal that nobody reads from is full at some time, and lets who writes wait."""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux's way to say that nobody has it open any more
                return
            if not chunk:
                return
            seen.append(chunk)

    reader = threading.Thread(target=read)
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE if printed else theirs, stderr=theirs
    )
    os.close(theirs)
    reader.start()
    output, _ = process.communicate(timeout=PATIENCE)
    reader.join(PATIENCE)
    os.close(ours)
    return Shown(process.returncode, b"".join(seen), output or "")
