"""Paths as users can type them, in the shell that they have."""

import ntpath
import shlex
from pathlib import Path, PureWindowsPath

import pytest

from gpucnn import text
from gpucnn.cli.commands import parse

WINDOWS_PATHS = {
    r"runs\lenet5-digits-1": r"runs\lenet5-digits-1",
    r"C:\Users\Jo Li\runs\a": r'"C:\Users\Jo Li\runs\a"',
    r"D:\r&d\a": r'"D:\r&d\a"',
    r"D:\it's\(1)": r'"D:\it\'s\(1)"'.replace(r"\'", "'"),
    r"\\server\share\a": r"\\server\share\a",
    "läufe\\a": "läufe\\a",
}


def split_as_windows_programs_do(word: str) -> str:
    """One argument, by the rules of Microsoft's C library, which both shells leave double quotes to."""
    quotes = word.count('"')
    assert quotes in (0, 2)
    assert '\\"' not in word  # a backslash before a quote would escape it
    assert quotes or not set(" \t&|<>^()%!'`,;=@{}$") & set(word)
    return word.replace('"', "")


@pytest.mark.parametrize(("path", "typed"), WINDOWS_PATHS.items())
def test_on_windows_double_quotes_are_used_where_quotes_are_needed(
    path: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "WINDOWS", True)
    assert text.quoted(PureWindowsPath(path)) == typed
    assert ntpath.normpath(split_as_windows_programs_do(typed)) == path


@pytest.mark.parametrize("is_windows", [False, True])
def test_a_path_that_begins_like_an_option_is_none(is_windows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "WINDOWS", is_windows)
    assert text.quoted(Path("-dash")) == "./-dash"
    assert parse(["predict", text.quoted("-dash"), "a.png"]).run_folder == "./-dash"
    assert text.quoted("runs/-dash") == "runs/-dash"


@pytest.mark.parametrize("path", ["runs/a", "my runs/a", "it's", "$HOME/a", "a\\b"])
def test_elsewhere_a_posix_shell_reads_the_path(path: str) -> None:
    assert shlex.split(text.quoted(path)) == [path]
