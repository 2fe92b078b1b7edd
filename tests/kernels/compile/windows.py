"""Shapes that a kernel is compiled for: the constants of im2col.cu and col2im.cu, and of each file of convolution."""

from collections.abc import Callable
from typing import Any

from gpucnn.geometry import Window
from gpucnn.kernels.convolution import Convolution, PooledConvolution, depthwise, few_channels, implicit, pooled
from gpucnn.kernels.convolution.implicit import Plan
from gpucnn.kernels.pooling import Pooling

WINDOWS = [  # kernel, stride, dilation
    ((1, 1), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
    ((5, 5), (1, 1), (1, 1)),
    ((2, 3), (3, 1), (1, 2)),
    ((11, 11), (4, 4), (1, 1)),
]


def window_constants(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[tuple[str, int], ...]:
    """Those of `COMPILED_WINDOW`, as `Variant` takes them."""
    sizes = {"kernel": kernel, "stride": stride, "dilation": dilation}
    return tuple(
        (f"{name}_{side}", pair[axis]) for name, pair in sizes.items() for axis, side in enumerate(("height", "width"))
    )


CONVOLUTIONS = [  # batch, channels and filters of a group, image size, kernel, stride, groups
    (256, 3, 16, 32, 3, 1, 1),  # ResNet-20: its first layer, one of each stage, and one with a stride
    (256, 16, 16, 32, 3, 1, 1),
    (256, 32, 32, 16, 3, 1, 1),
    (256, 64, 64, 8, 3, 1, 1),
    (256, 16, 32, 32, 3, 2, 1),
    (64, 1, 6, 28, 5, 1, 1),  # LeNet-5
    (64, 6, 16, 14, 5, 1, 1),
    (256, 64, 128, 32, 3, 1, 1),  # VGG
    (32, 1, 1, 56, 3, 1, 96),  # MobileNet: a channel a group
]


def convolution_constants(
    shape: tuple[int, ...], relu: bool = False, plan_of: Callable[[Convolution], Plan] = implicit.plan_of
) -> tuple[tuple[str, int], ...]:
    """Those of implicit.cu, or of another file that is so planned, for one of `CONVOLUTIONS`."""
    batch, channels, filters, size, kernel, stride, groups = shape
    window = Window.of(kernel, stride, kernel // 2)
    output = (batch, filters * groups, *window.output_size((size, size)))
    weight = (filters * groups, channels, kernel, kernel)
    task = Convolution((batch, channels * groups, size, size), weight, output, window, groups, relu)
    names = [parameter.name for parameter in implicit.FORWARD.parameters if parameter.constant]
    return tuple(zip(names, plan_of(task).constants, strict=True))


DEPTHWISE = [  # batch, channels, filters of a channel, image size, kernel, stride
    (32, 96, 1, 112, 3, 2),  # MobileNet
    (32, 960, 1, 7, 3, 1),
    (32, 96, 1, 56, 7, 1),  # ConvNeXt
    (8, 16, 2, 28, 5, 2),
]
FEW_CHANNELS = [  # batch, channels, filters, image size, kernel, stride
    (256, 3, 16, 32, 3, 1),  # ResNet-20
    (64, 1, 6, 28, 5, 1),  # LeNet-5
    (64, 3, 64, 224, 3, 1),  # VGG
    (64, 3, 32, 224, 3, 2),  # MobileNet
    (32, 4, 8, 32, 5, 1),
    (32, 2, 8, 64, 7, 2),
]


def plane_constants(shape: tuple[int, ...], relu: bool, tf32: bool) -> tuple[tuple[str, int], ...]:
    """Those of depthwise.cu for one of `DEPTHWISE`, or of few_channels.cu for one of `FEW_CHANNELS`."""
    batch, channels, multiplier, size, kernel, stride = shape
    window, by_channel = Window.of(kernel, stride, kernel // 2), shape in DEPTHWISE
    filters, groups = (channels * multiplier, channels) if by_channel else (multiplier, 1)
    output = (batch, filters, *window.output_size((size, size)))
    weight = (filters, channels // groups, kernel, kernel)
    way: Any = depthwise if by_channel else few_channels
    task = Convolution((batch, channels, size, size), weight, output, window, groups, relu)
    assert way.suits(task)
    names = [parameter.name for parameter in way.FORWARD.parameters if parameter.constant]
    return tuple(zip(names, (*way.plan_of(task).constants, int(tf32)), strict=True))


POOLED = [  # batch, channels, filters, image size, kernel, padding, pooling
    (64, 1, 6, 32, 5, 0, 2),  # LeNet-5
    (1024, 1, 6, 32, 5, 0, 2),
    (64, 6, 16, 14, 5, 0, 2),
    (1024, 6, 16, 14, 5, 0, 2),
    (256, 32, 32, 32, 3, 1, 2),  # VGG-mini
    (64, 3, 32, 32, 3, 1, 3),
]


def pooled_constants(shape: tuple[int, ...], relu: int, tf32: int) -> tuple[tuple[str, int], ...]:
    """Those of pooled.cu for one of `POOLED`."""
    batch, channels, filters, size, kernel, padding, pool = shape
    window = Window.of(kernel, 1, padding)
    output, weight = (batch, filters, *window.output_size((size, size))), (filters, channels, kernel, kernel)
    convolution = Convolution((batch, channels, size, size), weight, output, window, 1, bool(relu))
    task = PooledConvolution(convolution, Pooling(output, Window.of(pool, pool)))
    names = [parameter.name for parameter in pooled.KERNEL.parameters if parameter.constant]
    return tuple(zip(names, (*pooled.plan_of(task)[0], tf32), strict=True))
