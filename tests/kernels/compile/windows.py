"""Windows whose shapes a kernel is compiled for: the constants of im2col.cu and col2im.cu."""

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
