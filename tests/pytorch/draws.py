"""Draws of arguments and values that functions and layers share."""

import numpy as np

from tests.pytorch.comparison import Arguments, integer, pair

Drawn = tuple[Arguments, list[np.ndarray]]
"""Keyword arguments, and the values of the tensors."""


def int_if_equal(sizes: tuple[int, int]) -> int | tuple[int, int]:
    """One int where both sizes are alike, so that both forms of an argument are seen."""
    return sizes[0] if sizes[0] == sizes[1] else sizes


def image_size(
    rng: np.random.Generator, kernel: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Height and width, each at least what the window needs.

    And no less than the dilation: smaller images can fall between the taps of a padded window, and PyTorch's max_pool2d
    then gives an index outside of the image, to which its gradient writes.
    """
    needed = [dilation[axis] * (kernel[axis] - 1) + 1 - 2 * padding[axis] for axis in (0, 1)]
    return tuple(max(needed[axis], dilation[axis]) + integer(rng, 0, 6) for axis in (0, 1))


def draw_conv2d(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    groups = integer(rng, 1, 3)
    channels, filters = integer(rng, 1, 3), groups * integer(rng, 1, 3)
    kernel, padding, dilation = pair(rng, 1, 4), pair(rng, 0, 3), pair(rng, 1, 3)
    size = image_size(rng, kernel, padding, dilation)
    values = [
        rng.standard_normal((integer(rng, 1, 3), channels * groups, *size)),
        rng.standard_normal((filters, channels, *kernel)),
    ]
    if rng.random() < 0.6:
        values.append(rng.standard_normal(filters))
    arguments = {
        "stride": int_if_equal(pair(rng, 1, 3)),
        "padding": int_if_equal(padding),
        "dilation": int_if_equal(dilation),
        "groups": groups,
    }
    return arguments, values


def draw_pooling(seed: int, dilated: bool) -> Drawn:
    rng = np.random.default_rng(seed)
    kernel, dilation = pair(rng, 1, 5), pair(rng, 1, 3) if dilated else (1, 1)
    padding = integer(rng, 0, kernel[0] // 2), integer(rng, 0, kernel[1] // 2)
    images = rng.standard_normal((*pair(rng, 1, 3), *image_size(rng, kernel, padding, dilation)))
    arguments = {
        "kernel_size": int_if_equal(kernel),
        "stride": None if rng.random() < 0.3 else int_if_equal(pair(rng, 1, 4)),
        "padding": int_if_equal(padding),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    if dilated:
        arguments["dilation"] = int_if_equal(dilation)
    else:
        arguments["count_include_pad"] = bool(rng.random() < 0.5)
    return arguments, [images]


def draw_max_pool2d(seed: int) -> Drawn:
    """By turns: ordinary images, ties, minus infinity in many places and a whole channel, one NaN a channel."""
    arguments, [images] = draw_pooling(seed, dilated=True)
    rng = np.random.default_rng([seed, 2])
    if seed % 4 == 1:
        images = rng.integers(0, 3, images.shape).astype(float)
    elif seed % 4 == 2:
        images[rng.random(images.shape) < 0.6] = -np.inf
        images[-1, -1] = -np.inf
    elif seed % 4 == 3:
        planes = images.reshape(-1, images.shape[2] * images.shape[3])
        planes[np.arange(len(planes)), rng.integers(planes.shape[1], size=len(planes))] = np.nan
    return arguments, [images]


def draw_avg_pool2d(seed: int) -> Drawn:
    arguments, values = draw_pooling(seed, dilated=False)
    rng = np.random.default_rng([seed, 2])
    arguments["divisor_override"] = None if rng.random() < 0.6 else int(rng.choice([-2, 1, 3]))
    return arguments, values


def draw_softplus(rng: np.random.Generator) -> Arguments:
    return {"beta": float(rng.uniform(0.1, 5)), "threshold": float(rng.choice([-1, 0, 0.5, 5, 20, 30]))}


def draw_activation_input(
    rng: np.random.Generator, seed: int, shape: tuple[int, ...], infinite: bool = True
) -> np.ndarray:
    values = rng.standard_normal(shape) * rng.choice([1, 4])
    if seed % 4 == 1:
        values = rng.integers(-7, 8, shape).astype(float)
    elif seed % 4 == 2:
        values *= 1000
    elif seed % 4 == 3 and infinite:
        values[rng.random(shape) < 0.3] = np.inf
        values[rng.random(shape) < 0.3] = -np.inf
    return values
