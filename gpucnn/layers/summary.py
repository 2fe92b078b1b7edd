"""The table of a model's operations, their shapes and what they cost."""

import copy
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from gpucnn.checks import Shape
from gpucnn.html_fragments import Html, html_table, text_instead, titled
from gpucnn.kernels.convolution.numpy_way import HOST_COLUMN_BYTES
from gpucnn.layers.costs import Cost, costs
from gpucnn.layers.initialization import zeros
from gpucnn.layers.parameter import Parameter
from gpucnn.text import shape_text
from gpucnn.text_table import fitted_table, terminal_width

LEGEND = {
    "activation bytes": "what is kept of each image from the forward to the backward pass",
    "im2col bytes": f"what a convolution's columns of an image would take at once; in tiles they take {HOST_COLUMN_BYTES:,} a thread at most",
}
HEADER = ("layer", "kind", "output shape", "parameters", "multiply-adds", "activation bytes", "im2col bytes")
LESS_NEEDED = ("im2col bytes", "activation bytes", "kind", "multiply-adds")
"""What is left out where the terminal is too narrow for all."""


def summary_lines(model: Any, input_shape: Shape) -> list[str]:
    """The lines of the summary of `model`, a layer that stays as it is, for an input of `input_shape`, without batch axis."""
    return table(costs(lambda: twin(model), input_shape), input_shape, model.parameter_count())


@text_instead
def model_html(model: Any) -> Html | None:
    """What a notebook shows of a model: its layers with their shapes. None for one that takes images of any size.

    Without what is kept in memory, for which `summary_lines` makes a model learn: this is shown whenever a model is looked at.
    """
    shape = model.built_for()
    if shape is None:
        return None
    rows = [("input", "", shape_text(("N", *shape)), "", "")]
    for call in model.trace((1, *shape)).calls:
        sizes = shape_text(("N", *call.output_shape[1:]))
        rows.append((call.path, call.kind, sizes, f"{call.parameters:,}", f"{call.multiply_adds:,}"))
    title = f"{type(model).__name__}: {model.parameter_count():,} parameters"
    return titled(title, html_table(HEADER[:5], rows, "lllrr"))


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


def twin(model: Any) -> Any:
    """A copy on the CPU, without hooks, whose parameters are zeros, which take no memory."""
    instead: dict[int, Any] = {id(layer._hooks): None for _, layer in model._layers("")}
    for path, parameter in model.named_parameters():
        zero = Parameter(parameter.shape, zeros, parameter.dtype, parameter.requires_grad)
        zero.path, instead[id(parameter)] = path, zero
    return copy.deepcopy(model, instead).to("cpu")
