"""Whether contestants compute the same: a benchmark of wrong results is worth nothing."""

from collections.abc import Mapping

import numpy as np

from gpucnn.benchmark.training_step import Step
from gpucnn.benchmark.ways import Way
from gpucnn.diagnosis.agreement import compare, scientific
from gpucnn.errors import BenchmarkError

STEPS = 5
TOLERANCE = 1e-4


def losses(step: Step) -> dict[str, np.ndarray]:
    """The losses of the first STEPS steps, by name."""
    return {f"loss of step {number}": np.array(step().item(), np.float32) for number in range(1, STEPS + 1)}


def largest_difference(workload: str, results: Mapping[Way, Mapping[str, np.ndarray]]) -> float:
    """The largest relative difference between results of the reference, the first of PyTorch's or else of all, and others'.

    Raises BenchmarkError if it is beyond TOLERANCE; it names what differs.
    """
    reference = next((way for way in results if not way.ours), next(iter(results)))
    largest = 0.0
    for way, found in results.items():
        for row in compare(results[reference], found):
            if not row.relative <= TOLERANCE:
                raise BenchmarkError(
                    f"{workload}: {way} and {reference} differ in the {row.name} by {row.relative:.1e} of its largest value, "
                    f"expected at most {scientific(TOLERANCE)}; wrong results are not timed, gpucnn agree shows where they begin"
                )
            largest = max(largest, row.relative)
    return largest
