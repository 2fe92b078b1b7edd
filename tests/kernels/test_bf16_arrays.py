"""Arrays of bfloat16, as kernels have them: read as floats, written to the nearest, and taken by the kernels that say so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import LaunchError
from gpucnn.kernels import kernel as kernel_module
from gpucnn.kernels.kernel import BF16, NARROW, Kernel, Variant, source_text
from gpucnn.kernels.launch import launch
from gpucnn.testing import emulated_gpu
from gpucnn.testing.emulator import compiler
from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc, find_library
from tests.testing.emulator.rounding import as_bf16, bf16_bits

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


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


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


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
def test_nvidia_s_compiler_takes_the_type(keep: Kernel, architecture: str) -> None:
    if find_library() is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12, or run nox -s compile")
    [row] = Nvrtc().compile(source_text(keep.source, Variant(BF16, NARROW)), architecture)
    assert row.problems(keep.block) == []
