"""How many lines of the `.cu` files the contracts run. Runs with --kernel-coverage alone."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import line_coverage
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS

LEAST_PERCENT = 95


def test_contracts_run_nearly_every_line(request: pytest.FixtureRequest, report: Callable[[str], None]) -> None:
    if not request.config.getoption("--kernel-coverage"):
        pytest.skip("give --kernel-coverage, or run nox -s emulated")
    if missing := Backend("emulated").missing():
        pytest.fail(missing)
    with emulated_gpu("coverage"):
        for check in CONTRACTS.values():
            for dtype in (np.float32, np.float64):
                check(Backend("emulated"), dtype)
    found = {name: lines for name, lines in line_coverage().items() if name in CONTRACTS}
    assert set(found) == set(CONTRACTS)
    lines, executed = 0, 0
    for name, (executable, run) in sorted(found.items()):
        lines, executed = lines + len(executable), executed + len(run)
        missed = f", not line {', '.join(map(str, sorted(executable - run)))}" if executable - run else ""
        report(f"{name:<20}{len(run):>4} of {len(executable):>3} lines run{missed}")
    percent = 100 * executed / lines
    report(f"all .cu files: {executed} of {lines} lines run, {percent:.1f}%")
    assert percent >= LEAST_PERCENT
