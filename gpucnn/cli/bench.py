"""`gpucnn bench`: how long a training step takes, beside PyTorch and beside what the machine could do at best."""

import argparse
import json
import sys
from pathlib import Path

from gpucnn.backend import choose_device
from gpucnn.benchmark import report
from gpucnn.benchmark.machine import describe, keep_freed_memory, without_avx512
from gpucnn.benchmark.rivals import rivals
from gpucnn.benchmark.suite import Suite
from gpucnn.benchmark.training_step import MODELS
from gpucnn.cli.arguments import choice, count, rate
from gpucnn.kernels.ways import MODES

HELP = "Time training steps beside PyTorch, interleaved in one process, and beside the physical limit."
BATCH_SIZES, SECONDS = (64, 256), 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn bench`."""
    parser.epilog = (
        "A step is forward pass, cross-entropy, backward pass and SGD with momentum, in float32, on as many threads in either "
        "library. Losses are compared first. Without PyTorch there are no ratios. Measure on a machine that does nothing else."
    )
    parser.add_argument(
        "--models", type=choice(MODELS), nargs="+", default=list(MODELS), metavar="MODEL", help=", ".join(MODELS)
    )
    parser.add_argument(
        "--batch-sizes", type=count, nargs="+", default=list(BATCH_SIZES), metavar="B", help="default: 64 256"
    )
    parser.add_argument("--operations", action="store_true", help="time single operations, too")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument(
        "--cpu",
        type=choice(MODES),
        nargs="+",
        default=[],
        metavar="WAY",
        help="our ways to compute on a CPU, numpy and jit (default: all that work)",
    )
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="without page faults, for either library: freed memory is kept (glibc)",
    )
    parser.add_argument(
        "--avx2",
        action="store_true",
        help="as on a processor without AVX-512, for our compiled loops and PyTorch; NumPy keeps what it has",
    )
    parser.add_argument(
        "--seconds", type=rate, default=SECONDS, metavar="S", help="time for each line of the tables (default: 10)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured to FILE")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn bench`. Raises BenchmarkError if the libraries do not compute the same."""
    if options.avx2:
        without_avx512()
    device = choose_device(options.device).device
    chosen = rivals(device, options.cpu)
    if options.json:
        Path(options.json).touch()  # what cannot be written should fail now
    if options.keep_memory:
        keep_freed_memory()
    machine = describe(device)
    print("\n".join(report.machine_lines(machine)), flush=True)
    suite = Suite(device, chosen, options.models, options.batch_sizes, options.seconds)
    tables = {"steps": list(suite.steps(_tell))}
    print("\n" + "\n".join(report.result_lines("training step", tables["steps"])), flush=True)
    if options.operations:
        tables["operations"] = list(suite.operations(_tell))
        print("\n" + "\n".join(report.result_lines("operation", tables["operations"])))
    if options.json:
        settings = {
            "device": str(device),
            "seconds": options.seconds,
            "keep_memory": options.keep_memory,
            "avx2": options.avx2,
        }
        Path(options.json).write_text(json.dumps(report.as_json(machine, settings, tables), indent=1) + "\n")


def _tell(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)
