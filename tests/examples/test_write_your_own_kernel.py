"""The lesson on kernels runs as a reader runs it, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpucnn.testing.emulator import compiler

LESSON = Path(__file__).parents[2] / "examples" / "write_your_own_kernel.py"
NUMPY_PART = [
    "NumPy: swish of -1, 0, 1 is [-0.2689  0.      0.7311]",
    "NumPy: the gradient agrees with central differences",
]


def printed_lines(**environment: str) -> list[str]:
    """In a process of its own, so that its kernels do not count among the package's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", LESSON],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(compiler() is None, reason="the lesson needs g++ (Debian: apt-get install g++)")
def test_prints_what_it_promises() -> None:
    lines = printed_lines()
    line = 1 + LESSON.with_name("swish.cu").read_text().splitlines().index("        const A value = (A)x[i];")
    where = "at byte 20 of x float32[5] (20 bytes)"
    assert lines[:-1] == [
        *NUMPY_PART,
        *(
            f"emulator, {order} order of threads: both kernels agree with NumPy, the gradient with differences"
            for order in ("forward", "reverse", "random")
        ),
        "emulator, with i <= size in place of i < size:",
        f"  swish: out of bounds: block (0,0,0) thread (5,0,0): read of 4 bytes @[swish.cu:{line}] {where}",
    ]
    result = re.fullmatch(r"23 steps on the (emulated )?GPU: the loss went from (\d\.\d\d) to (\d\.\d\d)", lines[-1])
    assert result is not None, lines[-1]
    assert 2 < float(result[2]) < 3
    assert float(result[3]) < 0.8


def test_without_a_compiler_it_says_so() -> None:
    assert printed_lines(CXX="/no/such/compiler") == [
        *NUMPY_PART,
        "the rest needs g++, with which the emulator compiles kernels (Debian: apt-get install g++)",
    ]
