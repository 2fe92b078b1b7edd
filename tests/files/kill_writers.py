"""Kills processes that write checkpoints, at random moments, and sees what they leave. A program of its own, see
test_killed_writers.py: it has a single thread, so that it may fork, and a kill costs no start of Python.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from gpucnn.atomic_file import remove_parts
from gpucnn.errors import RunError
from gpucnn.files.checkpoint_file import Checkpoint, CheckpointFolder

SIZE = 100_000
"""Numbers in the checkpoint's array: writing takes most of the time."""
LONGEST = 0.02
"""Seconds from a process's first checkpoint to its end."""


def write(folder: CheckpointFolder, step: int, told: int) -> None:
    """Save checkpoint after checkpoint, and tell of each that is saved. Never returns."""
    while True:
        step += 1
        folder.save(step, {"model/steps": np.full(SIZE, step)}, {"step": step}, {})
        os.write(told, step.to_bytes(8, "little"))


def whole_step(checkpoint: Checkpoint) -> int:
    """The step of a checkpoint whose parts belong together."""
    assert (checkpoint.arrays["model/steps"] == checkpoint.values["step"]).all()
    assert checkpoint.warning == "", checkpoint.warning
    return int(checkpoint.values["step"])


def kill_one(path: Path, step: int, wait: float) -> tuple[int, bool]:
    """Let a process go on from `step` and kill it: the last step there is now, and whether it was writing just then."""
    told_to, told = os.pipe()
    folder = CheckpointFolder(path)
    remove_parts(folder.path)
    folder.go_on(step)
    process = os.fork()
    if process == 0:
        write(folder, step, told)
    os.close(told)
    first = os.read(told_to, 8)
    time.sleep(wait)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    rest = b""
    while chunk := os.read(told_to, 1 << 16):
        rest += chunk
    os.close(told_to)
    promised = int.from_bytes((first + rest)[-8:], "little")
    found = whole_step(CheckpointFolder(path).load())
    assert found >= promised > step, (found, promised, step)
    return found, any(entry.name.endswith(".part") for entry in path.iterdir())


def main() -> None:
    path, kills = Path(sys.argv[1]), int(sys.argv[2])
    draw, step, while_writing = random.Random(0), 0, 0
    for _ in range(kills):
        try:
            step, writing = kill_one(path, step, draw.uniform(0, LONGEST))
        except RunError as error:
            sys.exit(f"after step {step}: {error}")
        while_writing += writing
    remove_parts(path)
    print(
        f"{kills} kills, {while_writing} of them while a checkpoint was written; {len(list(path.iterdir()))} files; step {step}"
    )


if __name__ == "__main__":
    main()
