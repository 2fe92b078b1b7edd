"""Files of the user's folder for caches: whole or not there, and never a reason to fail."""

import os
from pathlib import Path
from typing import Any

import pytest

from gpucnn.backend import user_cache


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    assert user_cache.read(path) is None
    user_cache.write(path, b"content")
    assert user_cache.read(path) == b"content"
    user_cache.write(path, b"")
    assert user_cache.read(path) == b""
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", [0, 31, 32, 40])
def test_a_damaged_file_is_as_none(tmp_path: Path, place: int) -> None:
    path = tmp_path / "file"
    user_cache.write(path, b"some content")
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    assert user_cache.read(path) is None
    path.write_bytes(whole[:place])
    assert user_cache.read(path) is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    user_cache.write(tmp_path / "code.o", b"code")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    user_cache.write(tmp_path / "file" / "below", b"content")
    assert user_cache.read(tmp_path / "file" / "below") is None


def test_the_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", "/own")
    assert user_cache.cache_folder("jit") == Path("/own/jit")
    monkeypatch.setenv("GPUCNN_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert user_cache.cache_folder("images") == Path("/xdg/gpucnn/images")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert user_cache.cache_folder("jit") == tmp_path / ".cache" / "gpucnn" / "jit"


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("GPUCNN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", none)
    path = user_cache.cache_folder("jit") / "file"
    user_cache.write(path, b"content")
    assert user_cache.read(path) is None
