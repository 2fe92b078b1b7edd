"""Small changes to the source, each in a copy of the package, whose tests must then turn red. See `test_mutants.py`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "gpucnn"
LONGEST = 200
"""Seconds: what a change has made run for ever is noticed, too."""


class Mutant(NamedTuple):
    """One change: `old`, which stands in the file once or as often as `times` says, becomes `new`."""

    file_name: str
    old: str
    new: str
    times: int = 1
    equivalent: str = ""
    """Why no test can notice it; empty if one must."""

    def __str__(self) -> str:
        return f"{self.file_name}: {self.old.strip()!r} -> {self.new.strip()!r}"


def mutants_of(file_name: str, *changes: tuple[str, str]) -> list[Mutant]:
    """The mutants of one file: of each change what stands there, and what it becomes."""
    return [Mutant(file_name, old, new) for old, new in changes]


class Table(NamedTuple):
    """Mutants of one part of the package, and what is run for a change in each of its files."""

    name: str
    folder: Path
    """Where in the package the files are; their names may go on from there."""
    mutants: Sequence[Mutant]
    tests_of: Mapping[str, Sequence[str]]
    options: Sequence[str] = ()
    """What pytest is given beside the tests."""
    least: int = 1
    """The fewest mutants that a file must have."""
    sample: int = 1
    """Every so many mutants of a file are tried, unless --every-mutant is given."""
    sample_files: int = 1
    """The same of files."""

    def of(self, file_name: str) -> list[Mutant]:
        """The mutants of one file."""
        return [mutant for mutant in self.mutants if mutant.file_name == file_name]

    def place(self, file_name: str) -> Path:
        """A file below the repository's root, or below a copy of it. AssertionError unless there is one of this name."""
        found = list((ROOT / PACKAGE / self.folder).rglob(file_name))
        assert len(found) == 1, f"{len(found)} files {file_name} in {PACKAGE}/{self.folder}"
        return found[0].relative_to(ROOT)

    def what_tests_say(self, mutant: Mutant, copy: Path, cache: Path) -> str:
        """The end of what the tests print of a copy of the package with this change; empty if they pass."""
        copy.mkdir()
        for folder in (PACKAGE, "tests"):
            shutil.copytree(ROOT / folder, copy / folder, copy_function=linked)  # with what Python has compiled
        shutil.copy(ROOT / "pyproject.toml", copy)
        changed = copy / self.place(mutant.file_name)
        text = changed.read_text().replace(mutant.old, mutant.new)
        changed.unlink()  # it is the same file as the original, which stays
        changed.write_text(text)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *self.options]
        environment = {
            **os.environ,
            "PYTHONPATH": str(copy),
            "GPUCNN_CACHE_DIR": str(copy / "cache"),
            "GPUCNN_EMULATOR_CACHE": str(cache),
            "OPENBLAS_NUM_THREADS": "1",
        }
        try:
            run = subprocess.run(
                [*command, *self.tests_of[mutant.file_name]],
                cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it ran for {LONGEST} seconds"
        finally:
            shutil.rmtree(copy)
        assert run.returncode <= 1, run.stdout + run.stderr  # below 0: it crashed
        return run.stdout[-1000:] or "it crashed" if run.returncode else ""


def linked(source: str, target: str) -> None:
    """The file once more under another name, which takes no time; a copy where there are no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
