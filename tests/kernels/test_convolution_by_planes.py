"""Depthwise convolution and that of a few channels: which tasks their kernels take, and drawn ones against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.backend import precision
from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.convolution import Convolution, Gradients, conv2d, depthwise, few_channels, implicit, staging
from gpucnn.kernels.ways import Way, leave_out
from gpucnn.testing import emulated_gpu
from tests.backends import Backend
from tests.kernels.contracts import check_by_planes, draw, without_plans


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


@settings(max_examples=12)
@given(
    case=windows(),
    sizes=st.tuples(st.integers(1, 5), st.integers(2, 3), st.integers(1, 3)),
    relu=st.booleans(),
    staged=st.sampled_from([700, 4096]),
    fewest=st.sampled_from([1, 256]),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_drawn_ones_by_channel(
    gpu: Backend, dtype: type, case: tuple[Window, tuple[int, int]], sizes: tuple[int, int, int], relu: bool, staged: int, fewest: int
) -> None:  # fmt: skip
    (window, size), (batch, channels, multiplier) = case, sizes
    images = draw(dtype, batch, channels, *size)
    weight = draw(dtype, channels * multiplier, 1, *window.kernel)
    with pytest.MonkeyPatch.context() as monkeypatch, without_plans(depthwise):
        monkeypatch.setattr(staging, "MOST_STAGED", staged)
        monkeypatch.setattr(staging, "FEWEST_TILES", fewest)
        monkeypatch.setattr(depthwise, "FEWEST_SLICES", fewest)
        if depthwise.suits(task_of(channels, multiplier, size, window, channels)):
            check_by_planes(gpu, depthwise, images, weight, window, channels, relu)


@settings(max_examples=12)
@given(
    case=windows(),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 20)),
    relu=st.booleans(),
    fewest=st.sampled_from([1, 256]),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_drawn_ones_of_few_channels(
    gpu: Backend,
    dtype: type,
    case: tuple[Window, tuple[int, int]],
    sizes: tuple[int, int, int],
    relu: bool,
    fewest: int,
) -> None:
    (window, size), (batch, channels, filters) = case, sizes
    images, weight = draw(dtype, batch, channels, *size), draw(dtype, filters, channels, *window.kernel)
    output = (batch, filters, *window.output_size(size))
    with pytest.MonkeyPatch.context() as monkeypatch, without_plans(few_channels):
        monkeypatch.setattr(staging, "FEWEST_TILES", fewest)
        monkeypatch.setattr(few_channels, "FEWEST_TILES", fewest)
        monkeypatch.setattr(few_channels, "LEAST_POSITIONS", 1)
        if few_channels.suits(Convolution(images.shape, weight.shape, output, window)):
            check_by_planes(gpu, few_channels, images, weight, window, 1, relu)


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
def test_which_by_channel(
    kernel: int, stride: int, dilation: int, size: tuple[int, int], channels: int, groups: int, taken: bool
) -> None:
    window = Window.of(kernel, stride, (kernel // 2 * dilation, kernel // 2 * dilation), dilation)
    task = task_of(channels, 1, size, window, groups)
    assert depthwise.suits(task) is taken
    with precision("tf32"):
        assert depthwise.suits(task) is taken
    with precision("bf16"):
        assert not depthwise.suits(task)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "channels", "groups", "taken"),
    [
        (3, 1, 1, (32, 32), 3, 1, True),
        (5, 1, 2, (28, 28), 1, 1, True),
        (5, 1, 0, (28, 28), 4, 1, True),
        (1, 1, 1, (28, 28), 3, 1, True),
        (3, 1, 1, (32, 32), 5, 1, False),  # too many channels
        (3, 1, 1, (32, 32), 2, 2, False),
        (1, 1, 0, (28, 28), 3, 1, False),  # the images are the columns
        (7, 2, 3, (224, 224), 3, 1, False),  # 147 products in an output
        (11, 1, 0, (64, 64), 1, 1, False),
        (3, 1, 1, (8, 8), 1, 1, False),  # 64 positions
        (9, 8, 0, (800, 800), 1, 1, False),  # 81 sums to a thread
        (2, 1, 0, (1000, 1000), 2, 1, True),
    ],
)
def test_which_of_few_channels(
    kernel: int, stride: int, padding: int, size: tuple[int, int], channels: int, groups: int, taken: bool
) -> None:
    window, filters = Window.of(kernel, stride, padding), 16
    output = (2, filters, *window.output_size(size))
    task = Convolution((2, channels, *size), (filters, channels // groups, kernel, kernel), output, window, groups)
    assert few_channels.suits(task) is taken
    with precision("tf32"):
        assert few_channels.suits(task) is taken
    with precision("bf16"):
        assert not few_channels.suits(task)


def test_tiles_of_few_channels_fit_and_no_sum_is_too_long() -> None:
    for batch, channels, filters, side, kernel, stride in ((256, 3, 16, 32, 3, 1), (4096, 1, 6, 28, 5, 1), (64, 3, 64, 224, 3, 2),
                                                           (1, 4, 200, 1000, 5, 1), (8, 2, 9, 64, 7, 2)):  # fmt: skip
        window = Window.of(kernel, stride, kernel // 2)
        output = (batch, filters, *window.output_size((side, side)))
        plan = few_channels.plan_of(
            Convolution((batch, channels, side, side), (filters, channels, kernel, kernel), output, window)
        )
        assert plan is not None
        names = [parameter.name for parameter in few_channels.FORWARD.parameters if parameter.constant]
        sizes = dict(zip(names, (*plan.constants, 0), strict=True))
        rows, columns, together = (sizes[name] for name in ("tile_rows", "tile_columns", "forward_filters"))
        read = ((rows - 1) * stride + kernel) * ((columns - 1) * stride + kernel) * channels
        assert read + together * channels * kernel**2 <= staging.MOST_STAGED
        assert together % 8 == 0 < together
        assert rows * columns // 32 * plan.length <= max(few_channels.LONGEST_SUM, rows * columns // 32)
        assert plan.slices * plan.length >= plan.tiles == batch * -(-output[2] // rows) * -(-output[3] // columns)
        parts = channels // sizes["weight_channels"]
        assert plan.filter_blocks * (8 // parts) * sizes["weight_filters"] >= filters
        assert sizes["weight_filters"] * sizes["weight_channels"] * kernel**2 <= few_channels.MOST_SUMS


@pytest.mark.parametrize("multiplier", [1, 2])
def test_tiles_by_channel_cover_every_plane_and_fit(multiplier: int) -> None:
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


@pytest.mark.parametrize(
    ("weight_shape", "groups", "way", "kernel"),
    [
        ((3, 1, 3, 3), 3, Way.DEPTHWISE, "depthwise"),
        ((3, 3, 3, 3), 1, Way.FEW_CHANNELS, "few_channels"),
    ],
)
def test_they_are_chosen_before_the_others_and_can_be_left_out(
    weight_shape: tuple[int, ...], groups: int, way: Way, kernel: str
) -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        images, weight = cupy.ones((2, 3, 20, 30), np.float32), cupy.ones(weight_shape, np.float32)
        task = Convolution(images.shape, weight.shape, (2, 3, 18, 28), Window.of(3), groups)
        for left_out, expected in (((), kernel), ((way,), "conv2d")):
            with leave_out(*left_out), cupy.operation_log.recorded() as operations:
                output = conv2d(task, images, weight, None)
            assert [operation.name for operation in operations] == [f"{expected}_forward"]
            assert (output == 9 * 3 // groups).all()


@pytest.mark.parametrize(("suits", "by"), [(True, "conv2d_images_gradient"), (False, "gemm")])
def test_the_gradient_of_a_few_channels_is_left_to_the_next_way(
    monkeypatch: pytest.MonkeyPatch, suits: bool, by: str
) -> None:
    monkeypatch.setattr(implicit, "suits", lambda task: suits)
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        images, weight = cupy.ones((1, 3, 20, 30), np.float32), cupy.ones((2, 3, 3, 3), np.float32)
        task = Convolution(images.shape, weight.shape, (1, 2, 18, 28), Window.of(3))
        gradient, found = cupy.ones(task.output_shape, np.float32), cupy.empty_like(images)
        with cupy.operation_log.recorded() as operations:
            few_channels.conv2d_gradients(task, gradient, images, weight, None, Gradients(found))
        assert by in [operation.name for operation in operations]
        assert found[0, 0, 0, 0] == 2
        assert found[0, 2, 10, 10] == 18


def test_operands_are_rounded_where_tensor_cores_would_round_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        single, double = cupy.ones(3, np.float32), cupy.ones(3, np.float64)
        assert ways.rounds_to_tf32(single) == 0
        with precision("tf32"):
            assert (ways.rounds_to_tf32(single), ways.rounds_to_tf32(double)) == (1, 0)
            monkeypatch.setattr(ways, "has_tensor_cores", lambda index: False)
            assert ways.rounds_to_tf32(single) == 0
