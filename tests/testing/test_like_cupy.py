"""The stand-in gives what CuPy gives: results, layouts and errors of snippets, as CuPy 14.2 answered them.

Every snippet is asked of the real CuPy, too, where there is one. Results alone that all GPUs share are here: no last bits.
"""

from typing import Any

import numpy as np
import pytest

from gpucnn.backend import choose_device
from tests.backends import Backend


@pytest.fixture
def cupy(gpu: Backend) -> Any:
    """The stand-in, or CuPy."""
    return choose_device("cuda").device.xp


def assigned(array: Any, index: Any, value: Any) -> Any:
    array[index] = value
    return array


def evaluated(snippet: str, xp: Any) -> Any:
    """What the snippet gives. `small` has numbers below the smallest normal one, `wild` what integers cannot hold."""
    f4 = np.float32
    names = {
        "np": np,
        "xp": xp,
        "f4": f4,
        "assigned": assigned,
        "tiny": np.finfo(f4).tiny,
        "wild": [-1.5, 300.7, 3e9, -3e9, 1e25, -np.inf, np.nan],
        "small": xp.asarray(np.array([1e-40, -1e-40, 2e-38, 1, 0], f4)),
        "cube": xp.asarray((np.arange(24).reshape(2, 3, 4) % 7).astype(f4)),
        "ints": xp.arange(3),
        "none": xp.zeros((0, 3), f4),
    }
    return eval(snippet, names)


def told(result: Any) -> str:
    if isinstance(result, tuple):
        return ", ".join(map(told, result))
    return f"{result.dtype} {result.tolist()}"


