"""`gpucnn replay FILE`: compute a failed training step again, with every layer looked at."""

import argparse

from gpucnn.training import replay
from gpucnn.training.finite_guard import describe

HELP = "Compute a training step that failed again, and show what every layer makes of it."
FAILS, WORKS = 1, 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn replay`."""
    parser.epilog = "Exit status: 1 if the step fails again, 0 if it does not fail here. The data set is not needed."
    parser.add_argument("file", metavar="FILE", help="failure-step-N.safetensors, which gpucnn train wrote")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn replay`, and return its exit status."""
    again = replay(options.file, options.device)
    count = len(again.indices)
    print(again.device)
    print(f"when it failed: {again.diagnosis}\n")
    print("\n".join(again.checked.table()))
    place = f"step {again.step} (epoch {again.epoch}, batch {again.batch}, {count} samples)"
    fault = again.checked.fault()
    if fault is None:
        print(
            f"\n{place} does not fail here: the loss is {again.checked.loss:.4g}, and every output and gradient is finite"
        )
        return WORKS
    print(f"\n{place} fails again: {describe(fault, again.checked, again.indices)}")
    return FAILS
