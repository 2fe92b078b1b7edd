"""Who writes in a run's folder: one at a time, and nobody who has ended."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpucnn.errors import RunError
from gpucnn.runs import lock, process
from gpucnn.runs.lock import RunLock
from gpucnn.runs.process import namespace, start_of
from gpucnn.training import CheckpointWriter, RunFolder, RunRecorder, list_runs
from tests.training.small_run import small_trainer

ROOT = Path(__file__).parents[2]
HERE = lock.socket.gethostname()
HOLDER = """
import sys
from pathlib import Path
from gpucnn.runs.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def left(folder: Path, name: str = lock.NAME, **told: Any) -> Path:
    """The file of a lock that a process had which was killed."""
    owner = {
        "pid": ended(),
        "host": HERE,
        "namespace": namespace(),
        "started": "long ago",
        "since": "2026-01-01 00:00:00",
        "token": "0123",
    }
    path = folder / name
    path.write_text(json.dumps({**owner, **told}))
    return path


def test_it_is_there_while_it_is_held_and_goes(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with lock:
        told = json.loads(lock.path.read_text())
        assert (told["pid"], told["host"]) == (os.getpid(), HERE)
        with lock:
            assert lock.owner() is not None
        assert lock.owner() is not None
    assert lock.owner() is None
    assert list(tmp_path.iterdir()) == []
    lock.release()
    with lock:
        assert len(list(tmp_path.iterdir())) == 1


def test_another_process_is_refused_with_number_host_and_fix(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(
        RunError,
        match=rf"^{tmp_path}: in use by process {holder.pid} on {HERE} since [-: \d]+; choose another folder, or wait for its "
        "end, or stop it$",
    ):
        RunLock(tmp_path).acquire()
    holder.kill()  # without a word, and nobody has looked after it
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(holder.pid) is None
    with RunLock(tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
    holder.communicate()


def test_this_process_is_refused_too(tmp_path: Path) -> None:
    with (
        RunLock(tmp_path),
        pytest.raises(RunError, match=f"in use by process {os.getpid()}, this one, on {HERE} since"),
    ):
        RunLock(tmp_path).acquire()


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"pid": os.getpid()},  # it has the number of a process that has ended
        {"pid": 1 << 40},
        {"pid": 0},
        {"pid": -1},
    ],
)
def test_a_process_that_has_ended_has_no_lock(told: dict[str, Any], tmp_path: Path) -> None:
    left(tmp_path, **told)
    assert RunLock(tmp_path).owner() is None
    with RunLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"pid": "x"}', "[" * 100_000, "\x00\xff"])
def test_a_file_that_a_crash_has_cut_is_none(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.01)
    (tmp_path / lock.NAME).write_text(content)
    with RunLock(tmp_path):
        assert RunLock(tmp_path).owner() is not None
    assert list(tmp_path.iterdir()) == []


def test_of_another_machine_nobody_knows(tmp_path: Path) -> None:
    path = left(tmp_path, host="far-away", pid=7)
    with pytest.raises(
        RunError,
        match=f"^{tmp_path}: in use by process 7 on far-away since 2026-01-01 00:00:00; choose another folder, or, if that "
        f"process has ended, which cannot be seen from here, remove {path}$",
    ):
        RunLock(tmp_path).acquire()
    path.unlink()
    RunLock(tmp_path).acquire()


def test_nor_of_another_container_on_this_machine(tmp_path: Path) -> None:
    left(tmp_path, namespace="pid:[1]")
    with pytest.raises(RunError, match=f"in use by process .* on {HERE} since .* cannot be seen from here, remove"):
        RunLock(tmp_path).acquire()


def test_locks_of_a_later_gpucnn_count_too(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        lock.path.write_text(json.dumps({**json.loads(lock.path.read_text()), "more": [1]}))
        with pytest.raises(RunError, match="in use by process"):
            RunLock(tmp_path).acquire()
        lock.path.write_text(json.dumps({"pid": os.getpid(), "host": HERE}))
        with pytest.raises(RunError, match="in use by process .* cannot be seen from here"):
            RunLock(tmp_path).acquire()


def test_a_process_whose_start_is_unknown_counts_as_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "start_of", lambda pid: "")
    left(tmp_path)
    with pytest.raises(RunError, match="in use by process"):
        RunLock(tmp_path).acquire()


