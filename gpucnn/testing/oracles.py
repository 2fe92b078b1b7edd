"""What the operations should give, by naive loops in float64 that share no code with the package."""

import itertools
import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray


def pad(images: Array, rows: int, columns: int, value: float) -> Array:
    """Images (N, C, H, W) with a border of `value`."""
    batch, channels, height, width = images.shape
    padded = np.full((batch, channels, height + 2 * rows, width + 2 * columns), value)
    padded[:, :, rows : rows + height, columns : columns + width] = images
    return padded


def windows(
    padded: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int, Array]]:
    """Every window of padded images as (output row, output column, values (N, C, KH, KW)), cut out by slices."""
    span = [dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    found = []
    for row, top in enumerate(range(0, padded.shape[2] - span[0] + 1, stride[0])):
        for column, left in enumerate(range(0, padded.shape[3] - span[1] + 1, stride[1])):
            cut = padded[:, :, top : top + span[0] : dilation[0], left : left + span[1] : dilation[1]]
            found.append((row, column, cut))
    return found


def output_size(found: list[tuple[int, int, Array]]) -> tuple[int, int]:
    """How many (rows, columns) of windows there are, from what `windows` gave."""
    return found[-1][0] + 1, found[-1][1] + 1


def conv2d(
    images: Array,
    weight: Array,
    bias: Array | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Array:
    """Images (N, C, H, W) cross-correlated with weight (O, C / groups, KH, KW), plus bias (O,): (N, O, OH, OW)."""
    images, weight = images.astype(np.float64), weight.astype(np.float64)
    found = windows(pad(images, *padding, 0.0), weight.shape[2:], stride, dilation)
    filters, channels = weight.shape[:2]
    output = np.zeros((len(images), filters, *output_size(found)))
    for (row, column, values), image, filter_index in itertools.product(found, range(len(images)), range(filters)):
        first = filter_index // (filters // groups) * channels
        total = 0.0 if bias is None else float(bias[filter_index])
        for channel in range(channels):
            total += float((values[image, first + channel] * weight[filter_index, channel]).sum())
        output[image, filter_index, row, column] = total
    return output


def max_pool2d(
    images: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> Array:
    """The maxima of the windows of images (N, C, H, W): (N, C, OH, OW). A NaN wins its window, padding never does."""
    found = windows(pad(images.astype(np.float64), *padding, -math.inf), kernel, stride, dilation)
    output = np.zeros((*images.shape[:2], *output_size(found)))
    for row, column, values in found:
        for image, channel in np.ndindex(values.shape[:2]):
            flat = [float(value) for value in values[image, channel].ravel()]
            output[image, channel, row, column] = math.nan if any(map(math.isnan, flat)) else max(flat)
    return output


def avg_pool2d(
    images: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    count_include_pad: bool = True,
) -> Array:
    """The means of the windows of images (N, C, H, W): (N, C, OH, OW). Padding counts as zeros, or not at all."""
    found = windows(pad(images.astype(np.float64), *padding, 0.0), kernel, stride, (1, 1))
    inside = windows(pad(np.ones(images.shape), *padding, 0.0), kernel, stride, (1, 1))
    output = np.zeros((*images.shape[:2], *output_size(found)))
    for (row, column, values), (_, _, ones) in zip(found, inside, strict=True):
        for image, channel in np.ndindex(values.shape[:2]):
            count = ones[image, channel].sum() if not count_include_pad else kernel[0] * kernel[1]
            output[image, channel, row, column] = values[image, channel].sum() / count
    return output


def softmax(logits: Array) -> Array:
    """exp(logits) / sum(exp(logits)) for every row of logits (N, classes)."""
    output = np.zeros(logits.shape)
    for row, values in enumerate(logits):
        weights = [math.exp(float(value)) for value in values]
        output[row] = [weight / math.fsum(weights) for weight in weights]
    return output


def cross_entropy(logits: Array, labels: Array, weight: Array | None = None, label_smoothing: float = 0.0) -> float:
    """The mean cross-entropy of logits (N, classes) and labels (N,), weighted by class, with smoothed targets."""
    losses, weights = [], []
    classes = logits.shape[1]
    for values, label in zip(softmax(logits), labels, strict=True):
        logs = [math.log(value) for value in values]
        scale = [1.0] * classes if weight is None else [float(value) for value in weight]
        smooth = math.fsum(factor * log for factor, log in zip(scale, logs, strict=True)) / classes
        losses.append(-(1 - label_smoothing) * scale[label] * logs[label] - label_smoothing * smooth)
        weights.append(scale[label])
    return math.fsum(losses) / math.fsum(weights)


def gradient(function: Callable[..., Array], inputs: list[Array], position: int, weights: Array) -> Array:
    """d sum(function(*inputs) * weights) / d inputs[position], by central differences in float64."""
    moved = [np.array(value, dtype=np.float64) for value in inputs]
    gradients = np.zeros(moved[position].shape)
    step = 1e-6
    for index in np.ndindex(gradients.shape):
        value = moved[position][index]
        sides = []
        for side in (value + step, value - step):
            moved[position][index] = side
            sides.append(float((function(*moved) * weights).sum()))
        moved[position][index] = value
        gradients[index] = (sides[0] - sides[1]) / (2 * step)
    return gradients
