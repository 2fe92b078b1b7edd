"""Launchers of parallel programs, mpiexec and srun, which start one command several times."""

from collections.abc import Mapping

from gpucnn.errors import ConfigError

VARIABLES = {
    "OMPI_COMM_WORLD_SIZE": "mpiexec -n 1",  # Open MPI
    "PMI_SIZE": "mpiexec -n 1",  # MPICH, Intel MPI, Cray
    "MV2_COMM_WORLD_SIZE": "mpiexec -n 1",  # MVAPICH2
    "JSM_NAMESPACE_SIZE": "jsrun -n 1",
    "FLUX_JOB_SIZE": "flux run -n 1",
    "WORLD_SIZE": "no torchrun",
    "SLURM_STEP_NUM_TASKS": "srun -n 1",
    "SLURM_NTASKS": "srun -n 1",
}
"""What tells each process how many there are, and how to start one."""


def check_single_process(environment: Mapping[str, str]) -> None:
    """ConfigError, with the fix, if a launcher has started this command several times: each would train the same.

    Slurm's number of tasks, SLURM_NTASKS, is that of the job, which a script of sbatch sees, too: there, one process that
    runs without srun is one. srun tells its own number beside it, and so does salloc's shell, where it has a step. Nothing
    tells a process in a shell of salloc without one from a task of srun, and it is refused.
    """
    for variable, fix in VARIABLES.items():
        size = environment.get(variable, "")
        if not size.isdecimal() or int(size) < 2 or (variable == "SLURM_NTASKS" and _is_alone(environment)):
            continue
        raise ConfigError(
            f"one of {size} processes that were started together ({variable} is {size}): each would train the same model, as "
            f"there is no data parallelism yet; start one ({fix}), or unset {variable} if they are to be runs of their own"
        )


def _is_alone(environment: Mapping[str, str]) -> bool:
    """Whether Slurm's job may have several tasks, but this is none of those that srun started together."""
    if "SLURM_STEP_NUM_TASKS" in environment:
        return True  # and it was 1
    is_step = "SLURM_STEP_ID" in environment or "SLURM_STEPID" in environment
    return environment.get("ENVIRONMENT") == "BATCH" and environment.get("SLURM_PROCID") == "0" and not is_step
