"""Launchers of parallel programs, mpiexec and srun, which start one command several times."""

from collections.abc import Mapping
from typing import NamedTuple

from gpucnn.backend.mpi import OTHER_MPI
from gpucnn.errors import ConfigError

TORCHRUN = "WORLD_SIZE"

VARIABLES = {
    "OMPI_COMM_WORLD_SIZE": "mpiexec -n 1",  # Open MPI
    "PMI_SIZE": "mpiexec -n 1",  # MPICH, Intel MPI, Cray
    "MV2_COMM_WORLD_SIZE": "mpiexec -n 1",  # MVAPICH2
    "JSM_NAMESPACE_SIZE": "jsrun -n 1",
    "FLUX_JOB_SIZE": "flux run -n 1",
    TORCHRUN: "without torchrun",
    "SLURM_STEP_NUM_TASKS": "srun -n 1",
    "SLURM_NTASKS": "srun -n 1",
}
"""What tells each process how many there are, and how to start one."""


class Started(NamedTuple):
    """What a launcher tells a process."""

    variable: str
    size: int
    """How many it has started together; 2 or more."""

    @property
    def mismatch(self) -> str:
        """What to do where the processes do not know of each other."""
        if self.variable.startswith("SLURM"):
            return "start them by srun --mpi=pmix, or what else srun --mpi=list shows that the MPI of mpi4py takes"
        return OTHER_MPI


def launched(environment: Mapping[str, str]) -> Started | None:
    """Whether a launcher has started this command several times; None if not."""
    for variable in VARIABLES:
        size = environment.get(variable, "")
        if not size.isdecimal() or int(size) < 2 or (variable == "SLURM_NTASKS" and _is_no_task_of_srun(environment)):
            continue
        return Started(variable, int(size))
    return None


def check_outside(count: int, environment: Mapping[str, str]) -> None:
    """ConfigError where so many processes are to be started by one that was started with others."""
    if (started := launched(environment)) is not None:
        raise ConfigError(
            f"--processes {count} within {started.size} processes that were started together; leave out one of the two"
        )


def check_single_process(environment: Mapping[str, str]) -> None:
    """ConfigError, with the fix, if a launcher has started this command several times: each would do the same."""
    if (started := launched(environment)) is not None:
        variable, size = started
        raise ConfigError(
            f"one of {size} processes that were started together ({variable} is {size}): each would do the same, as gpucnn train "
            f"alone shares its work; start one ({VARIABLES[variable]}), or unset {variable} if they are to be runs of their own"
        )


def _is_no_task_of_srun(environment: Mapping[str, str]) -> bool:
    """Whether SLURM_NTASKS is what a job may start, and this process is not one of those that srun started.

    A script of sbatch and a shell of salloc see the job's number, too. srun gives its tasks numbers of their own, and that of
    their step; a script of sbatch has the number 0, and tells that it is one.
    """
    if "SLURM_STEP_NUM_TASKS" in environment:
        return True  # and it is 1
    if "SLURM_STEP_ID" in environment or "SLURM_JOB_ID" not in environment:
        return False
    task = environment.get("SLURM_PROCID")
    return task is None or (task == "0" and environment.get("ENVIRONMENT") == "BATCH")
