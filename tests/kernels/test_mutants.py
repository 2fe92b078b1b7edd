"""Do the contracts notice a kernel that is wrong? Runs with --mutants alone, as it takes a minute."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpucnn.errors import KernelError
from gpucnn.kernels import launch
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS
from tests.kernels.mutants import MUTANTS, Mutant, Result, noticed

ROOT = Path(__file__).parents[2]
LONGEST = 40
"""Seconds that a mutant may take. Others take two, but for those that run for ever."""


def test_every_file_has_six_mutants() -> None:
    counts = Counter(mutant.file_name for mutant in MUTANTS)
    assert set(counts) == set(CONTRACTS)
    assert min(counts.values()) >= 6
    assert len({mutant[:3] for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file_name} {mutant.old.strip()[:30]}")
def test_what_a_mutant_changes_is_there(mutant: Mutant) -> None:
    text = (Path(launch.__file__).parent / mutant.file_name).read_text()
    assert text.count(mutant.old) == mutant.times
    assert mutant.new != mutant.old


def test_noticed_says_nothing_of_a_right_kernel_and_refuses_one_that_does_not_compile() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    assert noticed(Mutant("sgd.cu", "i < size", "(i < size)")) is None
    assert noticed(Mutant("sgd.cu", "i < size", "i <= size")).startswith("KernelError: sgd: out of bounds: block (")
    with pytest.raises(KernelError, match="does not compile"):
        noticed(Mutant("sgd.cu", "i < size", "i < "))


def test_every_mutant_is_noticed(request: pytest.FixtureRequest, tmp_path: Path, report: Callable[[str], None]) -> None:
    if not request.config.getoption("--mutants"):
        pytest.skip("give --mutants, or run nox -s mutants")
    if missing := Backend("emulated").missing():
        pytest.fail(missing)
    environment = {**os.environ, "GPUCNN_EMULATOR_CACHE": str(tmp_path)}

    def outcome(number: int) -> str:
        command = [sys.executable, "-m", "tests.kernels.mutants", str(number)]
        try:
            ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return "killed" if MUTANTS[number].endless else f"was still running after {LONGEST} s"
        if ended.returncode == Result.NOTICED:
            return "killed"
        return "survived" if ended.returncode == Result.SURVIVED else f"is no mutant: {ended.stderr[-1000:]}"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outcomes = list(pool.map(outcome, range(len(MUTANTS))))
    equivalent = [mutant for mutant in MUTANTS if mutant.equivalent]
    report(f"mutants: killed {outcomes.count('killed')} of {len(MUTANTS)}, {len(equivalent)} equivalent")
    for mutant in equivalent:
        report(f"  equivalent: {mutant}: {mutant.equivalent}")
    # One said to be equivalent that is killed has a wrong reason.
    assert [
        f"{mutant} {found}"
        for mutant, found in zip(MUTANTS, outcomes, strict=True)
        if found != ("survived" if mutant.equivalent else "killed")
    ] == []
