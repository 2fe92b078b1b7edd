"""Convolution by channels: which tasks its kernels take, and drawn ones against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.backend import precision
from gpucnn.geometry import Window
from gpucnn.kernels.convolution import Convolution, conv2d, depthwise, staging
from gpucnn.kernels.ways import Way, leave_out
from gpucnn.testing import emulated_gpu
from tests.backends import Backend
from tests.kernels.contracts import check_by_planes, draw


def task_of(channels: int, multiplier: int, size: tuple[int, int], window: Window, groups: int) -> Convolution:
    filters = channels * multiplier
    weight = (filters, channels // groups, *window.kernel)
    return Convolution((2, channels, *size), weight, (2, filters, *window.output_size(size)), window, groups)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, tuple[int, int]]:
    """Windows with sizes of their own on each axis and padding of its own on each side, and an image that one fits on."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, dilation, padding = pair(1, 5), pair(1, 4), pair(1, 3), (pair(0, 4), pair(0, 4))
    sides = []
    for axis in (0, 1):
        smallest = max(1, dilation[axis] * (kernel[axis] - 1) + 1 - sum(padding[axis]))
        sides.append(draw(st.integers(smallest, max(smallest, 14))))
    return Window(kernel, stride, padding, dilation), (sides[0], sides[1])


@settings(max_examples=20)
@given(
    case=windows(),
    sizes=st.tuples(st.integers(1, 5), st.integers(2, 3), st.integers(1, 3)),
    relu=st.booleans(),
    staged=st.sampled_from([700, 4096]),
    fewest=st.sampled_from([1, 256]),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_drawn_ones(
    gpu: Backend, dtype: type, case: tuple[Window, tuple[int, int]], sizes: tuple[int, int, int], relu: bool, staged: int, fewest: int
) -> None:  # fmt: skip
    (window, size), (batch, channels, multiplier) = case, sizes
    images = draw(dtype, batch, channels, *size)
    weight = draw(dtype, channels * multiplier, 1, *window.kernel)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(staging, "MOST_STAGED", staged)
        monkeypatch.setattr(staging, "FEWEST_TILES", fewest)
        monkeypatch.setattr(depthwise, "FEWEST_SLICES", fewest)
        depthwise.plan_of.cache_clear()
        if depthwise.plan_of(task_of(channels, multiplier, size, window, channels)) is not None:
            check_by_planes(gpu, depthwise, images, weight, window, channels, relu)
    depthwise.plan_of.cache_clear()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "size", "channels", "groups", "taken"),
    [
        (3, 1, 1, (56, 56), 96, 96, True),
        (7, 1, 1, (56, 56), 96, 96, True),
        (1, 1, 1, (5, 5), 4, 4, True),
        (4, 4, 1, (32, 32), 4, 4, True),
        (3, 1, 1, (1, 1_000_000), 4, 4, True),
        (3, 1, 1, (56, 56), 96, 48, False),  # two channels a group
        (3, 1, 1, (28, 28), 1, 1, False),  # no group of its own for anything
        (8, 1, 1, (56, 56), 4, 4, False),  # 64 taps
        (5, 5, 1, (56, 56), 4, 4, False),  # a patch of 25 pixels
        (3, 1, 40, (200, 200), 4, 4, False),  # of one window 81 x 81 pixels to stage
    ],
)
def test_which_it_takes(
    kernel: int, stride: int, dilation: int, size: tuple[int, int], channels: int, groups: int, taken: bool
) -> None:
    window = Window.of(kernel, stride, (kernel // 2 * dilation, kernel // 2 * dilation), dilation)
    task = task_of(channels, 1, size, window, groups)
    assert depthwise.suits(task) is taken
    with precision("tf32"):
        assert depthwise.suits(task) is taken
    with precision("bf16"):
        assert not depthwise.suits(task)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_tiles_cover_every_plane_and_fit(multiplier: int) -> None:
    for side, kernel, stride in ((112, 3, 2), (56, 7, 1), (14, 5, 2), (7, 3, 1), (1, 3, 1), (300, 3, 1), (5000, 7, 1)):
        task = task_of(8, multiplier, (side, side), Window.of(kernel, stride, kernel // 2), 8)
        plan = depthwise.plan_of(task)
        assert plan is not None
        names = [parameter.name for parameter in depthwise.FORWARD.parameters if parameter.constant]
        sizes = dict(zip(names, (*plan.constants, 0), strict=True))
        for kind, made, offset in (("forward", task.output_shape[2], 0), ("images", side, kernel // 2 % stride)):
            planes, rows, columns = (sizes[f"{kind}_{what}"] for what in ("planes", "rows", "columns"))
            tiles = -(-16 // planes) * -(-(made + offset) // rows) * -(-(made + offset) // columns)
            assert tiles == {"forward": plan.forward_tiles, "images": plan.images_tiles}[kind]
            assert rows % sizes[f"{kind}_strip"] == 0
        assert plan.slices * plan.length >= -(-2 // sizes["weight_planes"])


def test_it_is_chosen_before_the_others_and_can_be_left_out() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        images, weight = cupy.ones((2, 3, 6, 7), np.float32), cupy.ones((3, 1, 3, 3), np.float32)
        task = Convolution(images.shape, weight.shape, (2, 3, 4, 5), Window.of(3), 3)
        for left_out, expected in (((), "depthwise_forward"), ((Way.DEPTHWISE,), "conv2d_forward")):
            with leave_out(*left_out), cupy.operation_log.recorded() as operations:
                output = conv2d(task, images, weight, None)
            assert [operation.name for operation in operations] == [expected]
            assert (output == 9).all()
