"""Columns, and convolution by tiles of them, against naive loops."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.geometry import Window
from gpucnn.kernels.convolution import Gradients, conv2d, conv2d_gradients, cuda, numpy_way, plain
from gpucnn.kernels.tiling import tiles
from gpucnn.kernels.ways import WITHOUT_COLUMNS, leave_out
from gpucnn.kernels.workspace import workspace
from gpucnn.testing import emulated_gpu, oracles
from gpucnn.testing.windows import WindowCase, window_cases
from tests.backends import Backend, host
from tests.kernels.tasks import convolution


def cap_columns(monkeypatch: pytest.MonkeyPatch, byte_cap: int | None) -> None:
    """Bound the bytes of columns that exist at one time."""
    if byte_cap is not None:
        monkeypatch.setattr(numpy_way, "HOST_COLUMN_BYTES", byte_cap)
        monkeypatch.setattr(cuda, "DEVICE_COLUMN_BYTES", byte_cap)


def ways_of(backend: Backend) -> Iterator[AbstractContextManager[None]]:
    """On a GPU two: without columns, and, where that is left out, by columns."""
    yield nullcontext()
    if not backend.on_cpu:
        yield leave_out(*WITHOUT_COLUMNS)


@settings(max_examples=40)
@given(case=window_cases(), batch=st.integers(0, 3))
def test_im2col_lays_out_every_window(backend: Backend, case: WindowCase, batch: int) -> None:
    images = np.random.default_rng(0).standard_normal((batch, 2, *case.image_size)).astype(np.float32)
    found = oracles.windows(oracles.pad(images, *case.padding, 0.0), case.kernel, case.stride, case.dilation)
    taps = case.kernel[0] * case.kernel[1]
    expected = np.stack([values.reshape(batch, 2 * taps) for _, _, values in found], axis=-1)
    task = convolution(images, np.empty((4, 1, *case.kernel)), case.window, groups=2)
    columns = plain.im2col(task, backend.array(images))
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(host(columns), expected.reshape(columns.shape))
    if backend.on_cpu:
        return
    expected = expected.swapaxes(0, 1).reshape(2 * taps, -1)  # all images side by side in one matrix
    columns = cuda.im2col(backend.array(images), case.window)
    np.testing.assert_array_equal(host(columns), expected)
    dirty = backend.empty(columns.shape, np.float32)
    assert cuda.im2col(backend.array(images), case.window, out=dirty) is dirty
    np.testing.assert_array_equal(host(dirty), expected)


@settings(max_examples=40)
@given(case=window_cases())
def test_col2im_is_the_transpose_of_im2col(backend: Backend, case: WindowCase) -> None:
    rng = np.random.default_rng(1)
    # Small integers, so that the two inner products are exact: <im2col(x), c> = <x, col2im(c)> for all x and c.
    images = rng.integers(-8, 9, (2, 3, *case.image_size)).astype(np.float64)
    task = convolution(images, np.empty((1, 3, *case.kernel)), case.window)
    laid_out = host(plain.im2col(task, backend.array(images)))
    columns = rng.integers(-8, 9, laid_out.shape).astype(np.float64)
    out = backend.empty(images.shape, np.float64)
    plain.col2im(task, backend.array(columns), out)
    assert (laid_out * columns).sum() == (images * host(out)).sum()
    if backend.on_cpu:
        return
    side_by_side = backend.array(columns[:, 0].swapaxes(0, 1).reshape(columns.shape[2], -1))
    dirty = backend.empty(images.shape, np.float64)
    assert cuda.col2im(side_by_side, images.shape, case.window, out=dirty) is dirty
    np.testing.assert_array_equal(host(dirty), host(out))
    np.testing.assert_array_equal(host(cuda.col2im(side_by_side, images.shape, case.window)), host(out))


@settings(max_examples=40)
@given(
    case=window_cases(),
    groups=st.sampled_from([1, 2]),
    byte_cap=st.sampled_from([None, 1, 200, 700, 3000]),
    relu=st.booleans(),
)
def test_conv2d_and_its_gradients_whatever_the_tiles(
    backend: Backend, case: WindowCase, groups: int, byte_cap: int | None, relu: bool
) -> None:
    rng = np.random.default_rng(2)
    images = rng.standard_normal((2, 2 * groups, *case.image_size))
    weight = rng.standard_normal((3 * groups, 2, *case.kernel))
    bias = rng.standard_normal(3 * groups)
    options = (case.stride, case.padding, case.dilation, groups)
    expected = oracles.conv2d(images, weight, bias, *options)
    mask = expected > 0 if relu else np.ones(expected.shape)
    on_device = [backend.array(array) for array in (images, weight, bias)]
    task = convolution(images, weight, case.window, groups, relu)
    # Convolution is linear in images and in weight: its gradients are the transposes, <conv(x), g> = <x, grad(g)>.
    gradient = rng.standard_normal(expected.shape)
    total = (oracles.conv2d(images, weight, None, *options) * gradient * mask).sum()
    filled = [backend.empty(array.shape, np.float64) for array in (images, weight, bias)]
    columns = nullcontext() if byte_cap is None else leave_out(*WITHOUT_COLUMNS)
    with pytest.MonkeyPatch.context() as monkeypatch, columns:
        cap_columns(monkeypatch, byte_cap)
        output = conv2d(task, *on_device)
        back = backend.array(gradient), on_device[0], on_device[1], output if relu else None
        conv2d_gradients(task, *back, Gradients(*filled))
    np.testing.assert_allclose(host(output), expected * mask, atol=1e-12)
    np.testing.assert_allclose((host(filled[0]) * images).sum(), total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((host(filled[1]) * weight).sum(), total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(host(filled[2]), (gradient * mask).sum(axis=(0, 2, 3)), rtol=1e-9, atol=1e-9)


FAR_APART = {
    "stride": Window.of(3, 100),
    "stride, some windows in the padding": Window.of(3, 100, 100),
    "stride, a tap a window": Window.of((1, 2), (100, 7), (1, 0)),
    "stride, one row of windows": Window.of((3, 1), (100, 1)),
    "taps": Window.of(3, 1, 60, 60),
    "taps of which some lie in the padding alone": Window.of((5, 3), 1, (21, 8), (10, 8)),
    "taps of which none is in the image": Window.of((2, 1), (20, 1), (20, 0), (40, 1)),
    "stride and taps": Window.of(3, 100, 200, 200),
    "stride and taps, of one phase": Window.of(3, 3, 6, 6),
    "padding": Window.of(3, 40, 80),
}
"""Windows on an image of 6x6 whose steps, or the distances of whose taps, are as large, or larger."""


@pytest.mark.parametrize("name", FAR_APART)
@pytest.mark.parametrize("groups", [1, 2])
def test_windows_and_taps_that_are_far_apart(backend: Backend, name: str, groups: int) -> None:
    """Small integers, so that sums are exact in any order."""
    rng, window = np.random.default_rng(5), FAR_APART[name]
    images = rng.integers(-4, 5, (2, 2 * groups, 6, 6)).astype(np.float32)
    weight = rng.integers(-4, 5, (3 * groups, 2, *window.kernel)).astype(np.float32)
    padding = [sides[0] for sides in window.padding]
    options = (window.stride, padding, window.dilation, groups)
    expected = oracles.conv2d(images, weight, None, *options)
    on_device = backend.array(images), backend.array(weight)
    task = convolution(images, weight, window, groups)
    gradient = rng.integers(-4, 5, expected.shape).astype(np.float32)
    others = [rng.integers(-4, 5, array.shape).astype(np.float32) for array in (images, weight)]
    through_images = (oracles.conv2d(others[0], weight, None, *options) * gradient).sum()
    through_weight = (oracles.conv2d(images, others[1], None, *options) * gradient).sum()
    back = task, backend.array(gradient), *on_device, None
    for way in ways_of(backend):
        filled = [backend.empty(array.shape, np.float32) for array in (images, weight)]
        alone = backend.empty(weight.shape, np.float32)
        with way:
            np.testing.assert_array_equal(host(conv2d(task, *on_device, None)), expected)
            conv2d_gradients(*back, Gradients(*filled))
            conv2d_gradients(*back, Gradients(weight=alone))
        in_images, in_weight = (host(array).astype(float) for array in filled)
        assert (in_images * others[0]).sum() == through_images
        assert (in_weight * others[1]).sum() == through_weight
        np.testing.assert_array_equal(host(alone), host(filled[1]))


@pytest.mark.parametrize("on_cpu", ["numpy", "jit"])
@pytest.mark.parametrize("window", [
    Window.of(3, 100_000),
    Window.of(3, (1, 100_000)),
    Window.of(1, 100_000, 1),
    Window.of(3, 100_000, 100_000),
    Window.of(3, 1, 100_000, 100_000),
    Window.of(3, 100_000, 100_000, 100_000),
    Window.of(3, 1000, 3000),
])  # fmt: skip
def test_memory_does_not_grow_with_what_lies_between_windows_and_taps(on_cpu: str, window: Window) -> None:
    backend = Backend(on_cpu)
    if missing := backend.missing():
        pytest.skip(missing)
    images, weight = np.ones((2, 3, 6, 6), np.float32), np.ones((4, 3, *window.kernel), np.float32)
    filled = Gradients(np.empty_like(images), np.empty_like(weight))
    task = convolution(images, weight, window)
    with backend.active():
        conv2d(task, images, weight, None)  # what is imported at the first call is no part of it
        tracemalloc.start()
        output = conv2d(task, images, weight, None)
        conv2d_gradients(task, output, images, weight, None, filled)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100_000


WAYS = [partial(numpy_way._turn_round, row_by_row=row_by_row) for row_by_row in (False, True)]


@settings(max_examples=40)
@given(case=window_cases(), groups=st.sampled_from([1, 2]), byte_cap=st.sampled_from([1, 700, 3000, 1 << 20]))
def test_both_ways_back_through_numpys_convolution(case: WindowCase, groups: int, byte_cap: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cap_columns(monkeypatch, byte_cap)
        _both_ways_back(case, groups)


def _both_ways_back(case: WindowCase, groups: int) -> None:
    rng = np.random.default_rng(4)
    window = case.window._replace(stride=(1, 1))
    # Small integers, so that sums are exact in any order.
    images = rng.integers(-4, 5, (3, 2 * groups, *case.image_size)).astype(float)
    weight = rng.integers(-4, 5, (3 * groups, 2, *case.kernel)).astype(float)
    options = ((1, 1), case.padding, case.dilation, groups)
    output = oracles.conv2d(images, weight, None, *options)
    gradient = rng.integers(-4, 5, output.shape).astype(float)
    others = rng.integers(-4, 5, weight.shape).astype(float), rng.integers(-4, 5, images.shape).astype(float)
    for way in WAYS:
        filled = np.full_like(images, np.nan), np.full_like(weight, np.nan)
        task = convolution(images, weight, window, groups)
        way(task, gradient, images, weight, Gradients(*filled))
        assert (filled[0] * images).sum() == (filled[1] * weight).sum() == (output * gradient).sum()
        assert (filled[0] * others[1]).sum() == (oracles.conv2d(others[1], weight, None, *options) * gradient).sum()
        assert (filled[1] * others[0]).sum() == (oracles.conv2d(images, others[0], None, *options) * gradient).sum()
        alone = np.full_like(images, np.nan)
        way(task, gradient, None, weight, Gradients(alone))
        np.testing.assert_array_equal(alone, filled[0])


@pytest.mark.parametrize("way", WAYS)
def test_an_infinity_at_the_border_meets_no_zeros_around_the_gradient(way: Callable[..., None]) -> None:
    images = np.ones((2, 1, 4, 5), np.float32)
    images[1, 0, 3, 4] = np.inf  # which only the last tap reads
    weight, gradient = np.ones((1, 1, 3, 3), np.float32), np.ones((2, 1, 2, 3), np.float32)
    filled = np.empty_like(images), np.empty_like(weight)
    way(convolution(images, weight, Window.of(3)), gradient, images, weight, Gradients(*filled))
    np.testing.assert_array_equal(filled[1][0, 0], [[12, 12, 12], [12, 12, 12], [12, 12, np.inf]])
    np.testing.assert_array_equal(filled[0][0], filled[0][1])


def test_the_way_back_that_moves_less_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(numpy_way, "_turn_round", lambda *arguments: taken.append(arguments[-1]))
    for channels, filters, kernel, padding in ((6, 16, 5, 0), (64, 64, 3, 1)):  # of LeNet-5 and of VGG
        images = np.ones((1, channels, 14, 14), np.float32)
        weight = np.ones((filters, channels, kernel, kernel), np.float32)
        task = convolution(images, weight, Window.of(kernel, 1, padding))
        output = numpy_way.conv2d(task, images, weight, None)
        found = Gradients(np.empty_like(images), np.empty_like(weight))
        numpy_way.conv2d_gradients(task, output, images, weight, None, found)
    assert taken == [True, False], "row by row, and turned round as a whole"


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.integers(0, 3),
    groups=st.sampled_from([1, 2]),
    byte_cap=st.sampled_from([None, 1, 500, 1500]),
    bias=st.booleans(),
    relu=st.booleans(),
    layout=st.sampled_from(["array", "strided", "fortran"]),
)
def test_one_by_one_convolution_without_columns(
    backend: Backend, size: tuple[int, int], stride: tuple[int, int], batch: int, groups: int, byte_cap: int | None,
    bias: bool, relu: bool, layout: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(3)
    images = rng.standard_normal((batch, 3 * groups, *size))
    weight = rng.standard_normal((2 * groups, 3, 1, 1))
    offsets = rng.standard_normal(2 * groups) if bias else None
    window = Window.of(1, stride)
    # A 1x1 filter is a matrix that each pixel's channels are multiplied by, group by group.
    seen = images[:, :, :: stride[0], :: stride[1]]
    matrices = weight.reshape(groups, 2, 3)
    expected = np.einsum("goc,ngcyx->ngoyx", matrices, seen.reshape(batch, groups, 3, *seen.shape[2:]))
    expected = expected.reshape(batch, 2 * groups, *seen.shape[2:]) + (0 if offsets is None else offsets[:, None, None])
    mask = expected > 0 if relu else np.ones(expected.shape, bool)
    laid_out = getattr(backend, layout)
    on_device = laid_out(images), backend.array(weight)
    task = convolution(images, weight, window, groups, relu)
    gradient = rng.standard_normal(expected.shape)
    passed = (gradient * mask).reshape(batch, groups, 2, *seen.shape[2:])
    of_images = np.zeros(images.shape)
    back = np.einsum("goc,ngoyx->ngcyx", matrices, passed).reshape(seen.shape)
    of_images[:, :, :: stride[0], :: stride[1]] = back
    filled = [backend.empty(shape, np.float64) for shape in (images.shape, weight.shape, (2 * groups,))]
    with pytest.MonkeyPatch.context() as monkeypatch:
        cap_columns(monkeypatch, byte_cap)
        output = conv2d(task, *on_device, None if offsets is None else backend.array(offsets))
        kept = output if relu else None
        conv2d_gradients(task, laid_out(gradient), *on_device, kept, Gradients(*filled))
    np.testing.assert_allclose(host(output), expected * mask, atol=1e-12)
    of_weight = np.einsum("ngoyx,ngcyx->goc", passed, seen.reshape(batch, groups, 3, *seen.shape[2:]))
    for found, wanted in zip(
        filled, (of_images, of_weight.reshape(weight.shape), passed.sum(axis=(0, 3, 4)).ravel()), strict=True
    ):
        np.testing.assert_allclose(host(found), wanted, atol=1e-11)


def test_a_one_by_one_convolution_makes_no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("there should be no columns")

    monkeypatch.setattr(numpy_way, "workspace", refused)
    images, weight = np.ones((2, 3, 4, 5), np.float32), np.ones((2, 3, 1, 1), np.float32)
    for stride in (1, 2):
        task = convolution(images, weight, Window.of(1, stride))
        output = numpy_way.conv2d(task, images, weight, None)
        found = Gradients(np.empty_like(images), np.empty_like(weight), np.empty(2, np.float32))
        numpy_way.conv2d_gradients(task, output, images, weight, None, found)
        assert found.bias is not None
        assert found.bias[0] == output[:, 0].sum() > 0


def test_a_one_by_one_convolution_is_one_product_of_a_batch_on_the_gpu() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        images, weight = cupy.ones((4, 3, 5, 6), np.float32), cupy.ones((2, 3, 1, 1), np.float32)
        bias = cupy.ones(2, np.float32)
        for offsets, expected in ((None, ["gemm"]), (bias, ["gemm", "bias_relu"])):
            task = convolution(images, weight, Window.of(1), relu=offsets is not None)
            with cupy.operation_log.recorded() as operations:
                conv2d(task, images, weight, offsets)
            assert [operation.name for operation in operations] == expected
            assert operations[0].detail == (4, 30, 2, 3), "a product for each image"


@given(st.integers(0, 5), st.tuples(st.integers(1, 6), st.integers(1, 6)), st.integers(1, 50), st.integers(1, 3000))
def test_tiles_cover_each_position_once_and_stay_under_the_cap(
    batch: int, size: tuple[int, int], bytes_per_position: int, cap: int
) -> None:
    covered = np.zeros((batch, *size), int)
    for tile in tiles(batch, size, bytes_per_position, cap):
        covered[tile.images, tile.rows, tile.columns] += 1
        images, rows, columns = tile.shape
        assert images * rows * columns * bytes_per_position <= max(cap, bytes_per_position)
    assert (covered == 1).all()


def test_columns_and_what_is_made_of_them_never_take_more_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def watched(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        room = workspace(shape, like)
        taken.append(room.nbytes)
        return room

    monkeypatch.setattr(numpy_way, "workspace", watched)
    images = np.ones((3, 4, 40, 50), np.float32)
    weight = np.ones((2, 4, 3, 3), np.float32)
    task = convolution(images, weight, Window.of(3, 1, 1))
    gradient = np.ones((3, 2, 40, 50), np.float32)
    filled = [np.empty_like(images), np.empty_like(weight), np.empty(2, np.float32)]
    for cap in (5_000, 100_000, 1_000_000):
        cap_columns(monkeypatch, cap)
        for images_gradient in (filled[0], None):
            taken.clear()
            numpy_way.conv2d(task, images, weight, None)
            numpy_way.conv2d_gradients(task, gradient, images, weight, None, Gradients(images_gradient, *filled[1:]))
            # The zeros around a tile come on top: they are many around a small one.
            assert cap / 8 < max(taken) <= (1.1 * cap if cap > 5_000 else 2 * cap)


def test_the_gradients_stay_under_the_cap_too(monkeypatch: pytest.MonkeyPatch) -> None:
    images, gradient = np.ones((64, 64, 3, 3), np.float32), np.ones((64, 64, 3, 3), np.float32)
    weight = np.ones((64, 64, 3, 3), np.float32)
    filled = [np.empty_like(images), np.empty_like(weight), np.empty(64, np.float32)]
    cap_columns(monkeypatch, 500_000)
    tracemalloc.start()
    task = convolution(images, weight, Window.of(3, 1, 1))
    numpy_way.conv2d_gradients(task, gradient, images, weight, None, Gradients(*filled))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000, "64 images' products of 147 kB each would be 9 MB"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@settings(max_examples=25)
@given(case=window_cases(), groups=st.sampled_from([1, 2]), batch=st.integers(0, 3), relu=st.booleans())
def test_every_way_gives_what_the_plain_one_gives(
    backend: Backend, dtype: type, case: WindowCase, groups: int, batch: int, relu: bool
) -> None:
    rng = np.random.default_rng(6)
    images = rng.standard_normal((batch, 2 * groups, *case.image_size)).astype(dtype)
    weight = rng.standard_normal((3 * groups, 2, *case.kernel)).astype(dtype)
    bias = rng.standard_normal(3 * groups).astype(dtype)
    task = convolution(images, weight, case.window, groups, relu)
    gradient = rng.standard_normal(task.output_shape).astype(dtype)
    inputs = [backend.array(array) for array in (images, weight, bias)]
    tolerance = {np.float16: 0.05, np.float32: 1e-4, np.float64: 1e-11}[dtype]
    for way in ways_of(backend):
        found, expected = (
            Gradients(*(empty(array.shape, dtype) for array in (images, weight, bias)))
            for empty in (backend.empty, np.empty)
        )
        with way:
            output = conv2d(task, *inputs)
            conv2d_gradients(task, backend.array(gradient), *inputs[:2], output if relu else None, found)
        np.testing.assert_allclose(host(output), plain.conv2d(task, images, weight, bias), tolerance, tolerance)
        plain.conv2d_gradients(task, gradient, images, weight, host(output) if relu else None, expected)
        for ours, plainly in zip(found, expected, strict=True):
            np.testing.assert_allclose(host(ours), plainly, tolerance, tolerance)
