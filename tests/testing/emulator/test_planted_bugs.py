"""Twenty-one bugs, one at a time, in kernels that have none: each is reported with kernel, line, block and thread."""

import re
from typing import Any, NamedTuple

import pytest

from gpucnn.errors import KernelError
from gpucnn.testing.emulator import Emulator
from tests.testing.emulator.clean_kernels import CASES, run

SYNC = "__syncthreads();"
ANYONE = r"block \(\d,\d,\d\) thread \(\d+,\d+,\d+\)"


class Bug(NamedTuple):
    case: str
    old: str
    """What the bug replaces, once; nothing if only the launch is wrong."""
    new: str
    line: str
    """Text of the line in the changed source that the report must name."""
    message: str
    """What follows the kernel's name. PLACE stands for the line, BY for block and thread."""
    launch: dict[str, Any] = {}  # noqa: RUF012


BUGS = {
    "no barrier after the tiles are loaded": Bug(
        "matmul", f"{SYNC}  // the tiles are complete", "", "sum += a_tile",
        r"uninitialised shared memory: BY: read of 4 bytes PLACE at byte 4 of __shared__ a_tile \(1024 bytes\)",
    ),
    "no barrier before the next tiles": Bug(
        "matmul", f"{SYNC}  // the tiles have been read", "", "sum += a_tile",
        r"race on byte \d+ of __shared__ a_tile: BY read PLACE; BY write @\[matmul\.cu:15\]; no barrier between them",
    ),
    "no barrier between two reductions": Bug(
        "softmax", f"{SYNC}  // all have read the maximum", "", "largest = partial[0]",
        r"race on byte 0 of __shared__ partial: BY read PLACE; BY write @\[softmax\.cu:28\]; no barrier between them",
    ),
    "no barrier within a reduction": Bug(
        "softmax", f"{SYNC}  // of the sum", "", "partial[thread] += partial",
        r"race on byte \d+ of __shared__ partial: BY write PLACE; BY read PLACE; no barrier between them",
    ),
    "half of the partial results never written": Bug(
        "softmax", "partial[thread] = largest;", "if (thread < classes) partial[thread] = largest;",
        "partial[thread] = max(",
        r"uninitialised shared memory: BY: read of 4 bytes PLACE at byte \d+ of __shared__ partial \(512 bytes\)",
    ),
    "label out of range": Bug(
        "softmax", "row[label];", "row[label + 100];", "row[label + 100]",
        r"out of bounds: block \(0,0,0\) thread \(0,0,0\): read of 4 bytes PLACE "
        r"at byte 4\d\d of logits float32\[5, 10\] \(200 bytes\)",
    ),
    "no test for padding at the right and below": Bug(
        "im2col", "x >= 0 && y < size && x < size", "x >= 0", "__ldg(",
        r"out of bounds: BY: read of 4 bytes PLACE at byte \d+ of images float32\[2, 3, 9, 9\] \(1944 bytes\)",
    ),
    "one element too many": Bug(
        "im2col", "i < total;", "i <= total;", "columns[i] =",
        r"out of bounds: block \(10,0,0\) thread \(70,0,0\): write of 4 bytes PLACE "
        r"at byte 5400 of columns float32\[2, 3, 3, 3, 5, 5\] \(5400 bytes\)",
    ),
    "no guard for the last block": Bug(
        "col2im", "    if (i >= batch * channels * size * size)\n        return;\n", "", "columns[(tap",
        r"out of bounds: block \(3,0,0\) thread \(102,0,0\): read of 4 bytes PLACE "
        r"at byte 5800 of columns float32\[2, 3, 3, 3, 5, 5\] \(5400 bytes\)",
    ),
    "+= where windows overlap": Bug(
        "max_pool_scatter", "atomicAdd(&images[plane * size * size + argmax[i]], gradient[i]);",
        "images[plane * size * size + argmax[i]] += gradient[i];", "+= gradient[i]",
        r"race on byte \d+ of images float32\[6, 9, 9\]: BY read PLACE; BY write PLACE; no barrier between them",
    ),
    "dynamic shared memory forgotten": Bug(
        "row_sum", "", "", "warp_sums[warp] = sum",
        r"out of bounds: BY: write of 4 bytes PLACE at byte 0 of dynamic shared memory \(0 bytes\)",
        {"shared_mem": 0},
    ),
    "dynamic shared memory too small": Bug(
        "row_sum", "", "", "warp_sums[warp] = sum",
        r"out of bounds: block \(0,0,0\) thread \(64,0,0\): write of 4 bytes PLACE "
        r"at byte 8 of dynamic shared memory \(8 bytes\)",
        {"shared_mem": 8},
    ),
    "shuffle from lanes that a block of 48 lacks": Bug(
        "row_sum", "", "", "__shfl_down_sync",
        r"shuffle from a lane that does not exist, has returned or is not in the mask: "
        r"block \(0,0,0\) thread \(47,0,0\) PLACE",
        {"block": (48,)},
    ),
    "shuffle that some lanes do not reach": Bug(
        "row_sum", "if (warp == 0) {", "if (warp == 0 && lane < 4) {", "__shfl_down_sync",
        r"(deadlock: BY waits in a warp operation PLACE \(mask ffffffff\) that the other lanes never reach"
        r"|shuffle from a lane that .*: BY PLACE)",
    ),
    "return before a barrier": Bug(
        "matmul", "float sum = 0.0f;", "if (row >= rows || column >= columns) return; float sum = 0.0f;",
        "// the tiles are complete",
        r"barrier divergence: 208 threads wait at __syncthreads\(\) PLACE, 48 have returned "
        r"\(the first: block \(1,0,0\) thread \(13,0,0\)\)",
    ),
    "index beyond an array of known size": Bug(
        "matmul", "a_tile[threadIdx.y][k] *", "a_tile[threadIdx.y][k + 2] *", "sum += a_tile",
        r"undefined behaviour: index 16 out of bounds of 'float \[16\]': BY PLACE",
    ),
    "pointer beyond a shared array": Bug(
        "matmul", "a_tile[threadIdx.y][k] *", "(&a_tile[0][0])[threadIdx.y * TILE + k + 512] *", "(&a_tile[0][0])",
        r"undefined behaviour: access of 'float' beyond the end of its object: BY PLACE",
    ),
    "misaligned float4": Bug(
        "conv2d", "&weight_tile[k][first_channel]", "&weight_tile[k][first_channel + 1]", "[first_channel + 1]",
        r"undefined behaviour: misaligned address of 'const (struct )?float4', which needs 16 bytes: BY PLACE",
    ),
    "division by zero": Bug(
        "average_pool", "i / output_size / output_size;", "i / output_size / (output_size - 3);", "output_size - 3", r"undefined behaviour: integer division by zero: BY PLACE",
    ),
    "two threads for one element": Bug(
        "sgd", "blockIdx.x * (long long)blockDim.x + threadIdx.x", "(blockIdx.x * (long long)blockDim.x + threadIdx.x) / 2",
        "velocity[i] = ",
        r"race on byte 0 of velocity float32\[300\]: block \(0,0,0\) thread \(1,0,0\) read PLACE; "
        r"block \(0,0,0\) thread \(0,0,0\) write PLACE; no barrier between them",
    ),
    "two blocks for one element": Bug(
        "col2im", "const int i = blockIdx.x * blockDim.x + threadIdx.x;",
        "const int i = blockIdx.x * (blockDim.x - 1) + threadIdx.x;", "images[i] = sum",
        r"race on byte 508 of images float32\[2, 3, 9, 9\]: block \(1,0,0\) thread \(0,0,0\) write PLACE; "
        r"block \(0,0,0\) thread \(127,0,0\) write PLACE; different blocks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_reported(name: str) -> None:
    bug = BUGS[name]
    case = CASES[bug.case]
    clean = case.source()
    assert bug.old in clean
    source = clean.replace(bug.old, bug.new, 1)
    numbers = [number for number, text in enumerate(source.split("\n"), 1) if bug.line in text]
    place = f"@\\[{case.file}:({'|'.join(map(str, numbers))})\\]".replace(".", r"\.")
    with pytest.raises(KernelError) as raised:
        run(case, Emulator("check"), source, **bug.launch)
    pattern = bug.message.replace("PLACE", place).replace("BY", ANYONE)
    assert re.fullmatch(f"{case.kernel}: {pattern}", str(raised.value)), f"{raised.value}\n{pattern}"


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if "race" in bug.message])
def test_races_are_reported_in_every_order(name: str, order: str) -> None:
    bug = BUGS[name]
    source = CASES[bug.case].source().replace(bug.old, bug.new, 1)
    with pytest.raises(KernelError, match=r"race on byte .* of "):
        run(CASES[bug.case], Emulator("check", order), source)


def test_there_are_twenty_one() -> None:
    assert len(BUGS) == 21
