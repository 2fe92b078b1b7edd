"""Do the contracts notice a kernel that is wrong? Runs with --mutants alone, as it takes some minutes."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpucnn.kernels import launch
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS
from tests.kernels.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LONGEST = 120
"""Seconds: a kernel that a change has made to run for ever is noticed, too."""


def test_every_file_has_five_mutants() -> None:
    counts = Counter(mutant.file_name for mutant in MUTANTS)
    assert set(counts) == set(CONTRACTS)
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file_name} {mutant.old.strip()[:30]}")
def test_what_a_mutant_changes_is_there(mutant: Mutant) -> None:
    (path,) = Path(launch.__file__).parent.rglob(mutant.file_name)
    text = path.read_text()
    assert text.count(mutant.old) == mutant.times


def test_every_mutant_is_noticed(request: pytest.FixtureRequest, tmp_path: Path, report: Callable[[str], None]) -> None:
    if not request.config.getoption("--mutants"):
        pytest.skip("give --mutants, or run nox -s mutants")
    if missing := Backend("emulated").missing():
        pytest.fail(missing)
    environment = {**os.environ, "GPUCNN_EMULATOR_CACHE": str(tmp_path)}

    def run(number: int) -> "subprocess.CompletedProcess[str] | None":
        command = [sys.executable, "-m", "tests.kernels.mutants", str(number)]
        try:
            return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(run, range(len(MUTANTS))))
    survivors, killed, equivalent = [], 0, []
    for mutant, result in zip(MUTANTS, results, strict=True):
        assert result is None or result.returncode in (0, 3), result.stderr
        noticed = result is None or result.returncode == 0
        killed += noticed
        if mutant.equivalent:
            equivalent.append(mutant)
            assert not noticed, f"{name_of(mutant)} was said to be equivalent, but: {result and result.stdout}"
        elif not noticed:
            survivors.append(name_of(mutant))
    reasons = "".join(f"\n  equivalent: {name_of(mutant)}: {mutant.equivalent}" for mutant in equivalent)
    report(f"mutants: {killed} of {len(MUTANTS)} killed, {len(equivalent)} shown to be equivalent{reasons}")
    assert survivors == []


def name_of(mutant: Mutant) -> str:
    return f"{mutant.file_name}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}"
