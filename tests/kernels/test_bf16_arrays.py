"""Arrays of bfloat16, as kernels have them: read as floats, written to the nearest, and taken by the kernels that say so."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import LaunchError
from gpucnn.kernels import kernel as kernel_module
from gpucnn.kernels.elementwise import add_bf16
from gpucnn.kernels.kernel import BF16, KERNELS, NARROW, Kernel, Variant, source_text
from gpucnn.kernels.launch import cupy_runner, launch, use_runner
from gpucnn.kernels.rounding import narrowed
from gpucnn.kernels.rounding import widened as widened_there
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler
from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc, find_library
from tests.backends import Backend, host
from tests.kernels.contracts import CONTRACTS
from tests.testing.emulator.rounding import as_bf16, bf16_bits
from tests.testing.emulator.rounding import bits as bits_of

SOURCE = """// y = values, or else x, and 2 x + scale
extern "C" __global__ void keep(const T* x, T* y, A* sums, const A* values, A scale, I size)
{
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
        y[i] = values ? values[i] : (A)x[i];
        sums[i] = x[i] + x[i] + scale;
    }
}
"""
SIGNATURE = "const T* x, T* y, A* sums, const A* values = null, A scale, I size"
BITS = np.arange(1 << 16, dtype=np.uint16)


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    monkeypatch.setattr(kernel_module, "KERNELS", kernel_module.KERNELS.copy())
    path = tmp_path / "keep.cu"
    path.write_text(SOURCE)
    return Kernel(path, "keep", SIGNATURE, bf16=True)


@pytest.fixture
def gpu() -> Iterator[Any]:
    if compiler() is None:
        pytest.skip("the emulator needs g++ (Debian: apt-get install g++)")
    with emulated_gpu() as gpu:
        yield gpu


def nearest(values: np.ndarray) -> np.ndarray:
    """float32 in two bytes."""
    kept = np.where(np.isfinite(values), values, 0)
    return np.where(values == kept, bf16_bits(as_bf16(kept)), bits_of(values) >> 16 | np.isnan(values) << 6).astype(
        np.uint16
    )


def widened(held: np.ndarray) -> np.ndarray:
    return (held.astype(np.uint32) << 16).view(np.float32)


def test_all_that_bfloat16_has_is_read_and_written_as_it_is(gpu: Any, keep: Kernel) -> None:
    x, y, sums = gpu.asarray(BITS), gpu.empty(BITS.size, BF16), gpu.empty(BITS.size, np.float32)
    launch(keep, BITS.size, x, y, sums, None, np.float32(0), BITS.size)
    numbers, found = widened(BITS), y.get()
    is_nan = np.isnan(numbers)
    np.testing.assert_array_equal(found[~is_nan], BITS[~is_nan])
    assert np.isnan(widened(found[is_nan])).all()
    with np.errstate(
        over="ignore"
    ):  # subnormal numbers, which processors may take for 0 in sums, are no more than that
        np.testing.assert_allclose(sums.get()[~is_nan], 2 * numbers[~is_nan], rtol=0, atol=2 * np.finfo("f4").tiny)


def test_what_is_written_is_rounded_to_the_nearest_and_to_even(gpu: Any, keep: Kernel) -> None:
    rng = np.random.default_rng(3)
    ties = (rng.integers(0, 0x7F7F, 5000).astype(np.uint32) << 16) + 0x8000
    drawn = rng.integers(0, 0x7F80_0000, 20_000).astype(np.uint32)
    bits = np.concatenate(
        [ties, ties - 1, ties + 1, drawn, [0, 1, 0x8000, 0x8001, 0x7F7F_8000, 0x7F7F_7FFF, 0x7F80_0000]]
    )
    values = np.concatenate([bits, bits | 0x8000_0000]).astype(np.uint32).view(np.float32)
    nan = np.array([0x7F80_0001, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF], np.uint32).view(np.float32)
    values = np.concatenate([values, nan])
    ones = gpu.asarray(np.full(values.size, 0x3F80, np.uint16))
    y, sums = gpu.empty(values.size, BF16), gpu.empty(values.size, np.float32)
    launch(keep, values.size, ones, y, sums, gpu.asarray(values), np.float32(0), values.size)
    found = y.get()
    assert np.isnan(widened(found[-4:])).all()
    finite = np.isfinite(values)
    np.testing.assert_array_equal(found[finite], bf16_bits(as_bf16(values[finite])))
    infinite = np.isinf(values)
    np.testing.assert_array_equal(widened(found[infinite]), values[infinite])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_kernel_in_floats(gpu: Any, keep: Kernel, dtype: str) -> None:
    x = np.arange(5.0).astype(dtype)
    y, sums = gpu.empty(5, dtype), gpu.empty(5, dtype)
    launch(keep, 5, gpu.asarray(x), y, sums, gpu.asarray(x + 1), np.dtype(dtype).type(1), 5)
    np.testing.assert_array_equal(y.get(), x + 1)
    np.testing.assert_array_equal(sums.get(), 2 * x + 1)


def test_what_does_not_fit_is_refused(gpu: Any, keep: Kernel) -> None:
    stored, floats, doubles = (gpu.zeros(4, dtype) for dtype in (BF16, "float32", "float64"))
    one = np.float32(1)

    def refusal(kernel: Kernel, *arguments: Any) -> str:
        with pytest.raises(LaunchError) as raised:
            launch(kernel, 4, *arguments)
        return str(raised.value).partition(": ")[2]

    convert = "convert it with astype"
    assert refusal(keep, stored, floats, floats, None, one, 4) == (
        f"y must be an array of uint16, as x is, got float32; {convert}"
    )
    assert refusal(keep, stored, stored, stored, None, one, 4) == (
        f"sums must be an array of float32, with which x, of bfloat16, is computed, got uint16; {convert}"
    )
    assert refusal(keep, floats, floats, doubles, None, one, 4) == (
        f"sums must be an array of float32, as x is, got float64; {convert}"
    )
    assert refusal(keep, gpu.zeros(4, "int32"), stored, floats, None, one, 4) == (
        f"x must be an array of float32 or float64 or uint16 (bfloat16), got int32; {convert}"
    )
    assert refusal(keep, stored, stored, floats, None, np.float64(1), 4).startswith(
        "scale must be a numpy.float32, got a numpy.float64; "
    )
    of_floats = Kernel(keep.source, "keep", SIGNATURE)
    assert refusal(of_floats, stored, stored, floats, None, one, 4) == (
        f"x must be an array of float32 or float64, got uint16; {convert}"
    )
    of_numbers = Kernel(keep.source, "keep", SIGNATURE.replace("A scale", "T scale"), bf16=True)
    assert refusal(of_numbers, stored, stored, floats, None, one, 4) == (
        '"T scale" is a number, which no bfloat16 holds; declare it as A'
    )


class BothTypes:
    """A runner that runs each kernel on rounded copies of its arrays, in bfloat16 and in float32, compares them, and then runs it.

    Both compute in float32, with the same numbers: what one writes to arrays of `T` is the other's, rounded, and else the same.
    """

    def __init__(self) -> None:
        self.runs = Counter[str]()

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        if kernel.bf16:
            if self.runs[kernel.name] % 3 == 0:  # of many some
                self.compare(kernel, variant, blocks, arguments)
            self.runs[kernel.name] += 1
        cupy_runner.run(kernel, variant, blocks, arguments)

    @staticmethod
    def compare(kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        types = [(parameter.type if parameter.pointer else "") for parameter in kernel.arguments]
        wide: dict[int, Any] = {}  # one array may be two arguments
        narrow: dict[int, Any] = {}
        for kind, array in zip(types, arguments, strict=True):
            if not kind or array is None:
                continue
            if kind != "T":
                wide[id(array)], narrow[id(array)] = array.copy(), array.copy()
                continue
            values = nearest(host(array))
            wide[id(array)], narrow[id(array)] = (Backend("emulated").array(one) for one in (widened(values), values))
        for copies, dtype in ((wide, np.dtype(np.float32)), (narrow, BF16)):
            given = tuple(copies.get(id(one), one) for one in arguments)
            cupy_runner.run(kernel, variant._replace(dtype=dtype), blocks, given)
        for parameter, array in zip(kernel.arguments, arguments, strict=True):
            if id(array) in wide and not parameter.const:
                found, expected = host(narrow[id(array)]), host(wide[id(array)])
                if parameter.type == "T":
                    is_nan = np.isnan(expected)
                    assert (np.isnan(widened(found)) == is_nan).all(), f"{kernel.name}: {parameter.name}"
                    found, expected = found[~is_nan], nearest(expected[~is_nan])
                assert found.tobytes() == expected.tobytes(), f"{kernel.name}: {parameter.name}"


WITH_BF16 = sorted(
    {kernel.source.name for kernel in KERNELS.values() if kernel.bf16} & set(CONTRACTS) - {"tensor_cores.cu"}
)
"""Tensor cores multiply floats in TF32, and so by other steps."""


@pytest.mark.parametrize("file_name", WITH_BF16)
def test_kernels_give_in_bfloat16_what_they_give_in_float32(file_name: str) -> None:
    backend, runner = Backend("emulated"), BothTypes()
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), use_runner(runner):
        CONTRACTS[file_name](backend, np.float32)
    own = {kernel.name for kernel in KERNELS.values() if kernel.source.name == file_name}
    assert own <= set(runner.runs)


def test_there_and_back(gpu: Any) -> None:
    values = gpu.asarray(widened(BITS[: 1 << 14]).reshape(128, 128))
    held = narrowed(values.T)
    assert (held.dtype, held.shape) == (BF16, (128, 128))
    np.testing.assert_array_equal(held.get(), BITS[: 1 << 14].reshape(128, 128).T)
    np.testing.assert_array_equal(widened_there(held).get(), values.get().T)
    np.testing.assert_array_equal(widened_there(held[:, ::3]).get(), values.get().T[:, ::3])


@pytest.mark.parametrize("relu", [False, True])
def test_sums(gpu: Any, relu: bool) -> None:
    rng = np.random.default_rng(2)
    a, b = (as_bf16(rng.standard_normal((5, 700))).astype(np.float32) for _ in range(2))
    found = add_bf16(narrowed(gpu.asarray(a)), narrowed(gpu.asarray(b)), relu)
    expected = as_bf16((a.astype(float) + b).astype(np.float32))
    np.testing.assert_array_equal(widened(found.get()), np.maximum(expected, 0) if relu else expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
def test_nvidia_s_compiler_takes_the_type(keep: Kernel, architecture: str) -> None:
    if find_library() is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12, or run nox -s compile")
    [row] = Nvrtc().compile(source_text(keep.source, Variant(BF16, NARROW)), architecture)
    assert row.problems(keep.block) == []
