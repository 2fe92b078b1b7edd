"""Launches that a GPU would run with whatever bytes it found: each is refused before anything runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import LaunchError
from gpucnn.testing.emulator import EmulatedFunction, Emulator
from tests.testing.emulator.clean_kernels import CASES

SOURCE = """
struct Pair { float first, second; };
extern "C" __global__ void __launch_bounds__(16 * (8)) step(
    const float* x, float* y, int count, float rate, const float* z, Pair pair)
{
    y[0] = rate;
}
"""

Arguments = tuple[Any, ...]


@pytest.fixture(scope="module")
def step() -> EmulatedFunction:
    return Emulator().module(SOURCE).function("step")


def good() -> Arguments:
    x = np.zeros((2, 3), np.float32)
    return x, np.zeros(4, np.float32), np.int32(1), np.float32(1), None, np.complex64(1)


def at(position: int, value: Any) -> Callable[[], Arguments]:
    return lambda: (*good()[:position], value, *good()[position + 1 :])


def overlapping() -> Arguments:
    whole = np.zeros(8, np.float32)
    return whole[:4], whole[2:6], *good()[2:]


def longer_view() -> Arguments:
    whole = np.zeros(8, np.float32)
    return whole[:4], whole, *good()[2:]


def read_only() -> Arguments:
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    return at(1, frozen)()


ARGUMENTS: dict[str, tuple[Callable[[], Arguments], str]] = {
    "too few": (lambda: good()[:-1], "step takes 6 arguments (x, y, count, rate, z, pair), got 5"),
    "Python int": (
        at(2, 3),
        "step: argument 2 'count' is int: a Python int would travel as int64; pass np.int32(3)",
    ),
    "Python float": (
        at(3, 0.1),
        "step: argument 3 'rate' is float: a Python float would travel as float64; pass np.float32(0.1)",
    ),
    "Python bool": (
        at(2, True),
        "step: argument 2 'count' is int: a Python bool would travel as bool; pass np.int32(True)",
    ),
    "wider number": (at(2, np.int64(3)), "step: argument 2 'count' is int: expected np.int32, got np.int64"),
    "array for a number": (
        at(3, np.zeros(1, np.float32)),
        "step: argument 3 'rate' is float: expected np.float32, got an array float32[1]",
    ),
    "None for a number": (at(3, None), "step: argument 3 'rate' is float: expected np.float32, got NoneType"),
    "number for an array": (
        at(0, np.float32(1)),
        "step: argument 0 'x' is const float*: expected an array or None, got np.float32",
    ),
    "other dtype": (
        at(0, np.zeros(4)),
        "step: argument 0 'x' is const float*: expected an array of float32, got float64",
    ),
    "strides": (
        at(0, np.zeros((2, 3), np.float32).T),
        (
            "step: argument 0 'x' is const float*: the array of shape (3, 2) is not C-contiguous, and a kernel sees no "
            "strides; pass np.ascontiguousarray(...)"
        ),
    ),
    "read-only": (
        read_only,
        "step: argument 1 'y' is float*: the kernel may write to it, but the array is read-only",
    ),
    "overlap": (
        overlapping,
        "step: arguments x float32[4] and y float32[4] overlap without being the same array",
    ),
    "same start, other size": (
        longer_view,
        "step: arguments x float32[4] and y float32[8] overlap without being the same array",
    ),
    "struct of another size": (
        at(5, np.float32(1)),
        "step: argument 5 'pair' is Pair: expected a NumPy scalar of 8 bytes, got np.float32",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(step: EmulatedFunction, name: str) -> None:
    arguments, message = ARGUMENTS[name]
    with pytest.raises(LaunchError) as raised:
        step((1,), (1,), arguments())
    assert str(raised.value) == message


LAUNCHES: dict[str, tuple[Any, Any, Any, str]] = {
    "list": ([1], (1,), 0, "step: grid must be a tuple of one to three ints, got [1]"),
    "no sizes": ((), (1,), 0, "step: grid must be a tuple of one to three ints, got ()"),
    "zero blocks": ((0,), (1,), 0, "step: grid must have ints from 1 to 2147483647 here, got 0 in (0,)"),
    "high grid": ((1, 65536), (1,), 0, "step: grid must have ints from 1 to 65535 here, got 65536 in (1, 65536)"),
    "float": ((1,), (8.0,), 0, "step: block must have ints from 1 to 1024 here, got 8.0 in (8.0,)"),
    "deep block": ((1,), (1, 1, 65), 0, "step: block must have ints from 1 to 64 here, got 65 in (1, 1, 65)"),
    "too many threads": ((1,), (64, 32), 0, "step: a block of (64, 32) has 2048 threads, the limit is 1024"),
    "launch bounds": (
        (1,),
        (129,),
        0,
        "step: a block of (129,) has 129 threads, but the kernel is declared __launch_bounds__(128)",
    ),
    "shared memory": ((1,), (1,), 49153, "step: shared_mem must be an int from 0 to 49152 bytes, got 49153"),
    "negative shared memory": ((1,), (1,), -4, "step: shared_mem must be an int from 0 to 49152 bytes, got -4"),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_launches(step: EmulatedFunction, name: str) -> None:
    grid, block, shared_memory, message = LAUNCHES[name]
    with pytest.raises(LaunchError) as raised:
        step(grid, block, good(), shared_memory)
    assert str(raised.value) == message


def test_launch_bounds_of_a_template_instance() -> None:
    source = "template <int N> __global__ void __launch_bounds__(32) fill(int* x) { x[threadIdx.x] = N; }"
    function = Emulator("fast").module(source, name_expressions=["fill<7>"]).function("fill<7>")
    with pytest.raises(LaunchError, match=r"^fill<7>: a block of \(33,\) has 33 threads, .* __launch_bounds__\(32\)$"):
        function((1,), (33,), (np.zeros(33, np.int32),))


def test_empty_arrays_and_null_pointers_are_arguments(step: EmulatedFunction) -> None:
    x, y, *others = good()
    step((1,), (1,), (x[:0], y, *others))
    assert y[0] == 1


def test_one_array_may_be_two_arguments(step: EmulatedFunction) -> None:
    _, y, *others = good()
    step((1,), (1,), (y, y, *others))
    assert y[0] == 1


def test_nothing_runs_when_an_argument_is_refused() -> None:
    launch = CASES["sgd"].launch(np.random.default_rng(0))
    weights = launch.args[0].copy()
    function = Emulator("fast").module(CASES["sgd"].source()).function("sgd")
    with pytest.raises(LaunchError):
        function(launch.grid, launch.block, (*launch.args[:-1], 300))
    np.testing.assert_array_equal(launch.args[0], weights)
