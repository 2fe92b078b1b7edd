"""Results that differ stop a benchmark."""

import itertools

import numpy as np
import pytest

from gpucnn.backend import Device
from gpucnn.benchmark.rivals import Rival
from gpucnn.benchmark.suite import largest_difference, losses
from gpucnn.benchmark.training_step import Workload, training_step
from gpucnn.errors import BenchmarkError
from gpucnn.kernels import ways
from tests.benchmark.results import EAGER, JIT, NUMPY


class Number(float):
    def item(self) -> float:
        return self


def test_losses_are_those_of_the_first_steps() -> None:
    numbers = itertools.count(1)
    found = losses(lambda: Number(next(numbers)))
    assert found == {f"loss of step {number}": number for number in (1, 2, 3, 4, 5)}


def test_the_reference_is_pytorch_if_it_is_there() -> None:
    results = {NUMPY: {"loss": np.float32(1.00001)}, JIT: {"loss": np.float32(0.99998)}, EAGER: {"loss": np.float32(1)}}
    assert largest_difference("w", results) == pytest.approx(2e-5, rel=1e-2)
    del results[EAGER]
    assert largest_difference("w", results) == pytest.approx(3e-5, rel=1e-2)


@pytest.mark.parametrize(("loss", "text"), [(1.001, "1.0e-03"), (np.nan, "inf")])
def test_another_loss_is_refused(loss: float, text: str) -> None:
    with pytest.raises(BenchmarkError) as raised:
        largest_difference(
            "lenet5 with batch 8", {JIT: {"loss of step 2": np.array(loss)}, EAGER: {"loss of step 2": np.array(1.0)}}
        )
    assert str(raised.value) == (
        f"lenet5 with batch 8: gpucnn jit and PyTorch eager differ in the loss of step 2 by {text} of its largest value, "
        f"expected at most 1e-04; wrong results are not timed, gpucnn agree shows where they begin"
    )


def test_our_ways_agree() -> None:
    modes = ways.MODES[1 : 2 if ways.missing() else 3]
    found = {mode: losses(training_step(Rival("gpucnn", mode), Workload("simplecnn", 4), Device())) for mode in modes}
    values = [float(value) for value in found["numpy"].values()]
    assert values == sorted(values, reverse=True), "nothing was learned"
    assert values[0] - values[-1] > 0.01
    largest_difference("simplecnn", {Rival("gpucnn", mode): one for mode, one in found.items()})
