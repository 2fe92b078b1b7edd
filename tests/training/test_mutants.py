"""Do the tests notice training that is wrong? Runs with --mutants alone, as it takes some minutes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.training.mutants import MUTANTS, TESTS_OF, Mutant

ROOT = Path(__file__).parents[2]
LONGEST = 200
"""Seconds: training that a change has made to run for ever is noticed, too."""


def test_every_file_has_its_tests() -> None:
    assert {mutant.file_name for mutant in MUTANTS} == set(TESTS_OF)
    for tests in TESTS_OF.values():
        assert all((ROOT / test.partition("::")[0]).exists() for test in tests)


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_what_a_mutant_changes_is_there(number: int) -> None:
    mutant = MUTANTS[number]
    assert (ROOT / "gpucnn" / mutant.file_name).read_text().count(mutant.old) == 1


def test_every_mutant_is_noticed(request: pytest.FixtureRequest, tmp_path: Path, report: Callable[[str], None]) -> None:
    if not request.config.getoption("--mutants"):
        pytest.skip("give --mutants, or run nox -s mutants")
    unchanged = [Mutant(file_name, "", "") for file_name in TESTS_OF]
    tried = [*unchanged, *MUTANTS]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        said = list(pool.map(noticed, tried, [tmp_path / str(number) for number in range(len(tried))]))
    assert said[: len(unchanged)] == [""] * len(unchanged)
    survivors = [name_of(mutant) for mutant, words in zip(tried, said, strict=True) if mutant.old and not words]
    report(f"mutants of data and training: {len(MUTANTS) - len(survivors)} of {len(MUTANTS)} killed")
    assert survivors == [], "\n".join(["survivors:", *survivors])


def noticed(mutant: Mutant, copy: Path) -> str:
    """What the tests of a changed copy of the package say; empty if they say nothing."""
    copy.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("gpucnn", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    changed = copy / "gpucnn" / mutant.file_name
    if mutant.old:
        changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
    command = [
        *(sys.executable, "-m", "pytest", "-x", "-q", "--backend", "numpy", "-p", "no:cacheprovider"),
        *TESTS_OF[mutant.file_name],
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1"}
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"it ran for {LONGEST} seconds"
    finally:
        shutil.rmtree(copy)
    assert run.returncode <= 1, run.stdout + run.stderr
    return run.stdout[-1000:] if run.returncode else ""


def name_of(mutant: Mutant) -> str:
    return f"{mutant.file_name}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}"
