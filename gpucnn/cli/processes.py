"""A command on several processes: which ones they are, that they are alike, and that they end together."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

from gpucnn.backend import cuda, mpi, own_package
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.backend.threads import SHARE_VARIABLE, VARIABLE
from gpucnn.cli.launcher import TORCHRUN, launched
from gpucnn.errors import ConfigError, DeviceError, GpucnnError, LibraryError, Terminated
from gpucnn.files.checkpoint_file import versions
from gpucnn.kernels import ways
from gpucnn.runs.config import RunConfig

PATIENCE = 3.0
"""Seconds that a process which has failed gives the first one to tell the same of itself, before it ends all."""


ASKS = "from mpi4py import MPI; print(MPI.COMM_WORLD.size, *MPI.Get_library_version().split(chr(10))[0].split())"
"""What each process tells of how many there are."""


class Processes:
    """The processes of a command, of which this is one."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.together = False
        """Whether all of them end now, each by itself."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes and prints."""
        return self.group.rank == 0

    def of_first(self, value: Any) -> Any:
        """What the first process gives, on all."""
        return value if self.group.size == 1 else self.group.gather(value)[0]


@contextmanager
def processes() -> Iterator[Processes]:
    """Those that were started together with this one; itself alone, without a launcher.

    Inside, the others than the first print nothing, and an error in any of them ends all. Raises ConfigError, with the fix,
    where several were started that do not know of each other, or are not alike, LibraryError without mpi4py.
    """
    started = launched(os.environ)
    if started is None:
        yield Processes(SingleProcess())
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
            f"{group.size}: they are of two MPIs; start with the mpiexec of that one, see gpucnn doctor, or `pip install "
            f"--force-reinstall --no-binary=mpi4py mpi4py` for the one that started these"
        )
    them = Processes(group)
    with ExitStack() as quiet:
        told = sys.stderr
        if not them.is_first:
            nowhere = quiet.enter_context(open(os.devnull, "w"))
            quiet.enter_context(redirect_stdout(nowhere))
            quiet.enter_context(redirect_stderr(nowhere))
        try:
            _check_alike(group)
            _share_cores(group)
            yield them
        except BaseException as error:
            _end(them, error, told)
            raise


def check_settings(them: Processes, config: RunConfig) -> RunConfig:
    """The same settings, on this process's GPU. ConfigError for fewer shards than processes, or settings that differ."""
    group = them.group
    if group.size == 1:
        return config
    if config.shards < group.size:
        raise ConfigError(
            f"{group.size} processes for shards {config.shards}: each computes at least one shard of a "
            f"batch, and what comes of a run depends on their number; add --shards {group.size}, or a number that suits all "
            f"machines it shall ever run on"
        )
    for rank, other in enumerate(group.gather(config.to_json())):
        differing = [name for name, value in config.to_json().items() if other.get(name) != value]
        if differing:
            raise ConfigError(
                f"rank {group.rank} was asked for {differing[0]} {config.to_json()[differing[0]]}, and rank {rank} for "
                f"{other[differing[0]]}; give all processes the same settings"
            )
    return own_device(config, group)


def own_device(config: RunConfig, group: Any) -> RunConfig:
    """The settings with the GPU that is this process's, of those of its machine. DeviceError if there are too few."""
    if config.device not in ("auto", "cuda") or cuda.find_problem() is not None:
        return config
    here, count = group.host()
    if count > cuda.device_count():
        raise DeviceError(
            f"{count} processes on {socket.gethostname()}, which has {cuda.device_count()} GPU(s); start one a GPU"
        )
    return RunConfig(**{**_plain(config), "device": f"cuda:{here}"})


def start(count: int, arguments: Sequence[str]) -> int:
    """Start the command `gpucnn` with these arguments as so many processes, by mpiexec, and return its exit status.

    Raises LibraryError without an mpiexec or mpi4py, ConfigError within processes that were started together.
    """
    if (started := launched(os.environ)) is not None:
        raise ConfigError(
            f"--processes {count} within {started.size} processes that were started together; leave out one of the two"
        )
    mpi.check()
    command = [_mpiexec(), "-n", str(count), sys.executable, "-m", "gpucnn", *arguments]
    before = _shared_memory()
    child = subprocess.Popen(command, env=own_package.environment(), start_new_session=True)
    earlier = {}

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    if threading.current_thread() is threading.main_thread():
        earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = child.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        for path in _shared_memory() - before:
            path.unlink(missing_ok=True)
    return 128 - status if status < 0 else status


