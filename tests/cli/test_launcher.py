"""Commands that mpiexec or srun have started several times."""

import importlib.util
import sys
from pathlib import Path

import pytest

from gpucnn.backend import mpi
from gpucnn.backend.group import SingleProcess
from gpucnn.cli.launcher import VARIABLES, check_single_process
from gpucnn.cli.main import main
from gpucnn.errors import ConfigError

SBATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "ENVIRONMENT": "BATCH"}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", VARIABLES)
def test_one_of_several_processes_is_refused_where_work_is_not_shared(
    variable: str, alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "4")
    assert main(["sweep", "any.toml"]) == 1
    assert capsys.readouterr().err == (
        f"gpucnn sweep: one of 4 processes that were started together ({variable} is 4): each would do the same, as gpucnn train "
        f"alone shares its work; start one ({VARIABLES[variable]}), or unset {variable} if they are to be runs of their own\n"
    )


def test_torchrun_is_not_how_processes_that_train_are_started(
    alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn train: one of 2 processes that torchrun has started; start them by mpiexec -n 2, or by gpucnn train --processes 2\n"
    )


@pytest.mark.parametrize("variable", [name for name in VARIABLES if name != "WORLD_SIZE"])
def test_without_mpi4py_the_fix_is_told(
    variable: str, alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("gpucnn train: several processes need mpi4py and an MPI (")
    assert printed.endswith("); on a cluster load its MPI and `pip install mpi4py`, else `pip install mpi4py mpich`\n")
    assert printed.count("\n") == 1


def test_an_mpi_that_does_not_know_of_the_others_is_refused(
    alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setattr(mpi, "world", SingleProcess)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn train: one of 2 processes (OMPI_COMM_WORLD_SIZE is 2), but the MPI that mpi4py uses knows of 1: mpiexec and mpi4py "
        "are of two MPIs; start with the mpiexec of mpi4py's, which gpucnn doctor names, or build mpi4py for the other: `pip install "
        "--force-reinstall --no-binary=mpi4py mpi4py`\n"
    )
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert main(["train"]) == 1
    assert capsys.readouterr().err.endswith(
        "knows of 1: start them by srun --mpi=pmix, or what else srun --mpi=list shows that the MPI of mpi4py takes\n"
    )


@pytest.mark.parametrize("command", [["lr-find"], ["verify-resume"], ["verify-parallel"], ["sweep", "any.toml"]])
def test_other_commands_that_train_are_for_one(
    command: list[str], alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(
        f"gpucnn {command[0]}: one of 2 processes that were started together (PMI_SIZE is 2): each would do the same, "
    )


def test_what_processes_needs(
    alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(*arguments: str) -> str:
        assert main(["train", *arguments]) == 1
        return capsys.readouterr().err

    with monkeypatch.context() as patch:
        patch.setenv("PMI_SIZE", "3")
        assert said("--processes", "2") == (
            "gpucnn train: --processes 2 within 3 processes that were started together; leave out one of the two\n"
        )
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert said("--processes=2", "--shards", "2") == (
            "gpucnn train: several processes need mpi4py; on a cluster load its MPI and `pip install mpi4py`, else `pip install "
            "mpi4py mpich`\n"
        )
    pytest.importorskip("mpi4py")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        patch.setenv("PATH", str(tmp_path))
        assert said("--processes", "2", "--shards", "2") == (
            "gpucnn train: --processes needs mpiexec, and there is none; on a cluster load its MPI and `pip install mpi4py`, else "
            "`pip install mpi4py mpich`\n"
        )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        *({variable: size} for variable in VARIABLES for size in ("1", "", "many")),
        SBATCH,  # the script itself
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},  # a shell of salloc
        {**SBATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # srun -n 1 in a job of four
    ],
)
def test_one_process_alone_is_not(environment: dict[str, str]) -> None:
    check_single_process(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {**SBATCH, "SLURM_STEP_ID": "0"},  # srun in a script inherits what tells that it is one
        {**SBATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"},
        {**SBATCH, "SLURM_PROCID": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
        {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "2"},
        {"PMI_SIZE": "2", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_tasks_of_srun_are(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="processes that were started together"):
        check_single_process(environment)
