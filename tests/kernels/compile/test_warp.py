"""The functions of warp.cuh are what NVIDIA's compiler takes them for, on every architecture that has them."""

import os
from pathlib import Path

import numpy as np
import pytest

from gpucnn.errors import KernelError
from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.emulator import Emulator
from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc
from gpucnn.testing.sass import disassemble
from tests.kernels.compile.ptx import Block, ptx_of

FOLDER = Path(__file__).parents[2] / "testing" / "emulator" / "kernels"
THREADS = {"warp.cu": 64, "matmul_bf16.cu": 64, "matmul_tf32.cu": 32}
WITH_TENSOR_CORES = [name for name in ARCHITECTURES if name != "sm_75"]
CHOSEN = WITH_TENSOR_CORES if os.environ.get("GPUCNN_REQUIRE_NVRTC") == "all" else WITH_TENSOR_CORES[:1]
"""Of the architectures; `nox -s compile` tries all."""


def source(file: str) -> str:
    return with_includes((FOLDER / file).read_text(), FOLDER / file)


@pytest.mark.parametrize("architecture", CHOSEN)
@pytest.mark.parametrize("file", THREADS)
def test_they_compile_and_fit(nvrtc: Nvrtc, file: str, architecture: str) -> None:
    resources = nvrtc.compile(source(file), architecture)
    assert [problem for row in resources for problem in row.problems(THREADS[file])] == []
    assert len(resources) == source(file).count("__global__")


@pytest.mark.parametrize("architecture", CHOSEN)
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "matmul_bf16.cu",
            {"HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDSM.16.MT88.2", "LDGSTS.E.BYPASS.128", "LDGDEPBAR"},
        ),
        ("matmul_tf32.cu", {"HMMA.1688.F32.TF32", "LDSM.16.M88.4", "LDGSTS.E", "LDGDEPBAR", "DEPBAR.LE"}),
    ],
)
def test_they_are_single_instructions(
    nvrtc: Nvrtc, disassembler: None, file: str, expected: set[str], architecture: str
) -> None:
    (instructions,) = disassemble(nvrtc.machine_code(source(file), architecture)).values()
    found = {instruction.word for instruction in instructions}
    assert {name for name in expected if not any(word.startswith(name) for word in found)} == set()


def test_a_kernel_that_uses_none_of_them_may_include_them_on_older_cards(nvrtc: Nvrtc) -> None:
    header = source("warp.cu").partition('extern "C"')[0]
    plain = 'extern "C" __global__ void plain(float* x) { x[threadIdx.x] = 1; }'
    (row,) = nvrtc.compile(header + plain, "sm_75")
    assert row.kernel == "plain"
    with pytest.raises(KernelError, match="sm_80 or higher"):
        nvrtc.compile(source("matmul_bf16.cu"), "sm_75")


FLOATS = np.array([1.5, -3.1415927, 1e-40, 3.4e38, np.inf, -0.0, np.nan, 1 + 2**-8, 1 + 2**-11, 0.1], np.float32)


def drawn(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 2**15, shape).astype(dtype)


def small(*shape: int, dtype: str) -> np.ndarray:
    """Numbers between 0 and 1: float32, or the upper halves of such."""
    return np.random.default_rng(len(shape)).random(shape, np.float32).view(np.uint32) >> (16 if dtype == "<u2" else 0)


def registers(count: int, dtype: str) -> np.ndarray:
    """Of 32 lanes, with one TF32 in each, or two bf16."""
    per_register = 4 // np.dtype(dtype).itemsize
    return small(32, count * per_register, dtype=dtype).astype(dtype).view("<u4")


SUMS = np.arange(128, dtype=np.float32)
LAUNCHES: dict[str, tuple[int, tuple[np.ndarray | np.integer, ...]]] = {
    "convert": (
        32,
        (np.resize(FLOATS, 32), *(np.zeros(32, dtype) for dtype in (np.uint32, np.uint16, np.uint32)), np.int32(32)),
    ),
    "multiply_tf32": (32, (registers(4, "<u4"), registers(2, "<u4"), SUMS)),
    "multiply_bf16": (32, (registers(4, "<u2"), registers(2, "<u2"), SUMS)),
    "load": (32, (drawn(32, 8), np.arange(32)[::-1].astype(np.int32), np.zeros((32, 14), np.uint32))),
    "copy": (17, (drawn(17, 16, dtype=np.uint8), np.zeros((17, 28), np.uint8))),
    "groups": (32, (np.array([3, 5, 7], np.float32), np.zeros((32, 3), np.float32))),
}


@pytest.mark.parametrize("kernel", LAUNCHES)
def test_the_ptx_does_what_the_twins_do(nvrtc: Nvrtc, kernel: str) -> None:
    threads, arguments = LAUNCHES[kernel]
    by_ptx, by_twins = ([argument.copy() for argument in arguments] for _ in range(2))
    Block(ptx_of(nvrtc, source("warp.cu")), kernel, threads, by_ptx)
    Emulator("check").module(source("warp.cu")).function(kernel)((1,), (threads,), tuple(by_twins))
    changed = [
        not np.array_equal(before, after, equal_nan=True) for before, after in zip(arguments, by_ptx, strict=True)
    ]
    assert any(changed)
    for found, expected in zip(by_ptx, by_twins, strict=True):
        np.testing.assert_array_equal(found, expected)
