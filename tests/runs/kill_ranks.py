"""Kills one of a run's processes again and again, resumes on another number of them, and compares with a run left alone.

    python -m tests.runs.kill_ranks FOLDER KILLS

Prints a row for each kill: on how many processes, which rank, after which step, the status of all, and on how many it went on.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from gpucnn.training import RunFolder
from tests.runs.kill_runs import OPTIONS, differences, finish, gpucnn, newest

SHARDS, PROCESSES = 4, (1, 2, 3, 4)
STEPS = 90
"""Of a whole run: six epochs of 15 batches."""
PATIENCE = 60.0


def ranks_of(process: int) -> dict[int, int]:
    """The processes that compute for the command of this id, by rank."""
    parents, found = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(
                text.partition("=")[::2] for text in (entry / "environ").read_text(errors="replace").split("\0")
            )
        except OSError:  # it has ended, or is another user's
            continue
        if "PMI_RANK" in variables:
            found[int(entry.name)] = int(variables["PMI_RANK"])

    def is_below(one: int) -> bool:
        while one in parents and one != process:
            one = parents[one]
        return one == process

    return {rank: one for one, rank in found.items() if is_below(one)}


def kill_one(folder: RunFolder, size: int, draw: random.Random) -> tuple[int, int, int, float] | None:
    """Start or resume a run on so many processes, and kill one of them once a step is saved.

    Its rank, the step that is saved, the status of the command and the seconds until it ended; None if the run had finished
    by then.
    """
    before = newest(folder)
    begun = 0 if before is None else before.values["step"]
    until = begun + draw.randrange(1, 20)
    new = ["--out", str(folder.path), *OPTIONS.split(), "--shards", str(SHARDS)]
    command = new if before is None else ["--resume", str(folder.path), "--quiet"]
    process = gpucnn(*command, "--processes", str(size))
    rank, deadline = draw.randrange(size), time.monotonic() + PATIENCE
    while process.poll() is None and not any(_step(path) >= until for path in folder.checkpoints.files()):
        assert time.monotonic() < deadline, "the run does not come to its steps"
        time.sleep(0.005)
    ranks = ranks_of(process.pid)
    if process.poll() is not None or rank not in ranks:
        finish(process)
        return None
    os.kill(ranks[rank], signal.SIGKILL)
    killed = time.monotonic()
    process.communicate(timeout=PATIENCE)
    took = time.monotonic() - killed
    after = newest(folder)
    assert after is not None
    return (rank, after.values["step"], process.returncode, took) if process.returncode else None


def _step(path: Path) -> int:
    return int("".join(filter(str.isdecimal, path.stem)) or 0)


def main() -> None:
    os.chdir(sys.argv[1])
    kills, draw = int(sys.argv[2]), random.Random(0)
    finish(gpucnn("--out", "whole", *OPTIONS.split(), "--shards", str(SHARDS)))
    whole, killed, runs = RunFolder("whole"), 0, 0
    print("kill  run  processes  rank  step  status  seconds  goes on with")
    while killed < kills:
        runs += 1
        folder, size = RunFolder(f"killed-{runs}"), draw.choice(PROCESSES[1:])
        while killed < kills and not folder.summary_file.exists():
            found = kill_one(folder, size, draw)
            if found is None:
                continue
            killed += 1
            rank, step, status, took = found
            after = draw.choice([one for one in PROCESSES[1:] if one != size])
            print(
                f"{killed:4}  {runs:3}  {size:9}  {rank:4}  {step:4}  {status:6}  {took:7.1f}  {after:12}", flush=True
            )
            size = after
        if not folder.summary_file.exists():
            finish(gpucnn("--resume", str(folder.path), "--quiet", "--processes", str(size)))
        different = differences(folder, whole)
        assert not different, f"run {runs}: {', '.join(different)}"
    left = sorted(path.name for path in Path("/dev/shm").glob("mpich_*"))
    print(
        f"{killed} kills; {runs} runs, each with the bytes of the one left alone; left in /dev/shm: {left or 'nothing'}"
    )


if __name__ == "__main__":
    main()
