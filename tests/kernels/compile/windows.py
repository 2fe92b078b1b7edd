"""Shapes that a kernel is compiled for: the constants of im2col.cu and col2im.cu, and of implicit.cu."""

from gpucnn.geometry import Window
from gpucnn.kernels.convolution import Convolution, implicit

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


def convolution_constants(shape: tuple[int, ...], relu: bool = False) -> tuple[tuple[str, int], ...]:
    """Those of implicit.cu for one of `CONVOLUTIONS`."""
    batch, channels, filters, size, kernel, stride, groups = shape
    window = Window.of(kernel, stride, kernel // 2)
    output = (batch, filters * groups, *window.output_size((size, size)))
    weight = (filters * groups, channels, kernel, kernel)
    task = Convolution((batch, channels * groups, size, size), weight, output, window, groups, relu)
    names = [parameter.name for parameter in implicit.FORWARD.parameters if parameter.constant]
    return tuple(zip(names, implicit.plan_of(task).constants, strict=True))
