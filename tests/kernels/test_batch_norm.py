"""What the contract of `batch_norm.cu` does not say: how often the GPU is asked, how large the work is, half precision."""

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import layers
from gpucnn.kernels import tiling, ways
from gpucnn.kernels.batch_norm import Gradients, Running, batch_norm, batch_norm_gradients, numpy_way, plain
from gpucnn.testing import emulated_gpu
from tests.backends import Backend, host


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("positions", [64, 2000])
def test_two_launches_each_way_and_one_for_channels_of_one_part(positions: int, added: bool) -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        x, weight, bias = (cupy.ones(shape, np.float32) for shape in ((4, 3, positions), 3, 3))
        own, passed = [cupy.empty(3, np.float32) for _ in range(2)], cupy.empty(x.shape, np.float32)
        residual, running = (
            cupy.ones(x.shape, np.float32) if added else None,
            [cupy.ones(3, np.float32) for _ in range(2)],
        )
        gradients = Gradients(*own, passed if added else None)
        with cupy.operation_log.recorded() as operations:
            output, statistics = batch_norm(x, weight, bias, 1e-5, True, residual, Running(*running, 0.1))
            batch_norm_gradients(output, x, weight, statistics, gradients, output, added)
        names = ["batch_norm_statistics", "batch_norm", "batch_norm_sums", "batch_norm_gradient"]
        expected = [("launch", name) for name in (names[1::2] if positions == 64 else names)]
        assert [(operation.kind, operation.name) for operation in operations] == expected


@pytest.mark.parametrize("positions", [1, 5, 33])
def test_a_host_works_on_as_many_images_as_fit_its_cache(monkeypatch: pytest.MonkeyPatch, positions: int) -> None:
    rng = np.random.default_rng(0)
    x, gradient = (rng.standard_normal((7, 3, positions)) for _ in range(2))
    weight, bias = (rng.standard_normal(3) for _ in range(2))
    at_once, statistics = batch_norm(x, weight, bias, 1e-5)
    slopes = batch_norm_gradients(gradient, x, weight, statistics, Gradients())
    monkeypatch.setattr(tiling, "TILE_BYTES", 3 * x[0].nbytes)
    monkeypatch.setattr(numpy_way, "LONGEST_SPREAD", 5)
    in_parts, statistics = batch_norm(x, weight, bias, 1e-5)
    np.testing.assert_allclose(in_parts, at_once, atol=1e-13)
    np.testing.assert_allclose(batch_norm_gradients(gradient, x, weight, statistics, Gradients()), slopes, atol=1e-13)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 1, 1), (7, 3, 1), (3, 2, 70), (1, 4, 500)])
def test_the_plain_way_on_any_array_module(backend: Backend, shape: tuple[int, int, int], relu: bool) -> None:
    rng = np.random.default_rng(0)
    values, gradient = rng.normal(100, 2, shape), rng.standard_normal(shape)
    for weight, bias in ((None, None), tuple(rng.standard_normal((2, shape[1])))):
        own, wanted = ([np.full(shape[1], np.nan) for _ in range(2)] for _ in range(2))
        with ways.use("numpy"):
            output, statistics = batch_norm(values, weight, bias, 1e-5, relu)
            expected = batch_norm_gradients(
                gradient, values, weight, statistics, Gradients(*wanted), output if relu else None
            )
        x, scale, shift, given = (None if a is None else backend.array(a) for a in (values, weight, bias, gradient))
        sums = [backend.array(array) for array in own]
        found, known = plain.batch_norm(x, scale, shift, 1e-5, relu, None, None)
        result = plain.batch_norm_gradients(
            given, x, scale, known, Gradients(*sums), found if relu else None, added=False
        )
        pairs = zip((found, *known[:3], result, *sums), (output, *statistics[:3], expected, *wanted), strict=True)
        for array, right in pairs:
            np.testing.assert_allclose(host(array), right, rtol=1e-9, atol=1e-9)


