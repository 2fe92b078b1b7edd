"""Lines of .cu files that have run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from gpucnn.testing.emulator import Emulator, line_coverage

SOURCE = """#line 1 "covered.cu"
__device__ int twice(int x)
{
    return 2 * x;
}

extern "C" __global__ void choose(int* x)
{
    if (x[0] == 1)
        x[1] = twice(x[0]);
    else if (x[0] == 2)
        x[1] = 20;
    else
        x[1] = 30;
    if (x[0] == WANTED)
        x[1] += 1;
}

extern "C" __global__ void never(int* x)
{
    x[0] = 1;
}
"""


def test_lines_that_have_run() -> None:
    emulator = Emulator("coverage")

    def choose(value: int, wanted: int) -> int:
        x = np.array([value, 0], np.int32)
        emulator.module(SOURCE, [f"-DWANTED={wanted}"]).function("choose")((1,), (1,), (x,))
        return int(x[1])

    assert choose(1, wanted=1) == 3
    executable, executed = line_coverage()["covered.cu"]
    assert {3, 8, 9, 10, 11, 13, 14, 15, 20} <= executable
    assert not {1, 5, 7, 17} & executable - {1}
    assert executable & executed == executed
    assert {3, 8, 9, 14, 15} <= executed
    assert not {10, 11, 13, 20} & executed

    assert choose(2, wanted=1) == 20
    assert choose(3, wanted=9) == 30
    executable, executed = line_coverage()["covered.cu"]
    assert {3, 8, 9, 10, 11, 13, 14, 15} <= executed
    assert 20 in executable - executed
    assert line_coverage()["covered.cu"] == (executable, executed)


def test_counting_leaves_no_files(tmp_path: Path) -> None:
    program = f"""
import numpy as np
from gpucnn.testing.emulator import Emulator, line_coverage
for count in (True, False):
    x = np.zeros(2, np.int32)
    Emulator("coverage").module({SOURCE!r}, ["-DWANTED=1"]).function("choose")((1,), (1,), (x,))
    if count:
        print(13 in line_coverage()["covered.cu"][1])
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert list(tmp_path.iterdir()) == []