VALUES = {
    "small > 0": "bool [False, False, True, True, False]",
    "small == 0": "bool [True, True, False, False, True]",
    "small != 0": "bool [False, False, True, True, False]",
    "0 < small": "bool [False, False, True, True, False]",
    "small * 1": "float32 [0.0, -0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    "small + 0": "float32 [0.0, 0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    "small - small": "float32 [0.0, 0.0, 0.0, 0.0, 0.0]",
    "small + small": "float32 [0.0, -0.0, 4.0000000204422544e-38, 2.0, 0.0]",
    "small / small": "float32 [nan, nan, 1.0, 1.0, nan]",
    "1 / small": "float32 [inf, -inf, 4.999999840142846e+37, 1.0, inf]",
    "+small": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 2.0000000102211272e-38, 1.0, 0.0]",
    "xp.sqrt(small)": "float32 [0.0, -0.0, 1.4142135034348068e-19, 1.0, 0.0]",
    "xp.sign(small)": "float32 [0.0, 0.0, 1.0, 1.0, 0.0]",
    "xp.floor(small)": "float32 [0.0, -0.0, 0.0, 1.0, 0.0]",
    "xp.isnan(small / small)": "bool [True, True, False, False, True]",
    "xp.signbit(small)": "bool [False, True, False, False, False]",
    "xp.copysign(small, -1)": "float32 [-9.99994610111476e-41, -9.99994610111476e-41, -2.0000000102211272e-38, -1.0, -0.0]",
    "xp.logical_not(small)": "bool [True, True, False, False, True]",
    "xp.full(1, tiny) / 2": "float32 [0.0]",
    "xp.full(1, tiny) * 0.5": "float32 [0.0]",
    "xp.nextafter(xp.zeros(2, f4), xp.ones(2, f4))": "float32 [1.1754943508222875e-38, 1.1754943508222875e-38]",
    "xp.nextafter(xp.full(1, tiny), xp.zeros(1, f4))": "float32 [0.0]",
    "xp.ones(1, f4) * 1e-40": "float32 [0.0]",
    "xp.zeros(1, f4) < 1e-40": "bool [False]",
    "xp.zeros(1) < 1e-310": "bool [True]",
    "xp.ones(1) * 1e-310": "float64 [1e-310]",
    "xp.ones(1, f4) * np.float32(1e-40)": "float32 [0.0]",
    "small.copy()": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 2.0000000102211272e-38, 1.0, 0.0]",
    "small[::-1].copy()": "float32 [0.0, 1.0, 2.0000000102211272e-38, -9.99994610111476e-41, 9.99994610111476e-41]",
    "small[xp.asarray([1, 0])]": "float32 [-9.99994610111476e-41, 9.99994610111476e-41]",
    "small[small == 0]": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 0.0]",
    "xp.take(small, xp.asarray([1, 0]))": "float32 [-9.99994610111476e-41, 9.99994610111476e-41]",
    "xp.where(small == 0, small, 1)": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 1.0, 1.0, 0.0]",
    "xp.where(small, 1, 2)": "int64 [2, 2, 1, 1, 2]",
    "xp.where(small == 0, small, xp.ones(5))": "float64 [0.0, -0.0, 1.0, 1.0, 0.0]",
    "xp.concatenate([small[:2], small[:1]])": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 9.99994610111476e-41]",
    "xp.stack([small[:2], small[1::-1]])": "float32 [[9.99994610111476e-41, -9.99994610111476e-41], [-9.99994610111476e-41, 9.99994610111476e-41]]",
    "xp.clip(small, 0, 1)": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 2.0000000102211272e-38, 1.0, 0.0]",
    "xp.clip(small, None, 1e-40)": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 9.99994610111476e-41, 9.99994610111476e-41, 0.0]",
    "xp.sort(small)": "float32 [-9.99994610111476e-41, 0.0, 9.99994610111476e-41, 2.0000000102211272e-38, 1.0]",
    "xp.argsort(small)": "int64 [1, 4, 0, 2, 3]",
    "xp.nonzero(small)": "int64 [2, 3]",
    "xp.count_nonzero(small)": "int64 2",
    "small.astype(bool)": "bool [False, False, True, True, False]",
    'small.astype("float64")': "float64 [0.0, -0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    'xp.asarray([1e-40, -1e-45, 1e-310]).astype("float32")': "float32 [0.0, -0.0, 0.0]",
    "small[:1].sum()": "float32 9.99994610111476e-41",
    "small[:2].max()": "float32 9.99994610111476e-41",
    "xp.stack([small, small]).sum(axis=0)": "float32 [0.0, 0.0, 4.0000000204422544e-38, 2.0, 0.0]",
    "small[:1].mean()": "float32 0.0",
    "small[:1].any()": "bool False",
    "xp.full(2, 1e-40, f4)": "float32 [0.0, 0.0]",
    "xp.full(2, np.float32(1e-40))": "float32 [9.99994610111476e-41, 9.99994610111476e-41]",
    "xp.array_equal(small[:2], xp.zeros(2, f4))": "bool True",
    '(xp.asarray([1e-7, 6e-8], "float16") * 1).astype(f4)': "float32 [1.1920928955078125e-07, 5.960464477539063e-08]",
    "small * xp.ones(5)": "float64 [0.0, -0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    'xp.asarray(wild, f4).astype("int8")': "int8 [-1, 44, -1, 0, -1, 0, 0]",
    'xp.asarray(wild, f4).astype("int16")': "int16 [-1, 300, -1, 0, -1, 0, 0]",
    'xp.asarray(wild, f4).astype("int32")': "int32 [-1, 300, 2147483647, -2147483648, 2147483647, -2147483648, 0]",
    'xp.asarray(wild, f4).astype("int64")': "int64 [-1, 300, 3000000000, -3000000000, 9223372036854775807, -9223372036854775808, -9223372036854775808]",
    'xp.asarray(wild, f4).astype("uint8")': "uint8 [0, 44, 0, 0, 255, 0, 0]",
    'xp.asarray(wild, f4).astype("uint16")': "uint16 [0, 300, 24064, 0, 65535, 0, 0]",
    'xp.asarray(wild, f4).astype("uint32")': "uint32 [0, 300, 3000000000, 0, 4294967295, 0, 0]",
    'xp.asarray(wild, f4).astype("uint64")': "uint64 [0, 300, 3000000000, 0, 18446744073709551615, 0, 9223372036854775808]",
    'xp.asarray(wild[:-1]).astype("int32")': "int32 [-1, 300, 2147483647, -2147483648, 2147483647, -2147483648]",
    'xp.asarray(wild[:-1]).astype("uint8")': "uint8 [0, 44, 0, 0, 255, 0]",
    'xp.asarray(wild).astype("int64")': "int64 [-1, 300, 3000000000, -3000000000, 9223372036854775807, -9223372036854775808, -9223372036854775808]",
    'xp.asarray([70000, -70000, 300], "float16").astype("int32")': "int32 [2147483647, -2147483648, 300]",
    'xp.asarray([-1, 300, 70000]).astype("uint8")': "uint8 [255, 44, 112]",
    'xp.asarray([-1, 300, 70000]).astype("int16")': "int16 [-1, 300, 4464]",
    'xp.asarray(xp.asarray(wild, f4), "uint8")': "uint8 [0, 44, 0, 0, 255, 0, 0]",
    'xp.astype(xp.asarray(wild, f4), "int32")': "int32 [-1, 300, 2147483647, -2147483648, 2147483647, -2147483648, 0]",
    'assigned(xp.zeros(7, "uint8"), slice(None), xp.asarray(wild, f4))': "uint8 [0, 44, 0, 0, 255, 0, 0]",
    'assigned(xp.zeros(7, "int32"), xp.arange(7), xp.asarray(wild, f4))': "int32 [-1, 300, 2147483647, -2147483648, 2147483647, -2147483648, 0]",
    'xp.asarray([-1.5, 3e9], f4).sum(dtype="int32")': "int32 2147483646",
    'xp.multiply(xp.asarray([-1.5, 3e9], f4), 1, out=xp.zeros(2, "int32"), casting="unsafe")': "int32 [-1, 2147483647]",
    'xp.asarray([65504.0, 65520.0, 7e4]).astype("float16")': "float16 [65504.0, inf, inf]",
    "xp.asarray([3e38, 1e39, -1e39]).astype(f4)": "float32 [3.0000000054977558e+38, inf, -inf]",
    "xp.round(xp.asarray([2.55, 2.675, 0.35], f4), 1)": "float32 [2.5, 2.700000047683716, 0.30000001192092896]",
    "xp.round(xp.asarray([2.55, 2.675, 0.35]), 1)": "float64 [2.6, 2.7, 0.4]",
    'xp.round(xp.asarray([2.55, 2.675, 0.35], "float16"), 1)': "float16 [2.599609375, 2.69921875, 0.39990234375]",
    "xp.around(xp.asarray([1.005, 2.675, 1234.565], f4), 2)": "float32 [1.0, 2.6700000762939453, 1234.56005859375]",
    "xp.asarray([0.5, 1.5, 2.5, -0.5], f4).round()": "float32 [0.0, 2.0, 2.0, -0.0]",
    "xp.round(xp.asarray([25, 35, 149, -25], f4), -1)": "float32 [20.0, 40.0, 150.0, -20.0]",
    "xp.round(xp.asarray([25, 35, 149, -25]), -1)": "int64 [20, 40, 150, -20]",
    "xp.round(xp.asarray([1e30, 1e-30], f4), 20)": "float32 [1.0000000150474662e+30, 0.0]",
    'xp.asarray([5], "int8") + 100': "int8 [105]",
    'xp.asarray([100], "int8") + np.int8(100)': "int8 [-56]",
    'xp.asarray([5], "uint8") - np.int64(10)': "int64 [-5]",
    "xp.asarray([1], f4) * 2.0": "float32 [2.0]",
    "xp.asarray([1], f4) * np.float64(2)": "float64 [2.0]",
    "xp.asarray([1], f4) * np.float32(2)": "float32 [2.0]",
    'xp.asarray([1], "float16") + np.float32(1)': "float32 [2.0]",
    "xp.asarray([1], f4) + xp.asarray([1])": "float64 [2.0]",
    'xp.asarray([1], f4) + xp.asarray([1], "int16")': "float32 [2.0]",
    'xp.asarray([1], "uint64") + xp.asarray([1])': "float64 [2.0]",
    "xp.asarray([True]) + True": "bool [True]",
    "xp.asarray([True]) + 1": "int64 [2]",
    'xp.asarray([3], "int32") / 2': "float64 [1.5]",
    "xp.asarray([1]) // 0": "int64 [0]",
    "xp.asarray([1], f4) // 0": "float32 [inf]",
    'xp.exp(xp.asarray([0], "int8"))': "float16 [1.0]",
    "xp.asarray([True, True]).sum()": "int64 2",
    'xp.asarray([200, 100], "uint8").sum()': "uint64 300",
    'xp.asarray([1, 2], "int32").mean()': "float64 1.5",
    "xp.where(xp.asarray([True]), xp.asarray([1], f4), 0.0)": "float32 [1.0]",
    'xp.maximum(xp.asarray([1], "int32"), 2.5)': "float64 [2.5]",
    "xp.argsort(xp.asarray([1.0, 1, 0, 0, 1]))": "int64 [2, 3, 0, 1, 4]",
    "xp.log(small[:2])": "float32 [-inf, -inf]",
    "xp.multiply(xp.full(1, tiny), 0.5, out=xp.ones(1, f4))": "float32 [0.0]",
    "xp.multiply(small, 1, out=xp.empty_like(small))": "float32 [0.0, -0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    "xp.sum(xp.stack([small, small]), axis=0, out=xp.empty_like(small))": "float32 [0.0, 0.0, 4.0000000204422544e-38, 2.0, 0.0]",
    "xp.mean(small[:1], out=xp.empty((), f4))": "float32 0.0",
    "xp.nextafter(xp.zeros(1, f4), xp.ones(1, f4), out=xp.ones(1, f4))": "float32 [1.1754943508222875e-38]",
    "small.copy().__iadd__(0)": "float32 [0.0, 0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    "small.copy().__imul__(1)": "float32 [0.0, -0.0, 2.0000000102211272e-38, 1.0, 0.0]",
    "xp.modf(small)": "float32 [0.0, -0.0, 2.0000000102211272e-38, 0.0, 0.0], float32 [0.0, -0.0, 0.0, 1.0, 0.0]",
    "xp.divmod(small[2:4], 1)": "float32 [0.0, 1.0], float32 [2.0000000102211272e-38, 0.0]",
    "xp.diff(small)": "float32 [-0.0, 2.0000000102211272e-38, 1.0, -1.0]",
    "xp.isin(small, xp.zeros(1, f4))": "bool [True, True, False, False, True]",
    "xp.arange(0, 3e-40, 1e-40, dtype=f4)": "float32 [0.0, 0.0, 0.0, 0.0]",
    "xp.allclose(small[:2], 0, 0, 0)": "bool True",
    "xp.tril(small[:2])": "float32 [[9.99994610111476e-41, 0.0], [9.99994610111476e-41, -9.99994610111476e-41]]",
    "xp.nan_to_num(small)": "float32 [9.99994610111476e-41, -9.99994610111476e-41, 2.0000000102211272e-38, 1.0, 0.0]",
    "xp.repeat(small[:2], 2)": "float32 [9.99994610111476e-41, 9.99994610111476e-41, -9.99994610111476e-41, -9.99994610111476e-41]",
    "small[:2].argmax()": "int64 0",
    "xp.stack([small, small])[:, 1::-1].argmax(axis=1)": "int64 [0, 0]",
    "xp.round(small, 3)": "float32 [0.0, -0.0, 0.0, 1.0, 0.0]",
    "xp.square(xp.asarray([1e-20], f4))": "float32 [0.0]",
    "xp.exp(xp.asarray([-90], f4))": "float32 [0.0]",
    'xp.asarray([300, -1], "int32").astype("uint8")': "uint8 [44, 255]",
    'xp.asarray([1e-7], "float16").astype(bool)': "bool [True]",
    "xp.copy(small[:2])": "float32 [9.99994610111476e-41, -9.99994610111476e-41]",
    'xp.asarray(small[:2], "float64")': "float64 [0.0, -0.0]",
}  # fmt: skip
"""Dtype and values."""