def several() -> str:
    """What starts several processes here, and by which MPI they would speak; or what is missing, and the fix."""
    try:
        mpi.check()
        program = _mpiexec()
    except LibraryError as error:
        return f"none ({error})"
    asked = [program, "-n", "2", sys.executable, "-c", ASKS]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not start any ({error}); reinstall it: {mpi.FIX}"
    told = sorted(done.stdout.splitlines())
    if done.returncode != 0 or len(told) != 2 or not all(line.startswith("2 ") for line in told):
        last = (done.stderr.strip().splitlines() or ["they do not know of each other"])[-1]
        return f"{program} and mpi4py do not go together ({last}); reinstall both: {mpi.FIX}"
    return f"{program} starts them, {told[0][2:]}"


def _mpiexec() -> str:
    """The program: that beside Python, of a virtual environment, or on the path. LibraryError without one."""
    beside = Path(sys.executable).with_name("mpiexec")
    program = str(beside) if beside.exists() else shutil.which("mpiexec")
    if program is None:
        raise LibraryError(f"--processes needs mpiexec, and there is none; {mpi.FIX}")
    return program


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """The arguments of a command without one of its options, which has a value."""
    left, skips = [], False
    for argument in arguments:
        if not skips and argument != option and not argument.startswith(f"{option}="):
            left.append(argument)
        skips = argument == option and not skips
    return left


def _shared_memory() -> set[Path]:
    """What MPICH keeps in memory for processes of one machine; those that are killed leave it behind."""
    place = Path("/dev/shm")
    return set(place.glob("mpich_*")) if place.is_dir() else set()


def _plain(config: RunConfig) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.to_json().items()}


def _check_alike(group: Group) -> None:
    """ConfigError that names what differs among the processes, on which their bits depend."""
    own: Mapping[str, str] = {**versions(), "processor": ways.describe()}
    for rank, other in enumerate(group.gather(own)):
        for name, value in own.items():
            if other[name] != value:
                raise ConfigError(
                    f"rank {rank} has {name} {other[name]}, and rank {group.rank} {value}: their bits would differ; start on "
                    f"machines that are alike, or with {ways.VARIABLE}=numpy on all"
                )


def _share_cores(group: Group) -> None:
    """Have each process of a machine compute with its share of the cores, unless the user has said how many threads."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    machine = socket.gethostname()
    here = [set(theirs) for name, theirs in group.gather((machine, cores)) if name == machine]
    if VARIABLE not in os.environ and SHARE_VARIABLE not in os.environ:
        share = max(1, len(set.union(*here)) // len(here))
        os.environ[VARIABLE] = str(min(share, len(cores)))


def _end(them: Processes, error: BaseException, told: Any) -> None:
    """Tell of an error, and end all processes; those that all have met the same end by themselves."""
    if them.group.size == 1:
        return
    if them.together:
        if not them.is_first:  # the first one tells
            raise SystemExit(_status(error))
        return
    if not them.is_first:
        time.sleep(PATIENCE)
    place = f"rank {them.group.rank} of {them.group.size}"
    if isinstance(error, GpucnnError | Terminated | KeyboardInterrupt | OSError):
        notes = "; ".join([" ".join(str(error).split()), *getattr(error, "__notes__", [])])
        told.write(f"gpucnn: {place}: {notes or 'stopped by Ctrl-C'}\n")
    else:
        told.write(f"gpucnn: {place}:\n{''.join(traceback.format_exception(error))}")
    told.flush()
    them.group.abort(_status(error))


def _status(error: BaseException) -> int:
    return 143 if isinstance(error, Terminated) else 130 if isinstance(error, KeyboardInterrupt) else 1
