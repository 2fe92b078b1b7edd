"""Normalisation layers."""

from collections.abc import Sequence
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape, as_count, as_flag, as_items, as_number
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.normalization import as_eps
from gpucnn.geometry import images_fix
from gpucnn.kernels.batch_norm import next_share
from gpucnn.layers.initialization import ones, zeros
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Buffer, Parameter
from gpucnn.text import shape_text


class _BatchNorm(Layer):
    """What batch normalisation layers share. `expected` says in words, and `ndims` in numbers, what they take."""

    expected: str
    ndims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        frozen: bool = False,
        *,
        scale: bool = True,
        bias: bool = True,
    ) -> None:
        kind = type(self).__name__
        self.num_features = as_count(num_features, f"{kind}: num_features")
        self.eps = as_eps(kind, eps)
        self.momentum = None if momentum is None else as_number(momentum, f"{kind}: momentum")
        frozen = as_flag(frozen, f"{kind}: frozen")
        track_running_stats = as_flag(track_running_stats, f"{kind}: track_running_stats")
        if frozen and not track_running_stats:
            raise ArgumentError(f"{kind}: frozen=True uses running statistics; leave track_running_stats=True")
        self.frozen = frozen
        self.weight, self.bias = _affine(kind, (num_features,), affine, bias, scale)
        self.running_mean = Buffer((num_features,), zeros) if track_running_stats else None
        self.running_var = Buffer((num_features,), ones) if track_running_stats else None
        self.num_batches_tracked = Buffer((), zeros) if track_running_stats and momentum is None else None

    def forward(self, x: Any, activation: str | None = None, residual: Any = None) -> Tensor:
        """Input to output of the same shape, to which `residual` is added; with `activation="relu"` the ReLU of that.

        Both take fewer passes over memory than by themselves. Forward hooks see what comes out in the end.
        """
        tracked = self.running_mean is not None
        learning = not tracked or (self.training and not self.frozen)
        if learning and x.size == self.num_features:
            raise ShapeError(
                f"{self.label}: a single value per channel has no variance to learn from, got input {shape_text(x.shape)}; "
                f"use a batch of two or more{', or model.eval()' if tracked else ''}"
            )
        statistics = (self.running_mean, self.running_var)
        affine = (self.weight, self.bias)
        momentum = self._share(x) if learning and self.momentum is None else self.momentum or 0
        return F.batch_norm(x, *statistics, *affine, learning, momentum, self.eps, activation, residual)

    def _share(self, x: Tensor) -> Tensor | float:
        """What this batch, which is counted, weighs in the mean of all so far: one over their number."""
        if self.num_batches_tracked is None or not x.size:
            return 0
        return Tensor(next_share(self.num_batches_tracked.array))

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if len(shape) not in self.ndims or shape[1] != self.num_features:
            fix = "give it the axes it expects, or take the layer for these"
            if len(shape) in self.ndims:
                fix = f"build it with num_features={shape[1]}"
            if self.ndims == (4,):
                fix = images_fix(shape, self.num_features) or fix
            raise ShapeError(
                f"{self.label}: expected input {self.expected.format(self.num_features)}, got {shape_text(shape)}; {fix}"
            )
        return shape

    def describe(self) -> str:
        return str(self.num_features)


class BatchNorm1d(_BatchNorm):
    """`F.batch_norm` of (N, num_features) or (N, num_features, L), with running statistics for evaluation.

    - `weight`, `bias`: (num_features,), ones and zeros at the start; None with `affine=False`, the former with `scale=False`,
      the latter with `bias=False`.
    - `running_mean`, `running_var`: buffers (num_features,), which move by the share `momentum` at each training step. With
      `momentum=None` they are the mean over all batches so far, which `num_batches_tracked` counts. With
      `track_running_stats=False` there are none, and evaluation, too, uses the batch's own.
    - `frozen`: use the running statistics in training, too, and leave them as they are.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit, and for a batch of a single
    value per channel in training.
    """

    expected, ndims = "(N, {0}) or (N, {0}, L)", (2, 3)


class BatchNorm2d(_BatchNorm):
    """`F.batch_norm` of images (N, num_features, H, W). Arguments and errors are those of BatchNorm1d."""

    expected, ndims = "(N, {0}, H, W)", (4,)