LAYOUTS = {
    "xp.argsort(cube, axis=0)": (8, 64, 16),
    "xp.argsort(cube, axis=1)": (96, 8, 24),
    "xp.argsort(cube, axis=2)": (96, 32, 8),
    "cube.argsort(axis=-2)": (96, 8, 24),
    "xp.argpartition(cube, 1, axis=0)": (8, 64, 16),
    "xp.sort(cube, axis=0)": (48, 16, 4),
    "xp.nonzero(cube > 3)[0]": (24,),
    "(cube[0] > 3).nonzero()[1]": (16,),
    "xp.where(cube > 3)[2]": (24,),
    "xp.nonzero(cube[0, 0] > 1)[0]": (8,),
    "xp.argwhere(cube > 3)": (24, 8),
    "cube.T.sum(axis=0)": (4, 12),
    "cube.T.sum(axis=1)": (8, 4),
    "cube.T.sum(axis=0, keepdims=True)": (4, 4, 12),
    "cube.T.max(axis=0)": (4, 12),
    "cube.T.mean(axis=0)": (4, 12),
    "cube.T.var(axis=0)": (8, 4),
    "cube.T.astype(bool).sum(axis=0)": (16, 8),
    'cube.T.sum(axis=0, dtype="float64")': (16, 8),
    "cube.transpose(1, 0, 2).sum(axis=0)": (16, 4),
    "cube.cumsum(axis=0)": (48, 16, 4),
    "cube.cumsum(axis=1)": (48, 4, 12),
    "cube.cumsum(axis=2)": (48, 16, 4),
    "cube[0].cumprod(axis=0)": (16, 4),
    "xp.roll(cube.T, 1, axis=0)": (4, 16, 48),
    "xp.pad(cube.T, 1)": (4, 24, 120),
    "xp.nan_to_num(cube.transpose(2, 0, 1))": (4, 48, 16),
    "cube.T + 1": (24, 8, 4),
    'cube.T.astype("float64")': (8, 32, 96),
    "cube.T.copy()": (24, 8, 4),
    "xp.copy(cube.T)": (4, 16, 48),
    "xp.zeros_like(cube.transpose(2, 0, 1))": (4, 48, 16),
    "xp.concatenate([cube.T, cube.T])": (24, 8, 4),
    "cube[:, xp.asarray([0, 2])]": (32, 16, 4),
    "cube.T[xp.asarray([0, 2])]": (24, 8, 4),
    "xp.take(cube.T, xp.asarray([0, 1]), axis=2)": (24, 8, 4),
    "xp.where(cube.T > 1, cube.T, 0)": (24, 8, 4),
}  # fmt: skip
"""Strides, in bytes: our kernels take C-contiguous arrays alone."""

