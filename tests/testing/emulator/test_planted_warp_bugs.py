"""Bugs in kernels for tensor cores, one at a time: each is reported with line, block and thread, or its product is wrong.

All variants of a kernel are compiled together, which takes a tenth of the time.
"""

import functools
import re
from typing import NamedTuple

import numpy as np
import pytest

from gpucnn.errors import KernelError
from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.emulator import EmulatedModule, Emulator
from tests.testing.emulator.clean_kernels import CASES, FOLDER, Launch

ANYONE = r"block \(\d,\d,\d\) thread \(\d+,\d+,\d+\)"


class Bug(NamedTuple):
    case: str
    old: str
    """What the bug replaces, once."""
    new: str
    line: str = ""
    """Text of the line in the changed source that the report must name."""
    message: str = ""
    """The report. PLACE stands for the line, BY for block and thread, ANY for any line. Empty: no report, but wrong numbers."""


BUGS = {
    "the first tiles are in no group of their own": Bug(
        "matmul_bf16", "    commit_copies();  // the first tiles\n", "", "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY cp\.async ANY; the copy has not been waited for",
    ),
    "copies in no group": Bug(
        "matmul_bf16", "commit_copies();  // the next tiles\n        wait_for_copies<1>();", "wait_for_copies<0>();",
        "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY cp\.async ANY; "
        r"no commit_copies\(\) has put the copy into a group",
    ),
    "no wait": Bug(
        "matmul_bf16", "wait_for_copies<1>();", "", "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY cp\.async ANY; the copy has not been waited for",
    ),
    "a wait that lets one group too many be under way": Bug(
        "matmul_bf16", "wait_for_copies<1>();", "wait_for_copies<2>();", "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY cp\.async ANY; the copy has not been waited for",
    ),
    "a barrier, but no wait before it": Bug(
        "matmul_bf16", "wait_for_copies<1>();\n        __syncthreads();  // the tiles are there",
        "__syncthreads();\n        wait_for_copies<1>();", "load_matrices",
        r"race on byte \d+ of __shared__ [ab]_tile: BY read PLACE; BY (cp\.async|write) ANY; "
        r"(the copy has not been waited for|no barrier between them)",
    ),
    "no barrier after the wait": Bug(
        "matmul_bf16", "__syncthreads();  // the tiles are there", "", "load_matrices",
        r"race on byte \d+ of __shared__ [ab]_tile: BY read PLACE; BY (cp\.async|write) ANY; "
        r"(the copy has not been waited for|no barrier between them)",
    ),
    "no barrier before the tiles after the next": Bug(
        "matmul_bf16", "__syncthreads();  // the tiles have been read", "", "copy_async<16>(",
        r"race on byte \d+ of __shared__ [ab]_tile: BY cp\.async PLACE; BY read ANY; no barrier between them",
    ),
    "both steps in one tile": Bug(
        "matmul_bf16", "copy_async<16>(&a_tile[step % 2]", "copy_async<16>(&a_tile[0]", "copy_async<16>(&a_tile",
        r"race on byte \d+ of __shared__ a_tile: BY cp\.async PLACE; BY cp\.async PLACE; the copy has not been waited for",
    ),
    "copies under way at the end": Bug(
        "matmul_bf16", "if (step + 1 < steps) fetch(step + 1);", "fetch(step + 1);", "copy_async<16>(&a_tile",
        r"a thread returns while its cp\.async is under way, the copy has not been waited for: BY PLACE",
    ),
    "half a tile never fetched": Bug(
        "matmul_bf16", "if (warp == 0)", "if (warp == 0 && lane < 16)", "load_matrices_transposed",
        r"uninitialised shared memory: BY: read of 2 bytes PLACE at byte \d+ of __shared__ b_tile \(1536 bytes\)",
    ),
    "a copy beyond the source": Bug(
        "matmul_bf16", "const bool a_there = row < rows && k < depth;", "const bool a_there = row < rows + 1 && k < depth;",
        "copy_async<16>(&a_tile",
        r"out of bounds: BY: read of 4 bytes PLACE at byte \d{4} of a uint16\[37, 40\] \(2960 bytes\)",
    ),
    "a copy beyond the tile": Bug(
        "matmul_bf16", "copy_async<16>(&b_tile[step % 2][lane / 2]", "copy_async<16>(&b_tile[step % 2 + 1][lane / 2]",
        "copy_async<16>(&b_tile",
        r"(out of bounds: BY: cp\.async of 16 bytes PLACE at byte 15\d\d of __shared__ b_tile \(1536 bytes\)"
        r"|race on byte \d+ of __shared__ \w_tile: BY .*"
        r"|undefined behaviour: index 2 out of bounds of .*: BY PLACE)",
    ),
    "more given than copied": Bug(
        "matmul_bf16", "a_there ? 16 : 0", "a_there ? 32 : 0", "copy_async<16>(&a_tile",
        r"cp\.async of 16 bytes cannot take 32 from the source: BY PLACE",
    ),
    "a copy to where 16 bytes do not fit": Bug(
        "matmul_bf16", "a_tile[2][ROWS][DEPTH + 8]", "a_tile[2][ROWS][DEPTH + 4]", "copy_async<16>(&a_tile",
        r"misaligned address: BY: cp\.async of 16 bytes PLACE at byte \d+ of __shared__ a_tile \(2560 bytes\)",
    ),
    "a copy from where 16 bytes do not lie": Bug(
        "matmul_bf16", "a + row * depth + k : a, a_there", "a + row * depth + k + 2 : a, a_there", "copy_async<16>(&a_tile",
        r"misaligned address: BY: read of 16 bytes PLACE at byte \d+ of a uint16\[37, 40\] \(2960 bytes\)",
    ),
    "a copy to global memory": Bug(
        "matmul_bf16", "copy_async<16>(&a_tile[step % 2][thread / 2][thread % 2 * 8]", "copy_async<16>(c", "copy_async<16>(c",
        r"cp\.async copies to shared memory only: BY: cp\.async of 16 bytes PLACE at byte 0 of c float32\[37, 24\] .*",
    ),
    "a copy within shared memory": Bug(
        "matmul_bf16", "a_there ? a + row * depth + k : a, a_there", "a_tile, a_there", "copy_async<16>(&a_tile",
        r"cp\.async copies from global memory only: BY: read of 16 bytes PLACE at byte 0 of __shared__ a_tile .*",
    ),
    "a row too far": Bug(
        "matmul_bf16", "[warp * 16 + lane % 16]", "[warp * 16 + lane % 16 + 1]", "load_matrices(left",
        r"undefined behaviour: index 32 out of bounds of 'short unsigned int \[32\]\[24\]': BY PLACE",
    ),
    "a row too far, by its address": Bug(
        "matmul_bf16", "[lane / 16 * 8]);", "[lane / 16 * 8] + DEPTH + 8);", "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY cp\.async ANY; the copy has not been waited for",
    ),
    "rows nowhere": Bug(
        "matmul_bf16", "&b_tile[step % 2][lane % 16][n * 8]", "nullptr", "load_matrices_transposed",
        r"out of bounds: BY: read of 16 bytes PLACE through a null pointer",
    ),
    "rows that do not start at 16 bytes": Bug(
        "matmul_bf16", "[lane / 16 * 8]", "[lane / 16 * 4]", "load_matrices(left",
        r"misaligned address: BY: read of 16 bytes PLACE at byte \d+ of __shared__ a_tile \(3072 bytes\)",
    ),
    "a matrix from global memory": Bug(
        "matmul_bf16", "&a_tile[step % 2][warp * 16 + lane % 16][lane / 16 * 8]", "a + lane * 8", "load_matrices(left",
        r"ldmatrix reads shared memory only: BY: read of 16 bytes PLACE at byte \d+ of a uint16\[37, 40\] \(2960 bytes\)",
    ),
    "a lane that does not multiply": Bug(
        "matmul_bf16", "mma_bf16(", "if (lane != 7) mma_bf16(", "mma_bf16(",
        r"deadlock: BY waits in a warp operation ANY \(mask ffffffff\) that the other lanes never reach",
    ),
    "a lane that has returned": Bug(
        "matmul_tf32", "    float sums[4] = {};", "    if (lane == 7) return; float sums[4] = {};", "load_matrices(left",
        r"(deadlock: BY waits in a warp operation ANY \(mask ffffffff\) that the other lanes never reach"
        r"|ldmatrix needs all 32 lanes of a warp, and lane 7 has returned: BY PLACE)",
    ),
    "two instructions at once": Bug(
        "matmul_bf16", "load_matrices_transposed(right, &b_tile[step % 2][lane % 16][n * 8]);",
        "if (lane < 16) load_matrices(right, b_tile[0][0]); else mma_bf16(sums[n], left, right);", "else mma_bf16",
        r"the lanes of a warp are at different instructions: BY PLACE",
    ),
    "a wait, but nothing that orders the lanes": Bug(
        "matmul_tf32", "__syncwarp();  // the tiles are there", "", "load_matrices(left",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY (cp\.async|write) ANY; "
        r"(the copy has not been waited for|no barrier between them)",
    ),
    # Wrong elements in the right places of memory: nothing to report, but the product is not that of a and b.
    "a's quarters in another order": Bug(
        "matmul_bf16", "[warp * 16 + lane % 16][lane / 16 * 8]", "[warp * 16 + lane % 8 + lane / 16 * 8][lane / 8 % 2 * 8]",
    ),
    "b not transposed": Bug("matmul_bf16", "load_matrices_transposed(", "load_matrices("),
    "sums in another order": Bug("matmul_bf16", "= sums[n][i];", "= sums[n][i % 2 * 2 + i / 2];"),
    "b's rows in pairs, as for bf16": Bug("matmul_tf32", "[lane % 4 + i * 4]", "[lane % 4 * 2 + i]"),
    "a column of b for another group": Bug("matmul_tf32", "[lane / 4]);", "[lane % 8]);"),
    "a not rounded": Bug("matmul_tf32", "left[i] = tf32_bits(__uint_as_float(left[i]));", "left[i] = left[i];"),
    "b not rounded": Bug("matmul_tf32", "tf32_bits(b_tile", "__float_as_uint(b_tile"),
}  # fmt: skip
REPORTED = [name for name, bug in BUGS.items() if bug.message]
WRONG = [name for name, bug in BUGS.items() if not bug.message]