def test_half_precision_is_computed_in_single(backend: Backend) -> None:
    rng = np.random.default_rng(1)
    # Squares of these do not fit into a float16, nor does their sum.
    x = (300 * rng.standard_normal((4, 3, 40))).astype(np.float16)
    gradient, weight, bias = (rng.standard_normal(shape).astype(np.float16) for shape in (x.shape, 3, 3))

    def run(dtype: type) -> list[np.ndarray]:
        tensors = [backend.tensor(array.astype(dtype), requires_grad=True) for array in (x, weight, bias)]
        output = F.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
        output.backward(backend.array(gradient.astype(dtype)))
        arrays = [output.data, *(tensor.grad for tensor in tensors)]
        assert all(array.dtype == dtype for array in arrays)
        return [host(array) for array in arrays]

    for half, single in zip(run(np.float16), run(np.float32), strict=True):
        np.testing.assert_allclose(half, single, rtol=2e-3, atol=1e-4)


def test_running_statistics_keep_their_dtype(backend: Backend) -> None:
    running = [backend.tensor(np.full(3, start, np.float16)) for start in (0, 1)]
    x = np.arange(12, dtype=np.float16).reshape(4, 3)
    output = F.batch_norm(backend.array(x), *running, training=True, activation="relu", residual=backend.array(x))
    assert [statistics.dtype for statistics in (*running, output)] == [np.float16] * 3
    np.testing.assert_allclose(running[0].numpy(), 0.1 * x.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(running[1].numpy(), 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-3)


WAYS = [
    ((6, 3, 4, 5), np.float32),
    ((6, 3, 4, 5), np.float64),
    ((6, 3, 4, 5), np.float16),
    ((50, 3), np.float32),  # too few positions for compiled loops
]


@pytest.mark.parametrize(("shape", "dtype"), WAYS)
def test_relu_and_residual_are_to_the_bit_what_they_are_apart(
    backend: Backend, shape: tuple[int, ...], dtype: type
) -> None:
    if not backend.on_cpu and dtype is not np.float16:
        pytest.skip("a GPU rounds once where others round twice")
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape).astype(dtype) for _ in range(3)]
    arrays[0][0, 0] = np.nan if dtype is np.float64 else arrays[0][0, 0]

    def run(fused: bool, needs: bool) -> list[np.ndarray]:
        x, residual = backend.tensor(arrays[0], True), backend.tensor(arrays[1], needs)
        if fused:
            output = F.batch_norm(x, None, None, training=True, activation="relu", residual=residual)
        else:
            output = F.add(F.batch_norm(x, None, None, training=True), residual, activation="relu")
        output.backward(backend.array(arrays[2]))
        return [host(one) for one in (output.data, x.grad, *([residual.grad] if needs else []))]

    for needs in (False, True):
        for one, other in zip(run(True, needs), run(False, needs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("shape", "dtype"), WAYS)
@pytest.mark.parametrize("momentum", [0.1, 0.037, 1.5, None])
def test_running_statistics_move_in_place_and_on_a_cpu_to_the_bit(
    backend: Backend, shape: tuple[int, ...], dtype: type, momentum: float | None
) -> None:
    rng = np.random.default_rng(4)
    layer = layers.BatchNorm1d(3, momentum=momentum) if len(shape) == 2 else layers.BatchNorm2d(3, momentum=momentum)
    layer.astype(dtype).to(backend.device_name)
    places = [buffer.data for _, buffer in layer.named_buffers()]
    kept, tolerance = (
        [np.zeros(3, dtype), np.ones(3, dtype)],
        0 if backend.on_cpu else 1e-3 if dtype is np.float16 else 2e-6,
    )
    for number in range(1, 4):
        x = backend.array(rng.normal(5, 2, shape).astype(dtype))
        layer(x)
        wide = x.reshape(*shape[:2], -1).astype(np.float32 if dtype is np.float16 else dtype)
        _, statistics = batch_norm(wide, None, None, 1e-5)
        count = x.size // 3
        share = momentum if momentum is not None else dtype(1) / dtype(number)
        mean, variance = host(statistics.mean), host(statistics.variance)
        for place, fresh in enumerate((mean, variance * (count / (count - 1)))):
            kept[place] = (1 - share) * kept[place] + share * fresh.astype(dtype)
            assert kept[place].dtype == dtype
        for array, wanted in zip(places, (*kept, np.array(number)), strict=False):
            np.testing.assert_allclose(host(array), wanted, rtol=tolerance, atol=0)
    assert all(buffer.data is place for (_, buffer), place in zip(layer.named_buffers(), places, strict=True))
