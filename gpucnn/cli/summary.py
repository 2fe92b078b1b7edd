"""`gpucnn summary MODEL`: a model's operations, their shapes and costs, and the memory that training takes."""

import argparse
import functools
from collections.abc import Sequence
from textwrap import wrap

from gpucnn import models, optim
from gpucnn.checks import Shape
from gpucnn.cli.arguments import batch_or_auto, choice, count, image_shape, memory_size
from gpucnn.diagnosis.memory_plan import MemoryPlan, memory_plan, sgd_with_momentum
from gpucnn.errors import ArgumentError
from gpucnn.kernels.convolution.numpy_way import HOST_COLUMN_BYTES
from gpucnn.layers.costs import Cost, costs
from gpucnn.text import shape_text
from gpucnn.text_table import fitted_table, terminal_width

HELP = "Show a model's operations with output shape, parameters, multiply-adds and memory, and the batch that fits."
LEGEND = {
    "activation bytes": "what is kept of each image from the forward to the backward pass",
    "im2col bytes": f"what a convolution's columns of an image would take at once; in tiles they take {HOST_COLUMN_BYTES:,} a thread at most",
}
HEADER = ("layer", "kind", "output shape", "parameters", "multiply-adds", "activation bytes", "im2col bytes")
LESS_NEEDED = ("im2col bytes", "activation bytes", "kind", "multiply-adds")
"""What is left out where the terminal is too narrow for all."""
OPTIMIZERS = {"adam": optim.Adam, "sgd": sgd_with_momentum}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn summary`."""
    parser.epilog = (
        f"{' '.join(f'{name.capitalize()}: {text}.' for name, text in LEGEND.items())} All numbers but the parameters are for one image, in "
        f"float32. Memory is that of a training step on the CPU: parameters, gradients, the optimizer's memory, images, "
        f"activations and temporaries. Python and NumPy themselves, some 50 MB, and the data set come on top."
    )
    parser.add_argument("model", metavar="MODEL", type=choice(models.names()), help=", ".join(models.names()))
    parser.add_argument(
        "--input", type=image_shape, metavar="CxHxW", help="image shape, e.g. 1x32x32 (default: the model's)"
    )
    parser.add_argument("--classes", type=count, default=10, metavar="N", help="number of classes (default: 10)")
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


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn summary`."""
    if (options.batch == "auto") != (options.memory is not None):
        raise ArgumentError("--batch auto and --memory SIZE go together, e.g. --batch auto --memory 4GB")
    shape = options.input or models.default_input(options.model)
    channels, height, width = shape
    if height != width:
        raise ArgumentError(f"--input: expected a square image, got {height}x{width}")
    create = functools.partial(models.create, options.model, options.classes, channels, height)
    rows = costs(create, shape)
    print("\n".join(table(rows, shape, create().parameter_count())))
    if options.batch is None:
        return
    plan = memory_plan(create, shape, rows, OPTIMIZERS[options.optimizer])
    found = plan.largest_batch(options.memory) if options.batch == "auto" else options.batch
    if options.batch == "auto":
        print(f"\nthe largest batch that fits into {_megabytes(options.memory)}: {found}", end="")
    print("\n" + "\n".join(memory_lines(plan, found, options.optimizer)))


def table(rows: Sequence[Cost], input_shape: Shape, parameters: int) -> list[str]:
    """The lines of the summary of a model for images of `input_shape` (C, H, W); the batch axis is shown as N."""
    cells: list[Sequence[str]] = [("input", "", shape_text(("N", *input_shape)), "", "", "", "")]
    for row in rows:
        rows_per_image, *sizes = row.output_shape
        shape = shape_text(("N" if rows_per_image == 1 else f"{rows_per_image} * N", *sizes))
        numbers = (row.parameters, row.multiply_adds, row.activation_bytes, row.im2col_bytes)
        cells.append((row.path, row.kind, shape, *(f"{number:,}" for number in numbers)))
    totals = (
        parameters,
        sum(row.multiply_adds for row in rows),
        sum(row.activation_bytes for row in rows),
        sum(row.im2col_bytes for row in rows),
    )
    cells.append(("total", "", "", *(f"{number:,}" for number in totals)))
    lines = fitted_table(HEADER, cells, "lllrrrr", LESS_NEEDED)
    legend = [
        line for name, text in LEGEND.items() if name in lines[0] for line in wrap(f"{name}: {text}", terminal_width())
    ]
    return [*lines[:-1], lines[1], lines[-1], *legend]


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
