import functools
from typing import Any, NamedTuple

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.autograd import record
from gpucnn.autograd.saved import operations, saved_bytes


class Pair(NamedTuple):
    name: str
    array: np.ndarray


class Holder:
    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def backward(self, gradient: np.ndarray) -> tuple[np.ndarray]:
        return (gradient,)


def kept_by(backward: Any, known: Any = ()) -> int:
    output = record("kept", np.ones(1), [Tensor(np.ones(1), requires_grad=True)], backward)
    (size,) = saved_bytes(operations(output), list(known))
    return size


def test_operations_come_in_the_order_of_computation() -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    y = F.relu(x)
    output = ((y * y) + x).sum()
    assert [node.name for node in operations(output)] == ["relu", "multiply", "add", "sum"]
    assert [node.shape for node in operations(output)] == [(2, 3), (2, 3), (2, 3), ()]
    assert operations(Tensor(np.ones(2))) == []


def test_arrays_are_found_wherever_a_function_keeps_them() -> None:
    array = np.zeros(10, np.float32)

    def of_variables(gradient: np.ndarray) -> tuple[np.ndarray]:
        return (array,)

    def of_default(gradient: np.ndarray, kept: np.ndarray = array) -> tuple[np.ndarray]:
        return (kept,)

    def of_keyword(gradient: np.ndarray, *, kept: np.ndarray = array) -> tuple[np.ndarray]:
        return (kept,)

    inner, pair, nested, tensor = of_variables, Pair("name", array), {"one": [(array,)]}, Tensor(array)
    for backward in (
        of_variables,
        of_default,
        of_keyword,
        Holder(array).backward,
        functools.partial(lambda kept, gradient: (kept,), array),
        lambda gradient: inner(gradient),
        lambda gradient: (pair.array,),
        lambda gradient: (nested["one"][0][0],),
        lambda gradient: (tensor.data,),
    ):
        assert kept_by(backward) == 40
    assert kept_by(lambda gradient: (gradient,)) == 0


def test_a_view_keeps_all_of_its_memory_and_masks_have_their_own_size() -> None:
    whole = np.zeros((4, 100), np.float32)
    part, mask = whole[1, ::2], np.zeros(7, bool)
    assert kept_by(lambda gradient: (part,)) == whole.nbytes
    assert kept_by(lambda gradient: (part, whole[2:], mask)) == whole.nbytes + 7
    assert kept_by(lambda gradient: (part, mask), known=[whole[3:]]) == 7


def test_what_two_operations_keep_counts_for_the_first() -> None:
    x = Tensor(np.ones((3, 5), np.float32), requires_grad=True)
    y = F.relu(x)
    output = y * F.exp(y)
    sizes = dict(zip([node.name for node in operations(output)], saved_bytes(operations(output), []), strict=True))
    assert sizes == {"relu": 60, "exp": 60, "multiply": 0}


def test_the_tape_before_an_operation_is_not_its_own() -> None:
    x = Tensor(np.ones(100), requires_grad=True)
    y = F.exp(x)
    output = record("holder", np.ones(100), [y], lambda gradient: (gradient * (y.data.size),))
    assert saved_bytes(operations(output), [])[1] == 0
