"""Commands that mpiexec or srun have started several times."""

import pytest

from gpucnn.cli.launcher import VARIABLES, check_single_process
from gpucnn.cli.main import main
from gpucnn.errors import ConfigError

SBATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "ENVIRONMENT": "BATCH"}


@pytest.mark.parametrize("variable", VARIABLES)
def test_one_of_several_processes_is_refused(
    variable: str, in_tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, "4")
    assert main(["train", "--model", "mlp", "--epochs", "1", "--quiet"]) == 1
    assert capsys.readouterr().err == (
        f"gpucnn train: one of 4 processes that were started together ({variable} is 4): each would train the same model, as "
        f"there is no data parallelism yet; start one ({VARIABLES[variable]}), or unset {variable} if they are to be runs of "
        "their own\n"
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
