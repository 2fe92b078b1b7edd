"""How much code compiled loops are, whatever their sizes: it takes 60 to 130 microseconds an instruction to compile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend.threads import VARIABLE
from gpucnn.errors import ShapeError
from gpucnn.geometry import Window
from gpucnn.kernels import elementwise, ways
from gpucnn.kernels.batch_norm import Gradients as BatchNormGradients
from gpucnn.kernels.batch_norm import batch_norm, batch_norm_gradients
from gpucnn.kernels.compiler import builder, loop, padded_plane, processor
from gpucnn.kernels.convolution import Gradients, compiled, compiled_by_rows, conv2d, conv2d_gradients
from gpucnn.kernels.cross_entropy import Targets, cross_entropy, cross_entropy_gradient
from gpucnn.kernels.linear import linear, linear_gradients
from gpucnn.kernels.pooling import Pooling
from gpucnn.kernels.pooling import compiled as compiled_pooling
from gpucnn.kernels.update import adam, sgd
from tests.kernels import tasks
from tests.kernels.compiled import kernel_cases
from tests.kernels.compiled.guarded_memory import Borders
from tests.kernels.compiled.kernel_cases import LANES, cases, machine_of, run_in

pytestmark = pytest.mark.usefixtures("needs_llvmlite")

MOST_INSTRUCTIONS = 10_000
"""Of a kernel: below a second, and some 60 MB."""

LARGEST_ARRAY = 1 << 20


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Instead of being compiled and run, kernels are written and measured: instructions, by name and sizes."""
    sizes: dict[str, int] = {}

    def measure(kernel: Any) -> tuple[int, Callable[..., None]]:
        written = builder.Builder(
            kernel.name, [argument.name for argument in kernel.arguments], processor.processor().lanes
        )
        kernel.write(written)
        blocks = [block for function in written.finish().functions for block in function.blocks]
        sizes[f"{kernel.name} {kernel.sizes}"] = sum(len(block.instructions) for block in blocks)
        return 0, lambda *_: None

    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(loop, "_function", measure)
    with ways.use("jit"):
        yield sizes


