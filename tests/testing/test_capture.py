"""What is asked for in a capture is noted, and done when the graph is launched; what CUDA refuses there is refused in its words.

Most of it is asked of the real CuPy, too, where there is one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import choose_device, to_host
from gpucnn.errors import KernelError
from gpucnn.testing.cupy_stand_in import CupyStandIn
from tests.backends import Backend

LETTERS = "cudaErrorStreamCapture"
INVALIDATED = f"{LETTERS}Invalidated: operation failed due to a previous error during capture"


@pytest.fixture
def cupy(gpu: Backend) -> Any:
    """The stand-in, or CuPy."""
    return choose_device("cuda").device.xp


@pytest.fixture
def stand_in(gpu: Backend, cupy: Any) -> CupyStandIn:
    """The stand-in alone."""
    if gpu.name != "emulated":
        pytest.skip("errors and memory of the stand-in's own")
    assert isinstance(cupy, CupyStandIn)
    return cupy


class Captured:
    """A graph with its pool, once the capture has ended."""

    def __init__(self, cupy: Any) -> None:
        self.pool, self.stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        self.graph: Any = None

    def launch(self) -> None:
        self.graph.launch(self.stream)
        self.stream.synchronize()


@contextmanager
def capture(cupy: Any) -> Iterator[Captured]:
    """Inside, what is asked for is captured."""
    captured = Captured(cupy)
    with captured.stream, cupy.cuda.using_allocator(captured.pool.malloc):
        captured.stream.begin_capture()
        try:
            yield captured
        except BaseException:
            with suppress(RuntimeError):
                captured.stream.end_capture()
            raise
        captured.graph = captured.stream.end_capture()


def poisoned(array: Any) -> bool:
    """Whether nobody has written to it."""
    return bool(np.isnan(to_host(array)).all())


OPERATIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "operator": lambda xp, a, i: a * 2 + a,
    "number on the left": lambda xp, a, i: 1 - a,
    "ufunc": lambda xp, a, i: xp.maximum(a, 1),
    "ufunc of two results": lambda xp, a, i: xp.modf(a * 1.5)[1],
    "ufunc into out": lambda xp, a, i: xp.exp(a, out=xp.empty_like(a)),
    "in place": lambda xp, a, i: a.copy().__iadd__(a),
    "sum": lambda xp, a, i: a.sum(axis=0),
    "sum of all": lambda xp, a, i: a.sum(),
    "sum into out": lambda xp, a, i: xp.sum(a, axis=0, out=xp.empty(4, a.dtype)),
    "sum into the fourth": lambda xp, a, i: xp.sum(a, 0, None, xp.empty(4, a.dtype)),
    "mean": lambda xp, a, i: xp.mean(a, axis=1, keepdims=True),
    "variance": lambda xp, a, i: a.var(axis=1),
    "maximum": lambda xp, a, i: a.argmax(axis=1),
    "where": lambda xp, a, i: xp.where(a > 4, a, -a),
    "astype": lambda xp, a, i: a.astype(np.float32),
    "another dtype": lambda xp, a, i: xp.array(a, np.float32),
    "copy": lambda xp, a, i: xp.copy(a),
    "contiguous": lambda xp, a, i: xp.ascontiguousarray(a.T),
    "reshaped copy": lambda xp, a, i: (a + 1).T.reshape(12),
    "view": lambda xp, a, i: a[1:, ::2] * 1,
    "concatenate": lambda xp, a, i: xp.concatenate([a, a[:1]]),
    "stack": lambda xp, a, i: xp.stack([a, a]),
    "take": lambda xp, a, i: a.take(i, axis=1),
    "taken by what was computed": lambda xp, a, i: a[:, (a.argmax(axis=1) - 1)],
    "index": lambda xp, a, i: a[i],
    "index by what was written": lambda xp, a, i: a[written(xp.empty(2, i.dtype), slice(None), i)],
    "index of two": lambda xp, a, i: a[i, i],
    "set at an index": lambda xp, a, i: written(a.copy(), i, a[:2] * 3),
    "set in a slice": lambda xp, a, i: written(a.copy(), slice(1), a[1:2]),
    "set to a number": lambda xp, a, i: written(a.copy(), slice(1), 7),
    "fill": lambda xp, a, i: filled(xp.empty_like(a)),
    "zeros": lambda xp, a, i: xp.zeros((3, 4)) + a,
    "full_like": lambda xp, a, i: xp.full_like(a, 3),
    "arange": lambda xp, a, i: xp.arange(4) + a,
    "clip": lambda xp, a, i: xp.clip(a, 2, 5),
    "pad": lambda xp, a, i: xp.pad(a, 1),
    "masked": lambda xp, a, i: copied(xp, xp.zeros_like(a), a, a > 4),
    "put along the diagonal": lambda xp, a, i: diagonal(xp, a.copy()),
    "transposed": lambda xp, a, i: xp.add(a.T, 1),
}
"""What gives a result from an array (3, 4) and an index (2,)."""


def written(array: Any, index: Any, values: Any) -> Any:
    array[index] = values
    return array


def filled(array: Any) -> Any:
    array.fill(3)
    return array


def copied(xp: Any, target: Any, source: Any, mask: Any) -> Any:
    xp.copyto(target, source, where=mask)
    return target


def diagonal(xp: Any, array: Any) -> Any:
    xp.fill_diagonal(array, -1)
    return array


@pytest.mark.parametrize("kind", OPERATIONS)
def test_operations_are_done_at_each_launch_and_not_before(cupy: Any, kind: str) -> None:
    values, index = cupy.asarray(np.arange(12.0).reshape(3, 4)), cupy.asarray([2, 0])
    with capture(cupy) as captured:
        result = OPERATIONS[kind](cupy, values, index)
    np.testing.assert_array_equal(to_host(values), np.arange(12.0).reshape(3, 4))
    if isinstance(cupy, CupyStandIn) and result.dtype.kind == "f":
        assert poisoned(result)
    for number in (1, 2):
        values.set(np.random.default_rng(number).integers(0, 9, (3, 4)).astype(float))
        index.set(np.array([number, 0]))
        captured.launch()
        eager = OPERATIONS[kind](cupy, values, index)
        np.testing.assert_array_equal(to_host(result), to_host(eager), strict=True)
        assert result.strides == eager.strides


WRITING: dict[str, Callable[[Any, Any], Any]] = {
    "in place": lambda xp, a: xp.add(a, 1, out=a),
    "out": lambda xp, a: xp.sum(xp.ones((2, 3, 3)), axis=0, out=a),
    "the fourth argument": lambda xp, a: xp.sum(xp.ones((2, 3, 3)), 0, None, a),
    "diagonal": lambda xp, a: xp.fill_diagonal(a, 5),
    "slice": lambda xp, a: written(a, slice(2), 3),
    "index": lambda xp, a: written(a, xp.zeros(2, int), xp.ones(3)),
    "copyto": lambda xp, a: xp.copyto(a, xp.ones(3)),
    "fill": lambda xp, a: a.fill(3),
}
"""What writes to an array (3, 3) from before the capture."""


@pytest.mark.parametrize("kind", WRITING)
def test_arrays_from_before_stay_as_they_were(cupy: Any, kind: str) -> None:
    values = cupy.zeros((3, 3))
    with capture(cupy) as captured:
        WRITING[kind](cupy, values)
    np.testing.assert_array_equal(to_host(values), 0)
    captured.launch()
    eager = cupy.zeros((3, 3))
    WRITING[kind](cupy, eager)
    np.testing.assert_array_equal(to_host(values), to_host(eager))
    assert to_host(values).any()


def test_numbers_are_those_of_the_capture(cupy: Any) -> None:
    values, rate = cupy.ones(3), 2.0
    with capture(cupy) as captured:
        result = values * rate
    rate = 5.0
    captured.launch()
    np.testing.assert_array_equal(to_host(result), 2)


KERNEL = """
extern "C" __global__ void scale(double* values, double factor, long long size) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < size) values[i] *= factor;
}"""


def test_kernels_are_noted(cupy: Any) -> None:
    kernel, values = cupy.RawKernel(KERNEL, "scale"), cupy.arange(5.0)
    with capture(cupy) as captured:
        kernel((1,), (32,), (values, np.float64(2), np.int64(5)))
    np.testing.assert_array_equal(to_host(values), np.arange(5))
    captured.launch()
    captured.launch()
    np.testing.assert_array_equal(to_host(values), np.arange(5) * 4)


def test_memory_is_poisoned_before_each_launch(stand_in: CupyStandIn) -> None:
    source = stand_in.ones(3)
    with capture(stand_in) as captured:
        untouched, integers = stand_in.empty(3), stand_in.empty(3, np.int32)
        total = stand_in.empty(3)
        total += source
        result = source * 2
    assert poisoned(result)
    captured.launch()
    result[...] = 0
    untouched[...] = 0
    integers[...] = 0
    captured.launch()
    assert poisoned(untouched)
    assert poisoned(total)
    assert (to_host(integers) < -(10**9)).all()
    np.testing.assert_array_equal(to_host(result), 2)


def test_launches_are_logged_as_one_operation(stand_in: CupyStandIn) -> None:
    source = stand_in.ones(3)
    with stand_in.operation_log.recorded() as operations:
        with capture(stand_in) as captured:
            source * 2 + 1
        assert operations == []
        captured.graph.launch(captured.stream)
    assert [(operation.kind, operation.name, operation.detail) for operation in operations] == [
        ("launch", "graph", (2,))
    ]


REFUSED: dict[str, tuple[Callable[[Any, Any, Any], Any], type[Exception], str]] = {
    "get": (lambda xp, a, s: a.get(), RuntimeError, "the current stream is capturing, so D2H transfers are disallowed"),
    "float": (lambda xp, a, s: float(a.sum()), RuntimeError, "D2H transfers"),
    "bool": (lambda xp, a, s: bool(a.any()), RuntimeError, "D2H transfers"),
    "item": (lambda xp, a, s: a[0].item(), RuntimeError, "D2H transfers"),
    "tolist": (lambda xp, a, s: a.tolist(), RuntimeError, "D2H transfers"),
    "repr": (lambda xp, a, s: repr(a), RuntimeError, "D2H transfers"),
    "set": (
        lambda xp, a, s: a.set(np.ones(3)),
        RuntimeError,
        "the current stream is capturing, so H2D transfers are dis",
    ),
    "set from pinned memory": (lambda xp, a, s: a.set(pinned(xp)), RuntimeError, "H2D transfers are disallowed"),
    "asarray": (lambda xp, a, s: xp.asarray([1.0]), RuntimeError, "H2D transfers are disallowed"),
    "list": (lambda xp, a, s: a[[0]], RuntimeError, "H2D transfers are disallowed"),
    "windows": (
        lambda xp, a, s: xp.lib.stride_tricks.sliding_window_view(a, 2),
        RuntimeError,
        "H2D transfers are disallowed",
    ),
    "many joined": (lambda xp, a, s: xp.concatenate([a] * 9), RuntimeError, "H2D transfers are disallowed"),
    "mask": (lambda xp, a, s: a[a > 0], RuntimeError, "D2H transfers are disallowed"),
    "set by a mask": (lambda xp, a, s: a.__setitem__(a > 0, 1), RuntimeError, "D2H transfers are disallowed"),
    "nonzero": (lambda xp, a, s: xp.nonzero(a), RuntimeError, "D2H transfers are disallowed"),
    "bincount": (lambda xp, a, s: xp.bincount(a.astype(int)), RuntimeError, "D2H transfers are disallowed"),
    "event recorded inside": (lambda xp, a, s: s.record().synchronize(), RuntimeError, "cudaErrorCapturedEvent: "),
    "begin again": (lambda xp, a, s: s.begin_capture(), RuntimeError, "cudaErrorIllegalState: "),
    "end elsewhere": (lambda xp, a, s: xp.cuda.Stream().end_capture(), RuntimeError, "cudaErrorIllegalState: "),
}
"""What CuPy refuses, and its words: a capture goes on after it."""


def matrix(xp: Any) -> Any:
    return xp.ones((2, 3))


def pinned(xp: Any) -> np.ndarray:
    return np.frombuffer(xp.cuda.alloc_pinned_memory(24), np.float64, 3)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cupy_refuses(cupy: Any, kind: str) -> None:
    wrong, error, words = REFUSED[kind]
    values = cupy.ones(3)
    with capture(cupy) as captured:
        with pytest.raises(error, match=words):
            wrong(cupy, values, captured.stream)
        assert captured.stream.is_capturing()
        result = values + 1
    captured.launch()
    np.testing.assert_array_equal(to_host(result), 2)


INVALID: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "wait for the stream": (
        lambda xp, a, s: s.synchronize(),
        "cudaErrorStreamCaptureUnsupported: operation not permitted",
    ),
    "wait for the device": (lambda xp, a, s: xp.cuda.Device().synchronize(), f"{LETTERS}Unsupported: "),
    "wait for the device, by CUDA": (lambda xp, a, s: xp.cuda.runtime.deviceSynchronize(), f"{LETTERS}Unsupported: "),
    "wait for an event from outside": (
        lambda xp, a, s: s.wait_event(outside(xp)),
        f"{LETTERS}Isolation: dependency created",
    ),
}
"""What CUDA refuses: a capture has failed after it."""


def outside(xp: Any) -> Any:
    return xp.cuda.Stream(non_blocking=True).record()


@pytest.mark.parametrize("kind", INVALID)
def test_what_cuda_refuses(cupy: Any, kind: str) -> None:
    wrong, words = INVALID[kind]
    values = cupy.ones(3)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match=words):
            wrong(cupy, values, stream)
        with pytest.raises(RuntimeError, match="an error has invalidated the capture sequence"):
            stream.is_capturing()
        with pytest.raises(RuntimeError, match="operation failed due to a previous error during capture"):
            values.fill(3)
        with pytest.raises(RuntimeError, match=INVALIDATED):
            stream.end_capture()
        assert not stream.is_capturing()
        np.testing.assert_array_equal(to_host(values + 1), 2)


def test_sorting_waits(stand_in: CupyStandIn) -> None:
    """CuPy has it from Thrust, whose words are others."""
    values, stream = stand_in.ones(3), stand_in.cuda.Stream(non_blocking=True)
    for name in ("sort", "argsort", "unique"):
        with stream:
            stream.begin_capture()
            with pytest.raises(RuntimeError, match="CaptureUnsupported"):
                getattr(stand_in, name)(values)
            with pytest.raises(RuntimeError, match=INVALIDATED):
                stream.end_capture()


def test_asking_whether_a_stream_is_done_fails(cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    assert not stream.done
    with pytest.raises(RuntimeError, match=INVALIDATED):
        stream.end_capture()


def test_the_default_stream_cannot_capture(cupy: Any) -> None:
    with pytest.raises(RuntimeError, match=r"cannot capture on the default \(legacy\) stream"):
        cupy.cuda.Stream.null.begin_capture()
    with pytest.raises(RuntimeError, match="cudaErrorIllegalState"):
        cupy.cuda.Stream(non_blocking=True).end_capture()


@pytest.mark.parametrize("non_blocking", [True, False])
def test_work_in_the_default_stream_meanwhile(cupy: Any, non_blocking: bool) -> None:
    values, stream = cupy.ones(3), cupy.cuda.Stream(non_blocking=non_blocking)
    with stream:
        stream.begin_capture()
    if non_blocking:
        np.testing.assert_array_equal(to_host(values + 1), 2)
        stream.end_capture()
    else:
        with pytest.raises(
            RuntimeError, match="(?i)implicit: operation would make the legacy stream depend on a captur"
        ):
            values + 1
        with pytest.raises(RuntimeError, match=INVALIDATED):
            stream.end_capture()


def test_a_stream_that_joins_the_capture(cupy: Any) -> None:
    values, other = cupy.arange(3.0), cupy.cuda.Stream(non_blocking=True)
    with capture(cupy) as captured:
        doubled = values * 2
        other.wait_event(captured.stream.record())
        assert other.is_capturing()
        with other:
            tripled = values * 3
        captured.stream.wait_event(other.record())
        result = doubled + tripled
    assert not other.is_capturing()
    captured.launch()
    np.testing.assert_array_equal(to_host(result), [0, 5, 10])


def test_a_stream_that_was_not_joined(cupy: Any) -> None:
    values, stream, other = cupy.arange(3.0), cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    other.wait_event(stream.record())
    early = other.record()
    with other:
        values.fill(3)
    stream.wait_event(early)  # which is from before that work
    with pytest.raises(RuntimeError, match=f"{LETTERS}Unjoined: "):
        stream.end_capture()
    assert not other.is_capturing()


def test_streams_are_current_on_their_device_and_thread(cupy: Any) -> None:
    first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream()
    null = cupy.cuda.Stream.null
    assert first.is_non_blocking
    assert not second.is_non_blocking
    assert first != second
    assert first.ptr != second.ptr != null.ptr == 0
    assert {first: 1}[first] == 1
    assert cupy.cuda.get_current_stream() == null
    with first:
        with second:
            with first:
                assert cupy.cuda.get_current_stream() is first
            assert cupy.cuda.get_current_stream() is second
        assert cupy.cuda.get_current_stream() is first
        assert cupy.cuda.get_current_stream(0) is first
    assert cupy.cuda.get_current_stream() == null
    try:
        assert second.use() is second
        assert cupy.cuda.get_current_stream() is second
    finally:
        null.use()
    assert first.done
    assert repr(first) == f"<Stream {first.ptr} (device 0)>"


def test_a_stream_belongs_to_its_device(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    stream = cupy.cuda.Stream()
    with stream, cupy.cuda.Device(1):
        assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
        assert cupy.cuda.get_current_stream(0) is stream
        with pytest.raises(RuntimeError, match=r"created on \(0\) does not match with the current device \(1\)"):
            stream.use()


def test_a_pool_of_ones_own(cupy: Any) -> None:
    pool, default = cupy.cuda.MemoryPool(), cupy.get_default_memory_pool()
    before = default.used_bytes()
    with cupy.cuda.using_allocator(pool.malloc):
        array = cupy.zeros(1000)
        with cupy.cuda.using_allocator(default.malloc):
            other = cupy.zeros(1000)
    assert pool.used_bytes() == 8192
    assert default.used_bytes() == before + 8192
    del array, other
    assert (pool.used_bytes(), pool.free_bytes(), pool.total_bytes()) == (0, 8192, 8192)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0
    assert default.used_bytes() == before


def test_what_a_pool_keeps_is_lost_with_it(cupy: Any) -> None:
    pool = cupy.cuda.MemoryPool()
    before = cupy.cuda.runtime.memGetInfo()[0]
    with cupy.cuda.using_allocator(pool.malloc):
        cupy.zeros(1000)
        kept = cupy.zeros(1000)
    del pool
    assert cupy.cuda.runtime.memGetInfo()[0] == before - 8192
    np.testing.assert_array_equal(to_host(kept), 0)


def test_pools_share_the_memory_of_a_device(gpu: Backend) -> None:
    if gpu.name != "emulated":
        pytest.skip("a device of a size of its own")
    cupy = CupyStandIn(None, devices=1, memory_bytes=4096)  # type: ignore[arg-type]
    pool = cupy.cuda.MemoryPool()
    kept = cupy.zeros(256)
    with cupy.cuda.using_allocator(pool.malloc):
        cupy.zeros(256)
        with pytest.raises(MemoryError, match=r"allocating 2,560 bytes \(allocated so far: 0 bytes\)"):
            cupy.zeros(320)
        cupy.zeros(256)
    assert cupy.cuda.runtime.memGetInfo() == (0, 4096)
    assert kept.nbytes == 2048


def test_graphs_cannot_be_made(cupy: Any) -> None:
    with pytest.raises(
        NotImplementedError, match="cannot be initiated by the user and must be created via stream capture"
    ):
        cupy.cuda.Graph()


def test_a_graph_is_launched_in_the_current_stream(cupy: Any) -> None:
    total = cupy.zeros(2)
    with capture(cupy) as captured:
        total += 1
    captured.graph.upload(captured.stream)
    captured.graph.launch()
    cupy.cuda.get_current_stream().synchronize()
    np.testing.assert_array_equal(to_host(total), 1)


def test_a_graph_in_a_graph(cupy: Any) -> None:
    total = cupy.zeros(2)
    with capture(cupy) as inner:
        total += 1
    with capture(cupy) as outer:
        total *= 2
        inner.graph.launch(outer.stream)
    np.testing.assert_array_equal(to_host(total), 0)
    outer.launch()
    outer.launch()
    np.testing.assert_array_equal(to_host(total), 3)


def test_memory_of_the_default_pool(stand_in: CupyStandIn) -> None:
    stream, values = stand_in.cuda.Stream(non_blocking=True), stand_in.ones(3)
    with stream:
        stream.begin_capture()
        with pytest.raises(KernelError, match="an array of 24 bytes was made in a capture from the default pool"):
            values + 1
        stream.end_capture()


def test_a_pool_that_is_gone(stand_in: CupyStandIn) -> None:
    values = stand_in.ones(3)
    with capture(stand_in) as captured:
        values + 1
    del captured.pool
    with pytest.raises(KernelError, match="a graph was launched whose memory pool is gone"):
        captured.launch()


@pytest.mark.parametrize("use", [lambda xp, a: a * 2, lambda xp, a: xp.sum(a), lambda xp, a: a.fill(3),
                                 lambda xp, a: xp.array(a, np.float32), lambda xp, a: a[::2] * 2])  # fmt: skip
def test_an_input_that_is_gone(stand_in: CupyStandIn, use: Callable[[Any, Any], Any]) -> None:
    values = stand_in.ones(3)
    with capture(stand_in) as captured:
        use(stand_in, values)
    captured.launch()
    view = values[:1]
    del values
    captured.launch()
    del view
    with pytest.raises(KernelError, match="works on an array from before the capture, and that array is gone"):
        captured.launch()


def test_wrong_shapes_are_noticed_in_the_capture(stand_in: CupyStandIn) -> None:
    values = stand_in.ones(3)
    with capture(stand_in) as captured:
        for wrong in (
            lambda: stand_in.add(values, values, out=stand_in.empty(4)),
            lambda: values.__setitem__(slice(None), stand_in.ones(4)),
            lambda: stand_in.copyto(values, stand_in.ones(4)),
        ):
            with pytest.raises(ValueError, match="broadcast"):
                wrong()
    captured.launch()
    np.testing.assert_array_equal(to_host(values), 1)


def test_pinned_memory_must_wait(stand_in: CupyStandIn) -> None:
    host, values, total = pinned(stand_in), stand_in.zeros(3), stand_in.zeros(3)
    with capture(stand_in) as captured:
        total += values
    host[:] = 1
    values.set(host)
    event = captured.stream.record()
    assert not event.done
    captured.graph.launch()
    host[:] = 2
    with pytest.raises(KernelError, match="pinned memory was written to while a copy from it may be under way"):
        captured.graph.launch()
    host[:] = 1
    event.synchronize()
    assert event.done
    host[:] = 2
    values.set(host)
    for _ in range(2):
        captured.graph.launch()
    host[:] = 3  # two launches later it has arrived
    captured.graph.launch()
