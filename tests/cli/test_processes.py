"""`gpucnn train` on several processes: the same bytes in the run's folder as one process leaves, however it ends.

Each start of processes takes about a second, so few tests do; the others have threads as ranks.
"""

import io
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.backend import mpi, mpiexec, own_package
from gpucnn.backend.group import SingleProcess, of_first
from gpucnn.cli import processes as module
from gpucnn.cli.main import main
from gpucnn.cli.processes import (
    check_equal,
    check_prepared,
    check_shards,
    ending_together,
    share_cores,
    share_gpus,
)  # fmt: skip
from gpucnn.cli.train import without_option
from gpucnn.errors import ConfigError, DataError, DeviceError, RunError, Terminated
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.training import find_lr, prepare
from tests.backend.thread_group import ThreadGroup, on_ranks
from tests.cli.processes import PATIENCE
from tests.runs.tiny_run import TINY, tiny_names

SETTINGS = [
    "--model", "mlp", "--epochs", "2", "--shards", "3", "--batch-size", "100", "--average", "0.9", "--mix", "mixup",
    "--validation", "0.2", "--early-stopping", "2", "--checkpoint-every", "2", "--quiet", "--device", "cpu",
]  # fmt: skip
OWN = {"times.jsonl"}
"""Files that no two runs have alike."""

BREAKS = """
import os, signal, sys, time
from gpucnn.cli.main import main
from gpucnn.training.sharded_step import ShardedStep

run = ShardedStep.run

def broken(self, *batch):
    rank = self._sharding.group.rank
    if self._sharding.group.size > 1 and self._trainer.step == 3 and self._trainer.callbacks:
        {what}
    return run(self, *batch)

ShardedStep.run = broken
sys.exit(main())
"""


