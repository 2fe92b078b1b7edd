"""All that is measured, in its order, and only where rivals compute the same: a benchmark of wrong results is worth nothing."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpucnn import models
from gpucnn.backend import Device
from gpucnn.benchmark.limit import Limit, Speeds, Work, training_step_work
from gpucnn.benchmark.operations import operations, prepare, sgd_step, sgd_work
from gpucnn.benchmark.outside_of_loops import seconds_outside_of_loops
from gpucnn.benchmark.peak_memory import peak_bytes
from gpucnn.benchmark.rivals import GPUCNN, RECORDED, Rival
from gpucnn.benchmark.stopwatch import Run, stopwatch
from gpucnn.benchmark.timing import Timed, Timing, measure
from gpucnn.benchmark.training_step import CLASSES, Recorded, Step, Workload, training_step
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
    timings: Mapping[Rival, Timing]
    limit: Limit
    difference: float
    """The largest relative difference between the results of the rivals, before they were timed."""
    peak_bytes: Mapping[Rival, int | None]
    """Of each rival; empty for a single operation."""
    outside_of_loops: float | None = None
    """The seconds that a recorded step on compiled loops takes beside them; None if there is none."""

    def ratio(self, rival: Rival, baseline: Rival) -> float:
        """Median over median: below 1, `rival` is faster."""
        return self.timings[rival].median / self.timings[baseline].median


@dataclass(frozen=True)
class Suite:
    """What to measure: `seconds` is the time for each line, without what is prepared."""

    device: Device
    rivals: Sequence[Rival]
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
                memory = {rival: peak_bytes(rival, workload, self.device) for rival in self.rivals}
                steps = {rival: training_step(rival, workload, self.device) for rival in self.rivals}
                found = {rival: losses(step) for rival, step in steps.items()}
                difference = largest_difference(f"{model} with batch {batch_size}", found)
                work = training_step_work(models.create(model, CLASSES), models.default_input(model), batch_size)
                result = self._result(str(workload), steps, speeds, work, difference, memory)
                if Rival(GPUCNN, RECORDED["jit"]) in steps:
                    result = result._replace(outside_of_loops=seconds_outside_of_loops(Recorded(workload, self.device)))
                yield result
                del steps
                gc.collect()

    def operations(self, tell: Callable[[str], None]) -> Iterator[Result]:
        """Single operations, forward and backward pass. BenchmarkError if outputs or gradients differ."""
        speeds, rivals = self._speeds(), [rival for rival in self.rivals if not rival.is_recorded]
        for batch_size in self.batch_sizes:
            for operation in operations(batch_size):
                tell(operation.name)
                prepared = {rival: prepare(rival, operation, self.device) for rival in rivals}
                found: dict[Rival, Mapping[str, np.ndarray]] = {rival: one.results for rival, one in prepared.items()}
                difference = largest_difference(operation.name, found)
                forward = {rival: one.forward for rival, one in prepared.items()}
                backward = {rival: one.backward for rival, one in prepared.items()}
                work = operation.forward_work()
                yield self._result(f"{operation.name} forward", forward, speeds, work, difference)
                work = operation.backward_work()
                yield self._result(f"{operation.name} backward", backward, speeds, work, difference)
        tell("SGD")
        updates = {rival: sgd_step(rival, self.device) for rival in rivals}
        yield self._result("SGD, momentum, 524,288 parameters", updates, speeds, sgd_work(), 0.0)

    def _speeds(self) -> Speeds:
        return Speeds(self.device, self.seconds * SPEED_SHARE)

    def _result(
        self,
        workload: str,
        runs: Mapping[Rival, Run],
        speeds: Speeds,
        work: Work,
        difference: float,
        memory: Mapping[Rival, int | None] | None = None,
    ) -> Result:
        timed = {rival: Timed(run, stopwatch(rival, self.device)) for rival, run in runs.items()}
        timings = measure(timed, self.seconds)
        return Result(workload, timings, speeds.limit(work), difference, memory or {})


def losses(step: Step) -> dict[str, np.ndarray]:
    """The losses of the first STEPS steps, by name."""
    return {f"loss of step {number}": np.array(step().item(), np.float32) for number in range(1, STEPS + 1)}


def largest_difference(workload: str, results: Mapping[Rival, Mapping[str, np.ndarray]]) -> float:
    """The largest relative difference between results of the reference, the first of PyTorch's or else of all, and others'.

    Raises BenchmarkError if it is beyond TOLERANCE; it names what differs.
    """
    reference = next((rival for rival in results if not rival.ours), next(iter(results)))
    largest = 0.0
    for rival, found in results.items():
        for row in compare(results[reference], found):
            if not row.relative <= TOLERANCE:
                raise BenchmarkError(
                    f"{workload}: {rival} and {reference} differ in the {row.name} by {row.relative:.1e} of its largest value, "
                    f"expected at most {scientific(TOLERANCE)}; wrong results are not timed, gpucnn agree shows where they begin"
                )
            largest = max(largest, row.relative)
    return largest
