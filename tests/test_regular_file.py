"""What is no regular file is refused at once, and a drive that does not answer after a while."""

import ctypes
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gpucnn import data, regular_file
from gpucnn.cli.main import main
from gpucnn.data import ImageFolder, Preprocess, read_idx, read_image
from gpucnn.errors import ConfigError, DataError, GpucnnError, RunError
from gpucnn.regular_file import TimedCalls, open_regular, read_regular
from gpucnn.training import RunConfig, RunFolder, list_runs, load_checkpoint
from tests.data.image_files import write_two_classes

ROOT = Path(__file__).parents[1]
FUSE = Path("/dev/fuse")


def named_pipe(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no sockets in folders here")
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS: list[tuple[Callable[[Path], None], str]] = [
    (named_pipe, "a named pipe, expected a file"),
    (unix_socket, "a socket, expected a file"),
    (device, "a device, expected a file"),
    (loop, "Too many levels of symbolic links"),
]


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """A test that waits is ended: what it calls would have to be killed."""

    def ring(number: int, frame: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("make", "said"), KINDS)
def test_no_reader_waits(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    names = ("set-idx3-ubyte", "image.png", "image.npy", "run.toml", "step-000000001.safetensors")
    for name in names:
        make(tmp_path / name)
    readers: list[tuple[Callable[[Path], object], type[GpucnnError]]] = [
        (lambda path: read_idx(path, 3), DataError),
        (lambda path: read_image(path, Preprocess(1, 4, 4, 255, "pad")), DataError),
        (lambda path: read_image(path, Preprocess(1, 4, 4, 255, "pad")), DataError),
        (RunConfig.from_toml, ConfigError),
        (load_checkpoint, RunError),
    ]
    for name, (read, kind) in zip(names, readers, strict=True):
        with pytest.raises(kind) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert said in str(caught.value)
    with pytest.raises(OSError, match=said):
        open_regular(tmp_path / names[0])
    with pytest.raises(OSError, match=said):
        read_regular(tmp_path / names[0])


@pytest.mark.parametrize(("make", "said"), KINDS)
def test_runs_with_such_files_are_told_of(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        make(tmp_path / "runs" / name / name)
    with pytest.raises(RunError, match=said):
        RunFolder(tmp_path / "runs" / "config.json").read_config()
    with pytest.raises(RunError, match=said):
        RunFolder(tmp_path / "runs" / "model.safetensors").load_model()
    (tmp_path / "runs" / "config.json" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (entry,) = list_runs(tmp_path / "runs")
    assert (entry.name, entry.state) == ("config.json", "damaged")
    assert said in str(entry.reason)


def test_links_to_files_are_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link to it").symlink_to("link")
    assert read_regular(tmp_path / "link to it") == b"content"
    with open_regular(str(tmp_path / "link")) as file:
        assert file.read() == b"content"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_regular(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30, 35])
def test_files_of_any_size(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_file, "CHUNK", 10)
    (tmp_path / "file").write_bytes(bytes(range(size)))
    assert read_regular(tmp_path / "file") == bytes(range(size))


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no files whose size is said to be 0")
def test_a_file_that_says_it_is_empty() -> None:
    assert os.stat("/proc/version").st_size == 0
    assert read_regular("/proc/version") == Path("/proc/version").read_bytes() != b""


def test_a_named_pipe_that_comes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a file when it was looked at."""
    named_pipe(tmp_path / "pipe")
    whole = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda path, **options: whole)
    with pytest.raises(OSError, match="a named pipe, expected a file"):
        read_regular(tmp_path / "pipe")


def test_what_a_call_raises_and_that_no_thread_stays(tmp_path: Path) -> None:
    before = threading.active_count()
    with TimedCalls() as timed:
        assert timed(tmp_path, lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            timed(tmp_path, lambda: 1 // 0)
        assert timed(tmp_path, lambda: None) is None
    assert threading.active_count() == before


def test_no_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ImageFolder(write_two_classes(tmp_path, 1, 8), 8)  # for which there is time enough
    monkeypatch.setattr(regular_file, "ANSWER_SECONDS", 0.05)
    answer = threading.Event()
    monkeypatch.setattr(os, "stat", lambda path, **options: answer.wait(10))
    with pytest.raises(
        DataError, match=r"000.png: cannot be read \(no answer in 0.05 seconds; is its drive, or the network"
    ):
        folder[0]
    answer.set()


def test_a_signal_is_heard_while_a_drive_is_waited_for(tmp_path: Path) -> None:
    """Ctrl-C, and SIGTERM to a process that handles it; also one that does not wake the thread that waits."""
    answer, answered = threading.Event(), []

    def call() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # to the thread that is waited for
        answered.append(answer.wait(60))

    with pytest.raises(KeyboardInterrupt), TimedCalls() as timed:
        timed(tmp_path, call)
    assert answered == []
    answer.set()


@pytest.fixture
def dead_drive(tmp_path: Path) -> Iterator[Path]:
    """A drive whose server never says a word."""
    if not (sys.platform == "linux" and FUSE.exists() and os.geteuid() == 0):
        pytest.skip("only root of a Linux with FUSE can have one")
    place, libc = tmp_path / "drive", ctypes.CDLL(None, use_errno=True)
    place.mkdir()
    server = os.open(FUSE, os.O_RDWR)
    options = f"fd={server},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0"
    if libc.mount(b"dead", os.fsencode(place), b"fuse.dead", 0, options.encode()) != 0:
        os.close(server)
        pytest.skip("no drives may be mounted here")
    try:
        yield place
    finally:
        libc.umount2(os.fsencode(place), 2)  # MNT_DETACH
        os.close(server)  # which ends all calls that wait for it


def test_a_dead_drive(dead_drive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(regular_file, "ANSWER_SECONDS", 0.1)
    said = r"\(no answer in 0.1 seconds; is its drive, or the network, still there\?\)"
    with pytest.raises(DataError, match=f"cannot be listed {said}"):
        data.load("folder", dead_drive, 8)
    with pytest.raises(DataError, match=f"cannot be listed {said}"):
        ImageFolder(dead_drive, 8)
    with pytest.raises(DataError, match=f"cannot be read {said}"):
        read_image(dead_drive / "image.png", Preprocess(1, 4, 4, 255, "pad"))
    assert main(["train", "--config", str(dead_drive / "run.toml"), "--device", "cpu"]) == 1
    assert "cannot be read (no answer in 0.1 seconds" in capsys.readouterr().err


def test_a_process_ends_though_a_drive_is_dead(dead_drive: Path) -> None:
    program = f"""
        import numpy
        from gpucnn import data, regular_file
        regular_file.ANSWER_SECONDS = 0.1
        data.load("folder", {str(dead_drive)!r}, 8)
    """
    command = [sys.executable, "-c", "\n".join(line.strip() for line in program.splitlines())]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 1
    assert "DataError" in result.stderr


def test_among_the_images(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 2, 8)
    for make, name in ((named_pipe, "pipe"), (unix_socket, "socket"), (device, "device")):
        make(tmp_path / "dark" / f"{name}.png")
    folder = ImageFolder(tmp_path, 8)
    assert len(folder) == 4
    assert folder.left_out == {"named pipes": 1, "sockets": 1, "devices": 1}
    assert np.isfinite(folder[:][0]).all()
    loop(tmp_path / "light" / "loop.png")
    with pytest.raises(
        DataError, match=r"light/loop.png: cannot be read \(Too many levels of symbolic links\); put it back"
    ):
        ImageFolder(tmp_path, 8)
