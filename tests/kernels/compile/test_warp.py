"""The functions of warp.cuh are what NVIDIA's compiler takes them for, on every architecture that has them."""

import os
from pathlib import Path

import pytest

from gpucnn.errors import KernelError
from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.nvrtc import ARCHITECTURES, Nvrtc
from gpucnn.testing.sass import disassemble

FOLDER = Path(__file__).parents[2] / "testing" / "emulator" / "kernels"
THREADS = {"warp.cu": 64, "matmul_bf16.cu": 64, "matmul_tf32.cu": 32}
WITH_TENSOR_CORES = [name for name in ARCHITECTURES if name != "sm_75"]
CHOSEN = WITH_TENSOR_CORES if os.environ.get("GPUCNN_REQUIRE_NVRTC") == "1" else WITH_TENSOR_CORES[:1]
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