WORDS = {
    "cube[2]": ("IndexError", "Index 2 is out of bounds for axis 0 with size 2"),
    "cube[0, -4]": ("IndexError", "Index -4 is out of bounds for axis 1 with size 3"),
    "cube[..., 4]": ("IndexError", "Index 4 is out of bounds for axis 2 with size 4"),
    "assigned(cube, (0, 3), 1)": ("IndexError", "Index 3 is out of bounds for axis 1 with size 3"),
    "cube[xp.ones((3, 3), bool)]": ("IndexError", "boolean index did not match indexed array along dimension 0; dimension is 2 but corresponding boolean dimension is 3"),
    "none.max()": ("ValueError", "zero-size array to reduction operation CUPY_CUB_MAX which has no identity"),
    "none.min()": ("ValueError", "zero-size array to reduction operation CUPY_CUB_MIN which has no identity"),
    "none.argmax()": ("ValueError", "zero-size array to reduction operation CUPY_CUB_ARGMAX which has no identity"),
    "none.argmin()": ("ValueError", "zero-size array to reduction operation CUPY_CUB_ARGMIN which has no identity"),
    "none.max(axis=0)": ("ValueError", "zero-size array to reduction operation cupy_max which has no identity"),
    "none.argmin(axis=0)": ("ValueError", "zero-size array to reduction operation cupy_argmin which has no identity"),
    "none.astype(bool).max()": ("ValueError", "zero-size array to reduction operation cupy_max which has no identity"),
    "none[:, ::2].max()": ("ValueError", "zero-size array to reduction operation CUPY_CUB_MAX which has no identity"),
    "ints.__iadd__(0.5)": ("TypeError", "Cannot cast output operand from dtype('float64') to dtype('int64') according to the rule 'same_kind'"),
    "ints.__itruediv__(2)": ("TypeError", "Cannot cast output operand from dtype('float64') to dtype('int64') according to the rule 'same_kind'"),
    "ints.__iadd__(xp.ones(3, f4))": ("TypeError", "Cannot cast output operand from dtype('float64') to dtype('int64') according to the rule 'same_kind'"),
    "xp.add(ints, 0.5, out=ints)": ("TypeError", "Cannot cast output operand from dtype('float64') to dtype('int64') according to the rule 'same_kind'"),
    "xp.add(cube, 1, out=xp.zeros((2, 3, 4), bool))": ("TypeError", "Cannot cast output operand from dtype('float32') to dtype('bool') according to the rule 'same_kind'"),
    "(ints > 0).__iadd__(1)": ("TypeError", "Cannot cast output operand from dtype('int64') to dtype('bool') according to the rule 'same_kind'"),
    "xp.copyto(ints, xp.ones(3, f4))": ("TypeError", "Cannot cast float32 to int64 in same_kind casting mode"),
    "cube + xp.ones((3, 3), f4)": ("ValueError", "operands could not be broadcast together with shapes (2, 3, 4) (3, 3)"),
    "cube.__iadd__(xp.ones((5, 2, 3, 4), f4))": ("ValueError", "Out shape is mismatched"),
    "xp.where(cube > 1, cube, xp.ones((3, 3), f4))": ("ValueError", "operands could not be broadcast together with shapes (2, 3, 4) (2, 3, 4) (3, 3)"),
    "assigned(cube, 0, xp.ones((2, 4), f4))": ("ValueError", "operands could not be broadcast together with shapes (2, 4) (3, 4)"),
    "cube.reshape(5, 5)": ("ValueError", "cannot reshape array of size 24 into shape (5, 5)"),
    "xp.broadcast_to(cube, (2, 3, 5))": ("ValueError", "operands could not be broadcast together with shape (2, 3, 4) and requested shape (2, 3, 5)"),
    "xp.concatenate([cube, cube[:, :2]])": ("ValueError", "All arrays must have same shape except the axis to concatenate"),
    "xp.stack([cube, cube[:1]])": ("ValueError", "All arrays must have same shape except the axis to concatenate"),
    "xp.concatenate([cube, cube[0]])": ("ValueError", "All arrays to concatenate must have the same ndim"),
    "xp.split(cube, 5, axis=2)": ("ValueError", "indices_or_sections must divide the size along the axes.\nIf you want to split the array into non-equally-sized arrays, use array_split instead."),
    "xp.zeros((2, -1))": ("ValueError", "Negative dimensions are not allowed"),
    "-(ints > 0)": ("TypeError", "The cupy boolean negative, the `-` operator, is not supported, use the `~` operator or the logical_not function instead."),
    "(ints > 0) - (ints > 0)": ("TypeError", "cupy boolean subtract, the `-` operator, is deprecated, use the bitwise_xor, the `^` operator, or the logical_xor function instead."),
    "~cube": ("TypeError", "Wrong type ((dtype('float32'),)) of arguments for cupy_invert"),
    "cube & 1": ("TypeError", "Wrong type ((dtype('float32'), dtype('int64'))) of arguments for cupy_bitwise_and"),
    'cube.astype("float64", casting="safe")': ("TypeError", "casting is not supported yet"),
    "cube.astype(object)": ("ValueError", "Unsupported dtype object"),
    "xp.nonzero(cube.sum())": ("ValueError", "Calling nonzero on 0d arrays is not allowed. Use cp.atleast_1d(scalar).nonzero() instead."),
    "cube.sum(axis=3)": ("AxisError", "axis 3 is out of bounds for array of dimension 3"),
    "cube.transpose(0, 1)": ("ValueError", "axes don't match array"),
    "ints << ints.astype(f4)": ("TypeError", "Wrong type ((dtype('int64'), dtype('float32'))) of arguments for cupy_left_shift"),
}  # fmt: skip
"""Class and words."""


