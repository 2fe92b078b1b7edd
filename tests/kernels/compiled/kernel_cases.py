"""Calls of compiled kernels on drawn sizes, each with what should come out, by loops over taps in float64.

Inputs are small integers wherever no division or root is taken: their sums are exact in float32, in any order.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from gpucnn.backend.threads import VARIABLE
from gpucnn.geometry import Window
from gpucnn.kernels.batch_norm import compiled as batch_norm_loops
from gpucnn.kernels.compiler import loop, machine_code, padded_plane, processor
from gpucnn.kernels.convolution import compiled_by_images, compiled_by_rows, compiled_strides
from gpucnn.kernels.cross_entropy import compiled as compiled_cross_entropy
from gpucnn.kernels.elementwise import compiled as elementwise_loops
from gpucnn.kernels.linear import compiled as compiled_linear
from gpucnn.kernels.pooling import compiled as compiled_pooling
from gpucnn.kernels.rounding import compiled as rounding_loops
from gpucnn.kernels.update import compiled as update_loops
from tests.kernels.compiled.guarded_memory import Guarded

LANES = (16, 8, 4)


class Case(NamedTuple):
    """A call of `kernel` for `count` items in `parts`, with arrays of `given` values, some of which become `expected`."""

    kernel: Any
    machine: Any
    count: int
    parts: list[slice]
    given: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    rtol: float = 0.0


def run_in(case: Case, memory: Guarded) -> list[str]:
    """Run a case with all arrays and the scratch memory in guarded memory; what went wrong, empty if nothing did."""
    sizes = {loop.EACH: case.count, loop.PARTS: len(case.parts)}
    arrays = {}
    for argument in case.kernel.arguments:
        free = {loop.FREE: len(case.given[argument.name])} if loop.FREE in argument.shape else {}
        shape = tuple((sizes | free).get(size, size) for size in argument.shape)
        array = memory.place(shape, argument.dtype)
        if argument.name in case.given:
            array[...] = case.given[argument.name]
        arrays[argument.name] = array
    with (
        for_machine(case.machine),
        mock.patch.dict(os.environ, {VARIABLE: "1"}),  # so that all scratch memory is `workspace`
        mock.patch.object(loop, "workspace", lambda shape, like: memory.place(shape, str(like.dtype))),
    ):
        loop.run(case.kernel, case.count, list(arrays.values()), case.parts)
    problems = memory.damage()
    for name, array in arrays.items():
        wanted = case.expected[name] if name in case.expected else case.given[name].astype(array.dtype)
        if not np.allclose(array, wanted, rtol=case.rtol, atol=case.rtol, equal_nan=True):
            problems.append(f"{name} is {array.ravel()[:99]}, expected {wanted.ravel()[:99]}")
    return problems


_compiled: dict[Any, dict[Any, Any]] = {}


def for_machine(machine: Any) -> Any:
    """Inside, kernels are compiled for `machine`."""
    return mock.patch.multiple(
        loop,
        compiled=functools.partial(_compiled_for, machine),
        _functions=_compiled.setdefault(machine, {}),
    )


def _compiled_for(machine: Any, name: str, sizes: tuple[Any, ...], write: Callable[[Any], Any]) -> int:
    with mock.patch.object(machine_code, "processor", return_value=machine):
        return int(machine_code.compiled(name, sizes, write))


def machine_of(lanes: int) -> Any:
    """This machine's processor, with vectors of so many floats."""
    return processor.processor()._replace(lanes=lanes)


def ragged(rng: np.random.Generator, count: int) -> list[slice]:
    """Parts of drawn sizes, some of them empty."""
    cuts = sorted(int(cut) for cut in rng.integers(0, count + 1, rng.integers(0, 4)))
    return [slice(*ends) for ends in zip([0, *cuts], [*cuts, count], strict=True)]


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-4, 5, shape).astype(np.float64)


