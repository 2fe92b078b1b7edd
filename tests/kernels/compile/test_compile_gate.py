"""Every kernel compiles with NVIDIA's compiler, for every architecture, and takes no more than a block has."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn.errors import DeviceError, KernelError
from gpucnn.kernels.convolution import implicit, tensor_cores
from gpucnn.kernels.kernel import BF16, KERNELS, NARROW, WIDE, IndexType, Kernel, Variant, source_text
from gpucnn.testing import nvrtc as nvrtc_module
from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc, Resources
from tests.kernels.compile.windows import (
    CONVOLUTIONS,
    DEPTHWISE,
    FEW_CHANNELS,
    POOLED,
    WINDOWS,
    convolution_constants,
    plane_constants,
    pooled_constants,
    window_constants,
)

SOURCES = sorted(Path(gpucnn.__file__).parent.rglob("kernels/**/*.cu"))
LARGE_ARRAY = """
extern "C" __global__ void __launch_bounds__(1024) hoards(float* x, int n) {
    float kept[160];
    for (int i = 0; i < 160; ++i) kept[i] = x[i * n];
    __syncthreads();
    for (int round = 0; round < n; ++round)
        #pragma unroll
        for (int i = 0; i < 160; ++i) kept[i] = kept[i] * kept[(i * 7 + 3) % 160] + x[round];
    for (int i = 0; i < 160; ++i) x[i * n] = kept[i];
}
"""
MANY_REGISTERS = """
extern "C" __global__ void juggles(float* x, int n) {
    float kept[80];
    #pragma unroll
    for (int i = 0; i < 80; ++i) kept[i] = x[i * n + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 80; ++i) x[i * n + threadIdx.x] = kept[i] * kept[(i * 7 + 3) % 80];
}
"""
LARGE_TILE = """
extern "C" __global__ void tiles(float* x) {
    __shared__ float tile[13000];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = tile[(threadIdx.x * 977) % 13000];
}
"""


def test_every_kernel_in_a_cu_file_has_a_spec_and_the_other_way_round() -> None:
    found = {
        (path.name, name)
        for path in SOURCES
        for name in re.findall(
            r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(', path.read_text()
        )
    }
    package = Path(gpucnn.__file__).parent
    assert found == {
        (kernel.source.name, kernel.name) for kernel in KERNELS.values() if package in kernel.source.parents
    }
    assert sum(path.read_text().count("__global__") for path in SOURCES) == len(found)


@pytest.mark.parametrize(
    "kernel", [kernel for kernel in KERNELS.values() if kernel.source in SOURCES], ids=lambda kernel: kernel.name
)
def test_signature_and_source_agree(kernel: Kernel) -> None:
    # In types, names and order: two ints that have changed places would pass every check of a launch.
    declared = re.search(rf"\b{kernel.name}\(([^)]*)\)\s*{{", kernel.source.read_text())
    assert declared is not None
    assert " ".join(declared[1].split()) == ", ".join(map(str, kernel.arguments))


def shapes(path: Path, tf32: bool = False, is_bf16: bool = False) -> list[tuple[tuple[str, int], ...]]:
    """Constants for a source: none, or those of shapes that are often, and a window that is no square; `tf32` where it may be."""
    names = {
        parameter.name
        for kernel in KERNELS.values()
        if kernel.source == path
        for parameter in kernel.parameters
        if parameter.constant
    }
    if not names:
        found: list[tuple[tuple[str, int], ...]] = [()]
    elif path.name in ("implicit.cu", "tensor_cores.cu"):
        plan_of = implicit.plan_of if path.name == "implicit.cu" else partial(tensor_cores.plan_of, is_bf16=is_bf16)
        found = [convolution_constants(shape, number % 2 > 0, plan_of) for number, shape in enumerate(CONVOLUTIONS)]
    elif path.name == "pooled.cu":
        found = [
            pooled_constants(shape, number % 2, int(tf32) * (number // 2 % 2)) for number, shape in enumerate(POOLED)
        ]
    elif path.name == "linear.cu":
        found = [(("side", side), ("tf32", rounds)) for side in (16, 32) for rounds in range(1 + tf32)]
    elif path.name in ("depthwise.cu", "few_channels.cu"):
        listed = DEPTHWISE if path.name == "depthwise.cu" else FEW_CHANNELS
        found = [
            plane_constants(shape, number % 2 > 0, tf32 and number % 2 == 0) for number, shape in enumerate(listed)
        ]
    else:
        found = [window_constants(*shape) for shape in WINDOWS]
    assert names == {name for constants in found for name, _ in constants}
    return found


def dtypes(path: Path) -> tuple[np.dtype, ...]:
    """What arrays of a source's kernels may hold."""
    (found,) = {kernel.dtypes for kernel in KERNELS.values() if kernel.source == path}
    return found


EVERY_ROW = [
    pytest.param(path, dtype, index, architecture, id=f"{path.name}-{dtype}-{bits}-bit-{architecture}")
    for path in SOURCES
    for dtype in dtypes(path)
    for index, bits in ((NARROW, 32), (WIDE, 64))
    for architecture in ARCHITECTURES
    if path.name != "tensor_cores.cu" or architecture != "sm_75"  # which has none
]
WANTED = os.environ.get("GPUCNN_REQUIRE_NVRTC", "")
USUAL = np.dtype(np.float32), NARROW
"""Floats and indices of nearly all steps."""


