"""`gpucnn verify-parallel`: whether one's own run has the same bytes on any number of processes.

As a program, `python -m gpucnn.cli.verify_parallel FOLDER`, it is one of the processes of such a run, which takes its
settings from the folder and is kept there.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpucnn.backend import mpiexec
from gpucnn.backend.group import Group, of_first
from gpucnn.cli.arguments import count
from gpucnn.cli.commands import carry_out
from gpucnn.cli.folder_report import looking
from gpucnn.cli.launcher import check_single_process
from gpucnn.cli.processes import check_prepared, check_shards, processes, share_gpus, status_of
from gpucnn.cli.settings import add_settings, chosen_config, given_settings
from gpucnn.cli.termination import sigterm_unwinds
from gpucnn.errors import ArgumentError, RunError, Terminated
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.verification import Sides, StopAt, Verification, compare, train_until, without_notes_on
from gpucnn.text_table import stacked_tables
from gpucnn.training import prepare

HELP = "Train a few steps on 1, on 2 and on 3 processes; compare all that is kept, byte by byte."
COMMAND = "verify-parallel"
STEPS, PROCESSES = 30, (1, 2, 3)
TERMINATED, INTERRUPTED = 143, 130
HEADER = ("processes", "arrays", "bytes", "sha256 of all")
ASKED = "asked.json"
"""What a run's processes are asked for, in its folder's parent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn verify-parallel`."""
    parser.epilog = "Needs mpi4py and an MPI: pip install mpi4py mpich. Exit status: 0 if every byte is the same, 1 if not. Nothing is kept."
    parser.add_argument(
        "--processes",
        type=count,
        nargs="+",
        default=list(PROCESSES),
        metavar="P",
        help="how many, each (default: 1 2 3)",
    )
    parser.add_argument(
        "--steps", type=count, default=STEPS, metavar="K", help=f"steps that each trains (default: {STEPS})"
    )
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn verify-parallel`, and return its exit status."""
    check_single_process(os.environ)
    sizes, steps = list(dict.fromkeys(options.processes)), options.steps
    if len(sizes) < 2:
        raise ArgumentError(f"--processes {sizes[0]} has nothing to compare with; give two numbers or more, e.g. 1 2 3")
    asked, why = chosen_config(options), ""
    if asked.shards == 1 and "shards" not in given_settings(options):
        asked, why = dataclasses.replace(asked, shards=max(sizes)), ", as no --shards is given"
    if asked.shards < max(sizes):
        raise ArgumentError(
            f"--shards {asked.shards} for {max(sizes)} processes: each computes at least one shard; give --shards {max(sizes)} or more"
        )
    with looking() as told:
        ready = prepare(dataclasses.replace(asked, checkpoint_every=steps, keep=1), told)
    config = ready.config
    if steps > ready.length.steps:
        raise ArgumentError(
            f"steps is {steps}, more than the {ready.length.steps} of the run; give fewer, or more epochs"
        )
    print(ready.device)
    print(
        f"{config.model} on {config.data}, {config.optimizer}, {config.schedule}: {steps} steps in {config.shards} shards{why}, "
        f"on {_listed(sizes)} processes",
        flush=True,
    )
    with sigterm_unwinds(), tempfile.TemporaryDirectory(prefix="gpucnn-verify-parallel-") as place:
        folders = [_trained(config, steps, size, Path(place, str(size))) for size in sizes]
        found = [compare(folders[0], other, _sides(sizes[0], size)) for other, size in zip(folders, sizes, strict=True)]
        own = [compare(folder, folder) for folder in folders]
    rows = [_row(size, one) for size, one in zip(sizes, own, strict=True)]
    print("\n".join(["", *stacked_tables(HEADER, rows, "rrrl"), ""]))
    differences = [one.difference for one in found if one.difference]
    if differences:
        print(f"FAIL: {differences[0]}")
        return 1
    arrays, nbytes = _total(own[0])
    print(
        f"PASS: {arrays} arrays and {nbytes:,} bytes in all are the same on {_listed(sizes)} processes; epochs finished on the "
        f"way: {own[0].epochs}"
    )
    return 0


def _trained(config: RunConfig, steps: int, size: int, place: Path) -> RunFolder:
    """The folder of a run of so many processes. RunError, after what they have said, if they fail."""
    place.mkdir()
    (place / ASKED).write_text(json.dumps({"config": config.to_json(), "steps": steps}))
    status = mpiexec.run(size, [str(place)], __name__)
    if status in (TERMINATED, INTERRUPTED):
        kind, name = (Terminated, "SIGTERM") if status == TERMINATED else (KeyboardInterrupt, "Ctrl-C")
        raise kind(f"stopped by {name}; nothing is kept of what was trained")
    if status != 0:
        raise RunError(f"the run on {_processes(size)} ended with status {status}; see above why")
    return RunFolder(place / "run")


def main(arguments: Sequence[str]) -> int:
    """Train in this process, one of several, and return its exit status."""
    return carry_out(argparse.Namespace(command=COMMAND, run=lambda _: _train(Path(arguments[0]))))


def _train(place: Path) -> int:
    try:
        with sigterm_unwinds(), processes(COMMAND) as group, without_notes_on(str(place)):
            _train_in(place, group)
    except KeyboardInterrupt as error:  # or Terminated; whoever has started this tells of it
        return status_of(error)
    return 0


def _train_in(place: Path, group: Group) -> None:
    asked = json.loads((place / ASKED).read_text())
    config = RunConfig.from_json(asked["config"], ASKED)
    check_shards(group.size, config.shards)
    share_gpus(group, config.device, os.environ)
    ready, folder = prepare(config, group=group), RunFolder(place / "run", group.rank == 0)
    of_first(group, folder.prepare)
    check_prepared(group, ready.description())
    trainer = ready.trainer([*ready.callbacks(folder), StopAt(asked["steps"])], group)
    train_until(trainer, ready)
    if trainer.stop_reason:
        raise ArgumentError(
            f"steps is {asked['steps']}, but training ended after {trainer.step}: {trainer.stop_reason}; give fewer"
        )


def _row(size: int, found: Verification) -> tuple[str, ...]:
    """All that one run has kept; the last is the hash of its parts' hashes."""
    arrays, nbytes = _total(found)
    together = hashlib.sha256("".join(part.sha256 for part in found.parts).encode()).hexdigest()
    return str(size), str(arrays), f"{nbytes:,}", together


def _total(found: Verification) -> tuple[int, int]:
    """Arrays and bytes."""
    return sum(part.arrays or 0 for part in found.parts), sum(part.size for part in found.parts)


def _processes(size: int) -> str:
    return "1 process" if size == 1 else f"{size} processes"


def _sides(first: int, second: int) -> Sides:
    names = [f"on {_processes(size)}" for size in (first, second)]
    return Sides(*names, *(f"the run {name}" for name in names))


def _listed(sizes: Sequence[int]) -> str:
    """For example "1, 2 and 3"."""
    return f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