def number(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def planes(rng: np.random.Generator, pooling: bool = False) -> Any:
    """A window of drawn sizes on an image: rows of 1 to 70 positions, padding of each side alone, also less than none."""
    kernel, stride, dilation = ((number(rng, 1, high), number(rng, 1, high)) for high in (5, 3, 3))
    wanted = (number(rng, 1, 6), number(rng, 1, int(rng.choice([4, 20, 70]))))
    if pooling:
        lowest, highest = [(0, 0), (0, 1), (0, 4)][number(rng, 0, 2)]
    else:
        lowest, highest = [(0, 0), (-2, 6), (-6, 9)][number(rng, 0, 2)]
    padding = tuple((number(rng, lowest, highest), number(rng, lowest, highest)) for _ in range(2))
    if pooling and rng.random() < 0.3:  # side by side, as pooling mostly is, or with gaps
        gaps = number(rng, 0, 2), number(rng, 0, 2)
        extent = Window(kernel, dilation=dilation).extent
        stride = extent[0] + gaps[0], extent[1] + gaps[1]
    window = Window(kernel, stride, (padding[0], padding[1]), dilation, pooling and rng.random() < 0.3)
    if (
        not pooling and rng.random() < 0.3
    ):  # so much of the image is beside the windows, or of the windows beside the image
        image_size = (number(rng, 1, 9), number(rng, 1, int(rng.choice([4, 90]))))
        return padded_plane.PaddedPlane(image_size, window, (wanted[0], number(rng, 1, int(rng.choice([2, 20])))))
    size = []
    for axis in (0, 1):
        seen = (wanted[axis] - 1) * stride[axis] + window.extent[axis] - sum(padding[axis])
        size.append(max(1, seen + number(rng, 0, stride[axis] - 1)))
    image_size = (size[0], size[1])
    return padded_plane.PaddedPlane(image_size, window, window.output_size(image_size))


def seen_by(plane: Any, images: np.ndarray, padding: float) -> tuple[np.ndarray, np.ndarray]:
    """Images (..., H, W) as windows (..., OH, OW, R, S), and each value's place in its plane, (OH, OW, R, S), -1 outside."""
    rows, columns = (_reads(plane, axis) for axis in (0, 1))
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    (height, width) = plane.image_size
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    values = images[..., rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, values, padding), np.where(inside, rows * width + columns, -1)


def _reads(plane: Any, axis: int) -> np.ndarray:
    """Where on an axis each tap (second) of each window (first) reads."""
    window = plane.window
    corners = np.arange(plane.output_size[axis]) * window.stride[axis] - window.padding[axis][0]
    return corners[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]


def convolution(rng: np.random.Generator, machine: Any) -> Case:
    sizes = compiled_by_rows.LoopSizes(number(rng, 1, 3), number(rng, 1, 3), number(rng, 1, 19), planes(rng))
    return _convolution(rng, machine, compiled_by_rows, sizes, number(rng, 1, 3))


def convolution_by_images(rng: np.random.Generator, machine: Any) -> Case:
    return _convolution(rng, machine, compiled_by_images, _sizes_by_images(rng, machine), number(rng, 1, 40))


def _sizes_by_images(rng: np.random.Generator, machine: Any) -> Any:
    while True:
        sizes = compiled_by_rows.LoopSizes(number(rng, 1, 3), number(rng, 1, 3), number(rng, 1, 19), planes(rng))
        if compiled_by_images.works(sizes, machine) and sizes.plane.output_size[1] <= 20:
            return sizes


def _convolution(rng: np.random.Generator, machine: Any, module: Any, sizes: Any, count: int) -> Case:
    bias, relu = bool(rng.integers(2)), bool(rng.integers(2))
    groups, channels, filters, plane = sizes
    images = integers(rng, count, groups * channels, *plane.image_size)
    weight = integers(rng, groups * filters, channels, *plane.window.kernel)
    offsets = integers(rng, groups * filters)
    values, _ = seen_by(plane, images.reshape(count, groups, channels, *plane.image_size), 0.0)
    by_group = weight.reshape(groups, filters, *weight.shape[1:])
    output = np.einsum("ngcyxrs,gkcrs->ngkyx", values, by_group, optimize=True)
    output = output.reshape(count, groups * filters, *plane.output_size)
    output += offsets[:, None, None] if bias else 0
    stored, layout = _laid_out(rng, by_group)
    given = {"images": images, "weight": stored, "bias": offsets}
    kernel = module.forward(sizes, layout, bias, relu, machine)
    expected = {"output": output.clip(0) if relu else output}
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def _laid_out(rng: np.random.Generator, weight: np.ndarray) -> tuple[np.ndarray, Any]:
    """Weights (G, K, C, R, S) with filters and channels in some order and taps turned round or among others; their layout."""
    groups, filters, channels, *taps = weight.shape
    steps = [number(rng, 1, 2) * (1 - 2 * number(rng, 0, 1)) for _ in taps]
    sizes = [(count - 1) * abs(step) + 1 + number(rng, 0, 1) for count, step in zip(taps, steps, strict=True)]
    firsts = [0 if step > 0 else (count - 1) * -step for count, step in zip(taps, steps, strict=True)]
    stored = integers(rng, groups, filters, channels, *sizes)
    reads = [first + step * np.arange(count) for first, step, count in zip(firsts, steps, taps, strict=True)]
    stored[..., reads[0][:, None], reads[1]] = weight
    of_taps = sizes[0] * sizes[1]
    apart = (channels * of_taps, of_taps)
    if rng.integers(2):
        stored, apart = stored.swapaxes(1, 2), (of_taps, filters * of_taps)
    first = firsts[0] * sizes[1] + firsts[1]
    layout = compiled_by_rows.WeightLayout(stored.size, stored[0].size, *apart, steps[0] * sizes[1], steps[1], first)
    return stored.reshape(-1), layout


def convolution_weight_gradient(rng: np.random.Generator, machine: Any) -> Case:
    sizes = compiled_by_rows.LoopSizes(number(rng, 1, 2), number(rng, 1, 3), number(rng, 1, 19), planes(rng))
    return _weight_gradient(rng, machine, compiled_by_rows, sizes, number(rng, 1, 19))


def weight_gradient_by_images(rng: np.random.Generator, machine: Any) -> Case:
    return _weight_gradient(rng, machine, compiled_by_images, _sizes_by_images(rng, machine), number(rng, 1, 40))


def _weight_gradient(rng: np.random.Generator, machine: Any, module: Any, sizes: Any, count: int) -> Case:
    groups, channels, filters, plane = sizes
    images = integers(rng, count, groups * channels, *plane.image_size)
    gradient = integers(rng, count, groups * filters, *plane.output_size)
    values, _ = seen_by(plane, images.reshape(count, groups, channels, *plane.image_size), 0.0)
    of_groups = gradient.reshape(count, groups, filters, *plane.output_size)
    parts = ragged(rng, count)
    partial = [np.einsum("ngcyxrs,ngkyx->gkcrs", values[part], of_groups[part], optimize=True) for part in parts]
    shape = (len(parts), groups * filters, channels, *plane.window.kernel)
    given = {"images": images, "gradient": gradient}
    kernel = module.weight_gradient(sizes, machine)
    return Case(kernel, machine, count, parts, given, {"partial": np.array(partial).reshape(shape)})


def max_pool(rng: np.random.Generator, machine: Any) -> Case:
    return pooled(rng, machine, planes(rng, pooling=True))


def max_pool_in_place(rng: np.random.Generator, machine: Any) -> Case:
    """Windows that read their image up to its last pixel, and nothing else."""
    stride, dilation = ((number(rng, 1, 3), number(rng, 1, 3)) for _ in range(2))
    kernel = number(rng, 1, 4), 1 + -(-(stride[1] - 1) // dilation[1]) + number(rng, 0, 2)
    window, wanted = Window(kernel, stride, dilation=dilation), (number(rng, 1, 6), number(rng, 1, 40))
    rows, columns = ((wanted[axis] - 1) * stride[axis] + window.extent[axis] for axis in (0, 1))
    return pooled(rng, machine, padded_plane.PaddedPlane((rows, columns), window, wanted))


def pooled(rng: np.random.Generator, machine: Any, plane: Any) -> Case:
    count = number(rng, 1, 4)
    images = integers(rng, count, *plane.image_size)
    images[rng.random(images.shape) < 0.05] = np.nan
    images[rng.random(images.shape) < 0.05] = -np.inf
    values, places = seen_by(plane, images, -np.inf)
    output, argmax = (np.empty((count, *plane.output_size)) for _ in range(2))
    for index in np.ndindex(output.shape):
        taps = values[index].ravel()
        order = [k for k in range(taps.size) if np.isnan(taps[k])] or [int(taps.argmax())]
        output[index] = taps[order[0]]
        argmax[index] = places[index[1:]].ravel()[order[0]]
        if output[index] == -np.inf:  # a window in which nothing wins: see `forward`
            padded = plane.window.padding != ((0, 0), (0, 0))
            argmax[index] = -1 if padded else places[index[1:]].ravel()[0]
    kernel = compiled_pooling.max_pool_loop(plane)
    expected = {"output": output, "argmax": argmax}
    return Case(kernel, machine, count, ragged(rng, count), {"images": images}, expected)


def max_pool_gradient(rng: np.random.Generator, machine: Any) -> Case:
    plane, count = planes(rng, pooling=True), number(rng, 1, 4)
    (height, width), output_size = plane.image_size, plane.output_size
    gradient = integers(rng, count, *output_size)
    _, places = seen_by(plane, np.zeros(plane.image_size), 0.0)
    argmax = rng.permuted(np.tile(places.reshape(*output_size, -1), (count, 1, 1, 1)), axis=3)[..., 0]
    images = np.zeros((count, height * width))
    for index in np.ndindex(argmax.shape):
        if argmax[index] >= 0:
            images[index[0], argmax[index]] += gradient[index]
    given = {"gradient": gradient, "argmax": argmax.astype(np.float64)}
    expected = {"images": images.reshape(count, height, width)}
    return Case(compiled_pooling.max_pool_gradient_loop(plane), machine, count, ragged(rng, count), given, expected)


def relu(rng: np.random.Generator, machine: Any) -> Case:
    x = integers(rng, number(rng, 1, 150))
    x[rng.random(x.size) < 0.1] = np.nan
    expected = {"result": np.where(x < 0, 0, x)}
    return Case(elementwise_loops.formula_loop("relu"), machine, x.size, ragged(rng, x.size), {"x": x}, expected)


def relu_gradient(rng: np.random.Generator, machine: Any) -> Case:
    gradient = integers(rng, number(rng, 1, 150))
    output = integers(rng, gradient.size).clip(0)
    output[rng.random(output.size) < 0.1] = np.nan
    expected = {"result": np.where(output == 0, 0, gradient)}
    given, kernel = {"gradient": gradient, "output": output}, elementwise_loops.formula_loop("relu_gradient")
    return Case(kernel, machine, gradient.size, ragged(rng, gradient.size), given, expected)


def plane_sums(rng: np.random.Generator, machine: Any) -> Case:
    through_relu = bool(rng.integers(2))
    gradient = integers(rng, number(rng, 1, 9), plane_size(rng))
    output = integers(rng, *gradient.shape).clip(0)
    rows = np.where(output == 0, 0, gradient) if through_relu else gradient
    given, expected = {"gradient": gradient, "output": output}, {"sums": rows.sum(axis=1), "rows": rows}
    kernel, count = elementwise_loops.plane_sums_loop(gradient.shape[1], through_relu), len(gradient)
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def images_of_planes(rng: np.random.Generator) -> np.ndarray:
    return integers(rng, number(rng, 1, 5), number(rng, 1, 5), plane_size(rng))


def plane_size(rng: np.random.Generator) -> int:
    """How many positions a plane has: any number, or so many that there is no rest after the vectors."""
    return number(rng, 1, 200) if rng.random() < 0.6 else 64 * number(rng, 1, 3)


def moments(rng: np.random.Generator, machine: Any) -> Case:
    values = images_of_planes(rng)
    means = values.mean(axis=2)
    squares = np.square(values - means[..., None]).sum(axis=2)
    kernel, count = batch_norm_loops.moments_loop(*values.shape[1:]), len(values)
    expected = {"moments": np.stack((means, squares), axis=1)}
    return Case(kernel, machine, count, ragged(rng, count), {"values": values}, expected, 1e-5)


def statistics(rng: np.random.Generator, machine: Any) -> Case:
    """Planes whose means are exact, and so large that their own mean is not; they differ as much as what is in them."""
    channels, positions = number(rng, 1, 40), 2 ** number(rng, 0, 3)
    values = integers(rng, number(rng, 1, 7), channels, positions) + integers(rng, channels, 1) * 2**18
    means, affine = values.mean(axis=2), {name: integers(rng, channels) for name in ("weight", "bias")}
    squares = np.square(values - means[..., None]).sum(axis=2)
    use, eps = [bool(rng.integers(2)) for _ in affine], float(rng.choice([1e-3, 2.0]))
    mean, variance = values.mean(axis=(0, 2)), values.var(axis=(0, 2))
    factor = (affine["weight"] if use[0] else 1) / np.sqrt(variance + eps)
    shift = (mean.astype(np.float32) - mean) * factor + (affine["bias"] if use[1] else 0)
    given = {"moments": np.stack((means, squares), axis=1), **affine}
    expected = {"statistics": np.stack((mean, variance, 1 / np.sqrt(variance + eps), factor, shift))}
    kernel = batch_norm_loops.statistics_loop(channels, positions, *use, eps)
    return Case(kernel, machine, channels, ragged(rng, channels), given, expected, 1e-5)


def normalize(rng: np.random.Generator, machine: Any) -> Case:
    values = images_of_planes(rng)
    numbers = integers(rng, 5, values.shape[1])
    mean, _, _, factor, shift = numbers[..., None]
    output, relu, added = (values - mean) * factor + shift, *map(bool, rng.integers(2, size=2))
    given = {"values": values, "statistics": numbers, "residual": integers(rng, *values.shape)}
    output = output + given["residual"] if added else output
    expected = {"output": output.clip(0) if relu else output}
    kernel, count = batch_norm_loops.normalize_loop(*values.shape[1:], relu, added), len(values)
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def running(rng: np.random.Generator, machine: Any) -> Case:
    channels, is_given = number(rng, 1, 40), bool(rng.integers(2))
    fresh, kept = integers(rng, 5, channels), integers(rng, 2, channels)
    stays, share, factor = 0.75, 0.5, 1.25
    given = {"statistics": fresh, "numbers": np.array([stays, share, factor]), "share": np.array([0.125])}
    given |= {"running_mean": kept[0], "running_variance": kept[1]}
    if is_given:
        stays, share = 0.875, 0.125
    mean, variance = stays * kept[0] + share * fresh[0], stays * kept[1] + share * (fresh[1] * factor)
    kernel = batch_norm_loops.running_loop(channels, is_given)
    expected = {"running_mean": mean, "running_variance": variance}
    return Case(kernel, machine, channels, ragged(rng, channels), given, expected)


def share(rng: np.random.Generator, machine: Any) -> Case:
    count = np.array([2.0 ** number(rng, 0, 6) - 1])
    expected = {"count": count + 1, "share": 1 / (count + 1)}
    return Case(batch_norm_loops.share_loop(), machine, 1, [slice(0, 1)], {"count": count}, expected)


def products(rng: np.random.Generator, machine: Any) -> Case:
    values = images_of_planes(rng)
    gradient, numbers, relu = integers(rng, *values.shape), integers(rng, 5, values.shape[1]), bool(rng.integers(2))
    passed, centred = passed_and_centred(rng, gradient, values, numbers, relu)
    sums = passed.sum(axis=2), (passed * centred).sum(axis=2)
    given = {"gradient": gradient, "values": values, "statistics": numbers}
    kernel, count = batch_norm_loops.products_loop(*values.shape[1:], relu), len(values)
    return Case(kernel, machine, count, ragged(rng, count), given, {"sums": np.stack(sums, axis=1)})


def passed(rng: np.random.Generator, machine: Any) -> Case:
    values = images_of_planes(rng)
    gradient, numbers, output = (
        integers(rng, *values.shape),
        integers(rng, 5, values.shape[1]),
        integers(rng, *values.shape),
    )
    output = output.clip(0)
    output[rng.random(output.shape) < 0.1] = np.nan
    slope, centred = np.where(output == 0, 0, gradient), values - numbers[0][:, None]
    given = {"gradient": gradient, "values": values, "output": output, "statistics": numbers}
    expected = {"passed": slope, "sums": np.stack((slope.sum(axis=2), (slope * centred).sum(axis=2)), axis=1)}
    kernel, count = batch_norm_loops.passed_loop(*values.shape[1:]), len(values)
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def passed_and_centred(
    rng: np.random.Generator, gradient: np.ndarray, values: np.ndarray, numbers: np.ndarray, relu: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What of the gradient passes the ReLU of batch norm, and the values less their mean; some values become NaN."""
    if rng.random() < 0.3:
        values[0, 0, 0] = np.nan
    mean, _, _, factor, shift = numbers[..., None]
    output = (values - mean) * factor + shift
    return np.where(relu & (output <= 0), 0, gradient), values - mean


def coefficients(rng: np.random.Generator, machine: Any) -> Case:
    batch, channels, positions, use = number(rng, 1, 5), number(rng, 1, 40), number(rng, 1, 9), bool(rng.integers(2))
    sums, known, weight = integers(rng, batch, 2, channels), integers(rng, 5, channels), integers(rng, channels)
    inverse = known[2]
    total, product = sums.sum(axis=0)
    product, factor = product * inverse, inverse * (weight if use else 1)
    numbers = factor, -factor * inverse * product / (batch * positions), -factor * total / (batch * positions)
    given = {"sums": sums, "statistics": known, "weight": weight}
    expected = {"coefficients": np.stack(numbers), "weight_gradient": product, "bias_gradient": total}
    kernel = batch_norm_loops.coefficients_loop(channels, positions, use)
    return Case(kernel, machine, channels, ragged(rng, channels), given, expected, 1e-6)


def batch_norm_gradient(rng: np.random.Generator, machine: Any) -> Case:
    values = images_of_planes(rng)
    gradient, known, relu = integers(rng, *values.shape), integers(rng, 5, values.shape[1]), bool(rng.integers(2))
    passed, centred = passed_and_centred(rng, gradient, values, known, relu)
    numbers = integers(rng, 3, values.shape[1])
    factor, of_centred, shift = numbers[..., None]
    given = {"gradient": gradient, "values": values, "statistics": known, "coefficients": numbers}
    expected = {"result": passed * factor + centred * of_centred + shift}
    kernel, count = batch_norm_loops.gradient_loop(*values.shape[1:], relu), len(values)
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def sgd(rng: np.random.Generator, machine: Any) -> Case:
    size, momentum, nesterov = number(rng, 1, 150), bool(rng.integers(2)), bool(rng.integers(2))
    value, slope, velocity = (integers(rng, size) for _ in range(3))
    lr, beta, decay = 0.5, 0.25, float(rng.choice([0.0, 0.125]))
    value[rng.random(size) < 0.1] = 0.0 if decay else np.inf  # which no decay must not turn into NaN
    given = {"parameters": value, "gradients": slope, "velocities": velocity, "settings": np.array([lr, beta, decay])}
    slope = slope + decay * value if decay else slope
    if momentum:
        velocity = beta * velocity + slope
        slope = slope + beta * velocity if nesterov else velocity
    expected = {"parameters": value - lr * slope, "velocities": velocity}
    return Case(update_loops.sgd_loop(momentum, nesterov), machine, size, ragged(rng, size), given, expected)


def adam(rng: np.random.Generator, machine: Any) -> Case:
    size = number(rng, 1, 150)
    value, slope, mean = (integers(rng, size) for _ in range(3))
    square, decay = np.abs(integers(rng, size)), float(rng.choice([0.0, 0.25]))
    value[rng.random(size) < 0.1] = 0.0 if decay else np.inf
    kept = float(rng.choice([1.0, 0.75]))
    settings = np.array([0.5, 0.75, 0.25, 0.875, 0.125, 0.625, 0.0625, decay, kept])
    given = {"parameters": value, "gradients": slope, "means": mean, "squares": square, "settings": settings}
    value = kept * value
    slope = slope + decay * value if decay else slope
    mean, square = 0.75 * mean + 0.25 * slope, 0.875 * square + 0.125 * slope**2
    changed = value - 0.5 * mean / (np.sqrt(square / 0.625) + 0.0625)
    expected = {"parameters": changed, "means": mean, "squares": square}
    return Case(update_loops.adam_loop(), machine, size, ragged(rng, size), given, expected, 1e-6)


def matrix_size(rng: np.random.Generator) -> int:
    """Any size, or one that vectors of every width divide."""
    return number(rng, 1, 70) if rng.random() < 0.7 else 16 * number(rng, 1, 5)


def linear_forward(rng: np.random.Generator, machine: Any) -> Case:
    count, inputs, outputs = number(rng, 1, 21), matrix_size(rng), number(rng, 1, 23)
    bias, relu = bool(rng.integers(2)), bool(rng.integers(2))
    vectors, weight, offsets = integers(rng, count, inputs), integers(rng, outputs, inputs), integers(rng, outputs)
    if rng.random() < 0.2:
        vectors[0, 0] = np.inf  # a mask may not make NaN of it
    with np.errstate(invalid="ignore"):
        output = np.einsum("ni,oi->no", vectors, weight) + (offsets if bias else 0)
    given = {"vectors": vectors, "weight": weight, "bias": offsets}
    expected = {"output": np.where(output < 0, 0, output) if relu else output}
    kernel = compiled_linear.linear_loop(inputs, outputs, bias, relu, machine)
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def linear_vectors_gradient(rng: np.random.Generator, machine: Any) -> Case:
    count, inputs, outputs, relu = number(rng, 1, 21), matrix_size(rng), number(rng, 1, 23), bool(rng.integers(2))
    gradient, weight = integers(rng, count, outputs), integers(rng, outputs, inputs)
    output = integers(rng, count, outputs).clip(0)
    output[rng.random(output.shape) < 0.1] = np.nan
    passed = np.where(output == 0, 0, gradient) if relu else gradient
    expected = {"vectors_gradient": np.einsum("no,oi->ni", passed, weight), "passed": passed}
    kernel = compiled_linear.vectors_gradient_loop(inputs, outputs, relu, machine)
    given = {"gradient": gradient, "weight": weight, "output": output}
    return Case(kernel, machine, count, ragged(rng, count), given, expected)


def linear_weight_gradient(rng: np.random.Generator, machine: Any) -> Case:
    batch, inputs, outputs, bias = number(rng, 0, 21), matrix_size(rng), number(rng, 1, 40), bool(rng.integers(2))
    gradient, vectors = integers(rng, batch, outputs), integers(rng, batch, inputs)
    expected = {"weight_gradient": np.einsum("no,ni->oi", gradient, vectors), "bias_gradient": gradient.sum(axis=0)}
    kernel = compiled_linear.weight_gradient_loop(inputs, outputs, bias, machine)
    given = {"gradient": gradient, "vectors": vectors}
    return Case(kernel, machine, outputs, ragged(rng, outputs), given, expected)


def add(rng: np.random.Generator, machine: Any) -> Case:
    a, relu = integers(rng, number(rng, 1, 150)), bool(rng.integers(2))
    b = integers(rng, a.size)
    a[rng.random(a.size) < 0.1] = np.nan
    total = np.where(a + b < 0, 0, a + b) if relu else a + b
    kernel = elementwise_loops.formula_loop("add_relu" if relu else "add")
    return Case(kernel, machine, a.size, ragged(rng, a.size), {"a": a, "b": b}, {"result": total})


def interleave(rng: np.random.Generator, machine: Any) -> Case:
    size = number(rng, 1, 9), number(rng, 1, int(rng.choice([6, 90])))
    stride, count = (number(rng, 1, 3), int(rng.choice([1, 2, 2, 2, 3]))), number(rng, 1, 3)
    planes = integers(rng, count, *size)
    present, given = [], {}
    for phase in itertools.product(range(stride[0]), range(stride[1])):
        place = (slice(None), slice(phase[0], None, stride[0]), slice(phase[1], None, stride[1]))
        if not planes[place].size or rng.random() < 0.2:
            planes[place] = 0
            continue
        present.append(phase)
        given[f"phase_{phase[0]}_{phase[1]}"] = planes[place]
    kernel = compiled_strides.interleave(size, stride, tuple(present))
    return Case(kernel, machine, count, ragged(rng, count), given, {"planes": planes})


def cross_entropy(rng: np.random.Generator, machine: Any) -> Case:
    logits, smoothing = integers(rng, number(rng, 1, 9), number(rng, 1, 50)) * 5, float(rng.choice([0.0, 0.25]))
    labels = rng.integers(0, logits.shape[1], len(logits))
    own = np.arange(len(logits)), labels
    if not smoothing:
        hidden = rng.random(logits.shape) < 0.1  # without a target a class of no probability does not count
        hidden[own] = False
        logits[hidden] = -np.inf
    z = logits - logits.max(axis=1, keepdims=True)
    sums = np.exp(z).sum(axis=1)
    even = smoothing * z.mean(axis=1) if smoothing else 0
    losses = np.log(sums) - even - (1 - smoothing) * z[own]
    unknown = rng.random(len(logits)) < 0.1
    labels = np.where(unknown, rng.choice([-1, logits.shape[1], 1 << 30], len(logits)), labels)
    losses[unknown] = np.nan
    expected = {"probabilities": np.exp(z) / sums[:, None], "losses": losses}
    given = {"logits": logits, "labels": labels.astype(np.float64)}
    kernel, count = compiled_cross_entropy.cross_entropy_loop(logits.shape[1], smoothing), len(logits)
    return Case(kernel, machine, count, ragged(rng, count), given, expected, 1e-6)


def mean(rng: np.random.Generator, machine: Any) -> Case:
    values = integers(rng, number(rng, 1, 99))
    kernel = compiled_cross_entropy.mean_loop()
    return Case(kernel, machine, 1, [slice(0, 1)], {"values": values}, {"mean": values.mean(keepdims=True)}, 1e-6)


def cross_entropy_gradient(rng: np.random.Generator, machine: Any) -> Case:
    count, classes = number(rng, 1, 9), number(rng, 1, 50)
    probabilities, smoothing = rng.random((count, classes)), float(rng.choice([0.0, 0.25]))
    labels, upstream = rng.integers(-1, classes + 1, count), integers(rng, 1)
    gradient = probabilities - smoothing / classes
    for row, label in zip(gradient, labels, strict=True):
        if 0 <= label < classes:
            row[label] -= 1 - smoothing
        else:
            row[0] = np.nan
    given = {"probabilities": probabilities, "labels": labels.astype(np.float64), "upstream": upstream}
    kernel = compiled_cross_entropy.cross_entropy_gradient_loop(classes, smoothing)
    expected = {"gradient": gradient * upstream / count}
    return Case(kernel, machine, count, ragged(rng, count), given, expected, 1e-6)


def row_sums(rng: np.random.Generator, machine: Any) -> Case:
    rows = integers(rng, number(rng, 1, 9), number(rng, 1, 70))
    kernel, size = elementwise_loops.row_sums_loop(rows.shape[1]), rows.shape[1]
    return Case(kernel, machine, size, ragged(rng, size), {"rows": rows}, {"sums": rows.sum(axis=0)})


def rounded(rng: np.random.Generator, machine: Any) -> Case:
    """To 8 or 11 significant bits, which are all that an even number of 8 more bits has, and an odd one is halfway."""
    to_even, bits = ((True, 8), (False, 11))[number(rng, 0, 1)]
    values = rng.integers(-(2 ** (bits + 2)), 2 ** (bits + 2), number(rng, 1, 150)).astype(np.float64)
    mantissas, exponents = np.frexp(values * 2.0 ** rng.integers(-60, 60, values.size))
    whole = np.abs(mantissas) * 2.0**bits
    nearest = np.rint(whole) if to_even else np.floor(whole + 0.5)
    given = np.ldexp(mantissas, exponents)
    expected = np.ldexp(np.copysign(nearest, mantissas), exponents - bits)
    for odd in (np.nan, np.inf):
        given[place := rng.random(values.size) < 0.1] = expected[place] = odd
    return Case(
        rounding_loops.round_loop(24 - bits, to_even),
        machine,
        values.size,
        ragged(rng, values.size),
        {"values": given},
        {"found": expected},
    )


DRAWS: dict[Callable[[np.random.Generator, Any], Case], int] = {
    convolution: 60,
    convolution_weight_gradient: 45,
    convolution_by_images: 36,
    weight_gradient_by_images: 36,
    max_pool: 60,
    max_pool_in_place: 18,
    max_pool_gradient: 45,
    relu: 12,
    relu_gradient: 12,
    plane_sums: 15,
    moments: 15,
    statistics: 15,
    normalize: 24,
    running: 12,
    share: 6,
    products: 15,
    passed: 15,
    coefficients: 15,
    batch_norm_gradient: 15,
    sgd: 24,
    adam: 12,
    linear_forward: 30,
    linear_vectors_gradient: 24,
    linear_weight_gradient: 24,
    add: 12,
    interleave: 24,
    cross_entropy: 24,
    cross_entropy_gradient: 12,
    mean: 12,
    row_sums: 12,
    rounded: 12,
}
"""How many cases of each kernel there are."""


def cases(
    draw: Callable[[np.random.Generator, Any], Case], first: int = 0, step: int = 1
) -> Iterator[tuple[str, Case]]:
    """The cases of a kernel, each with a name: number `first`, and every `step`-th after it."""
    for seed in range(first, DRAWS[draw], step):
        machine = machine_of(LANES[seed % len(LANES)])
        yield f"{draw.__name__} {seed}, {machine.lanes} lanes", draw(np.random.default_rng([20261122, seed]), machine)
