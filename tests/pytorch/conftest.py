"""Comparison of gpucnn's arrays with PyTorch's, and a table of how far they were apart at the end of the run."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
SMALLEST_SCALE = 0.1

Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Agreement:
    """Compares arrays and remembers, by operation, the configurations seen and the largest error in each dtype."""

    def __init__(self) -> None:
        self.configurations: dict[str, set[object]] = {}
        self.errors: dict[tuple[str, str], float] = {}

    def check(self, operation: str, configuration: object, pairs: Pairs, tolerance: float | None = None) -> None:
        """Hold each named pair of arrays, ours and PyTorch's, together: shape and dtype, then the values.

        Values may differ by `tolerance` times the largest finite magnitude in PyTorch's array, or times SMALLEST_SCALE
        if that is larger: where everything cancels out, only rounding errors are left to compare.
        """
        errors: dict[tuple[str, str], float] = {}
        for name, (actual, expected) in pairs.items():
            assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, PyTorch has {expected.shape}"
            assert actual.dtype == expected.dtype, f"{name}: dtype {actual.dtype}, PyTorch has {expected.dtype}"
            dtype = str(expected.dtype)
            finite = np.isfinite(expected)
            scale = max(SMALLEST_SCALE, float(np.abs(expected[finite]).max(initial=0.0)))
            limit = (TOLERANCES[dtype] if tolerance is None else tolerance) * scale
            np.testing.assert_allclose(actual, expected, rtol=0, atol=limit, err_msg=f"{operation}, {name}")
            error = float(np.abs(actual[finite] - expected[finite]).max(initial=0.0)) / scale
            errors[operation, dtype] = max(error, errors.get((operation, dtype), 0.0))
        self.configurations.setdefault(operation, set()).add(configuration)
        for key, error in errors.items():
            self.errors[key] = max(error, self.errors.get(key, 0.0))

    def table(self) -> list[str]:
        """The lines of the table."""
        width = max(map(len, ("operation", *self.configurations)))
        lines = [f"{'operation':<{width}}  configurations  {'float32':>9}  {'float64':>9}"]
        for operation, configurations in self.configurations.items():
            columns = [self.errors.get((operation, dtype)) for dtype in TOLERANCES]
            errors = "  ".join(f"{'-' if error is None else f'{error:.1e}':>9}" for error in columns)
            lines.append(f"{operation:<{width}}  {len(configurations):>14}  {errors}")
        return lines


AGREEMENT = pytest.StashKey[Agreement]()


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`Agreement.check` of this run."""
    return request.config.stash.setdefault(AGREEMENT, Agreement()).check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    agreement = config.stash.setdefault(AGREEMENT, Agreement())
    if agreement.configurations:
        terminalreporter.section("largest error against PyTorch, relative to the array's largest value")
        for line in agreement.table():
            terminalreporter.write_line(line)
