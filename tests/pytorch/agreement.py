"""How far gpucnn's arrays are from PyTorch's: the table of the run, and whether everything public is in it."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
SMALLEST_SCALE = 0.1
LEAST = 30
"""How many configurations every public function and layer must have been seen in."""

Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Agreement:
    """Compares arrays and remembers, by operation, the configurations seen and the largest error in each dtype."""

    def __init__(self) -> None:
        self.configurations: dict[str, dict[str, set[object]]] = {}
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
        seen = self.configurations.setdefault(operation, {dtype: set() for dtype in TOLERANCES})
        for key, error in errors.items():
            seen[key[1]].add(configuration)
            self.errors[key] = max(error, self.errors.get(key, 0.0))

    def table(self) -> list[str]:
        """The lines of the table."""
        width = max(map(len, ("operation", *self.configurations)))
        lines = [f"{'operation':<{width}}  configurations  {'float32':>9}  {'float64':>9}"]
        for operation, seen in self.configurations.items():
            columns = [self.errors.get((operation, dtype)) for dtype in TOLERANCES]
            errors = "  ".join(f"{'-' if error is None else f'{error:.1e}':>9}" for error in columns)
            lines.append(f"{operation:<{width}}  {len(set().union(*seen.values())):>14}  {errors}")
        return lines

    def count(self, name: str, dtype: str) -> int:
        """In how many configurations the function or layer `name` was seen in `dtype`.

        Rows that begin with its name, such as "pad reflect" and "cross_entropy, ignored labels", are its configurations
        too.
        """
        rows = [row for row in self.configurations if re.split("[ ,]", row)[0] == name]
        return sum(len(self.configurations[row][dtype]) for row in rows)

    def shortages(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that were seen in fewer than LEAST configurations in some dtype, each with what there is."""
        counts = {name: {dtype: self.count(name, dtype) for dtype in TOLERANCES} for name in names}
        return [
            f"{name} ({', '.join(f'{count} in {dtype}' for dtype, count in seen.items())})"
            for name, seen in counts.items()
            if min(seen.values()) < LEAST
        ]
