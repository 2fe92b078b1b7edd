"""Single operations: prepared once, they give the same result with every call, whichever way."""

import numpy as np
import pytest

from gpucnn.backend import Device
from gpucnn.benchmark.operations import TimedOperation, operations, prepare, sgd_step
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.suite import largest_difference
from gpucnn.kernels import ways

OURS = [Rival("gpucnn", mode) for mode in ways.MODES[1 : 2 if ways.missing() else 3]]


@pytest.mark.parametrize("operation", operations(2), ids=lambda one: one.name)
def test_results_are_there_and_repeat(operation: TimedOperation) -> None:
    found = {rival: prepare(rival, operation, Device()) for rival in OURS}
    for one in found.values():
        gradients = {f"gradient of argument {number}" for number in range(len(operation.shapes))}
        assert set(one.results) == {"output"} | gradients - (
            {"gradient of argument 0"} if operation.first_layer else set()
        )
        assert one.results["output"].size == operation.output_size
        again = [gradient for gradient in one.backward() if gradient is not None]  # type: ignore[attr-defined]
        for first, second in zip(list(one.results.values())[1:], again, strict=True):
            np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(one.forward().numpy(), one.results["output"])  # type: ignore[attr-defined]
    assert largest_difference(operation.name, {rival: one.results for rival, one in found.items()}) <= 1e-4


def test_the_optimizer_s_step_runs() -> None:
    for rival in OURS:
        step = sgd_step(rival, Device())
        step()
        step()
