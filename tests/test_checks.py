"""Checks of plain arguments on numbers at the edge of what a float holds; and what is said of names that are not there."""

import traceback

import numpy as np
import pytest

from gpucnn.checks import as_number, is_finite, unknown_name
from gpucnn.errors import ArgumentError, UnknownNameError

HUGE = 10**400


def test_what_is_finite() -> None:
    assert all(map(is_finite, [0, -1.5, np.float32(2), np.int64(3), 10**300]))
    assert not any(map(is_finite, [HUGE, -HUGE, float("inf"), float("nan"), True, "1", None, 1j]))


@pytest.mark.parametrize("value", [HUGE, float("inf"), float("nan"), True, "1"])
def test_a_number_that_no_float_holds_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="rate must be a number >= 0, got "):
        as_number(value, "rate")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("half", "LeNet5 has no half; it is astype('float16')"),
        ("childern", "LeNet5 has no childern; did you mean children?"),
        ("Apply", "LeNet5 has no Apply; did you mean apply?"),
        ("name", "LeNet5 has no name; did you mean named_layers?"),
        ("zzz", "LeNet5 has no zzz"),
        ("__array__", "LeNet5 has no __array__"),
        ("_childern", "LeNet5 has no _childern"),
        ("ha\nlf", "LeNet5 has no ha\\nlf"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_right_one(name: str, text: str) -> None:
    known = ["children", "apply", "named_layers", "_children", "half_precision"]
    error = unknown_name("LeNet5", name, known, {"half": "astype('float16')"})
    assert isinstance(error, UnknownNameError)
    assert issubclass(UnknownNameError, AttributeError)
    assert str(error) == text


def test_python_adds_no_guess_of_its_own() -> None:
    class Answering:
        children = ()

        def __getattr__(self, name: str) -> object:
            raise unknown_name("Answering", name, dir(type(self)))

    with pytest.raises(UnknownNameError) as raised:
        Answering().childern  # noqa: B018
    lines = traceback.format_exception(raised.value)
    assert lines[-1].endswith("Answering has no childern; did you mean children?\n")