class LayerNorm(Layer):
    """`F.layer_norm` over the last axes, of `normalized_shape` (an int or several).

    `weight`, `bias`: of that shape, ones and zeros at the start; None with `affine=False`, the latter with `bias=False`.
    Raises ShapeError for input that does not end in it, ArgumentError for an eps that is not a number > 0.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        sizes = as_items(normalized_shape)
        self.normalized_shape = tuple(
            as_count(size, "LayerNorm: normalized_shape") for size in ((normalized_shape,) if sizes is None else sizes)
        )
        self.eps = as_eps("LayerNorm", eps)
        self.weight, self.bias = _affine("LayerNorm", self.normalized_shape, affine, bias)

    def forward(self, x: Any) -> Tensor:
        """Input (..., *normalized_shape) to output of the same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if shape[len(shape) - len(self.normalized_shape) :] != self.normalized_shape:
            ending = ", ".join(map(str, self.normalized_shape))
            raise ShapeError(f"{self.label}: expected input (..., {ending}), got {shape_text(shape)}")
        return shape

    def describe(self) -> str:
        return shape_text(self.normalized_shape)


class GroupNorm(Layer):
    """`F.group_norm` of (N, num_channels, ...) in `num_groups` groups of channels.

    `weight`, `bias`: (num_channels,), ones and zeros at the start; None with `affine=False`, the latter with `bias=False`.
    Raises ArgumentError if the groups do not divide the channels, or for an eps that is not a number > 0, ShapeError for input
    that does not fit.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ) -> None:
        kind = type(self).__name__
        self.num_groups = as_count(num_groups, f"{kind}: num_groups")
        self.num_channels = as_count(num_channels, f"{kind}: num_channels")
        self.eps = as_eps(kind, eps)
        if num_channels % num_groups:
            raise ArgumentError(f"{kind}: num_groups must divide num_channels, got {num_groups} for {num_channels}")
        self.weight, self.bias = _affine(kind, (num_channels,), affine, bias)

    def forward(self, x: Any) -> Tensor:
        """Input (N, num_channels, ...) to output of the same shape."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if len(shape) < 2 or shape[1] != self.num_channels:
            fix = images_fix(shape, self.num_channels)
            raise ShapeError(
                f"{self.label}: expected input (N, {self.num_channels}, ...), got {shape_text(shape)}{f'; {fix}' if fix else ''}"
            )
        return shape

    def describe(self) -> str:
        return f"{self.num_groups}, {self.num_channels}"


class InstanceNorm2d(GroupNorm):
    """`F.instance_norm` of images (N, num_features, H, W): a group norm in which each channel is a group.

    `weight`, `bias`: (num_features,) with `affine=True`, the latter unless `bias=False`; None by default, as in PyTorch.
    Raises ShapeError for input that does not fit, and for images of a single pixel, which has no variance.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False, *, bias: bool = True) -> None:
        super().__init__(num_features, num_features, eps, affine, bias=bias)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if len(shape) != 4 or shape[1] != self.num_channels or shape[2:] == (1, 1):
            raise ShapeError(
                f"{self.label}: expected input (N, {self.num_channels}, H, W) of more than one pixel, got {shape_text(shape)}"
            )
        return shape


class LocalResponseNorm(Layer):
    """`F.local_response_norm` over `size` neighbouring channels of (N, C, ...)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = as_count(size, "LocalResponseNorm: size")
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Any) -> Tensor:
        """Input (N, C, ...) to output of the same shape."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return input_shapes[0]

    def describe(self) -> str:
        return str(self.size)


def _affine(
    kind: str, shape: Shape, affine: bool, bias: bool, scale: bool = True
) -> tuple[Parameter | None, Parameter | None]:
    """The weight, ones at the start, and the bias, zeros, of a layer that has them."""
    affine, scale, bias = (
        as_flag(value, f"{kind}: {name}") for name, value in (("affine", affine), ("scale", scale), ("bias", bias))
    )
    return Parameter(shape, ones) if affine and scale else None, Parameter(shape, zeros) if affine and bias else None
