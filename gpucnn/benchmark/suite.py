"""All that is measured, in its order, and only where contestants compute the same: a benchmark of wrong results is worth nothing."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpucnn import models
from gpucnn.backend import Device
from gpucnn.benchmark.limit import Limit, Speeds, Work, training_step_work
from gpucnn.benchmark.operations import operations, prepare, sgd_step, sgd_work
from gpucnn.benchmark.peak_memory import peak_bytes
from gpucnn.benchmark.stopwatch import Run, stopwatch
from gpucnn.benchmark.timing import Contestant, Timing, measure
from gpucnn.benchmark.training_step import CLASSES, Step, Workload, training_step
from gpucnn.benchmark.ways import Way
from gpucnn.diagnosis.agreement import compare, scientific
from gpucnn.errors import BenchmarkError

STEPS = 5
"""Of which the losses are compared."""
TOLERANCE = 1e-4

SPEED_SHARE = 0.1
"""Of the time for a line: what measuring one of the machine's speeds may take."""


class Result(NamedTuple):
    """A line of a table."""

    workload: str
    timings: Mapping[Way, Timing]
    limit: Limit
    difference: float
    """The largest relative difference between the results of the ways, before they were timed."""
    peak_bytes: Mapping[Way, int | None]
    """Of each way; empty for a single operation."""

    def ratio(self, way: Way, baseline: Way) -> float:
        """Median over median: below 1, `way` is faster."""
        return self.timings[way].median / self.timings[baseline].median


@dataclass(frozen=True)
class Suite:
    """What to measure: `seconds` is the time for each line, without what is prepared."""

    device: Device
    ways: Sequence[Way]
    models: Sequence[str]
    batch_sizes: Sequence[int]
    seconds: float

    def steps(self, tell: Callable[[str], None]) -> Iterator[Result]:
        """Training steps, one result after the other; `tell` hears what comes next. BenchmarkError if losses differ."""
        speeds = self._speeds()
        for model in self.models:
            for batch_size in self.batch_sizes:
                workload = Workload(model, batch_size)
                tell(f"{model}, batch {batch_size}")
                memory = {way: peak_bytes(way, workload, self.device) for way in self.ways}
                steps = {way: training_step(way, workload, self.device) for way in self.ways}
                found = {way: losses(step) for way, step in steps.items()}
                difference = largest_difference(f"{model} with batch {batch_size}", found)
                work = training_step_work(models.create(model, CLASSES), models.default_input(model), batch_size)
                yield self._result(str(workload), steps, speeds, work, difference, memory)
                del steps
                gc.collect()

    def operations(self, tell: Callable[[str], None]) -> Iterator[Result]:
        """Single operations, forward and backward pass. BenchmarkError if outputs or gradients differ."""
        speeds = self._speeds()
        for batch_size in self.batch_sizes:
            for operation in operations(batch_size):
                tell(operation.name)
                prepared = {way: prepare(way, operation, self.device) for way in self.ways}
                found: dict[Way, Mapping[str, np.ndarray]] = {way: one.results for way, one in prepared.items()}
                difference = largest_difference(operation.name, found)
                forward = {way: one.forward for way, one in prepared.items()}
                backward = {way: one.backward for way, one in prepared.items()}
                work = operation.forward_work()
                yield self._result(f"{operation.name} forward", forward, speeds, work, difference)
                work = operation.backward_work()
                yield self._result(f"{operation.name} backward", backward, speeds, work, difference)
        tell("SGD")
        updates = {way: sgd_step(way, self.device) for way in self.ways}
        yield self._result("SGD, momentum, 524,288 parameters", updates, speeds, sgd_work(), 0.0)

    def _speeds(self) -> Speeds:
        return Speeds(self.device, self.seconds * SPEED_SHARE)

    def _result(
        self,
        workload: str,
        runs: Mapping[Way, Run],
        speeds: Speeds,
        work: Work,
        difference: float,
        memory: Mapping[Way, int | None] | None = None,
    ) -> Result:
        contestants = {way: Contestant(run, stopwatch(way, self.device)) for way, run in runs.items()}
        timings = measure(contestants, self.seconds)
        return Result(workload, timings, speeds.limit(work), difference, memory or {})


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