@pytest.mark.parametrize("snippet", VALUES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_result_is_cupys(cupy: Any, snippet: str) -> None:
    assert told(evaluated(snippet, cupy)) == VALUES[snippet]


@pytest.mark.parametrize("snippet", LAYOUTS)
def test_a_layout_is_cupys(cupy: Any, snippet: str) -> None:
    assert evaluated(snippet, cupy).strides == LAYOUTS[snippet]


@pytest.mark.parametrize("snippet", WORDS)
def test_an_error_is_cupys(cupy: Any, snippet: str) -> None:
    kind, words = WORDS[snippet]
    with pytest.raises(Exception) as raised:  # noqa: PT011
        evaluated(snippet, cupy)
    assert (type(raised.value).__name__, str(raised.value)) == (kind, words)


@pytest.fixture
def stand_in(gpu: Backend, cupy: Any) -> Any:
    """The stand-in alone."""
    if gpu.name != "emulated":
        pytest.skip("of the stand-in alone")
    return cupy


@pytest.mark.parametrize(
    "snippet",
    [
        "abs(small)",  # abs.ftz.f32
        "abs(-small)",  # neg.ftz.f32
        "xp.maximum(abs(small), 0)",  # max.ftz.f32
        "-xp.minimum(-small, small)",  # min.ftz.f32
        "xp.stack([small, small, small, small]).max(axis=0) * xp.asarray([1, -1, 1, 1, 1], f4)",
        "xp.hypot(small, 0)",
    ],
)
def test_instructions_that_take_small_numbers_for_zeros(stand_in: Any, snippet: str) -> None:
    """By the kernels that CuPy compiles; what a CPU that plays a GPU may keep."""
    assert np.array_equal(evaluated(snippet, stand_in).get(), np.array([0, 0, 2e-38, 1, 0], np.float32))


def test_not_a_number_of_float64_is_the_smallest_integer(stand_in: Any) -> None:
    """cvt.rzi.s32.f64 and .u32.f64, by NVIDIA's PTX manual; of float32 it is 0."""
    unknown = stand_in.asarray([np.nan])
    assert [unknown.astype(dtype).item() for dtype in ("int32", "uint32", "int16")] == [-(2**31), 2**31, 0]


@pytest.mark.parametrize(
    ("snippet", "error"),
    [
        ("cube[[7]]", IndexError),
        ("cube[xp.asarray([-3])]", IndexError),
        ("assigned(cube, xp.asarray([2]), 1)", IndexError),
        ("xp.take(cube, xp.asarray([24]))", IndexError),
        ("xp.take_along_axis(cube, xp.asarray([[[3]]]), 1)", IndexError),
        ("cube[1.0]", IndexError),
        ("cube[np.array([0])]", TypeError),
        ("cube == None", TypeError),
        ("xp.asarray([cube[0, 0, 0]])", TypeError),
        ("ints ** -1", ValueError),
        ("xp.full(2, np.nan, 'int32')", ValueError),
        ("assigned(cube, slice(None), np.array(3.0))", TypeError),
        ("setattr(cube, 'shape', (24,))", AttributeError),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_it_is_stricter(cupy: Any, gpu: Backend, snippet: str, error: type[Exception]) -> None:
    """The list in the docstring of `cupy_stand_in`: CuPy takes all of it."""
    if gpu.name == "emulated":
        with pytest.raises(error):
            evaluated(snippet, cupy)
    else:
        evaluated(snippet, cupy)
