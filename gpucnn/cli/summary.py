"""`gpucnn summary MODEL`: a model's layers, shapes and costs."""

import argparse

from gpucnn import models
from gpucnn.checks import shape_text
from gpucnn.cli.arguments import choice, count, image_shape
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer

HELP = "Show a model's layers with output shape, parameters and multiply-adds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn summary`."""
    parser.add_argument("model", metavar="MODEL", type=choice(models.names()), help=", ".join(models.names()))
    parser.add_argument(
        "--input", type=image_shape, metavar="CxHxW", help="image shape, e.g. 1x32x32 (default: the model's)"
    )
    parser.add_argument("--classes", type=count, default=10, metavar="N", help="number of classes (default: 10)")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn summary`."""
    channels, height, width = options.input or models.default_input(options.model)
    if height != width:
        raise ArgumentError(f"--input: expected a square image, got {height}x{width}")
    model = models.create(options.model, options.classes, channels, height)
    print("\n".join(table(model, (1, channels, height, width))))


def table(model: Layer, input_shape: tuple[int, ...]) -> list[str]:
    """The lines of the summary of `model` for an input of `input_shape` (its batch axis is shown as N)."""
    trace = model.trace(input_shape)
    rows = [("layer", "kind", "output shape", "parameters", "multiply-adds")]
    rows.append(("input", "", shape_text(("N", *input_shape[1:])), "", ""))
    for call in trace.calls:
        shape = shape_text(("N", *call.output_shape[1:]))
        rows.append((call.path, call.kind, shape, f"{call.parameters:,}", f"{call.multiply_adds:,}"))
    total = sum(call.multiply_adds for call in trace.calls)
    rows.append(("total", "", "", f"{model.parameter_count():,}", f"{total:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(cell.ljust(width) if column < 3 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    return [*lines[:1], "-" * len(lines[0]), *lines[1:-1], "-" * len(lines[0]), lines[-1]]
