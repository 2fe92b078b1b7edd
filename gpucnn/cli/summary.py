"""`gpucnn summary MODEL`, or FILE.onnx: a model's operations, their shapes and costs, and the memory that training takes."""

import argparse
import functools
from collections.abc import Callable

import gpucnn  # for gpucnn.load_onnx, which is imported when it is first looked at
from gpucnn import models, optim
from gpucnn.checks import Shape
from gpucnn.cli.arguments import batch_or_auto, choice, count, image_shape, memory_size
from gpucnn.cli.result_file import check_writable
from gpucnn.diagnosis.memory_plan import MemoryPlan, memory_plan, sgd_with_momentum
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer
from gpucnn.layers.costs import costs
from gpucnn.layers.summary import LEGEND, table
from gpucnn.runs.network import is_onnx

HELP = "Show a model's operations with output shape, parameters, multiply-adds and memory, and the batch that fits."
OPTIMIZERS = {"adam": optim.Adam, "sgd": sgd_with_momentum}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn summary`."""
    parser.epilog = (
        f"{' '.join(f'{name.capitalize()}: {text}.' for name, text in LEGEND.items())} All numbers but the parameters are for one image, in "
        f"float32. Memory is that of a training step on the CPU: parameters, gradients, the optimizer's memory, images, "
        f"activations and temporaries. Python and NumPy themselves, some 50 MB, and the data set come on top."
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=model_or_file,
        help=f"an ONNX file, FILE.onnx, or one of {', '.join(models.names())}",
    )
    parser.add_argument(
        "--input", type=image_shape, metavar="CxHxW", help="image shape, e.g. 1x32x32 (default: the model's)"
    )
    parser.add_argument(
        "--classes", type=count, metavar="N", help="number of classes (default: 10; an ONNX file has its own)"
    )
    parser.add_argument(
        "--batch",
        type=batch_or_auto,
        metavar="B",
        help="tell the memory of a training step with B images; auto: the most that fit",
    )
    parser.add_argument("--memory", type=memory_size, metavar="SIZE", help="with --batch auto: e.g. 4GB, 512MB, 2GiB")
    parser.add_argument(
        "--optimizer", type=choice(list(OPTIMIZERS)), default="adam", help="of the training step: adam (default) or sgd"
    )
    parser.add_argument(
        "--svg",
        type=svg_file,
        metavar="FILE",
        help="draw the layers with their shapes, parameters and residual paths, e.g. model.svg",
    )


def model_or_file(text: str) -> str:
    """A model's name, or the path of an ONNX file."""
    return text if is_onnx(text) else choice(models.names())(text)


def svg_file(text: str) -> str:
    """A file's name that ends in .svg, as a browser asks for."""
    if not text.lower().endswith(".svg"):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .svg, e.g. model.svg, got {text!r}")
    return text


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn summary`."""
    if (options.batch == "auto") != (options.memory is not None):
        raise ArgumentError("--batch auto and --memory SIZE go together, e.g. --batch auto --memory 4GB")
    check_writable(options.svg)
    shape, create = (_of_file if is_onnx(options.model) else _by_name)(options)
    rows = costs(create, shape)
    print("\n".join(table(rows, shape, create().parameter_count())))
    if options.svg:
        create().diagram(shape).save(options.svg)
    if options.batch is None:
        return
    plan = memory_plan(create, shape, rows, OPTIMIZERS[options.optimizer])
    found = plan.largest_batch(options.memory) if options.batch == "auto" else options.batch
    if options.batch == "auto":
        print(f"\nthe largest batch that fits into {_megabytes(options.memory)}: {found}", end="")
    print("\n" + "\n".join(memory_lines(plan, found, options.optimizer)))


def _by_name(options: argparse.Namespace) -> tuple[Shape, Callable[[], Layer]]:
    shape = options.input or models.default_input(options.model)
    channels, height, width = shape
    if height != width:
        raise ArgumentError(f"--input: expected a square image, got {height}x{width}")
    return shape, functools.partial(models.create, options.model, options.classes or 10, channels, height)


def _of_file(options: argparse.Namespace) -> tuple[Shape, Callable[[], Layer]]:
    if options.classes is not None:
        raise ArgumentError(f"--classes: {options.model} has its own; leave it out")
    shape = options.input or gpucnn.load_onnx(options.model).input_shape
    if shape is None or len(shape) != 3:
        raise ArgumentError(
            f"--input: {options.model} does not tell what images it takes; give CHANNELSxHEIGHTxWIDTH, e.g. 3x32x32"
        )
    return shape, functools.partial(gpucnn.load_onnx, options.model)


def memory_lines(plan: MemoryPlan, batch: int, optimizer: str) -> list[str]:
    """The lines that say what a training step with `batch` images takes, and what that is made of."""
    parts = plan.parts(batch)
    width = max(len(part.name) for part in parts)
    peak, place = _megabytes(plan.peak(batch)), plan.worst_moment(batch).place
    return [
        f"a training step with a batch of {batch} and {optimizer} takes {peak} on the CPU at its peak, {place}:",
        *(f"  {part.name:<{width}}  {_megabytes(part.nbytes):>12}" for part in parts),
    ]


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f} MB"