def kernel_of(name: str) -> str:
    return f"{BUGS[name].case}_{list(BUGS).index(name)}"


def planted(name: str) -> str:
    """The changed source. Its `#line` gives the file back its line numbers."""
    bug = BUGS[name]
    clean = CASES[bug.case].source()
    assert bug.old in clean
    return clean.replace(bug.old, bug.new, 1)


@functools.cache
def module() -> EmulatedModule:
    """All variants, each under a name of its own."""
    texts = []
    for name, bug in BUGS.items():
        file = CASES[bug.case].file
        text = with_includes(planted(name).replace(f" {bug.case}(", f" {kernel_of(name)}("), FOLDER / file)
        undefined = "".join(f"#undef {macro}\n" for macro in ("ROWS", "COLUMNS", "DEPTH"))
        texts.append(f'{undefined}#line 1 "{file}"\n{text}')
    return EMULATOR.module("".join(texts), filename="planted.cu")


EMULATOR = Emulator("check")


def run(name: str, order: str) -> Launch:
    EMULATOR.order = order
    launch = CASES[BUGS[name].case].launch(np.random.default_rng(20261124))
    module().function(kernel_of(name))(launch.grid, launch.block, launch.args, launch.shared_mem)
    return launch


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("name", REPORTED)
def test_reported(name: str, order: str) -> None:
    bug = BUGS[name]
    with pytest.raises(KernelError) as raised:
        run(name, order)
    numbers = [number for number, text in enumerate(planted(name).split("\n"), 1) if bug.line in text]
    place = rf"@\[{bug.case}\.cu:({'|'.join(map(str, numbers))})\]"
    pattern = bug.message.replace("PLACE", place).replace("BY", ANYONE).replace("ANY", rf"@\[{bug.case}\.cu:\d+\]")
    assert re.fullmatch(f"{kernel_of(name)}: {pattern}", str(raised.value)), f"{raised.value}\n{pattern}"


@pytest.mark.parametrize("name", WRONG)
def test_the_product_is_wrong(name: str) -> None:
    ((found, expected),) = run(name, "forward").expected
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() > 1e-4
