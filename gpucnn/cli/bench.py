"""`gpucnn bench`: how long a training step takes, beside PyTorch and what the machine could do at best; or would take on a GPU."""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpucnn.backend import choose_device
from gpucnn.backend.cuda import find_problem
from gpucnn.benchmark import loading, prediction_report, report, scaling
from gpucnn.benchmark.gpus import GPUS, named
from gpucnn.benchmark.machine import describe, keep_freed_memory, without_avx512
from gpucnn.benchmark.prediction import PREDICTED_MODELS, Prediction
from gpucnn.benchmark.rivals import rivals
from gpucnn.benchmark.suite import Result, Suite
from gpucnn.benchmark.training_step import MODELS, Workload
from gpucnn.cli.arguments import choice, count, rate
from gpucnn.cli.result_file import check_writable, write_text
from gpucnn.errors import ArgumentError
from gpucnn.kernels.ways import MODES

HELP = "Time training steps beside PyTorch, interleaved in one process, and beside the physical limit."
BATCH_SIZES, SECONDS = (64, 256), 10.0
WORKERS = 2
"""Threads that read images, if no other number is given."""
UNKNOWN_GPU = "h200"
"""What is predicted for where no other GPU is named or found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn bench`."""
    parser.epilog = (
        "A step is forward pass, cross-entropy, backward pass and SGD with momentum, in float32, on as many threads in either "
        "library. Losses are compared first. Without PyTorch there are no ratios. Measure on a machine that does nothing else."
    )
    parser.add_argument(
        "--models",
        type=choice(PREDICTED_MODELS),
        nargs="+",
        default=list(MODELS),
        metavar="MODEL",
        help=f"{', '.join(MODELS)} (default: these); with --model also {', '.join(PREDICTED_MODELS[len(MODELS) :])}",
    )
    parser.add_argument(
        "--batch-sizes", type=count, nargs="+", default=list(BATCH_SIZES), metavar="B", help="default: 64 256"
    )
    parser.add_argument("--operations", action="store_true", help="time single operations, too")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument(
        "--model",
        action="store_true",
        help="with --device cuda: launches, bytes and FLOPs of a step, and the time that they predict; needs no GPU",
    )
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="with --model: how well 8, 512 and 1,024 such GPUs would share a batch, see gpucnn/backend/SCALING.md",
    )
    parser.add_argument(
        "--gpu",
        type=choice(list(GPUS)),
        metavar="GPU",
        help=f"whose speeds --model takes: {', '.join(GPUS)} (default: the GPU here, or else {UNKNOWN_GPU})",
    )
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
    parser.add_argument(
        "--loading",
        metavar="DIR",
        help="instead: images a second of a folder of class folders at 224x224, by decoder, beside torchvision's ImageFolder",
    )
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help=f"with --loading: threads, of torchvision processes (default: {WORKERS})",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured to FILE")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn bench`. Raises BenchmarkError if the libraries do not compute the same."""
    _check(options)
    if options.loading:
        _loading(options)
        return
    if options.avx2:
        without_avx512()
    problem = find_problem() if options.model else None
    suite = None if problem else _suite(options)
    if options.json:
        check_writable(options.json)
    if options.keep_memory:
        keep_freed_memory()
    machine = describe(suite.device) if suite else {}
    predictions = _predictions(options, machine.get("GPU", "")) if options.model else []
    found: dict[str, Any] = {}
    if predictions:
        print("\n".join([*prediction_report.lines(predictions), ""]), flush=True)
        found["prediction"] = prediction_report.as_json(predictions)
    if options.scaling:
        tables = scaling.lines(predictions)
        print("\n".join([*tables, ""]), flush=True)
        found["scaling"] = tables
    if suite:
        found |= _measure(options, suite, machine, {str(one.workload): one.eager_seconds for one in predictions})
    elif problem:
        print(f"nothing was measured: {problem.cause}")
    if options.json:
        write_text(options.json, json.dumps(found, indent=1) + "\n")


def _loading(options: argparse.Namespace) -> None:
    """Carry out `gpucnn bench --loading`."""
    if options.json:
        check_writable(options.json)
    found = loading.measure(Path(options.loading), options.workers or WORKERS, _tell)
    print("\n".join(loading.lines(found)))
    if options.json:
        write_text(options.json, json.dumps({"loading": found}, indent=1) + "\n")


def _check(options: argparse.Namespace) -> None:
    """Raises ArgumentError for arguments that do not go together."""
    if options.workers and not options.loading:
        raise ArgumentError(f"--workers {options.workers} is for reading images: give --loading DIR, too")
    if options.loading and (options.model or options.operations):
        raise ArgumentError("--loading measures nothing else: leave out --model and --operations, or --loading")
    if options.gpu and not options.model:
        raise ArgumentError(f"--gpu {options.gpu} is for predictions: give --model, too")
    if options.scaling and not options.model:
        raise ArgumentError("--scaling is for predictions: give --device cuda --model, too")
    if options.model and not re.fullmatch(r"cuda(:\d+)?", options.device):
        raise ArgumentError(f"--model is about a GPU, and the device is {options.device}: give --device cuda")
    if options.model and options.operations:
        raise ArgumentError("--operations are measured, not predicted: leave out --model, or --operations")
    alone = [name for name in options.models if name not in MODELS]
    if alone and not options.model:
        raise ArgumentError(f"--models {alone[0]} is predicted, not measured: give --device cuda --model, too")


def _suite(options: argparse.Namespace) -> Suite:
    """What is to be measured."""
    device = choose_device(options.device).device
    timed = [name for name in options.models if name in MODELS]
    return Suite(device, rivals(device, options.cpu), timed, options.batch_sizes, options.seconds)


def _predictions(options: argparse.Namespace, found: str) -> list[Prediction]:
    """Of all models and batch sizes, for the GPU that was named, or that was `found`."""
    gpu = GPUS[options.gpu or named(found) or UNKNOWN_GPU]
    return [Prediction.of(Workload(model, size), gpu) for model in options.models for size in options.batch_sizes]


def _measure(
    options: argparse.Namespace, suite: Suite, machine: Mapping[str, str], predicted: Mapping[str, float]
) -> dict[str, Any]:
    """Time all of it, print the tables, and give what is to be written down."""
    print("\n".join(report.machine_lines(machine)), flush=True)
    tables: dict[str, list[Result]] = {}
    if suite.models:
        tables["steps"] = list(suite.steps(_tell))
        print("\n" + "\n".join(report.result_lines("training step", tables["steps"], predicted)), flush=True)
    if options.operations:
        tables["operations"] = list(suite.operations(_tell))
        print("\n" + "\n".join(report.result_lines("operation", tables["operations"])))
    settings = {
        "device": str(suite.device),
        "seconds": options.seconds,
        "keep_memory": options.keep_memory,
        "avx2": options.avx2,
    }
    return report.as_json(machine, settings, tables)


def _tell(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)
