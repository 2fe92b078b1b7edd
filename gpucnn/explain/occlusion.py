"""Occlusion: what a part of the image is worth, found by covering it.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
"""

from collections.abc import Iterator

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, no_grad
from gpucnn.backend import beside, xp_of
from gpucnn.checks import IntOrPair, Pair, as_pair, is_finite
from gpucnn.errors import ArgumentError
from gpucnn.explain.given import as_image, as_model, check_label, on_host
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.text import value_text

BATCH = 32
"""Covered images that are computed together."""


def occlusion(
    model: Layer,
    image: Operand,
    label: int,
    size: IntOrPair | None = None,
    stride: IntOrPair | None = None,
    value: float = 0.0,
) -> np.ndarray:
    """How much of the probability of class `label` is lost where a patch covers the image: float64 (H, W).

    The patch goes over the image in steps, its last ones at the edges; each pixel has the mean over the patches that cover it.
    Above 0 the pixel speaks for the class, below 0 against it.

    - `image`: (C, H, W) or (1, C, H, W), floats in the form that the model takes.
    - `size`: of the patch, an int or (height, width); by default a fifth of the image. `stride`: its steps, no longer than it
      is; by default half of it.
    - `value`: what the patch is filled with. 0 is the mean colour of images that are normalised.

    Of a model that labels every pixel it is the mean probability of all pixels. Raises ArgumentError for a label that the model
    has not, a size, stride or value that will not do, ShapeError for what is not one image. The model is left as it was.
    """
    owner = "occlusion"
    model = as_model(owner, model)
    x = as_image(owner, model, image)
    height, width = x.shape[2:]
    default = max(1, round(height / 5)), max(1, round(width / 5))
    patch = default if size is None else as_pair(size, f"{owner}: size", 1)
    steps = _half(patch) if stride is None else as_pair(stride, f"{owner}: stride", 1)
    if patch[0] > height or patch[1] > width:
        raise ArgumentError(f"{owner}: a patch of {patch[0]}x{patch[1]} is larger than the image, {height}x{width}")
    if steps[0] > patch[0] or steps[1] > patch[1]:
        raise ArgumentError(
            f"{owner}: a stride of {steps[0]}x{steps[1]} leaves gaps between patches of {patch[0]}x{patch[1]}; give a smaller one"
        )
    if not is_finite(value):
        raise ArgumentError(f"{owner}: value must be a finite number, got {value_text(value)}")
    places = [
        (row, column) for row in _starts(height, patch[0], steps[0]) for column in _starts(width, patch[1], steps[1])
    ]
    with no_grad(), evaluating(model):
        logits = model(x)
        label = check_label(owner, label, logits)
        whole = _probabilities(logits, label)[0]
        lost = [
            whole - probability
            for some in _batches(places)
            for probability in _probabilities(model(_covered(x, some, patch, value)), label)
        ]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (row, column), loss in zip(places, lost, strict=True):
        part = slice(row, row + patch[0]), slice(column, column + patch[1])
        total[part] += loss
        count[part] += 1
    return total / count


def _half(patch: Pair) -> Pair:
    return max(1, patch[0] // 2), max(1, patch[1] // 2)


def _starts(size: int, patch: int, step: int) -> list[int]:
    """Where the patch begins along an axis; the last ends with the image."""
    return sorted({*range(0, size - patch, step), size - patch})


def _batches(places: list[Pair]) -> Iterator[list[Pair]]:
    for first in range(0, len(places), BATCH):
        yield places[first : first + BATCH]


def _covered(x: Tensor, places: list[Pair], patch: Pair, value: float) -> Tensor:
    """The image (1, C, H, W) as often as there are places, each time covered at one of them."""
    with beside(x.array):
        images = xp_of(x.array).repeat(x.array, len(places), axis=0)
        for one, (row, column) in zip(images, places, strict=True):
            one[:, row : row + patch[0], column : column + patch[1]] = value
    return Tensor(images)


def _probabilities(logits: Tensor, label: int) -> np.ndarray:
    """That of the class, float64 (N,); the mean over an image's pixels, where there are several."""
    probabilities = on_host(F.softmax(logits, axis=1)[:, label])
    mean: np.ndarray = probabilities.reshape(len(probabilities), -1).mean(axis=1)
    return mean
