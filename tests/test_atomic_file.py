"""Files that appear whole: what Windows and macOS do otherwise. Kills and full disks: `test_killed_writers.py`, `test_failures.py`."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpucnn import atomic_file
from gpucnn.atomic_file import check_place, discard, remove_parts, telling_of, write_atomically
from gpucnn.errors import RunError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited."""
    waited: list[float] = []
    monkeypatch.setattr(atomic_file.time, "sleep", waited.append)
    return waited


def hold_open(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    """So often a file cannot be replaced, as on Windows while another program has it open."""
    replace, left = Path.replace, [tries]

    def refuse(path: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)


@pytest.mark.parametrize("tries", [1, 7])
def test_a_file_that_is_open_elsewhere_for_a_moment_is_replaced(
    tries: int, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    hold_open(monkeypatch, tries)
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(waits) == tries
    assert sum(atomic_file.WAITS) < 2


def test_a_file_that_stays_open_elsewhere_names_the_other_program(
    tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    hold_open(monkeypatch, 1000)
    with pytest.raises(RunError) as raised, telling_of(tmp_path):
        write_atomically(tmp_path / "a", b"new")
    assert str(raised.value) == (
        f"{tmp_path / 'a'}: cannot be written (Access is denied); another program may have it open (a viewer, a virus "
        "scanner, one that copies folders into a cloud): close the file there, and see that it is not write-protected"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_still_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match="have the folder made writable"), telling_of(tmp_path):
        write_atomically(tmp_path / "a", b"new")


def test_what_cannot_be_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [".a.7.part", "b"]
    for name in names:
        (tmp_path / name).touch()

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Access is denied", str(path))

    with monkeypatch.context() as windows:
        windows.setattr(Path, "unlink", refuse)
        remove_parts(tmp_path)
        discard(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    remove_parts(tmp_path)
    discard(tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_macos_is_asked_to_write_past_the_disks_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def ask(handle: int, what: int) -> None:
        os.fstat(handle)
        calls.append(f"fcntl {what}")
        if len(calls) > 1:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(atomic_file, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=ask))
    monkeypatch.setattr(atomic_file.os, "fsync", lambda handle: calls.append("fsync"))
    write_atomically(tmp_path / "a", b"new")  # the file, and its folder, for which a system without it stands
    assert calls == ["fcntl 51", "fcntl 51", "fsync"]


@pytest.mark.parametrize("module", [None, SimpleNamespace()])
def test_other_systems_are_asked_in_the_common_way(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(atomic_file, "fcntl", module)
    monkeypatch.setattr(atomic_file.os, "fsync", calls.append)
    write_atomically(tmp_path / "a", b"new")
    assert len(calls) == (2 if hasattr(os, "O_DIRECTORY") else 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_no_file_is_put_in_the_place_of_what_is_none(tmp_path: Path) -> None:
    """As root a file could take the place of /dev/null, for all programs of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        told = f"{tmp_path / name}: cannot be written (a named pipe, expected a file); give the name of a file"
        with pytest.raises(RunError) as raised:
            check_place(tmp_path / name)
        assert str(raised.value) == told
        with (
            pytest.raises(RunError, match=r"pipe: cannot be written \(a named pipe, expected a file\)"),
            telling_of(tmp_path),
        ):
            write_atomically(tmp_path / name, b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"new", b"newer"):
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder/file").read_bytes() == content
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
