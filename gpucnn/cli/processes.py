"""A command on several processes: which ones they are, that they are alike, and that they end together."""

import importlib
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from gpucnn.backend import cuda, mpi
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.backend.threads import SHARE_VARIABLE, VARIABLE
from gpucnn.cli.launcher import TORCHRUN, launched
from gpucnn.errors import ConfigError, DeviceError, GpucnnError, Terminated
from gpucnn.files.checkpoint_file import versions
from gpucnn.kernels import ways
from gpucnn.text import counted, value_text

PATIENCE = 1.5
"""Seconds that a process which has failed gives the others to tell the same of themselves, before it ends all."""

LONGEST = 20_000
"""Letters of an error that others are told."""

GPUS = "CUDA_VISIBLE_DEVICES"
ONE_GPU_EACH = "SLURM_GPUS_PER_TASK"
"""Where srun has this, it has given each process GPUs of its own."""


@contextmanager
def processes(command: str) -> Iterator[Group]:
    """Those that were started together with this one for a `command`; itself alone, without a launcher.

    Inside, the others than the first print nothing. An error of all of them is told once; one of some of them is told with
    their ranks, and ends all. Raises ConfigError, with the fix, where several were started that do not know of each other, or
    are not alike, LibraryError without mpi4py.
    """
    started = launched(os.environ)
    if started is None:
        yield SingleProcess()
        return
    if started.variable == TORCHRUN:
        raise ConfigError(
            f"one of {started.size} processes that torchrun has started; start them by mpiexec -n {started.size}, or by "
            f"gpucnn train --processes {started.size}"
        )
    group = mpi.world()
    if group.size != started.size:
        raise ConfigError(
            f"one of {started.size} processes ({started.variable} is {started.size}), but the MPI that mpi4py uses knows of "
            f"{group.size}: {started.mismatch}"
        )
    with ending_together(group, command):
        check_equal(group, "has", {**versions(), "loops on the CPU": ways.describe(), "CPU features": _cpu_features()})
        share_cores(group, os.environ)
        yield group
        group.gather(None)  # who has ended waits for the first one, without keeping a core busy


@contextmanager
def ending_together(group: mpi.MpiGroup, command: str) -> Iterator[None]:
    """Inside, the first process alone prints, and an error in any of them ends all."""
    with ExitStack() as quiet:
        told = sys.stderr
        if group.rank > 0:
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(redirect_stdout(nowhere))
            quiet.enter_context(redirect_stderr(nowhere))
        try:
            yield
        except BaseException as error:
            try:
                everywhere = group.last_words(_text(error)[:LONGEST], PATIENCE)
            except KeyboardInterrupt:  # once more: nobody is waited for
                group.abort(status_of(error))
            if None not in everywhere:  # all have failed, and end by themselves
                if group.rank > 0:
                    raise SystemExit(status_of(error)) from None
                if len(set(everywhere)) == 1:
                    raise
            failed = [rank for rank, text in enumerate(everywhere) if text is not None]
            if group.rank == failed[0]:
                everywhere[group.rank] = "; ".join([_text(error).rstrip(), *getattr(error, "__notes__", [])])
                told.write("".join(_of_rank(command, rank, group.size, str(everywhere[rank])) for rank in failed))
                told.flush()
            group.abort(status_of(error))


def check_equal(group: Group, what: str, own: Mapping[str, Any]) -> None:
    """ConfigError, the same on all, that names the first process of which some of these are not what the first process has."""
    first, *others = group.gather(dict(own))
    for rank, theirs in enumerate(others, 1):
        for name in {**first, **theirs}:
            mine, other = first.get(name), theirs.get(name)
            if mine != other:
                raise ConfigError(
                    f"rank {rank} {what} {name} {_short(other, mine)}, and rank 0 {_short(mine, other)}: their bits would differ; "
                    f"give all the same settings and files, on machines that are alike"
                )


