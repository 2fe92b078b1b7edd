"""`gpucnn train` on several processes: the same bytes in the run's folder as one process leaves, however it ends."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpucnn.backend import own_package
from gpucnn.backend.group import SingleProcess
from gpucnn.cli import processes as module
from gpucnn.cli.main import main
from gpucnn.cli.processes import Processes, check_settings, own_device, without_option
from gpucnn.errors import ConfigError, DeviceError
from gpucnn.runs.config import RunConfig
from tests.backend.thread_group import ThreadGroup, on_ranks
from tests.cli.processes import PATIENCE

SETTINGS = [
    "--model",
    "mlp",
    "--epochs",
    "2",
    "--shards",
    "3",
    "--batch-size",
    "100",
    "--average",
    "0.9",
    "--mix",
    "mixup",
    "--checkpoint-every",
    "2",
    "--quiet",
]
OWN = {"times.jsonl"}
"""Files that no two runs have alike."""

BREAKS = """
import signal, sys, os, time
from gpucnn.cli.main import main
from gpucnn.training.sharded_step import ShardedStep

run = ShardedStep.run

def broken(self, *batch):
    if self._sharding.group.rank == 1 and self._trainer.step == 3:
        {what}
    return run(self, *batch)

ShardedStep.run = broken
sys.exit(main())
"""


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in OWN]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    if "summary.json" in found:
        found["summary.json"] = re.sub(rb'"seconds": [\d.]+', b"", found["summary.json"])
    return found


def left_in_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("mpich_*"))


@pytest.fixture(scope="module")
def mpiexec() -> str:
    pytest.importorskip("mpi4py", reason="several processes need the extra mpi")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("several processes need an MPI: pip install mpich")
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process has trained."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert main(["train", *SETTINGS, "--out", str(folder)]) == 0
    return folder


def broken_run(mpiexec: str, what: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run on two processes, of which the second does something else at its fourth step."""
    before = left_in_memory()
    command = [mpiexec, "-n", "2", sys.executable, "-c", BREAKS.format(what=what), "train", "--out", str(folder)]
    try:
        return subprocess.run(
            [*command, *(arguments or SETTINGS)], env=own_package.environment(), capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    finally:
        for path in left_in_memory() - before:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("count", [2, 3])
def test_the_folder_is_that_of_one_process(
    count: int, mpiexec: str, alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = left_in_memory()
    folder = tmp_path / "run"
    assert main(["train", *SETTINGS, "--out", str(folder), "--processes", str(count)]) == 0
    assert content(folder) == content(alone)
    assert left_in_memory() <= before
    printed = capfd.readouterr()
    assert printed.out.startswith("test accuracy ")
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_one_that_is_terminated_stops_all_at_the_same_step(mpiexec: str, alone: Path, tmp_path: Path) -> None:
    """The second one alone gets the signal; the run goes on on three."""
    folder = tmp_path / "run"
    ended = broken_run(mpiexec, "os.kill(os.getpid(), signal.SIGTERM)", folder)
    assert ended.returncode == 143, ended.stderr
    assert ended.stderr == (
        f"gpucnn train: stopped by SIGTERM after step 4; {folder}/checkpoints/step-000000004.safetensors is saved, go on with: "
        f"gpucnn train --resume {folder}\n"
    )
    assert main(["train", "--resume", str(folder), "--processes", "3", "--quiet"]) == 0
    assert weights(folder) == weights(alone)


def weights(folder: Path) -> dict[str, bytes]:
    """All but the checkpoints, which stand at other steps where a run was stopped."""
    return {name: found for name, found in content(folder).items() if not name.startswith("checkpoints")}


def test_one_that_is_killed_ends_all_and_the_run_goes_on(mpiexec: str, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended = broken_run(mpiexec, "os.kill(os.getpid(), signal.SIGKILL)", folder)
    assert ended.returncode not in (0, 1)
    assert (folder / "checkpoints" / "step-000000002.safetensors").exists()
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0
    assert weights(folder) == weights(alone)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise ZeroDivisionError('of the second')", "ZeroDivisionError: of the second\n"),
        (
            "from gpucnn.errors import DataError; raise DataError('of the second')",
            "gpucnn: rank 1 of 2: of the second\n",
        ),
    ],
)
def test_an_error_of_one_ends_all(what: str, told: str, mpiexec: str, tmp_path: Path) -> None:
    start = time.monotonic()
    ended = broken_run(mpiexec, what, tmp_path / "run")
    assert ended.returncode == 1
    assert "gpucnn: rank 1 of 2:" in ended.stderr
    assert told in ended.stderr
    assert "rank 0" not in ended.stderr.replace("node 1 (rank 1", "")
    assert time.monotonic() - start < PATIENCE


def test_a_loss_that_is_not_finite_is_told_once(mpiexec: str, tmp_path: Path) -> None:
    """Both processes meet it; the first alone tells, and writes the step down."""
    folder = tmp_path / "run"
    ended = broken_run(mpiexec, "pass", folder, *SETTINGS, "--lr", "1e30")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "the loss became" in ended.stderr
    assert len(list(folder.glob("failure-step-*.safetensors"))) == 1


def test_fewer_shards_than_processes_are_refused() -> None:
    def check(group: ThreadGroup) -> None:
        with pytest.raises(ConfigError) as raised:
            check_settings(Processes(group), RunConfig(shards=2))
        assert str(raised.value) == (
            "3 processes for shards 2: each computes at least one shard of a batch, and what comes of a run depends on their "
            "number; add --shards 3, or a number that suits all machines it shall ever run on"
        )

    on_ranks(3, check)
    config = RunConfig()
    assert check_settings(Processes(SingleProcess()), config) is config


def test_other_settings_on_one_of_them_are_refused() -> None:
    def check(group: ThreadGroup) -> None:
        config = RunConfig(shards=2, batch_size=32 + group.rank)
        with pytest.raises(ConfigError, match=r"rank \d was asked for batch_size 3\d, and rank \d for 3\d; give all"):
            check_settings(Processes(group), config)

    on_ranks(2, check)


def test_other_versions_or_processors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(group: ThreadGroup) -> None:
        with pytest.raises(
            ConfigError, match=f"rank {1 - group.rank} has numpy .*, and rank {group.rank} .*their bits would differ"
        ):
            module._check_alike(WithVersion(group))

    on_ranks(2, check)


class WithVersion:
    """A group in which each tells of another NumPy."""

    def __init__(self, group: ThreadGroup) -> None:
        self.group, self.rank, self.size = group, group.rank, group.size

    def gather(self, value: dict[str, str]) -> list[dict[str, str]]:
        return [
            {**one, "numpy": one["numpy"] if rank == self.rank else "9.9"}
            for rank, one in enumerate(self.group.gather(value))
        ]


def test_each_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hosts:
        rank, size = 0, 3

        def __init__(self, *told: tuple[str, list[int]]) -> None:
            self.told = told

        def gather(self, value: object) -> object:
            return self.told

    monkeypatch.setattr(module.socket, "gethostname", lambda: "here")
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for told, expected in [
        ([("here", list(range(8)))] * 2 + [("there", [0])], "4"),
        ([("here", list(range(8)))] * 3, "2"),
        ([("here", [0])] * 3, "1"),
    ]:
        for variable in ("GPUCNN_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(variable, raising=False)
        module._share_cores(Hosts(*told))  # type: ignore[arg-type]
        assert os.environ["GPUCNN_NUM_THREADS"] == expected
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "7")
    module._share_cores(Hosts(("here", [0])))  # type: ignore[arg-type]
    assert os.environ["GPUCNN_NUM_THREADS"] == "7"


def test_each_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(SingleProcess):
        def __init__(self, *place: int) -> None:
            self.place = place

        def host(self) -> tuple[int, ...]:
            return self.place

    config = RunConfig(augment=("flip",))
    monkeypatch.setattr(module.cuda, "find_problem", lambda: None)
    monkeypatch.setattr(module.cuda, "device_count", lambda: 2)
    assert own_device(config, Here(1, 2)).device == "cuda:1"
    assert own_device(config, Here(1, 2)).augment == config.augment
    assert own_device(RunConfig(device="cpu"), Here(1, 2)).device == "cpu"
    with pytest.raises(DeviceError, match=r"3 processes on .*, which has 2 GPU\(s\); start one a GPU"):
        own_device(config, Here(0, 3))


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["train", "--processes", "2", "--lr", "1"], ["train", "--lr", "1"]),
        (["train", "--processes=2", "--out", "x"], ["train", "--out", "x"]),
        (["train", "--out", "a", "--processes", "3"], ["train", "--out", "a"]),
    ],
)
def test_the_processes_are_not_asked_to_start_more(given: list[str], left: list[str]) -> None:
    assert without_option(given, "--processes") == left
