"""Every compiled kernel on drawn sizes: right results, and not a number touched that is not its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.kernels.compiler import padded_plane
from tests.kernels.compiled.guarded_memory import BORDER, Borders
from tests.kernels.compiled.kernel_cases import DRAWS, Case, cases, machine_of, max_pool, max_pool_gradient, run_in

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("needs_llvmlite")


@pytest.mark.sample(10)
@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: draw.__name__)
def test_kernels_write_their_results_and_nothing_else(draw: Callable[[np.random.Generator, Any], Case]) -> None:
    for name, case in cases(draw):
        problems = run_in(case, Borders())
        assert problems == [], f"{name}: {case.kernel.name} {case.kernel.sizes}, parts {case.parts}"


IN_PAGES = """
import faulthandler, sys
from tests.kernels.compiled import guarded_memory, kernel_cases
faulthandler.enable()
for draw in kernel_cases.DRAWS:
    for name, case in kernel_cases.cases(draw, 1, 4):
        print(name, case.kernel.sizes, case.parts, flush=True)
        problems = kernel_cases.run_in(case, guarded_memory.Pages(sys.argv[1]))
        assert not problems, problems
print("all is well")
"""


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect as Linux has it")


@on_linux
@pytest.mark.parametrize("side", ["start", "end"])
def test_kernels_read_nothing_beyond_their_arrays(side: str) -> None:
    run = subprocess.run([sys.executable, "-c", IN_PAGES, side], cwd=ROOT, capture_output=True, text=True, timeout=300)
    lines = run.stdout.splitlines() or ["nothing ran"]
    assert lines[-1] == "all is well", f"{lines[-1]}: exit status {run.returncode}, {run.stderr[-2000:]}"


@pytest.mark.parametrize("place", [-BORDER, -1, 5, 4 + BORDER])
def test_borders_show_what_is_written_beside_an_array(place: int) -> None:
    memory = Borders()
    array = memory.place((5,), "float32")
    array[...] = 1
    assert memory.damage() == []
    whole = array.base
    assert whole is not None
    whole.view(np.float32).reshape(-1)[BORDER + place] = 1
    assert memory.damage() == [f"buffer 0 of 5 numbers was written at [{place}]"]


@on_linux
def test_a_page_beyond_an_array_ends_the_process() -> None:
    script = (
        "import ctypes\n"
        "from tests.kernels.compiled.guarded_memory import Pages\n"
        "array = Pages('end').place((5,), 'float32')\n"
        "print(ctypes.c_float.from_address(array.ctypes.data + 16).value, flush=True)\n"
        "print(ctypes.c_float.from_address(array.ctypes.data + 20).value, flush=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (-11, "nan\n")


def test_cases_cover_the_ways_through_a_convolution() -> None:
    """Drawn sizes are only as good as what they meet: vectors of every width, rows in pairs, ragged tiles, phases."""
    seen = set()
    for draw in DRAWS:
        for _, case in cases(draw):
            if case.kernel.name not in ("conv2d_forward", "conv2d_weight_gradient"):
                continue
            groups, _, filters, plane = case.kernel.sizes[:4]
            width, starts = padded_plane.row_vectors(plane.output_size[1], case.machine.lanes)
            top, left = (sides[0] for sides in plane.window.padding)
            seen |= {
                f"vectors of {width / case.machine.lanes} of {case.machine.lanes}",
                f"{min(len(starts), 4)} vectors a row",
                f"overlapping vectors: {plane.output_size[1] % width > 0}",
                f"odd number of rows: {plane.output_size[0] % 2}",
                f"filters beyond whole tiles: {filters % case.machine.filters_per_tile > 0}",
                f"stride {plane.window.stride[1]}, kernel {plane.window.kernel[1]}",
                f"groups {groups}",
                f"cut off at the top: {top < 0}, at the left: {left < 0}",
                f"windows end left of the image: {plane.row_floats < left}",
                f"windows end above the image: {plane.rows < top}, begin below it: {plane.image_size[0] + top < 0}",
            }
    lanes = (16, 8, 4)
    wanted = {f"vectors of {2.0**-halved} of {n}" for n in lanes for halved in range(n.bit_length() - 1)}
    wanted |= {f"{vectors} vectors a row" for vectors in (1, 2, 3, 4)}
    wanted |= {f"stride {stride}, kernel {kernel}" for stride in (1, 2, 3) for kernel in (1, 2, 3, 4, 5)}
    wanted |= {f"overlapping vectors: {flag}" for flag in (True, False)} | {"groups 1", "groups 2", "groups 3"}
    wanted |= {f"cut off at the top: {top}, at the left: {left}" for top in (True, False) for left in (True, False)}
    wanted |= {f"windows end above the image: {a}, begin below it: {b}" for a, b in ((False, False), (True, False))}
    wanted |= {f"windows end left of the image: {flag}" for flag in (True, False)}
    wanted.add("windows end above the image: False, begin below it: True")
    wanted |= {f"filters beyond whole tiles: {flag}" for flag in (True, False)}
    wanted |= {"odd number of rows: 0", "odd number of rows: 1"}
    assert wanted - seen == set()


def test_cases_cover_the_ways_through_max_pooling() -> None:
    """Each thing alone that keeps windows from reading an image where it lies; all that may lie beside them in a gradient."""
    seen = set()
    for _, case in cases(max_pool):
        plane = padded_plane.PaddedPlane(*case.kernel.sizes)
        padded, gaps = any(map(any, plane.window.padding)), plane.window.extent[1] < plane.window.stride[1]
        outside = [read > size for read, size in zip((plane.rows, plane.columns), plane.image_size, strict=True)]
        seen.add((padded, *outside, gaps))  # beyond the last row, beyond the last column
    assert (False, False, False, False) in seen
    assert {tuple(row) for row in np.eye(4, dtype=bool).tolist()} - seen == set()
    seen = set()
    for _, case in cases(max_pool_gradient):
        plane = padded_plane.PaddedPlane(*case.kernel.sizes)
        top, rows = plane.window.padding[0][0], plane.output_size[0] * plane.window.stride[0]
        seen.add((plane.window.overlaps, top > 0, rows - top < plane.image_size[0]))
    assert {(False, padded, below) for padded in (True, False) for below in (True, False)} - seen == set()


def test_machines_have_their_own_tiles() -> None:
    assert [machine_of(lanes).filters_per_tile for lanes in (16, 8, 4)] == [8, 4, 8]
