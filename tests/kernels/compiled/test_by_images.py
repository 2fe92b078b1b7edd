"""Which convolutions are done for a vector of images at once, and that those which are give what NumPy's give."""

import numpy as np
import pytest

from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, padded_plane, processor
from gpucnn.kernels.convolution import Gradients, compiled_by_images, conv2d, conv2d_gradients
from gpucnn.kernels.convolution.compiled_by_rows import LoopSizes
from tests.kernels.compiled.kernel_cases import machine_of
from tests.kernels.tasks import convolution

pytestmark = pytest.mark.usefixtures("needs_llvmlite")


def sizes(channels: int, filters: int, size: int, window: Window) -> LoopSizes:
    plane = padded_plane.PaddedPlane((size, size), window, window.output_size((size, size)))
    return LoopSizes(1, channels, filters, plane)


@pytest.mark.parametrize(
    ("channels", "filters", "size", "window", "batch", "forward", "gradient"),
    [
        pytest.param(6, 16, 14, Window.of(5), 64, True, True, id="rows of 10 leave vectors empty"),
        pytest.param(6, 16, 14, Window.of(5), 16, True, True, id="one vector of images"),
        pytest.param(6, 16, 14, Window.of(5), 1, False, False, id="one image"),
        pytest.param(6, 16, 14, Window.of(5), 17, False, False, id="a vector, and another for one image"),
        pytest.param(64, 64, 8, Window.of(3, 1, 1), 64, True, True, id="much padding"),
        pytest.param(16, 16, 32, Window.of(3, 1, 1), 64, False, True, id="whole vectors, little padding"),
        pytest.param(3, 16, 32, Window.of(3, 1, 1), 64, False, True, id="more to turn over than to multiply"),
        pytest.param(8, 8, 7, Window.of((3, 1)), 64, True, False, id="one column of taps"),
        pytest.param(1, 2, 3, Window.of(1), 64, False, False, id="images smaller than a vector"),
        pytest.param(16, 1, 3, Window.of(3, 1, 1), 64, False, False, id="outputs smaller than a vector"),
        pytest.param(512, 512, 14, Window.of(3, 1, 1), 64, False, False, id="too much memory"),
        pytest.param(4, 4, 130, Window.of(2, 1), 64, False, False, id="images that take too much memory"),
        pytest.param(4, 8, 26, Window.of(13, 1, 6), 64, True, True, id="large filters"),
        pytest.param(4, 8, 26, Window.of(25, 1, 12), 64, False, True, id="too much code there, but not back"),
    ],
)
def test_what_is_done_by_images(
    channels: int, filters: int, size: int, window: Window, batch: int, forward: bool, gradient: bool
) -> None:
    loop_sizes = sizes(channels, filters, size, window)
    machine = machine_of(16)
    assert compiled_by_images.pays(loop_sizes, batch, False, machine) == forward
    assert compiled_by_images.pays(loop_sizes, batch, True, machine) == gradient


@pytest.mark.parametrize("batch", [64, 40])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "window",
    [
        Window.of(5),
        Window.of(3, 2, 1),
        Window.of(3, 1, 2, 2),
        Window.of((1, 4), (1, 3), (0, 2)),
        Window.of(3, 3),
        Window.of((1, 7), 1, (0, 3)),
        Window.of((2, 11), 1, (0, 5)),
    ],
)
def test_batches_done_by_images_give_what_numpy_gives(
    rng: np.random.Generator, window: Window, groups: int, batch: int
) -> None:
    """Small integers, whose sums are exact: with strides the gradient of the images consists of phases."""

    def integers(*shape: int) -> np.ndarray:
        return rng.integers(-4, 5, shape).astype(np.float32)

    images, weight, bias = integers(batch, 6, 14, 14), integers(10, 6 // groups, *window.kernel), integers(10)
    gradient = integers(batch, 10, *window.output_size((14, 14)))
    task, results = convolution(images, weight, window, groups, relu=True), []
    for mode in ("jit", "numpy"):
        with ways.use(mode):
            output = conv2d(task, images, weight, bias)
            gradients = [np.empty_like(array) for array in (images, weight, bias)]
            conv2d_gradients(task, gradient, images, weight, output, Gradients(*gradients))
            results.append([output, *gradients])
    for ours, numpys in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, numpys)


@pytest.mark.parametrize("infinite", ["images", "gradient"])
def test_images_that_are_not_there_meet_no_infinity(infinite: str) -> None:
    """The last image stands in for those that would fill the second vector, but its infinities must meet no zero."""
    machine = processor.processor()
    count = machine.lanes + 1
    arrays = {"images": np.ones((count, 6, 14, 14), np.float32), "gradient": np.ones((count, 16, 10, 10), np.float32)}
    arrays[infinite][-1] = np.inf
    found = np.empty((1, 16, 6, 5, 5), np.float32)
    kernel = compiled_by_images.weight_gradient(sizes(6, 16, 14, Window.of(5)), machine)
    loop.run(kernel, count, [*arrays.values(), found], [slice(0, count)])
    np.testing.assert_array_equal(found, np.inf)


@pytest.mark.parametrize(
    ("size", "window", "most", "tiles"),
    [
        (32, Window.of(3, 1, 1), 3, [(0, 3, 1), (3, 3, 9), (30, 2, 1)]),
        (14, Window.of(5), 3, [(0, 3, 2), (6, 2, 2)]),
        (14, Window.of(5), 4, [(0, 4, 1), (4, 3, 2)]),
        (6, Window.of(3, 2, (0, 3)), 2, [(0, 2, 1), (2, 2, 1), (4, 1, 1)]),
        (5, Window.of(1), 8, [(0, 5, 1)]),
    ],
)
def test_tiles_of_a_row(size: int, window: Window, most: int, tiles: list[tuple[int, int, int]]) -> None:
    assert compiled_by_images.row_tiles(sizes(1, 1, size, window).plane, most) == tiles
