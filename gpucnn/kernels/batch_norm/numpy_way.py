"""Batch normalisation with NumPy on all threads, tile after tile of the batch, so that a tile's steps find it in the cache."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.kernels.batch_norm.plain import Gradients, Running, Statistics, move, unbiased
from gpucnn.kernels.elementwise.masked import mask_into
from gpucnn.kernels.elementwise.numpy_way import rectify
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.tiling import TILED_PARTS, for_tiles, tiles_of
from gpucnn.kernels.ways import Way
from gpucnn.kernels.workspace import workspace

LONGEST_SPREAD = 4096
"""Up to this many positions NumPy works faster on a channel's number if it stands at each of them. Measured by `gpucnn bench --operations`."""


def batch_norm(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool,
    residual: Array | None,
    running: Running | None,
) -> tuple[Array, Statistics]:
    """See `batch_norm` of this folder."""
    batch, _, positions = values.shape
    count, dtype = batch * positions, values.dtype
    near = (_sum_over_tiles(values, lambda tile: _channel_sums(values[tile])) / count).astype(dtype)
    output, means = empty_like(values), _spread(near, positions)

    def centre(tile: slice) -> Array:
        centred = np.subtract(values[tile], means, out=output[tile])
        return np.stack((_channel_sums(centred), _channel_products(centred, centred)))

    # The differences from the mean itself would add up to 0; these tell how far it is off through rounding.
    rest, square = _sum_over_tiles(values, centre) / count
    variance = np.maximum(square - rest * rest, 0)
    inverse = 1 / np.sqrt(variance + eps)
    factor = inverse if weight is None else inverse * weight
    shift = -rest * factor if bias is None else bias - rest * factor
    factors, shifts = (_spread(vector.astype(dtype), positions) for vector in (factor, shift))

    def scale(tile: slice) -> None:
        centred = output[tile]
        centred *= factors
        centred += shifts
        if residual is not None:
            centred += residual[tile]
        if relu:
            rectify(centred, centred)

    for_tiles(_parts(values), values[0].nbytes, scale)
    mean, variance, inverse = (vector.astype(dtype) for vector in (near + rest, variance, inverse))
    if running is not None:
        move(running, mean, variance, unbiased(values))
    return output, Statistics(mean, variance, inverse, Way.NUMPY)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None,
    added: bool,
) -> Array:
    """See `batch_norm_gradients` of this folder."""
    batch, _, positions = values.shape
    count, dtype, inverse = batch * positions, values.dtype, statistics.inverse
    result, means = empty_like(values), _spread(statistics.mean, positions)
    passed = gradient if output is None else result if found.residual is None else found.residual

    def add_up(tile: slice) -> Array:
        if output is not None:
            mask_into(gradient[tile], output[tile] != 0, passed[tile])
        centred = np.subtract(values[tile], means, out=workspace(values[tile].shape, values))
        return np.stack((_channel_sums(passed[tile]), _channel_products(passed[tile], centred)))

    sums, products = _sum_over_tiles(values, add_up)
    products *= inverse
    if found.weight is not None:
        found.weight[...] = products
    if found.bias is not None:
        found.bias[...] = sums
    factor = inverse if weight is None else inverse * weight
    of_centred, shift = -factor * inverse * products / count, -factor * sums / count
    factors, of_centred, shifts = (_spread(v.astype(dtype), positions) for v in (factor, of_centred, shift))

    def fill(tile: slice) -> None:
        centred = np.subtract(values[tile], means, out=workspace(values[tile].shape, values))
        centred *= of_centred
        centred += shifts
        scaled = np.multiply(passed[tile], factors, out=result[tile])
        scaled += centred

    for_tiles(_parts(values), values[0].nbytes, fill)
    return result


def _sum_over_tiles(values: Array, task: Callable[[slice], Array]) -> Array:
    """The sum of what `task` finds for slices of the batch that cover it, the same for any number of threads."""
    parts = _parts(values)
    sums: list[Any] = [None] * len(parts)

    def work(number: int) -> None:
        sums[number] = functools.reduce(np.add, map(task, tiles_of(parts[number], values[0].nbytes)))

    parallel(work, len(parts))
    return functools.reduce(np.add, sums)


def _parts(values: Array) -> tuple[slice, ...]:
    return cut(len(values), values[0].size * ELEMENT, TILED_PARTS)


def _channel_sums(values: Array) -> Array:
    """The sums (C,) of values (N, C, P), in float64 from one image to the next."""
    sums: Array = matmul(values, np.ones(values.shape[2], values.dtype)).sum(axis=0, dtype=np.float64)
    return sums


def _channel_products(first: Array, second: Array) -> Array:
    """The sums (C,) of products, likewise: BLAS has vectors for them, which `einsum` has not."""
    products = matmul(first[:, :, None, :], second[:, :, :, None])
    sums: Array = products.reshape(first.shape[:2]).sum(axis=0, dtype=np.float64)
    return sums


def _spread(vector: Array, positions: int) -> Array:
    """A number a channel, laid out for an operation with values (N, C, P)."""
    if positions > LONGEST_SPREAD:
        return vector[:, None]
    return np.repeat(vector, positions).reshape(len(vector), positions)
