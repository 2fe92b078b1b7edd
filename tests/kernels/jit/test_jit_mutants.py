"""Do the tests notice a compiled kernel that is wrong? Runs with --mutants alone, as it takes some minutes."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpucnn.kernels import ways
from tests.kernels.jit.mutants import MUTANTS, TESTS_OF, Mutant

ROOT = Path(__file__).parents[3]
FOLDER = Path("gpucnn") / "kernels"
SAMPLE = 6
"""Every so many mutants are tried, unless --every-mutant is given: all of them take ten minutes."""

LONGEST = 200
"""Seconds: a kernel that a change has made to run for ever is noticed, too."""


def test_every_kernel_has_five_mutants() -> None:
    counts = Counter(mutant.file_name for mutant in MUTANTS)
    assert set(counts) == set(TESTS_OF)
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_what_a_mutant_changes_is_there(number: int) -> None:
    mutant = MUTANTS[number]
    assert (ROOT / FOLDER / mutant.file_name).read_text().count(mutant.old) == mutant.times


def test_every_mutant_is_noticed(request: pytest.FixtureRequest, tmp_path: Path, report: Callable[[str], None]) -> None:
    if not request.config.getoption("--mutants"):
        pytest.skip("give --mutants, or run nox -s mutants")
    if missing := ways.missing():
        pytest.fail(missing)
    chosen = MUTANTS if request.config.getoption("--every-mutant") else MUTANTS[::SAMPLE]
    unchanged = [Mutant(file_name, "", "") for file_name in TESTS_OF]
    folders = [tmp_path / str(number) for number in range(len(unchanged) + len(chosen))]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        said = list(pool.map(noticed, [*unchanged, *chosen], folders))
    assert said[: len(unchanged)] == [""] * len(unchanged)
    survivors = [name_of(mutant) for mutant, words in zip(chosen, said[len(unchanged) :], strict=True) if not words]
    equivalent = [mutant for mutant in chosen if mutant.equivalent]
    reasons = "".join(f"\n  equivalent: {name_of(mutant)}: {mutant.equivalent}" for mutant in equivalent)
    report(
        f"mutants of compiled loops: {len(chosen) - len(survivors)} of {len(chosen)} killed, "
        f"{len(equivalent)} shown to be equivalent{reasons}"
    )
    expected = [name_of(mutant) for mutant in equivalent]
    assert survivors == expected, "\n".join(["survivors:", *survivors])


def noticed(mutant: Mutant, copy: Path) -> str:
    """What the tests of a changed copy of the package say; empty if they say nothing."""
    copy.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("gpucnn", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    changed = copy / FOLDER / mutant.file_name
    changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS_OF[mutant.file_name]]
    environment = {**os.environ, "GPUCNN_CACHE_DIR": str(copy / "cache"), "PYTHONPATH": str(copy)}
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"it ran for {LONGEST} seconds"
    finally:
        shutil.rmtree(copy)
    assert run.returncode <= 1, run.stdout + run.stderr  # below 0: it crashed
    return run.stdout[-1000:] if run.returncode else ""


def name_of(mutant: Mutant) -> str:
    return f"{mutant.file_name}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}"
