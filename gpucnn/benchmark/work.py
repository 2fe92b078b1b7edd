"""What a computation takes at the least, whoever does it: multiply-adds, and bytes to and from memory."""

import math
from typing import NamedTuple

from gpucnn.checks import Shape
from gpucnn.layers import Layer

ITEM = 4
"""Bytes of a float32."""

PARAMETER_PASSES = 8
"""Forward and backward pass read a parameter; its gradient is written, and an update with momentum reads all three and
writes two."""


class Work(NamedTuple):
    """Of one call."""

    multiply_adds: int
    nbytes: int


def training_step_work(model: Layer, input_shape: Shape, batch: int) -> Work:
    """The work of a training step with SGD and momentum on `batch` images of `input_shape` (C, H, W), in float32.

    Multiply-adds: a convolution or linear layer has as many in its forward pass as for each of its two gradients; the
    first one needs none for the images. Bytes: a convolution, linear or normalisation layer reads its input and writes its
    output, and on the way back reads the output's gradient and its input again and writes the input's gradient; a pooling
    layer need not read its input again. Activations, additions and reshapes are counted as free: a program may make them
    where it reads or writes anyway.
    """
    multiply_adds = elements = 0
    first = True
    for call in model.trace((1, *input_shape)).calls:
        before, after = math.prod(call.input_shape), math.prod(call.output_shape)
        multiply_adds += call.multiply_adds * (2 if first else 3)
        if call.parameters:
            elements += 3 * before + 2 * after - (before if first else 0)
        elif before != after:
            elements += 2 * before + 2 * after
        first = first and not call.multiply_adds
    parameters = PARAMETER_PASSES * model.parameter_count()
    return Work(batch * multiply_adds, ITEM * (batch * elements + parameters))
