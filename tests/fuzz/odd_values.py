"""Values that hardly anybody gives, and that every public function must answer in its own words."""

from typing import Any

import numpy as np

from gpucnn import Tensor

NUMBERS: dict[str, Any] = {
    "None": None, "NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf"), "-1": -1, "0": 0, "1": 1,
    "-2^31": -(2**31), "2^31": 2**31, "2^63": 2**63, "10^30": 10**30, "-10^30": -(10**30), "10^5000": 10**5000,
    "1e308": 1e308, "1e-320": 1e-320, "-1.5": -1.5, "1.5": 1.5, "0.0": 0.0, "True": True, "1j": 1j,
    "int64": np.int64(1), "bool_": np.bool_(True),
}  # fmt: skip

OBJECTS: dict[str, Any] = {
    "text": "odd", "empty text": "", "text with a NUL": "a\0b", "bytes": b"odd", "object": object(), "dict": {"a": 1},
    "set": {1, 2}, "slice": slice(None), "Ellipsis": ..., "generator": (item for item in range(3)),
}  # fmt: skip

SEQUENCES: dict[str, Any] = {
    "[]": [], "()": (), "[1]": [1], "(1, 2, 3)": (1, 2, 3), "(-1, -1)": (-1, -1), "(0, 0)": (0, 0), "two None": (None, None),
    "two texts": ("a", "b"), "two NaN": (float("nan"),) * 2, "(1.5, 1.5)": (1.5, 1.5), "two 2^31": (2**31,) * 2,
    "two 2^63": (2**63,) * 2, "uneven pairs": ((1,), (2,)), "a pair of 2^40": ((2**40, 0), (0, 0)),
    "a pair of -9": ((-9, 0), (0, 0)), "65 ones": (1,) * 65, "range(65)": range(65), "uneven rows": [[1], [1, 2]],
    "nested": [[[[1.0]]]], "two empty lists": [[], []], "ten thousand": [0] * 10_000,
}  # fmt: skip
SEQUENCES["itself"] = []
SEQUENCES["itself"].append(SEQUENCES["itself"])

_ONES = np.ones((3, 5), np.float32)
ARRAYS: dict[str, Any] = {
    "complex array": _ONES.astype(complex), "object array": np.array([None, "a"], object), "texts": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], "datetime64[D]"), "records": np.zeros(3, [("a", int)]), "0-d": _ONES[0, 0].reshape(()),
    "no rows": _ONES[:0], "no images": np.zeros((0, 4, 6, 6), np.float32), "no channels": np.zeros((2, 0, 6, 6), np.float32),
    "no pixels": np.zeros((2, 4, 0, 0), np.float32), "64 axes": np.ones((1,) * 64, np.float32), "bools": _ONES.astype(bool),
    "uint8": _ONES.astype(np.uint8), "ints": _ONES.astype(int), "two ints": np.array([1, 2]), "two floats": np.array([1.0, 2]),
    "huge ints": np.full(3, 2**62), "negative ints": np.full(3, -5), "float16": _ONES.astype(np.float16),
    "float64": _ONES.astype(np.float64), "longdouble": _ONES.astype(np.longdouble), "matrix": _ONES.view(np.matrix),
    "masked": np.ma.masked_array(_ONES, True), "other byte order": _ONES.astype(">f4"),
    "read-only": np.broadcast_to(np.float32(1), (3, 5)), "tensor": Tensor(_ONES), "int tensor": Tensor(np.array([1, 2])),
    "a list of a tensor": [Tensor(_ONES)], "a list of arrays": [_ONES, _ONES],
}  # fmt: skip

ODD_VALUES = {**NUMBERS, **OBJECTS, **SEQUENCES, **ARRAYS}
