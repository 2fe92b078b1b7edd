"""Changed files of every kind that gpucnn reads: each is read or refused, and nothing else happens."""

import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn.errors import DataError
from tests.fuzz import campaign
from tests.fuzz.campaign import Finding, changed_file, outcome
from tests.fuzz.readers import READERS, Idx, Reader
from tests.grid_sample import wants_whole_grids

ROOT = Path(__file__).parents[2]
FEW, MORE = 1_000, 4_000
"""Of the whole suite, and where this test is asked for, or all rows of grids are."""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is bounded, and measured, as Linux does it"
)


def test_changed_files_are_read_or_refused(pytestconfig: pytest.Config, report: Callable[[str], None]) -> None:
    """`pytest --fuzz-inputs 100000` for more, and a line for each reader."""
    few = MORE if wants_whole_grids(pytestconfig.option) else FEW
    count = int(pytestconfig.getoption("--fuzz-inputs") or few)
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.campaign", str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    *table, total = result.stdout.splitlines()
    report("\n".join(["fuzzing:", *table, total]) if count > MORE else f"fuzzing: {total}")
    for reader, line in zip(READERS, table[1:], strict=True):
        match = re.fullmatch(rf"{re.escape(reader.name)} +(\d+) +(\d+) +0 +[\d.]+", line)
        assert match, line
        read, refused = int(match[1]), int(match[2])
        assert read + refused >= count // len(READERS)
        assert read > 0 or count < MORE, line  # or no change got as far as to what is behind the first check
        assert refused > 0 or reader.name in ("times.jsonl", "index of a tar"), line


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.name)
def test_a_file_can_be_made_again(kind: type[Reader], tmp_path: Path) -> None:
    once, again = kind(tmp_path / "once"), kind(tmp_path / "again")
    files = [changed_file(once, number) for number in range(5)]
    assert [changed_file(again, number) for number in range(4, -1, -1)] == files[::-1]
    assert len(set(files)) > 1
    assert all(outcome(once, content) == "read" for content in once.valid)


def fail() -> None:
    raise IndexError("seven")


def other_file() -> None:
    raise DataError("other/file: damaged")


def no_end() -> None:
    time.sleep(10)


def much_memory() -> None:
    np.ones(2 * campaign.MOST_BYTES, np.uint8)


def swallowed() -> None:
    try:
        raise MemoryError
    except MemoryError:
        raise DataError("folder/idx/images: too large") from None


@pytest.mark.parametrize(
    ("behaviour", "found"),
    [
        (fail, "IndexError: seven"),
        (other_file, "does not name the file"),
        (lambda: warnings.warn("it is late", stacklevel=1), "warning: it is late"),
        (no_end, "more than 1.0 seconds"),
        (much_memory, r"\d+ MiB of memory"),
        (swallowed, "more memory was asked for than there is"),
    ],
)
def test_what_must_not_happen_is_found(
    behaviour: Callable[[], None], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reads(Idx):
        def read(self) -> None:
            behaviour()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(campaign, "LONGEST", 1.0 if behaviour is no_end else 600.0)  # however slow the machine is
    monkeypatch.setattr(campaign, "MOST_BYTES", 64 << 20)
    with campaign.alarm(), pytest.raises(Finding, match=found):
        outcome(Reads(Path("folder") / "idx"), b"")
