"""What CuPy says of a mistake where NumPy, which finds it in the stand-in, says it in other words."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

_WORDS: tuple[tuple[str, str], ...] = (
    (r"index (-?\d+ is out of bounds for axis .*)", r"Index \1"),
    (
        r"(boolean index did not match indexed array along) axis (\d+); size of axis is (\d+) but size of (.*) axis is (\d+)",
        r"\1 dimension \2; dimension is \3 but \4 dimension is \5",
    ),
    (
        r"Cannot cast ufunc '\w+' output from (.*) to (.*) with casting rule (.*)",
        r"Cannot cast output operand from \1 to \2 according to the rule \3",
    ),
    (r"The numpy boolean (.*)", r"The cupy boolean \1"),
    (r"numpy boolean subtract, the `-` operator, is not supported(.*)", r"cupy boolean subtract, the `-` operator, is deprecated\1"),
    (r"non-broadcastable output operand .*", "Out shape is mismatched"),
    (
        r"operands could not be broadcast together with remapped shapes \[original->remapped\]: (\([\d,]*\)) +and (requested .*)",
        r"operands could not be broadcast together with shape \1 and \2",
    ),
    (r"(operands could not be broadcast together with shapes .*?) *", r"\1"),
    (
        r"could not broadcast input array from shape (.*) into shape (.*)",
        r"operands could not be broadcast together with shapes \1 \2",
    ),
    (
        r"shape mismatch: value array of shape (.*) could not be broadcast to indexing result of shape (.*)",
        r"operands could not be broadcast together with shape \1 and requested shape \2",
    ),
    (r"(cannot reshape array of size .*)", r"\1"),
    (r"negative (dimensions are not allowed)", r"Negative \1"),
    (
        r"all the input array dimensions except for the concatenation axis .*|all input arrays must have the same shape",
        "All arrays must have same shape except the axis to concatenate",
    ),
    (r"all the input arrays must have same number of dimensions.*", "All arrays to concatenate must have the same ndim"),
    (
        "array split does not result in an equal division",
        (
            "indices_or_sections must divide the size along the axes.\n"
            "If you want to split the array into non-equally-sized arrays, use array_split instead."
        ),
    ),
)  # fmt: skip
"""NumPy's words as a pattern, and CuPy's."""

_WRONG_TYPES = r"ufunc '(\w+)' not supported for the input types.*"


@contextmanager
def in_cupys_words(operands: Sequence[Any] = ()) -> Iterator[None]:
    """Inside, an error of NumPy's is raised as CuPy raises it. `operands`: those of a ufunc."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        words = _words(str(error), operands)
        if words is None:
            raise
        kind = next(kind for kind in (TypeError, ValueError, IndexError) if isinstance(error, kind))
        raise kind(words) from None


def _words(text: str, operands: Sequence[Any]) -> str | None:
    if found := re.fullmatch(_WRONG_TYPES, text):
        dtypes = tuple(np.asarray(operand).dtype for operand in operands)
        return f"Wrong type ({dtypes}) of arguments for cupy_{found[1]}"
    for pattern, words in _WORDS:
        if found := re.fullmatch(pattern, text):
            return re.sub(r",(?=\d)", ", ", found.expand(words))
    return None
