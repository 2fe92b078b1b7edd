"""The functions of a network, on arrays of NumPy: images are (N, C, H, W), sizes an int for both axes, or (rows, columns)."""

import math

import numpy as np


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> np.ndarray:
    """Slide filters (O, C / groups, KH, KW) over images: (N, O, OH, OW).

    The windows become the columns of a matrix, which the filters are multiplied with.
    """
    filters, _, *kernel = weight.shape
    views = windows(padded(x, padding), (kernel[0], kernel[1]), stride, dilation)
    rows, columns = views.shape[2:4]
    if weight.shape[1] == 1 and groups == filters:  # one filter a channel
        output = np.zeros((len(x), filters, rows, columns), x.dtype)
        for i, j in np.ndindex(*kernel):
            output += views[..., i, j] * weight[:, 0, i, j, None, None]
    else:
        output = np.empty((len(x), filters, rows, columns), x.dtype)
        matrix = weight.reshape(groups, filters // groups, -1)
        size = max(1, 2**20 // max(1, matrix[0, 0].size * groups * rows * columns))
        for start in range(0, len(x), size):  # as many images as fit a cache
            part = views[start : start + size].transpose(0, 1, 4, 5, 2, 3)
            products = matrix @ part.reshape(len(part), groups, -1, rows * columns)
            output[start : start + size] = products.reshape(-1, filters, rows, columns)
    if bias is not None:
        output += bias[:, None, None]
    return output


def conv_transpose2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> np.ndarray:
    """Each pixel adds its filters (C, O / groups, KH, KW) to the output: (N, O, OH, OW).

    `padding` is cut off, at ((top, bottom), (left, right)); below 0 zeros are added.
    """
    batch, channels, height, width = x.shape
    _, filters, *kernel = weight.shape
    step, gap = pair(stride), pair(dilation)
    sides = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
    (top, bottom), (left, right) = sides
    rows = (height - 1) * step[0] + gap[0] * (kernel[0] - 1) + 1 + max(0, -bottom)
    columns = (width - 1) * step[1] + gap[1] * (kernel[1] - 1) + 1 + max(0, -right)
    pixels = x.reshape(batch, groups, channels // groups, height * width)
    output = np.zeros((batch, groups * filters, rows, columns), x.dtype)
    for i, j in np.ndindex(*kernel):
        matrix = weight[:, :, i, j].reshape(groups, channels // groups, filters)
        products = matrix.transpose(0, 2, 1) @ pixels
        part = output[:, :, i * gap[0] :: step[0], j * gap[1] :: step[1]]
        part = part[:, :, :height, :width]
        part += products.reshape(batch, groups * filters, height, width)
    output = output[:, :, top : rows - max(0, bottom), left : columns - max(0, right)]
    return output if bias is None else output + bias[:, None, None]


def linear(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """(..., I) to (..., O), with weights (O, I)."""
    product = x @ weight.T
    return product if bias is None else product + bias


def max_pool2d(
    x: np.ndarray,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
    dilation: int | tuple[int, int] = 1,
) -> np.ndarray:
    """The maximum of every window."""
    kernel = pair(kernel_size)
    views = windows(padded(x, padding, -np.inf), kernel, stride, dilation)
    output = views[..., 0, 0].copy()
    for i, j in np.ndindex(kernel):
        np.maximum(output, views[..., i, j], out=output)
    return output


def avg_pool2d(
    x: np.ndarray,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
    count: np.ndarray | int | None = None,
) -> np.ndarray:
    """The mean of every window: its sum over `count`, or over the size of the window."""
    kernel = pair(kernel_size)
    views = windows(padded(x, padding), kernel, stride)
    output = views[..., 0, 0].copy()
    for i, j in list(np.ndindex(kernel))[1:]:
        output += views[..., i, j]
    return output / (kernel[0] * kernel[1] if count is None else count)


def adaptive_avg_pool2d(x: np.ndarray, output_size: tuple[int, int]) -> np.ndarray:
    """The means over cells that cover the images evenly."""
    output = np.empty((*x.shape[:2], *output_size), x.dtype)
    for i, rows in enumerate(cells(x.shape[2], output_size[0])):
        for j, columns in enumerate(cells(x.shape[3], output_size[1])):
            output[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return output


def adaptive_max_pool2d(x: np.ndarray, output_size: tuple[int, int]) -> np.ndarray:
    """The maxima over cells that cover the images evenly."""
    output = np.empty((*x.shape[:2], *output_size), x.dtype)
    for i, rows in enumerate(cells(x.shape[2], output_size[0])):
        for j, columns in enumerate(cells(x.shape[3], output_size[1])):
            output[:, :, i, j] = x[:, :, rows, columns].max((2, 3))
    return output


def cells(size: int, count: int) -> list[slice]:
    """`count` parts of an axis that cover it evenly."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def windows(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
) -> np.ndarray:
    """A view of all windows, (N, C, OH, OW, KH, KW)."""
    step, gap = pair(stride), pair(dilation)
    extent = gap[0] * (kernel[0] - 1) + 1, gap[1] * (kernel[1] - 1) + 1
    views = np.lib.stride_tricks.sliding_window_view(x, extent, (2, 3))
    return views[:, :, :: step[0], :: step[1], :: gap[0], :: gap[1]]


def padded(
    x: np.ndarray,
    padding: int | tuple[tuple[int, int], tuple[int, int]],
    value: float = 0,
) -> np.ndarray:
    """Images with a border: of `padding` pixels, or ((top, bottom), (left, right))."""
    if padding == 0:
        return x
    sides = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
    return np.pad(x, ((0, 0), (0, 0), *sides), constant_values=value)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of an int or a pair."""
    return (value, value) if isinstance(value, int) else value


def batch_norm(
    x: np.ndarray,
    w: dict[str, np.ndarray],
    path: str,
    eps: float = 1e-05,
) -> np.ndarray:
    """`normalized` with the arrays of the layer at `path`."""
    mean, variance = w[f"{path}.running_mean"], w[f"{path}.running_var"]
    weight, bias = w.get(f"{path}.weight"), w.get(f"{path}.bias")
    return normalized(x, mean, variance, weight, bias, eps)


def normalized(
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-05,
) -> np.ndarray:
    """Each channel normalised with statistics of training, then scaled and shifted."""
    scale = 1 / np.sqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    along = (1, -1) + (1,) * (x.ndim - 2)
    output = x - mean.reshape(along)
    output *= scale.reshape(along)
    if bias is not None:
        output += bias.reshape(along)
    return output


def layer_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    axes: int = 1,
    eps: float = 1e-05,
) -> np.ndarray:
    """Each sample normalised over its last `axes`, then scaled and shifted."""
    output = standardized(x, tuple(range(-axes, 0)), eps)
    if weight is not None:
        output *= weight
    return output if bias is None else output + bias


def group_norm(
    x: np.ndarray,
    groups: int,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-05,
) -> np.ndarray:
    """Each group of channels normalised, then each channel scaled and shifted."""
    output = standardized(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
    along = (1, -1) + (1,) * (x.ndim - 2)
    if weight is not None:
        output *= weight.reshape(along)
    return output if bias is None else output + bias.reshape(along)


def standardized(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    """Mean 0 and variance 1 over `axes`."""
    centred = x - x.mean(axes, keepdims=True)
    variance = (centred * centred).mean(axes, keepdims=True)
    return centred * (1 / np.sqrt(variance + eps))


def local_response_norm(
    x: np.ndarray,
    size: int,
    alpha: float = 0.0001,
    beta: float = 0.75,
    k: float = 1.0,
) -> np.ndarray:
    """Each channel divided by what `size` neighbouring channels have there."""
    squares = np.zeros_like(x)
    for distance in range(-(size // 2), (size - 1) // 2 + 1):
        to = slice(max(0, -distance), x.shape[1] - max(0, distance))
        of = slice(max(0, distance), x.shape[1] - max(0, -distance))
        if abs(distance) < x.shape[1]:
            squares[:, to] += x[:, of] ** 2
    return x * (k + alpha / size * squares) ** -beta


def relu(x: np.ndarray) -> np.ndarray:
    """What is above 0, and 0 for the rest."""
    return np.maximum(x, 0)


def relu6(x: np.ndarray) -> np.ndarray:
    """At least 0, and at most 6."""
    return np.minimum(np.maximum(x, 0), 6)


def leaky_relu(x: np.ndarray, negative_slope: float = 0.01) -> np.ndarray:
    """Below 0 only a share."""
    return np.where(x > 0, x, negative_slope * x)


def prelu(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Below 0 only a share: one for all, or one a channel."""
    if weight.size > 1:
        weight = weight.reshape((1, -1) + (1,) * (x.ndim - 2))
    return np.where(x > 0, x, weight * x)


def hardsigmoid(x: np.ndarray) -> np.ndarray:
    """A sigmoid of three straight lines."""
    return relu6(x + 3) / 6


def hardswish(x: np.ndarray) -> np.ndarray:
    """The product of `x` and hardsigmoid(x)."""
    return np.where(x < -3, 0, x) * (relu6(x + 3) / 6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), of which the exponential is never above 1."""
    decay = np.exp(-np.abs(x))
    return np.where(x < 0, decay, 1) / (1 + decay)


def silu(x: np.ndarray) -> np.ndarray:
    """The product of `x` and sigmoid(x)."""
    return np.maximum(x, -1000) * sigmoid(x)


def softplus(x: np.ndarray, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    """A smooth ReLU, log(1 + exp(beta * x)) / beta, straight above the threshold."""
    scaled = beta * x
    smooth = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return np.where(scaled > threshold, x, smooth)


def mish(x: np.ndarray) -> np.ndarray:
    """The product of `x` and tanh(softplus(x))."""
    return np.maximum(x, -1000) * np.tanh(softplus(x, 1.0, math.inf))


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Below 0 alpha * (exp(x) - 1)."""
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0))


def selu(x: np.ndarray) -> np.ndarray:
    """An ELU that keeps mean 0 and variance 1 from layer to layer."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    """The product of `x` and the probability that a standard normal number is below."""
    inner = np.clip(x, -40, 40)
    if approximate == "tanh":
        curve = math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)
        return np.maximum(x, -40) * (0.5 * (1 + np.tanh(curve)))
    return np.maximum(x, -40) * (0.5 * (1 + erf(inner * math.sqrt(0.5))))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, to the last digit of a float32: Eigen's quotient."""
    x = np.clip(x, -4, 4)
    square = x * x
    above = square * -2.72614225801306e-10 + 2.77068142495902e-08
    above = above * square - 2.10102402082508e-06
    above = above * square - 5.69250639462346e-05
    above = above * square - 7.34990630326855e-04
    above = above * square - 2.95459980854025e-03
    above = above * square - 1.60960333262415e-02
    below = square * -1.45660718464996e-05 - 2.13374055278905e-04
    below = below * square - 1.68282697438203e-03
    below = below * square - 7.37332916720468e-03
    below = below * square - 1.42647390514189e-02
    return np.clip(x * above / below, -1, 1)


def softmax(x: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    """Probabilities: exp(x) over its sum."""
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    """The logarithms of `softmax`."""
    below = x - x.max(axis, keepdims=True)
    return below - np.log(np.exp(below).sum(axis, keepdims=True))