def take_together(folder: Path, count: int) -> list[RunLock]:
    """Those of `count` locks that were got, all asked for at once."""
    together = threading.Barrier(count)

    def take(_: int) -> RunLock | None:
        lock = RunLock(folder)
        together.wait()
        try:
            lock.acquire()
        except RunError:
            return None
        return lock

    with ThreadPoolExecutor(count) as pool:
        return [lock for lock in pool.map(take, range(count)) if lock is not None]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("stale", ["lock", "claim", "none"])
def test_one_of_many_wins(stale: str, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:  # as on a stick
        monkeypatch.setattr(
            os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "Operation not permitted"))
        )
    pid = ended()
    for number in range(8):
        if stale != "none":
            left(tmp_path, pid=pid, token=f"a{number}")
        if stale == "claim":  # one who was killed while taking the lock over
            left(tmp_path, f"{lock.NAME}.a{number}", pid=pid, token=f"b{number}")
        (won,) = take_together(tmp_path, 4)
        won.release()
        assert [path.name for path in tmp_path.iterdir()] == []


def test_a_lock_that_was_taken_over_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between seeing that its owner has ended and replacing it, another process may have done so."""
    left(tmp_path)
    other, create, seen = RunLock(tmp_path), lock._create, []

    def create_late(path: Path, own: lock.Owner) -> bool:
        if path.name != lock.NAME and not seen:
            seen.append(path)
            other.acquire()
        return create(path, own)

    monkeypatch.setattr(lock, "_create", create_late)
    with pytest.raises(RunError, match="in use by process"):
        RunLock(tmp_path).acquire()
    assert seen
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_forked_off_does_not_release_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    lock.release()
    assert lock.path.exists()


def test_one_that_somebody_removed_and_took_stays_his(tmp_path: Path) -> None:
    lock, other = RunLock(tmp_path), RunLock(tmp_path)
    lock.acquire()
    lock.path.unlink()
    other.acquire()
    lock.release()
    assert other.owner() is not None


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: cannot write a run there .File exists.; choose another --out"):
        RunLock(tmp_path / "file").acquire()
    with pytest.raises(RunError, match="file/deeper: cannot write a run there .Not a directory.; choose another --out"):
        RunLock(tmp_path / "file" / "deeper").acquire()
    monkeypatch.setattr(
        Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system"))
    )
    with pytest.raises(RunError, match="cannot write a run there .Read-only file system.; choose another --out"):
        RunLock(tmp_path).acquire()


def test_a_folder_that_others_make_and_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = tmp_path / "deep" / "run", []
    with RunLock(folder):
        assert folder.is_dir()
    take = lock._take

    def remove_first(path: Path, own: lock.Owner) -> None:
        made.append(path)
        if len(made) < 4:
            folder.rmdir()
        take(path, own)

    monkeypatch.setattr(lock, "_take", remove_first)
    with RunLock(folder):
        assert len(made) == 4


def test_training_holds_it_and_lets_go_however_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    config = {"create": {}, "preprocess": {}, "class_names": [], "data": "x"}
    callbacks = [RunRecorder(folder, config), CheckpointWriter(folder, config)]
    trainer = small_trainer(*callbacks)
    seen = []

    def look(_: object) -> None:
        (entry,) = list_runs(folder.path)
        seen.append(entry.state)
        with pytest.raises(RunError, match="in use by process"):
            RunFolder(folder.path).prepare()
        if len(seen) == 2:
            raise KeyboardInterrupt

    callbacks[0].on_epoch_begin = look  # type: ignore[method-assign]
    folder.path.joinpath("config.json").write_text(json.dumps(config))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(3)
    assert seen == ["training in epoch 1", "training in epoch 2"]
    assert folder.lock.owner() is None
    assert not folder.lock.path.exists()


def test_a_process_is_known_by_its_start() -> None:
    own = start_of(os.getpid())
    assert own
    assert start_of(os.getpid()) == own
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert start_of(child.pid) not in (None, own)
    child.communicate()
    assert start_of(child.pid) is None
    assert start_of(0) is start_of(-1) is start_of(1 << 40) is None


@pytest.mark.parametrize("ps", [True, False])
def test_without_proc_ps_is_asked_and_without_ps_the_number(ps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if ps and shutil.which("ps") is None:
        pytest.skip("no ps")
    monkeypatch.setattr(process.os.path, "exists", lambda _: False)
    if not ps:
        monkeypatch.setenv("PATH", "")
    own = start_of(os.getpid())
    assert own == "" if not ps else own and own == start_of(os.getpid())
    assert start_of(ended()) is None