def chosen_rows() -> list[Any]:
    """All rows if they are wanted; else one of each source, by turns; and if NVRTC must be there, the usual of all architectures."""
    if WANTED == "all":
        return EVERY_ROW
    rows_of = [[row for row in EVERY_ROW if row.values[0] == path] for path in SOURCES]
    return [
        row
        for number, rows in enumerate(rows_of)
        for place, row in enumerate(rows)
        if place == 9 * number % len(rows) or (WANTED and row.values[1:3] == USUAL)
    ]


ROWS = chosen_rows()
"""`nox -s compile` tries all of all."""


def test_of_each_source_something_is_compiled() -> None:
    chosen = [set(column) for column in zip(*(row.values for row in ROWS), strict=True)]
    assert chosen == [set(SOURCES), set().union(*map(dtypes, SOURCES)), {NARROW, WIDE}, set(ARCHITECTURES)]


@pytest.mark.sample(8)
@pytest.mark.parametrize(("path", "dtype", "index", "architecture"), ROWS)
def test_it_compiles_and_fits(
    nvrtc: Nvrtc,
    table: dict[tuple[str, str], list[Resources]],
    path: Path,
    dtype: np.dtype,
    index: IndexType,
    architecture: str,
) -> None:
    kernels = {kernel.name: kernel for kernel in KERNELS.values() if kernel.source == path}
    # Every shape, or every fourth, in turns.
    turn = ARCHITECTURES.index(architecture) % 4
    every = shapes(path, tf32=dtype == np.float32 and architecture != "sm_75", is_bf16=dtype == BF16)
    some = every[turn::4] or every[:1]
    for constants in every if WANTED == "all" and (dtype, index) == USUAL else some:
        resources = nvrtc.compile(source_text(path, Variant(dtype, index, constants)), architecture)
        assert {row.kernel for row in resources} == set(kernels)
        for row in resources:
            assert row.architecture == architecture
            assert row.problems(kernels[row.kernel].block) == []
            table.setdefault((row.kernel, str(dtype)), []).append(row)


def test_a_kernel_that_spills_is_caught(nvrtc: Nvrtc) -> None:
    (row,) = nvrtc.compile(LARGE_ARRAY, "sm_80")
    assert row.spilled_bytes > 0
    assert f"hoards on sm_80 spills {row.spilled_bytes} bytes; use fewer values at a time" in row.problems(1024)


def test_a_tile_that_is_too_large_is_caught(nvrtc: Nvrtc) -> None:
    with pytest.raises(KernelError) as raised:
        nvrtc.compile(LARGE_TILE, "sm_80")
    assert f"NVRTC {nvrtc.version} does not compile this for sm_80: ptxas error" in str(raised.value)
    assert "Entry function 'tiles' uses too much shared data (0xcb20 bytes, 0xc000 max)" in str(raised.value)


def test_a_block_with_too_many_registers_is_caught(nvrtc: Nvrtc) -> None:
    (row,) = nvrtc.compile(MANY_REGISTERS, "sm_80")
    assert row.spilled_bytes == 0
    assert row.problems(256) == []
    (problem,) = row.problems(1024)
    assert problem.startswith(f"juggles on sm_80 takes {row.registers} registers x 1024 threads (")


def test_no_library_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc_module, "find_library", lambda: None)
    with pytest.raises(DeviceError, match="NVRTC is not installed; fix: pip install nvidia-cuda-nvrtc-cu12"):
        Nvrtc()


def test_a_broken_library_tells_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libnvrtc.so.12"
    broken.write_bytes(b"junk")
    monkeypatch.setattr(nvrtc_module, "find_library", lambda: broken)
    with pytest.raises(DeviceError, match=r"NVRTC cannot be loaded \(.*libnvrtc.so.12.*; fix: pip install --force-re"):
        Nvrtc()


def test_problems_in_words() -> None:
    fits = Resources("k", "sm_90", 64, 0, 48 << 10)
    assert fits.problems(1024) == []
    # 65 x 1000 is less than a block has, but 72 registers go to each thread of 32 warps.
    (problem,) = fits._replace(registers=65).problems(1000)
    assert problem == (
        "k on sm_90 takes 65 registers x 1000 threads (72 x 1024 as they are given out), a block has 65536; "
        "use a smaller block"
    )
    assert fits._replace(static_shared_bytes=49153).problems(1) == [
        "k on sm_90 takes 49153 bytes of shared memory, a block has 49152; use a smaller tile"
    ]


@pytest.mark.parametrize(
    ("line", "words"), [("x[0] = INFINITY;", '"INFINITY" is undefined'), ("x[0] = 1", 'expected a ";"')]
)
def test_what_does_not_compile_is_told_in_the_compiler_s_words(nvrtc: Nvrtc, line: str, words: str) -> None:
    source = f'#line 1 "wrong.cu"\nextern "C" __global__ void wrong(float* x)\n{{\n    {line}\n}}\n'
    with pytest.raises(KernelError) as raised:
        nvrtc.compile(source, "sm_80")
    assert words in str(raised.value)
    assert re.search(r"wrong\.cu\([345]\)", str(raised.value))