def check_shards(count: int, shards: int, is_resumed: bool = False) -> None:
    """ConfigError for fewer shards than the `count` of processes."""
    if shards >= count:
        return
    several, few = counted(count, "process"), counted(shards, "process")
    if is_resumed:
        raise ConfigError(
            f"{several} for a run of {counted(shards, 'shard')}: each computes at least one of a batch; go on with {few}"
        )
    raise ConfigError(
        f"{several} for --shards {shards}: each computes at least one shard of a batch, and what comes of a run depends on "
        f"how many there are, not on the processes; add --shards {count}, or more, as many as it shall ever have processes"
    )


def check_prepared(group: Group, description: Mapping[str, Any]) -> None:
    """ConfigError if processes have prepared other runs than the first one: of other settings, images or versions."""
    if group.size == 1:
        return
    flat: dict[str, Any] = {}
    for name, value in description.items():
        flat |= {f"{name} {part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    check_equal(group, "has", flat)


def share_cores(group: Group, environment: Any) -> None:
    """Have each process of a machine compute with its share of the cores, unless the user has said how many threads."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    machine = socket.gethostname()
    here = [set(theirs) for name, theirs in group.gather((machine, cores)) if name == machine]
    if VARIABLE not in environment and SHARE_VARIABLE not in environment:
        environment[VARIABLE] = str(max(1, min(len(set().union(*here)) // len(here), len(cores))))


def share_gpus(group: Group, device: str, environment: Any) -> None:
    """Have each process of a machine see one of its GPUs alone, which is its cuda:0, if it is to use one.

    So a run's settings name no other GPU on any process. DeviceError, the same on all, if there are too few, or if a
    process is to use a GPU by its number.
    """
    kind, _, number = device.partition(":")
    if group.size == 1 or kind not in ("auto", "cuda"):
        return
    if number not in ("", "0"):
        raise DeviceError(
            f"--device {device} for {group.size} processes, each of which takes a GPU of its own; give --device cuda, and "
            f"{GPUS} for those that may be taken"
        )
    machine = socket.gethostname()
    known = group.gather((machine, environment.get(GPUS), ONE_GPU_EACH in environment))
    here = [rank for rank, (name, _, _) in enumerate(known) if name == machine]
    has_own = any(known[rank][2] or known[rank][1] != known[here[0]][1] for rank in here)
    count = 0
    if group.rank == here[0]:  # CUDA begins here, and this one takes the first GPU, whatever it can see
        count = cuda.device_count() if cuda.find_problem() is None else 0
    counts = group.gather((machine, count, len(here), has_own))
    for name, found, wanted, gets_own in counts:
        if found and found < wanted and not gets_own:
            raise DeviceError(
                f"{wanted} processes on {name}, which has {counted(found, 'GPU')}; start one a GPU, or give --device cpu"
            )
    if not has_own and counts[here[0]][1]:
        visible = (environment.get(GPUS) or ",".join(map(str, range(len(here))))).split(",")
        environment[GPUS] = visible[here.index(group.rank)]


def status_of(error: BaseException) -> int:
    """The exit status that tells of an error."""
    return 143 if isinstance(error, Terminated) else 130 if isinstance(error, KeyboardInterrupt) else 1


def _cpu_features() -> str:
    """What NumPy has found that the processor can do: its products and sums depend on it."""
    known: dict[str, bool] = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    return " ".join(sorted(name for name, is_there in known.items() if is_there))


def _short(own: Any, other: Any) -> str:
    """A value for people; of words in a line those that the other one has not."""
    if isinstance(own, str) and isinstance(other, str) and len(own) + len(other) > 80:
        more = [word for word in own.split() if word not in other.split()]
        return f"with {' '.join(more)}" if more else "without"
    return "none" if own is None else own if isinstance(own, str) else value_text(own)


def _text(error: BaseException) -> str:
    """What others are told of an error: the same of all whom a signal ends, and what went wrong by itself of one of ours."""
    if isinstance(error, Terminated):
        return "stopped by SIGTERM"
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    if isinstance(error, GpucnnError | OSError | MemoryError):
        return " ".join(str(error).split()) or type(error).__name__
    return "".join(traceback.format_exception(error))


def _of_rank(command: str, rank: int, size: int, text: str) -> str:
    separator = "\n" if "\n" in text else " "
    return f"gpucnn {command}: rank {rank} of {size}:{separator}{text.rstrip()}\n"
