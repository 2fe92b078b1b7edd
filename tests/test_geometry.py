"""Windows against positions counted one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.checks import as_count, as_pair
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.geometry import Window, conv2d_shape, linear_shape, pool2d_shape
from gpucnn.text import shape_text

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
windows = st.builds(
    Window.of,
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)


def starts(size: int, axis: int, window: Window) -> list[int]:
    """Where windows begin on one axis, in image coordinates, counted upwards."""
    before, after = window.padding[axis]
    found, start = [], -before
    while start + window.dilation[axis] * (window.kernel[axis] - 1) < size + after:
        found.append(start)
        start += window.stride[axis]
    return found


@given(sizes, windows)
def test_output_size_counts_the_windows_that_fit(size: tuple[int, int], window: Window) -> None:
    expected = tuple(len(starts(size[axis], axis, window)) for axis in (0, 1))
    if 0 in expected:
        with pytest.raises(ShapeError, match="does not fit"):
            window.output_size(size)
    else:
        assert window.output_size(size) == expected


@given(sizes, windows)
def test_taps_read_what_each_window_covers(size: tuple[int, int], window: Window) -> None:
    rows, columns = starts(size[0], 0, window), starts(size[1], 1, window)
    if not rows or not columns:
        return
    image = np.arange(size[0] * size[1]).reshape(size)
    seen = np.full((len(rows), len(columns), *window.kernel), -1)
    for tap in window.taps(size, (len(rows), len(columns))):
        seen[..., tap.row, tap.column][tap.outputs] = image[tap.inputs]
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        for a, b in np.ndindex(*window.kernel):
            y, x = row + a * window.dilation[0], column + b * window.dilation[1]
            inside = 0 <= y < size[0] and 0 <= x < size[1]
            assert seen[i, j, a, b] == (image[y, x] if inside else -1)


@settings(max_examples=50)
@given(sizes, windows, st.data())
def test_a_part_sees_what_the_whole_sees_there(size: tuple[int, int], window: Window, draw: st.DataObject) -> None:
    rows, columns = len(starts(size[0], 0, window)), len(starts(size[1], 1, window))
    if not rows or not columns:
        return
    top, left = draw.draw(st.integers(0, rows - 1)), draw.draw(st.integers(0, columns - 1))
    bottom, right = draw.draw(st.integers(top + 1, rows)), draw.draw(st.integers(left + 1, columns))
    image = np.arange(size[0] * size[1]).reshape(size)

    def sampled(window: Window, image: np.ndarray, output: tuple[int, int]) -> np.ndarray:
        seen = np.full((*output, *window.kernel), -1)
        for tap in window.taps(image.shape, output):
            seen[..., tap.row, tap.column][tap.outputs] = image[tap.inputs]
        return seen

    region, part = window.part(size, slice(top, bottom), slice(left, right))
    whole = sampled(window, image, (rows, columns))[top:bottom, left:right]
    assert part.output_size(image[region].shape) == (bottom - top, right - left)
    np.testing.assert_array_equal(sampled(part, image[region], (bottom - top, right - left)), whole)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (5, 2, 2, 0, 3),
        (6, 2, 2, 0, 3),
        (5, 3, 2, 1, 3),
        (7, 3, 3, 0, 3),
        (3, 2, 3, 1, 2),
        (4, 2, 3, 1, 2),
        (2, 2, 3, 1, 1),
    ],
)
def test_ceil_mode_starts_no_window_in_the_padding_after(
    size: int, kernel: int, stride: int, padding: int, expected: int
) -> None:
    window = Window.of(kernel, stride, padding, ceil_mode=True)
    assert window.output_size((size, size)) == (expected, expected)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3", (1, 2, 3), (1,), (2, 0), None])
def test_a_size_that_is_none_is_named(bad: object) -> None:
    with pytest.raises(
        ArgumentError, match=r"kernel_size must be an int >= 1 or a \(height, width\) pair of them, got"
    ):
        as_pair(bad, "kernel_size", 1)  # type: ignore[arg-type]


def test_numpy_integers_are_sizes() -> None:
    assert as_pair(np.int64(3), "stride", 1) == (3, 3)
    assert as_count(np.int32(2), "groups") == 2


@pytest.mark.parametrize("bad", [0, -3, 2.0, True, "2"])
def test_a_count_that_is_none_is_named(bad: object) -> None:
    with pytest.raises(ArgumentError, match="in_channels must be an int >= 1, got"):
        as_count(bad, "in_channels")  # type: ignore[arg-type]


def test_shape_errors_say_owner_got_expected_and_fix() -> None:
    window = Window.of(3)
    with pytest.raises(ShapeError) as channels:
        conv2d_shape("conv1 (Conv2d)", (2, 3, 8, 8), (4, 1, 3, 3), window, 1)
    assert str(channels.value) == (
        "conv1 (Conv2d): expected input (N, 1, H, W), got (2, 3, 8, 8); "
        "give it 1 channels or build it with in_channels=3"
    )
    with pytest.raises(ShapeError, match=r"got \(8, 8\); images need a batch and a channel axis"):
        conv2d_shape("conv2d", (8, 8), (4, 1, 3, 3), window, 1)
    with pytest.raises(ShapeError) as size:
        pool2d_shape("pool", (1, 1, 2, 5), window)
    assert str(size.value) == (
        "pool: a window of 3x3 does not fit into an image of 2x5 with padding 0; "
        "use a smaller kernel_size or dilation, more padding, or larger images"
    )
    with pytest.raises(
        ShapeError, match=r"fc \(Linear\): expected input \(N, 400\), got \(2, 256\); build it with in_f"
    ):
        linear_shape("fc (Linear)", (2, 256), (120, 400))
    with pytest.raises(ShapeError, match="flatten the images first"):
        linear_shape("fc", (2, 16, 5, 5), (120, 400))


def test_shape_text_is_a_tuple_s() -> None:
    assert [shape_text(shape) for shape in [(), (3,), (2, 3), ("N", 3)]] == ["()", "(3,)", "(2, 3)", "(N, 3)"]
