"""The checked entry: what is not just what a kernel was made for is refused, before anything is written."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn.backend.threads import FEW_PARTS
from gpucnn.errors import LaunchError
from gpucnn.geometry import Window
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.convolution import Convolution
from gpucnn.kernels.convolution import compiled as compiled_convolution
from gpucnn.kernels.elementwise import compiled as elementwise_loops
from gpucnn.kernels.linear import compiled as compiled_linear
from gpucnn.kernels.pooling import Pooling, max_pool, max_pool_gradient
from gpucnn.kernels.workspace import LARGEST_KEPT
from tests.backends import Backend, host

pytestmark = pytest.mark.usefixtures("needs_llvmlite")


@pytest.fixture
def arrays() -> Iterator[dict[str, np.ndarray]]:
    """What `plane_sums` of 3 planes of 5 positions takes; the outputs are as they were afterwards."""
    given = {
        "gradient": np.ones((3, 5), np.float32),
        "sums": np.full(3, -7, np.float32),
        "output": np.ones((3, 5), np.float32),
        "rows": np.full((3, 5), -7, np.float32),
    }
    written = [given["sums"], given["rows"]]
    yield given
    assert all((array == -7).all() for array in written)


def refusal(arrays: dict[str, Any], count: int = 3, parts: list[slice] | None = None) -> str:
    with pytest.raises(LaunchError) as caught:
        loop.run(elementwise_loops.plane_sums_loop(5, True), count, list(arrays.values()), parts)
    return str(caught.value)


WRONG: dict[str, tuple[str, Callable[[np.ndarray], Any], str]] = {
    "dtype": ("gradient", lambda array: array.astype(np.float64),
              "gradient must be a float32 array (3, 5), got float64 (3, 5)"),
    "integers": ("output", lambda array: array.astype(np.int32),
                 "output must be a float32 array (3, 5), got int32 (3, 5)"),
    "byte order": ("gradient", lambda array: array.astype(">f4"),
                   "gradient must be a float32 array (3, 5), got >f4 (3, 5)"),
    "fewer planes": ("rows", lambda array: array[:2], "rows must be a float32 array (3, 5), got float32 (2, 5)"),
    "more planes": ("gradient", lambda array: np.ones((4, 5), np.float32),
                    "gradient must be a float32 array (3, 5), got float32 (4, 5)"),
    "positions": ("output", lambda array: np.ones((3, 6), np.float32),
                  "output must be a float32 array (3, 5), got float32 (3, 6)"),
    "flat": ("gradient", lambda array: array.ravel(), "gradient must be a float32 array (3, 5), got float32 (15,)"),
    "axes": ("sums", lambda array: array[:, None], "sums must be a float32 array (3,), got float32 (3, 1)"),
    "none": ("gradient", lambda array: None, "gradient must be a float32 array (3, 5), got None"),
    "list": ("sums", lambda array: [1.0], "sums must be a float32 array (3,), got [1.0]"),
    "strided": ("gradient", lambda array: np.ones((3, 10), np.float32)[:, ::2],
                "gradient must be contiguous; copy it with numpy.ascontiguousarray"),
    "fortran": ("output", lambda array: np.asfortranarray(array),
                "output must be contiguous; copy it with numpy.ascontiguousarray"),
    "strided output": ("sums", lambda array: np.full(6, -7, np.float32)[::2],
                       "sums must be contiguous and writeable; copy it with numpy.ascontiguousarray"),
    "broadcast": ("rows", lambda array: np.broadcast_to(array[:1], (3, 5)),
                  "rows must be contiguous and writeable; copy it with numpy.ascontiguousarray"),
    "unaligned": ("gradient", lambda array: np.frombuffer(bytearray(61), np.float32, 15, 1).reshape(3, 5),
                  "gradient must be contiguous; copy it with numpy.ascontiguousarray"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_array_that_does_not_fit_is_refused(arrays: dict[str, np.ndarray], name: str) -> None:
    argument, change, message = WRONG[name]
    given = {**arrays, argument: change(arrays[argument])}
    assert refusal(given) == f"plane_sums: {message}"


def test_an_output_that_is_read_only_is_refused(arrays: dict[str, np.ndarray]) -> None:
    arrays["rows"].flags.writeable = False
    message = "rows must be contiguous and writeable; copy it with numpy.ascontiguousarray"
    assert refusal(arrays) == f"plane_sums: {message}"


@pytest.mark.parametrize("parts", [
    [slice(0, 4)], [slice(-1, 3)], [slice(2, 1)], [slice(0, 3), slice(3, 4)], [slice(4, 4)],
])  # fmt: skip
def test_parts_beyond_the_items_are_refused(arrays: dict[str, np.ndarray], parts: list[slice]) -> None:
    assert refusal(arrays, parts=parts) == f"plane_sums: the parts {parts} are not within 3 items"


def test_a_count_below_zero_is_refused(arrays: dict[str, np.ndarray]) -> None:
    assert refusal(arrays, -1) == "plane_sums: the parts [slice(0, -1, None)] are not within -1 items"


@pytest.mark.parametrize("given", [3, 5])
def test_too_few_and_too_many_arrays_are_refused(arrays: dict[str, np.ndarray], given: int) -> None:
    values = [*arrays.values(), arrays["rows"]][:given]
    with pytest.raises(LaunchError) as caught:
        loop.run(elementwise_loops.plane_sums_loop(5, True), 3, values)
    assert str(caught.value) == f"plane_sums: takes 4 arrays (gradient, sums, output, rows), got {given}"


def test_sizes_that_are_free_must_be_the_same() -> None:
    kernel = compiled_linear.weight_gradient_loop(5, 3, False, processor.processor())
    gradient, vectors, out = (np.ones(shape, np.float32) for shape in ((4, 3), (4, 5), (3, 5)))
    loop.run(kernel, 3, [gradient, vectors, out])
    assert (out == 4).all()
    with pytest.raises(LaunchError) as caught:
        loop.run(kernel, 3, [gradient, vectors[:3], out])
    expected = "linear_weight_gradient: vectors must be a float32 array (4, 5), got float32 (3, 5)"
    assert str(caught.value) == expected
    with pytest.raises(LaunchError, match="gradient must be a float32 array \\(0, 3\\), got None"):
        loop.run(kernel, 3, [None, vectors, out])


def test_an_input_may_be_read_only() -> None:
    gradient, sums = np.ones((3, 5), np.float32), np.zeros(3, np.float32)
    gradient.flags.writeable = False
    loop.run(elementwise_loops.plane_sums_loop(5, False), 3, [gradient, sums])
    assert sums.tolist() == [5, 5, 5]


def test_items_outside_the_parts_are_left_alone() -> None:
    gradient, sums = np.ones((9, 5), np.float32), np.full(9, -7, np.float32)
    loop.run(elementwise_loops.plane_sums_loop(5, False), 9, [gradient, sums], [slice(1, 3), slice(4, 4), slice(6, 9)])
    assert sums.tolist() == [-7, 5, 5, -7, -7, -7, 5, 5, 5]
    loop.run(elementwise_loops.plane_sums_loop(5, False), 9, [gradient, sums + 0], [])
    assert sums.tolist() == [-7, 5, 5, -7, -7, -7, 5, 5, 5]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_scratch_memory_that_no_thread_keeps(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    """Planes that are too large for `workspace` to keep: their memory must live as long as the kernel runs."""
    monkeypatch.setenv("GPUCNN_NUM_THREADS", threads)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 200, (1, 3, 1100, 1000)).astype(np.float32)
    task = Pooling(images.shape, Window.of(2, 2, 1))
    assert images[0, 0].nbytes > LARGEST_KEPT
    with ways.use("jit"):
        output, argmax = max_pool(task, images, True)
        back = max_pool_gradient(task, output, argmax)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = padded.reshape(1, 3, 551, 2, 501, 2).max(axis=(3, 5))
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(
        images.reshape(3, -1)[np.arange(3)[:, None], argmax.reshape(3, -1)], output.reshape(3, -1)
    )
    assert back.sum(dtype=np.float64) == output.sum(dtype=np.float64)


def test_scratch_memory_lives_while_the_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lent: list[weakref.ref[np.ndarray]] = []

    def workspace(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        memory = np.empty(shape, like.dtype)
        lent.append(weakref.ref(memory))
        return memory

    def function(first: int, last: int, part: int, arrays: int, scratch: int) -> None:
        memory = lent[-1]()
        assert memory is not None, "freed before the call"
        assert memory.ctypes.data == scratch

    monkeypatch.setattr(loop, "workspace", workspace)
    monkeypatch.setattr(loop, "_function", lambda kernel: (0, function))
    loop.run(
        elementwise_loops.formula_loop("relu")._replace(scratch=100),
        2,
        [np.zeros(2, np.float32), np.zeros(2, np.float32)],
    )
    assert len(lent) == 1


def test_relu_of_a_scalar_keeps_its_shape(backend: Backend) -> None:
    from gpucnn.kernels.elementwise import relu, relu_gradient

    x = backend.array(np.array(2, np.float32))
    assert host(relu(x)).shape == ()
    passed = host(relu_gradient(backend.array(np.array(3, np.float32)), x))
    assert (passed.shape, float(passed)) == ((), 3)


def test_two_threads_ask_for_one_new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_functions", {})
    calls, together = [], threading.Barrier(4)
    original = loop.compiled

    def compiled(*arguments: Any) -> int:
        calls.append(arguments[0])
        return int(original(*arguments))

    monkeypatch.setattr(loop, "compiled", compiled)
    totals = np.zeros((4, 3), np.float32)

    def work(number: int) -> None:
        together.wait(60)
        loop.run(elementwise_loops.plane_sums_loop(11, False), 3, [np.ones((3, 11), np.float32), totals[number]])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert calls == ["plane_sums"]
    assert (totals == 11).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_another_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_functions", {})
    child = 1
    with loop._compiling:  # as a thread that is not in the child would hold it
        child = os.fork()
        if child == 0:
            sums = np.zeros(3, np.float32)
            arguments = elementwise_loops.plane_sums_loop(5, False), 3, [np.ones((3, 5), np.float32), sums]
            worker = threading.Thread(target=loop.run, args=arguments, daemon=True)
            worker.start()
            worker.join(60)
            os._exit(0 if sums.tolist() == [5, 5, 5] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("channels", [1, 3, 16, 64, 128, 256, 512])
@pytest.mark.parametrize("batch", [1, 8, 64, 1024])
def test_partial_sums_of_weights_take_little_memory(batch: int, channels: int) -> None:
    """There are more than a few of them only where all fit a cache."""
    window, shape = Window.of(3, 1, 1), (batch, channels, 32, 32)
    task = Convolution(shape, (channels, channels, 3, 3), shape, window, 1, False)
    _, parts = compiled_convolution._weight_gradient(task, processor.processor())
    nbytes = len(parts) * 4 * 9 * channels**2
    assert len(parts) == 1 or nbytes <= compiled_convolution.LARGEST_PARTIAL_SUMS
    assert len(parts) <= FEW_PARTS or nbytes <= compiled_convolution.CACHED_PARTIAL_SUMS
    assert (batch, channels) != (1024, 16) or len(parts) > FEW_PARTS