def size(rng: np.random.Generator, highest: int) -> int:
    """From 1 to `highest`, as often below its root as above."""
    return int(np.exp(rng.uniform(0, np.log(highest + 1))))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def window_on_image(rng: np.random.Generator, pooling: bool) -> tuple[Window, tuple[int, int], tuple[int, int]]:
    """A window, the size of an image, which may be a line, and that of what comes out, all from 1 to large."""
    while True:
        longest = size(rng, 300_000)
        image_size = (1, longest) if rng.random() < 0.4 else (size(rng, 700), size(rng, 700))
        kernel, stride, dilation = ([size(rng, 2 * length) for length in image_size] for _ in range(3))
        kernel = [1 if length == 1 else k for k, length in zip(kernel, image_size, strict=True)]
        if rng.random() < 0.5:
            stride = [1, 1] if rng.random() < 0.5 else [2, 2]
        if rng.random() < 0.7:
            dilation = [1, 1]
        sides = [size(rng, (k // 2 if pooling else 2 * k) + 1) - 1 for k in kernel]
        window = Window.of(
            (kernel[0], kernel[1]), (stride[0], stride[1]), (sides[0], sides[1]), (dilation[0], dilation[1])
        )
        try:
            output_size = window.output_size(image_size)
        except ShapeError:
            continue
        if max(np.prod(output_size), np.prod(kernel)) <= LARGEST_ARRAY:
            return window, image_size, output_size


def convolution(rng: np.random.Generator) -> None:
    window, image_size, output_size = window_on_image(rng, pooling=False)
    images, gradient = zeros(1, 1, *image_size), zeros(1, 1, *output_size)
    room = max(1, LARGEST_ARRAY // max(images.size, gradient.size, int(np.prod(window.kernel))))
    channels, filters = size(rng, min(room, 40)), size(rng, min(room, 300))
    batch = int(rng.choice([1, 16, 64])) if room > 64 * max(channels, filters) else 1
    images, weight = zeros(batch, channels, *image_size), zeros(filters, channels, *window.kernel)
    task = tasks.convolution(images, weight, window, relu=True)
    if not compiled.suits(task):  # what is left to NumPy needs no code
        return
    output = conv2d(task, images, weight, zeros(filters))
    gradients = [np.empty_like(array) for array in (images, weight, zeros(filters))]
    conv2d_gradients(task, output, images, weight, output, Gradients(*gradients))


def pooling(rng: np.random.Generator) -> None:
    window, image_size, output_size = window_on_image(rng, pooling=True)
    images = zeros(1, 1, *image_size)
    task = Pooling(images.shape, window)
    output, argmax = compiled_pooling.max_pool(task, images, False)
    assert output.shape == argmax.shape == (1, 1, *output_size)
    compiled_pooling.max_pool_gradient(task, output, argmax)


def pooling_side_by_side(rng: np.random.Generator) -> None:
    image_size = size(rng, 900), size(rng, 900)
    kernel = tuple(size(rng, length) for length in image_size)
    window = Window.of((kernel[0], kernel[1]), (kernel[0], kernel[1]), (kernel[0] // 2, kernel[1] // 2))
    task = Pooling((1, 1, *image_size), window)
    output, argmax = compiled_pooling.max_pool(task, zeros(1, 1, *image_size), False)
    compiled_pooling.max_pool_gradient(task, output, argmax)


def fully_connected(rng: np.random.Generator) -> None:
    inputs, outputs, batch = size(rng, 100_000), size(rng, 100_000), size(rng, 500)
    outputs = min(outputs, max(1, LARGEST_ARRAY // inputs))
    vectors, weight, bias = zeros(batch, inputs)[: LARGEST_ARRAY // inputs], zeros(outputs, inputs), zeros(outputs)
    output = linear(vectors, weight, bias, relu=True)
    linear_gradients(output, vectors, weight, output, np.empty_like(weight), np.empty_like(bias))


def losses(rng: np.random.Generator) -> None:
    logits = zeros(size(rng, 5), size(rng, 200_000))
    targets = Targets(np.zeros(len(logits), np.int32), None, 0.1)
    logits[...] = 1
    _, saved = cross_entropy(logits, targets)
    cross_entropy_gradient(np.float32(1), targets, saved)


def normalization(rng: np.random.Generator) -> None:
    values = zeros(size(rng, 3), size(rng, 100), size(rng, 1000))
    weight = zeros(values.shape[1])
    output, statistics = batch_norm(values, weight, weight, 1e-5, relu=True)
    batch_norm_gradients(output, values, weight, statistics, BatchNormGradients(weight, weight), output)


def elements(rng: np.random.Generator) -> None:
    x, settings = zeros(size(rng, LARGEST_ARRAY)), zeros(9)
    elementwise.relu_gradient(x, elementwise.relu(x))
    adam(x, x, x, x, settings)
    sgd(x, x, x, settings[:3], nesterov=True)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("use", "draws"),
    [
        (convolution, 16),
        (pooling, 30),
        (pooling_side_by_side, 20),
        (fully_connected, 10),
        (losses, 6),
        (normalization, 6),
        (elements, 3),
    ],
)
def test_code_is_short_for_any_sizes(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, int], use: Callable[[np.random.Generator], None], draws: int
) -> None:
    for seed in range(draws):
        machine = machine_of(LANES[seed % len(LANES)])
        monkeypatch.setattr(processor, "processor", lambda machine=machine: machine)
        with np.errstate(all="ignore"):
            use(np.random.default_rng([20261129, seed]))
    assert written
    assert {name: size for name, size in written.items() if size > MOST_INSTRUCTIONS} == {}


@pytest.fixture
def nothing_written_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """All that may be a loop at run time is one, as with large sizes."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))  # its keys do not know of this
    monkeypatch.setattr(kernel_cases, "_compiled", {})
    for module in (builder, compiled_by_rows, compiled_pooling):
        monkeypatch.setattr(module, "MOST_WRITTEN_OUT", 1)
    for module in (padded_plane, compiled_pooling):
        monkeypatch.setattr(module, "WIDEST_STRIDE", 1)
    factories = (
        compiled_by_rows.forward,
        compiled_by_rows.weight_gradient,
        compiled_pooling.max_pool_loop,
        compiled_pooling.max_pool_gradient_loop,
    )
    for factory in factories:
        factory.cache_clear()
    yield
    for factory in factories:
        factory.cache_clear()


@pytest.mark.sample(2)
@pytest.mark.usefixtures("nothing_written_out")
@pytest.mark.parametrize(
    "draw",
    [
        kernel_cases.convolution,
        kernel_cases.convolution_weight_gradient,
        kernel_cases.max_pool,
        kernel_cases.max_pool_in_place,
        kernel_cases.max_pool_gradient,
    ],
    ids=lambda draw: draw.__name__,
)
def test_loops_at_run_time_write_their_results_and_nothing_else(draw: Callable[..., Any]) -> None:
    for name, case in cases(draw, 0, 4):
        problems = run_in(case, Borders())
        assert problems == [], f"{name}: {case.kernel.name} {case.kernel.sizes}, parts {case.parts}"
