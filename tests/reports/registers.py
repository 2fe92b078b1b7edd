"""Reports on compiled loops that keep their sums in memory, and on processors with and without AVX-512."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn.errors import LaunchError
from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, processor
from tests.kernels.compiled.machine_code import innermost_loops, machine_named
from tests.kernels.compiled.test_machine_code import kernels_of, needs_target
from tests.reports.report import Report

ROOT = Path(__file__).parents[2]


def _nothing_on_the_stack(
    processor: str, channels: int, filters: int, size: int, window: Window
) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        _needs_compiled_loops()
        machine = machine_named(processor)
        needs_target(machine)
        for kernel in kernels_of(channels, filters, size, window, machine):
            assert [loop for loop in innermost_loops(kernel, machine) if loop.stack_stores] == []

    return check


def _tile_of_six(folder: Path) -> None:
    _needs_compiled_loops()

    def write(b: object) -> None:
        b.in_tiles(b.index("first"), b.index("last"), 6, lambda i, count: None)  # type: ignore[attr-defined]

    kernel = loop.Loop("six", (), (loop.Argument("x", (8,)),), write)
    with pytest.raises(LaunchError, match="power of two, got 6"):
        loop.run(kernel, 8, [np.zeros(8, np.float32)])


def _without_avx512(folder: Path) -> None:
    _needs_compiled_loops()
    script = (
        "from gpucnn.benchmark import machine; from gpucnn.kernels.compiler import processor; "
        "machine.without_avx512(); print(processor.processor().lanes)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout) <= processor.LANES["fma"]


def _needs_compiled_loops() -> None:
    if missing := ways.missing():
        pytest.skip(missing)


REPORTS = [
    Report(
        "convolution with 3x3 windows on AVX2",
        "sums, pixels and weights fit 16 registers, and none goes through the stack",
        "",
        _nothing_on_the_stack("haswell", 16, 16, 16, Window.of(3, 1, 1)),
    ),
    Report(
        "a tile that fits 32 registers on paper, on ARM",
        "the compiler keeps it in registers, too: nothing is loaded ahead",
        "ggml-org/ggml#1602",
        _nothing_on_the_stack("neoverse-n1", 16, 16, 16, Window.of(3, 1, 1)),
    ),
    Report(
        "a product whose sums an ARM compiler spills",
        "none is stored in the loop",
        "llvm/llvm-project#62527",
        _nothing_on_the_stack("apple-m1", 8, 16, 16, Window.of(5, 1, 2)),
    ),
    Report(
        "a window of seven columns on AVX-512",
        "fewer filters at once, so that what is multiplied fits beside the sums",
        "",
        _nothing_on_the_stack("skylake-avx512", 8, 16, 14, Window.of((1, 7), 1, (0, 3))),
    ),
    Report(
        "a tile count that is no power of two", "a LaunchError before there is any code, no crash", "", _tile_of_six
    ),
    Report(
        "measuring on a processor with AVX-512 what one without it would do",
        "compiled loops and PyTorch both leave it out",
        "uxlfoundation/oneDNN#500",
        _without_avx512,
    ),
]
