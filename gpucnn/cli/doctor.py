"""`gpucnn doctor`: what there is of a GPU on this machine, what is wrong with it, and how to mend it."""

import argparse
import subprocess
import sys
import tempfile

from gpucnn.backend import choose_device, mpiexec, own_package, user_cache
from gpucnn.backend.blas import has_false_alarms
from gpucnn.backend.diagnosis import Finding, diagnose
from gpucnn.backend.threads import thread_count
from gpucnn.cli import agree
from gpucnn.errors import DeviceError, GpucnnError
from gpucnn.kernels import launch, ways

HELP = "Report the GPU's driver, CuPy and its libraries, with fixes, and whether the GPU computes what the CPU does."
MODEL, INPUT = "lenet5", (1, 32, 32)
COMPILED_MODEL = "vgg_mini"
FIRST_STEP = """
import time
import numpy as np
from gpucnn import functions as F, models, optim
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
model = models.create("{model}", seed=0)
optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9)
optimizer.gather()
times = [time.perf_counter()]
for _ in range(2):
    F.cross_entropy(model(np.zeros((64, 3, 32, 32), np.float32)), np.zeros(64, int)).backward()
    optimizer.step()
    times.append(time.perf_counter())
print(loop.loaded(), format(times[1] - times[0] - (times[2] - times[1]), ".2f"))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn doctor`: there are none."""


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn doctor`. Raises DeviceError if something that is installed does not work."""
    findings = diagnose()
    print("\n".join(table(findings)))
    for fix in dict.fromkeys(finding.fix for finding in findings if finding.fix):
        print(f"fix: {fix}")
    print(f"\nloops on the CPU: {ways.describe()}; threads: {thread_count()}")
    print(f"several processes: {mpiexec.describe()}")
    if has_false_alarms():
        print(
            "NumPy's products: by Apple's Accelerate, which decides itself how many threads it takes; "
            "its warnings of overflows and divisions by zero in products are kept quiet, as they are often false"
        )
    if ways.mode() == "jit":
        print(_first_uses())
    chosen = choose_device("auto")
    print(f"\n--device auto takes {chosen.device} ({chosen.reason})", flush=True)
    if chosen.device.kind == "cpu":
        print(
            "cpu and cuda were not compared, as no GPU works; "
            "to see the GPU path computed on the CPU: gpucnn agree --devices cpu emulated"
        )
    else:
        _compare()
    problems = [finding.name for finding in findings if finding.problem]
    if problems:
        raise DeviceError(
            f"{len(problems)} of these do not work: {', '.join(problems)}; see the lines above with ! and fix"
        )


def table(findings: list[Finding]) -> list[str]:
    """A line for every finding: its name and value, and "!" and the problem if there is one."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        problem = f"; {finding.problem}" if finding.problem else ""
        lines.append(f"{'!' if problem else ' '} {finding.name:<{width}}  {finding.value}{problem}")
    return lines


def _first_uses() -> str:
    """How much longer a model's first step takes than its second: where loops are compiled, and where they were before."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**own_package.environment(), user_cache.VARIABLE: folder}
        command = [sys.executable, "-c", FIRST_STEP.format(model=COMPILED_MODEL)]
        try:
            compiling, reading = (
                subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.split()
                for _ in range(2)
            )
        except subprocess.CalledProcessError as error:
            raise DeviceError(f"a training step in compiled loops failed: {error.stderr.splitlines()[-1]}") from None
    return (
        f"first step of {COMPILED_MODEL}: {compiling[0]} loops compiled in {compiling[1]} s; "
        f"in another process, from the cache, ready in {reading[1]} s"
    )


def _compare() -> None:
    try:
        agree.show(MODEL, ("cpu", "cuda"), INPUT)
        seconds = launch.cupy_runner.compile_seconds
        print(
            f"\nfirst use of {len(seconds)} kernels took {sum(seconds.values()):.1f} s: compiled, or found in CuPy's cache"
        )
    except GpucnnError:
        raise
    except Exception as error:  # CuPy's own, of a kind that only CuPy knows
        raise DeviceError(f"a training step on the GPU raised {type(error).__name__}: {error}") from error