def content(folder: Path) -> dict[str, bytes]:
    """All files of a run, without what is of its time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in OWN]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    if "summary.json" in found:
        found["summary.json"] = re.sub(rb'"seconds": [\d.]+', b"", found["summary.json"])
    return found


def weights(folder: Path) -> dict[str, bytes]:
    """All but the checkpoints, which stand at other steps where a run was stopped."""
    return {name: found for name, found in content(folder).items() if not name.startswith("checkpoints")}


def left_in_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("mpich_*"))


@pytest.fixture(scope="module")
def program() -> str:
    """mpiexec."""
    pytest.importorskip("mpi4py", reason="several processes need the extra mpi")
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("several processes need an MPI: pip install mpich")
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process has trained."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert main(["train", *SETTINGS, "--out", str(folder)]) == 0
    return folder


def broken_run(program: str, what: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A run on two processes, which do something else at their fourth step."""
    before = left_in_memory()
    command = [program, "-n", "2", sys.executable, "-c", BREAKS.format(what=what), "train", "--out", str(folder)]
    ended = subprocess.run(
        [*command, *SETTINGS, *more], env=own_package.environment(), capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert left_in_memory() <= before
    return ended


def test_the_folder_is_that_of_one_process(
    program: str, alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On three processes: best epoch by validation images, its scores and all; their number stands nowhere."""
    before = left_in_memory()
    folder = tmp_path / "run"
    assert main(["train", *SETTINGS, "--out", str(folder), "--processes", "3"]) == 0
    assert content(folder) == content(alone)
    assert left_in_memory() <= before
    printed = capfd.readouterr()
    assert printed.out.startswith("best: epoch ")
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_one_that_is_terminated_stops_all_at_the_same_step(program: str, alone: Path, tmp_path: Path) -> None:
    """The second one alone gets the signal; the run goes on on three, and on no other settings."""
    folder = tmp_path / "run"
    ended = broken_run(program, "rank == 1 and os.kill(os.getpid(), signal.SIGTERM)", folder)
    assert ended.returncode == 143, ended.stderr
    assert ended.stderr == (
        f"gpucnn train: stopped by SIGTERM after step 4; {folder}/checkpoints/step-000000004.safetensors is saved, go on with: "
        f"gpucnn train --resume {folder}\n"
    )
    assert not (folder / "gpucnn.lock").exists()
    assert main(["train", "--resume", str(folder), "--processes", "3", "--quiet"]) == 0
    assert weights(folder) == weights(alone)


def test_one_that_is_killed_ends_all_and_the_run_goes_on(program: str, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended = broken_run(program, "rank == 1 and os.kill(os.getpid(), signal.SIGKILL)", folder)
    assert ended.returncode not in (0, 1)
    assert (folder / "checkpoints" / "step-000000002.safetensors").exists()
    assert main(["train", "--resume", str(folder), "--quiet"]) == 0
    assert weights(folder) == weights(alone)


def test_an_error_of_one_ends_all(program: str, tmp_path: Path) -> None:
    """With its traceback and rank, while the first one waits for it."""
    ended = broken_run(program, "1 / (rank - 1)", tmp_path / "run")
    assert ended.returncode == 1
    told = ended.stderr
    assert "gpucnn train: rank 1 of 2:\nTraceback (most recent call last):\n" in told
    assert "\nZeroDivisionError: division by zero\n" in told
    assert "rank 0 of 2" not in told


@pytest.mark.sample(0)
def test_a_loss_that_is_not_finite_is_told_once(program: str, tmp_path: Path) -> None:
    """Both processes meet it; the first alone tells, and writes the step down."""
    folder = tmp_path / "run"
    ended = broken_run(program, "pass", folder, "--lr", "1e30")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("gpucnn train: step 2 (epoch 1, batch 2): the loss became nan; ")
    assert "rank" not in ended.stderr
    assert len(list(folder.glob("failure-step-*.safetensors"))) == 1


@pytest.mark.sample(0)
def test_ctrl_c_at_mpiexec_is_130_and_a_new_run_takes_the_next_folder(program: str, tmp_path: Path) -> None:
    """Numbered by the first process; a folder in use is refused once, by all."""
    (tmp_path / "runs" / "mlp-digits-1").mkdir(parents=True)
    what = "rank == 0 and (print('waiting', flush=True), time.sleep(0.1))"
    wait = what + "\n        while self._sharding.signal is None: time.sleep(0.01)"
    command = [program, "-n", "2", sys.executable, "-c", BREAKS.format(what=wait), "train", *SETTINGS]
    process = subprocess.Popen(
        command, env=own_package.environment(), cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    used = subprocess.run(
        [program, "-n", "2", sys.executable, "-m", "gpucnn", "train", "--shards", "2", "--out", "runs/mlp-digits-2"],
        env=own_package.environment(), cwd=tmp_path, text=True, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert used.returncode == 1
    assert re.fullmatch(r"gpucnn train: runs/mlp-digits-2: in use by process \d+ on .*\n", used.stderr)
    assert process.returncode == 130
    assert told.splitlines()[-1] == (
        "gpucnn train: stopped by Ctrl-C after step 4; runs/mlp-digits-2/checkpoints/step-000000004.safetensors is saved, go on "
        "with: gpucnn train --resume runs/mlp-digits-2"
    )


class Ranks(ThreadGroup):
    """Threads as ranks that hear each other's last words."""

    def last_words(self, text: str, seconds: float) -> list[str | None]:
        others = [rank for rank in range(self.size) if rank != self.rank]
        for other in others:
            self.wires.queues[self.rank][other].put(text)
        heard: list[str | None] = [text] * self.size
        for other in others:
            try:
                heard[other] = self.wires.queues[other][self.rank].get(timeout=seconds)
            except Exception:
                heard[other] = None
        return heard


def ends(monkeypatch: pytest.MonkeyPatch, *errors: Exception | KeyboardInterrupt | None) -> tuple[list[Any], str]:
    """How each rank ends, of which some raise an error, and what they tell."""
    told = io.StringIO()
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(sys, "stderr", told)
    monkeypatch.setattr(module, "redirect_stdout", lambda place: module.ExitStack())  # are of the whole process
    monkeypatch.setattr(module, "redirect_stderr", lambda place: module.ExitStack())

    def one(group: ThreadGroup) -> Any:
        ranks = Ranks(group.wires, group.rank)
        error = errors[group.rank]
        try:
            with ending_together(ranks, "train"):  # type: ignore[arg-type]
                if error is not None:
                    raise error
        except BaseException as ending:
            return ending.code if isinstance(ending, SystemExit) else ending
        return None

    return on_ranks(len(errors), one), told.getvalue()


def test_an_error_of_all_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first, as by a process alone, also with what it alone adds; the others end silently with the same status."""
    error = DataError("no such folder")
    error.add_note("a note")
    assert ends(monkeypatch, error, DataError("no such folder")) == ([error, 1], "")
    first = Terminated("stopped by SIGTERM after step 4; it is saved")
    assert ends(monkeypatch, first, Terminated("stopped by SIGTERM after step 4; no checkpoint")) == ([first, 143], "")
    stopped = KeyboardInterrupt()
    assert ends(monkeypatch, stopped, KeyboardInterrupt("at once")) == ([stopped, 130], "")


def test_an_error_of_some_is_told_with_their_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(monkeypatch, None, DataError("a  file\nis missing")) == (
        [None, 1],
        "gpucnn train: rank 1 of 2: a file is missing\n",
    )
    noted = RunError("disk full")
    noted.add_note("a note")
    assert ends(monkeypatch, noted, None) == ([1, None], "gpucnn train: rank 0 of 2: disk full; a note\n")
    assert ends(monkeypatch, None, OSError("gone"), OSError("gone")) == (
        [None, 1, 1],
        "gpucnn train: rank 1 of 3: gone\ngpucnn train: rank 2 of 3: gone\n",
    )
    assert ends(monkeypatch, None, Terminated("stopped by SIGTERM")) == (
        [None, 143],
        "gpucnn train: rank 1 of 2: stopped by SIGTERM\n",
    )
    ended, told = ends(monkeypatch, ZeroDivisionError("here"), ZeroDivisionError("there"))
    assert ended == [1, 1]
    assert told.startswith("gpucnn train: rank 0 of 2:\nTraceback (most recent call last):\n")
    assert "\nZeroDivisionError: here\ngpucnn train: rank 1 of 2:\nTraceback" in told
    assert told.endswith("\nZeroDivisionError: there\n")


def test_what_the_first_one_does_all_know() -> None:
    def one(group: ThreadGroup) -> int:
        return of_first(group, lambda: 5 + group.rank)

    def failing(group: ThreadGroup) -> str:
        def fail() -> None:
            raise RunError(f"in use, says {group.rank}")

        with pytest.raises(RunError) as raised:
            of_first(group, fail)
        return str(raised.value)

    assert on_ranks(3, one) == [5, 5, 5]
    assert on_ranks(2, failing) == ["in use, says 0"] * 2
    assert of_first(SingleProcess(), lambda: 5) == 5


def same_error(size: int, check: Callable[[ThreadGroup], object], kind: type[Exception] = ConfigError) -> str:
    """What `check` raises, alike on all ranks."""

    def one(group: ThreadGroup) -> str:
        with pytest.raises(kind) as raised:
            check(group)
        return str(raised.value)

    (told,) = set(on_ranks(size, one))
    return told


def test_fewer_shards_than_processes_are_refused() -> None:
    assert same_error(3, lambda group: check_shards(group.size, 2)) == (
        "3 processes for --shards 2: each computes at least one shard of a batch, and what comes of a run depends on how many "
        "there are, not on the processes; add --shards 3, or more, as many as it shall ever have processes"
    )
    assert same_error(3, lambda group: check_shards(group.size, 1, is_resumed=True)) == (
        "3 processes for a run of 1 shard: each computes at least one of a batch; go on with 1 process"
    )
    check_shards(1, 1)
    check_shards(2, 2)


def test_what_differs_is_named_with_the_rank() -> None:
    end = "their bits would differ; give all the same settings and files, on machines that are alike"

    def described(group: ThreadGroup) -> None:
        check_prepared(group, {"lr": 0.1 + (group.rank == 2), "versions": {"numpy": "2"}})

    def versions(group: ThreadGroup) -> None:
        check_prepared(group, {"lr": 0.1, "versions": {"numpy": f"2.{group.rank}"}})

    def features(group: ThreadGroup) -> None:
        same = " ".join(f"F{number:02}" for number in range(30))
        check_equal(group, "has", {"CPU features": f"{same} AVX2 {'AVX512F' * (group.rank == 0)}".strip()})

    def images(group: ThreadGroup) -> None:
        check_prepared(group, {} if group.rank else {"images": "images-1.jsonl"})

    assert same_error(3, described) == f"rank 2 has lr 1.1, and rank 0 0.1: {end}"
    assert same_error(2, versions) == f"rank 1 has versions numpy 2.1, and rank 0 2.0: {end}"
    assert same_error(2, features) == f"rank 1 has CPU features without, and rank 0 with AVX512F: {end}"
    assert same_error(2, images) == f"rank 1 has images none, and rank 0 images-1.jsonl: {end}"
    on_ranks(2, lambda group: check_prepared(group, {"lr": 0.1}))


def test_what_runs_on_unlike_machines_would_differ_in_is_known() -> None:
    assert {"SSE2", "NEON"} & set(module._cpu_features().split())


def test_settings_tell_nothing_of_processes() -> None:
    assert not [name for name in RunConfig().to_json() if re.search("process|rank|world", name)]


class Hosts:
    """A rank of some on several machines, all of which tell what is given."""

    def __init__(self, *told: Any, rank: int = 0) -> None:
        self.told, self.rank, self.size = list(told), rank, len(told)

    def gather(self, value: object) -> list[Any]:
        return self.told


def test_each_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "gethostname", lambda: "here")
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for told, expected in [
        ([("here", list(range(8)))] * 2 + [("there", [0])], "4"),
        ([("here", list(range(8)))] * 3, "2"),
        ([("here", [0])] * 3, "1"),
        ([("here", [0, 1]), ("here", [2, 3])], "2"),  # bound to cores by the launcher
    ]:
        environment: dict[str, str] = {}
        share_cores(Hosts(*told), environment)  # type: ignore[arg-type]
        assert environment == {"GPUCNN_NUM_THREADS": expected}
    for variable in ("GPUCNN_NUM_THREADS", "OMP_NUM_THREADS"):
        environment = {variable: "7"}
        share_cores(Hosts(("here", [0])), environment)  # type: ignore[arg-type]
        assert environment == {variable: "7"}


def gpus(
    monkeypatch: pytest.MonkeyPatch, size: int, count: int, device: str = "auto", **given: list[str]
) -> list[str | None]:
    """The variable CUDA_VISIBLE_DEVICES of each of some processes of a machine with so many GPUs."""
    monkeypatch.setattr(module.cuda, "find_problem", lambda: None if count else "none")
    monkeypatch.setattr(module.cuda, "device_count", lambda: count)

    def one(group: ThreadGroup) -> str | None:
        environment = {name: values[group.rank] for name, values in given.items()}
        share_gpus(group, device, environment)
        return environment.get("CUDA_VISIBLE_DEVICES")

    return on_ranks(size, one)


def test_each_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("auto", "cuda", "cuda:0"):
        assert gpus(monkeypatch, 2, 2, device) == ["0", "1"]
    assert gpus(monkeypatch, 2, 4, CUDA_VISIBLE_DEVICES=["3,1,0"] * 2) == ["3", "1"]
    # As srun gives each its own, by numbers or so that it has no others:
    assert gpus(monkeypatch, 2, 1, CUDA_VISIBLE_DEVICES=["4", "5"]) == ["4", "5"]
    assert gpus(monkeypatch, 2, 1, CUDA_VISIBLE_DEVICES=["0"] * 2, SLURM_GPUS_PER_TASK=["1"] * 2) == ["0", "0"]
    for device, count in (("cpu", 2), ("emulated", 2), ("auto", 0)):
        assert gpus(monkeypatch, 2, count, device) == [None, None]
    environment: dict[str, str] = {}
    share_gpus(SingleProcess(), "auto", environment)
    assert environment == {}


def test_too_few_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "gethostname", lambda: "here")
    with pytest.raises(DeviceError) as raised:
        gpus(monkeypatch, 3, 2)
    assert str(raised.value) == "3 processes on here, which has 2 GPUs; start one a GPU, or give --device cpu"
    with pytest.raises(DeviceError) as raised:
        gpus(monkeypatch, 2, 2, "cuda:1")
    assert str(raised.value) == (
        "--device cuda:1 for 2 processes, each of which takes a GPU of its own; give --device cuda, and CUDA_VISIBLE_DEVICES for "
        "those that may be taken"
    )


def test_several_runs_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Together(SingleProcess):
        size = 2

        def last_words(self, text: str, seconds: float) -> list[str]:
            return [text, text]

        def gather(self, value: object) -> list[object]:
            return [value, value]

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "1")
    monkeypatch.setattr(mpi, "world", Together)
    assert main(["train", "--seeds", "1", "2", "--shards", "2"]) == 1
    assert capsys.readouterr().err == (
        "gpucnn train: --seeds trains several runs, and 2 processes one; train each with --seed and an --out of its own\n"
    )


def test_images_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the first one finds wrong all tell."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = np.full((8, 8, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    looked: list[Path] = []
    inspect = data.inspect
    monkeypatch.setattr(data, "inspect", lambda place, *more: looked.append(place) or inspect(place, *more))  # type: ignore[func-returns-value]
    config = RunConfig(
        model="mlp", data="folder", data_dir=str(tmp_path), image_size=8, batch_size=4, shards=2, device="cpu"
    )
    first, second = on_ranks(2, lambda group: prepare(config, group=group).description())
    assert first == second
    assert len(looked) == 1
    (tmp_path / "cat" / "0.png").write_bytes(b"damaged")
    assert same_error(2, lambda group: prepare(config, group=group), DataError).startswith(
        f"{tmp_path}: 1 of 10 images cannot be read: cat/0.png "
    )


def test_a_learning_rate_is_searched_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpucnn.runs.prepare.find_lr", lambda trainer: find_lr(trainer, steps=12))
    with tiny_names():
        config = RunConfig(**{**TINY, "batch_size": 14, "lr": "find", "shards": 2})
        alone = prepare(config).config.lr
        assert on_ranks(2, lambda group: prepare(config, group=group).config.lr) == [alone, alone]
    assert isinstance(alone, float)


def test_a_folder_that_another_process_keeps_is_read_without_its_lock(tmp_path: Path) -> None:
    first, other = RunFolder(tmp_path), RunFolder(tmp_path, False)
    with first.lock, other.lock, pytest.raises(RunError, match="in use by process"):
        RunFolder(tmp_path).prepare()


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


def test_one_process_needs_no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a script with a number of processes works where there is none."""
    begun: list[object] = []
    monkeypatch.setattr(mpiexec, "run", lambda *arguments: pytest.fail("mpiexec is not needed"))
    monkeypatch.setattr("gpucnn.cli.train._begin", lambda options, group: begun.append(group.size))
    assert main(["train", "--processes", "1"]) == 0
    assert begun == [1]


@pytest.mark.parametrize(
    ("ended", "status"),
    [(-signal.SIGKILL, 137), (signal.SIGTERM, 143), (signal.SIGINT, 130), (9, 9), (143, 143), (0, 0)],
)
def test_signals_are_passed_on_to_mpiexec(ended: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a terminal as SIGTERM; and what comes of it is the exit status."""
    sent: list[int] = []
    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.default_int_handler)
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}  # some are ignored in CI

    def wait() -> int:
        for number in handlers:
            os.kill(os.getpid(), number)
            time.sleep(0)  # handlers run between bytecodes
        return ended

    monkeypatch.setattr(mpi, "check", lambda: None)
    monkeypatch.setattr(mpiexec, "_program", lambda: "mpiexec")
    monkeypatch.setattr(
        mpiexec.subprocess, "Popen", lambda *_, **options: SimpleNamespace(send_signal=sent.append, wait=wait)
    )
    assert mpiexec.run(2, ["train"]) == status
    assert sent == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    for number, handler in earlier.items():
        signal.signal(number, handler)


def test_what_killed_processes_left_in_memory_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has it mapped, and nobody is just about to."""
    monkeypatch.setattr(mpi, "SHARED_MEMORY", tmp_path)
    for name in ("mpich_shm_old", "mpich_shm_used", "mpich_shm_new", "other"):
        (tmp_path / name).write_bytes(b"0" * 4096)
        if name != "mpich_shm_new":
            os.utime(tmp_path / name, (0, 0))
    with (
        open(tmp_path / "mpich_shm_used", "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
    ):
        mpi.remove_left_behind()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mpich_shm_new", "mpich_shm_used", "other"]
    monkeypatch.setattr(mpi, "SHARED_MEMORY", tmp_path / "none")
    mpi.remove_left_behind()


@pytest.mark.parametrize(("error", "status"), [(Terminated("stopped by SIGTERM"), 15), (KeyboardInterrupt(), 2)])
def test_a_signal_while_mpi_begins_ends_all(
    error: KeyboardInterrupt, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """At once: MPI's end waits for the others, and they for their beginning."""

    def begun(library: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=None))
    monkeypatch.setattr(mpi, "_begun", begun)
    monkeypatch.setattr(mpi.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(mpi.os, "kill", lambda process, number: sys.exit(int(number)))
    with pytest.raises(SystemExit) as raised:
        mpi.world()
    assert raised.value.code == status
    assert capfd.readouterr().err in ("gpucnn: stopped by SIGTERM\n", "gpucnn: stopped by Ctrl-C\n")
