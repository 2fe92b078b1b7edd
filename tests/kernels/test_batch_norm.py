"""What the contract of `batch_norm.cu` does not say: how often the GPU is asked, how large the work is, half precision."""

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.kernels import elementwise, tiling, ways
from gpucnn.kernels.batch_norm import Gradients, batch_norm, batch_norm_gradients, numpy_way, plain
from gpucnn.testing import emulated_gpu
from tests.backends import Backend, host


def test_two_launches_each_way() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast") as cupy:
        x, weight, bias = (cupy.ones(shape, np.float32) for shape in ((4, 3, 5), 3, 3))
        own = [cupy.empty(3, np.float32) for _ in range(2)]
        with cupy.operation_log.recorded() as operations:
            output, statistics = batch_norm(x, weight, bias, 1e-5)
            batch_norm_gradients(output, x, weight, statistics, Gradients(*own))
        names = ["batch_norm_statistics", "batch_norm", "batch_norm_sums", "batch_norm_gradient"]
        assert [(operation.kind, operation.name) for operation in operations] == [("launch", name) for name in names]


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
        found, known = plain.batch_norm(x, scale, shift, 1e-5, relu)
        given = elementwise.relu_gradient(given, found) if relu else given
        result = plain.batch_norm_gradients(given, x, scale, known, Gradients(*sums), None)
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


def test_running_statistics_keep_their_dtype() -> None:
    running = [Tensor(np.zeros(3, np.float16)), Tensor(np.ones(3, np.float16))]
    F.batch_norm(Tensor(np.arange(12, dtype=np.float16).reshape(4, 3)), *running, training=True)
    assert [statistics.dtype for statistics in running] == [np.float16, np.float16]
