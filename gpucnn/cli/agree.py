"""`gpucnn agree`: whether two devices compute the same training step."""

import argparse
import functools
import re
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from gpucnn import models, testing
from gpucnn.checks import Shape
from gpucnn.cli.arguments import choice, classifier, count, image_shape, rate
from gpucnn.diagnosis.agreement import compare, first_beyond, scientific, step_on, table
from gpucnn.errors import ArgumentError, DeviceError

HELP = "Compare one training step on two devices, array by array: cpu, cuda, or the GPU path emulated on the CPU."
CLASSES, TOLERANCE = 10, 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn agree`."""
    parser.add_argument("--model", type=classifier, default="lenet5", help=", ".join(models.classifier_names()))
    parser.add_argument(
        "--devices", type=device, nargs=2, default=["cpu", "cuda"], metavar=("REFERENCE", "OTHER"),
        help="two of cpu, cuda, cuda:N, and emulated, the GPU path on the CPU (default: cpu cuda)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=count, default=8, metavar="B", help="images in the step (default: 8)")
    parser.add_argument(
        "--tolerance", type=rate, default=TOLERANCE, metavar="X", help="largest relative difference (default: 1e-4)"
    )
    parser.add_argument("--dtype", type=choice(["float32", "float64"]), default="float32", help="float32 or float64")
    parser.add_argument(
        "--input",
        type=image_shape,
        metavar="CxHxW",
        help="image shape (default: the smallest that the model is trained at)",
    )


def device(text: str) -> str:
    """The name of a device to compare: not "auto", which could be the other one."""
    if re.fullmatch(r"cpu|cuda(:\d+)?|emulated", text):
        return text
    raise argparse.ArgumentTypeError(f"unknown device {text!r}, expected cpu, cuda, cuda:N or emulated")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn agree`."""
    size = models.image_size_for(options.model, 1)
    shape = options.input or (models.default_input(options.model)[0], size, size)
    if shape[1] != shape[2]:
        raise ArgumentError(f"--input: expected a square image, got {shape[1]}x{shape[2]}")
    show(options.model, options.devices, shape, options.batch_size, options.tolerance, options.dtype)


def show(
    model: str,
    devices: Sequence[str],
    input_shape: Shape,
    batch_size: int = 8,
    tolerance: float = TOLERANCE,
    dtype: str = "float32",
) -> None:
    """Print how far the second of `devices` is from the first. Raises DeviceError if that is beyond `tolerance`."""
    reference, other = (_step(name, model, input_shape, batch_size, dtype) for name in devices)
    rows = compare(reference, other)
    print(f"one training step of {model} in {dtype}, {batch_size} images: {devices[1]} against {devices[0]}\n")
    print("\n".join(table(rows, tolerance)), end="\n\n", flush=True)
    beyond = first_beyond(rows, tolerance)
    if beyond is not None:
        raise DeviceError(
            f"{devices[1]} does not agree with {devices[0]}: {beyond.name} is the first to be beyond the tolerance "
            f"{scientific(tolerance)}, with a relative difference of {beyond.relative:.1e}"
        )
    worst = max(rows, key=lambda row: row.relative)
    print(f"largest relative difference {worst.relative:.1e} at {worst.name}: within {scientific(tolerance)}")


def _step(device: str, model: str, input_shape: Shape, batch_size: int, dtype: str) -> dict[str, np.ndarray]:
    create = functools.partial(models.create, model, CLASSES, input_shape[0], input_shape[1])
    is_emulated = device == "emulated"
    with testing.emulated_gpu() if is_emulated else nullcontext():
        place = "cuda" if is_emulated else device
        return step_on(place, create, input_shape, CLASSES, batch_size, dtype=dtype)
