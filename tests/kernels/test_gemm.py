"""Products through the one door: every layout, odd input, precision, and what cuBLAS is handed."""

import ast
import copy
import ctypes
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import backend, testing
from gpucnn import functions as F
from gpucnn.backend import cublas, cuda
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.errors import ArgumentError, CaptureError, DeviceError, DTypeError, KernelError, ShapeError
from gpucnn.kernels import gemm
from gpucnn.kernels.gemm import matmul
from gpucnn.testing.cublas_stand_in import as_bf16, as_tf32
from gpucnn.testing.cupy_stand_in import CupyStandIn
from tests.backends import Backend, host

ROOT = Path(gpucnn.__file__).parent
SIDES = ((1, 1, 1), (1, 3, 4), (5, 1, 6), (2, 7, 1), (5, 3, 6), (4, 8, 4), (1, 1, 6), (3, 1, 1), (1, 5, 1))
"""M, K, N."""
BATCHES = ((), (1,), (3,), (2, 3), (2, 1), (1, 3))


@pytest.fixture
def cupy() -> Iterator[CupyStandIn]:
    """A stand-in whose kernels, of which there are none here, nobody runs."""
    stand_in = CupyStandIn(None)  # type: ignore[arg-type]
    with use_in_place_of_cupy(stand_in):
        yield stand_in


def in_c_order(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    return made(values)


def transposed(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    return made(np.ascontiguousarray(values.swapaxes(-1, -2))).swapaxes(-1, -2)


def sliced(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    """Rows with something between them, and something before and behind."""
    *batch, rows, columns = values.shape
    whole = np.full((*batch, rows + 2, columns + 3), np.nan, values.dtype)
    whole[..., 1:-1, 2:-1] = values
    return made(whole)[..., 1:-1, 2:-1]


def sliced_and_transposed(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    return sliced(made, values.swapaxes(-1, -2)).swapaxes(-1, -2)


def rows_first(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    """A batch whose matrices lie between one another's rows."""
    axes = (values.ndim - 2, *range(values.ndim - 2), values.ndim - 1)
    return made(np.ascontiguousarray(values.transpose(axes))).transpose([axes.index(axis) for axis in range(len(axes))])


def stepped(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    """Neither rows nor columns lie together."""
    whole = np.full((*values.shape[:-2], 2 * values.shape[-2], 3 * values.shape[-1]), np.nan, values.dtype)
    whole[..., ::2, ::3] = values
    return made(whole)[..., ::2, ::3]


def backwards(made: Callable[[Any], Any], values: np.ndarray) -> Any:
    """Rows, or the matrices of a batch."""
    return made(np.ascontiguousarray(values[::-1]))[::-1]


TAKEN = (in_c_order, transposed, sliced, sliced_and_transposed, rows_first)
"""What cuBLAS takes as it lies."""
COPIED = (stepped, backwards)
Layout = Callable[[Callable[[Any], Any], np.ndarray], Any]


@pytest.mark.sample(5)
@pytest.mark.parametrize("of_first", TAKEN)
@pytest.mark.parametrize("of_second", TAKEN)
def test_every_layout_is_multiplied_as_it_lies(of_first: Layout, of_second: Layout, cupy: CupyStandIn) -> None:
    rng, tried = np.random.default_rng(0), 0
    for (m, k, n), first, second in itertools.product(SIDES, BATCHES, BATCHES):
        values = rng.standard_normal((*first, m, k)), rng.standard_normal((*second, k, n))
        a, b = of_first(cupy.asarray, values[0]), of_second(cupy.asarray, values[1])
        with cupy.operation_log.recorded() as operations:
            found = matmul(a, b)
        where = (m, k, n), first, second
        np.testing.assert_allclose(found.get(), values[0] @ values[1], rtol=1e-12, atol=1e-12, err_msg=str(where))
        assert {operation.kind for operation in operations} == {"product"}, where
        tried += 1
    assert tried == 324


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layout_of_the_result(dtype: str, backend: Backend) -> None:
    rng, tolerance = np.random.default_rng(1), 1e-5 if dtype == "float32" else 1e-12
    for (m, k, n), batch, of_result in itertools.product(SIDES, BATCHES, (*TAKEN, *COPIED)):
        values = rng.standard_normal((*batch, m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        a, b = map(backend.array, values)
        out = of_result(backend.array, np.full((*batch, m, n), np.nan, dtype))
        assert matmul(a, b, out=out) is out
        np.testing.assert_allclose(host(out), values[0].astype(float) @ values[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("of_first", [*TAKEN, *COPIED])
@pytest.mark.parametrize("of_second", [*TAKEN, *COPIED])
def test_layouts_on_every_backend(of_first: Layout, of_second: Layout, backend: Backend) -> None:
    rng = np.random.default_rng(2)
    for (m, k, n), first, second in itertools.product(SIDES[-6:], BATCHES, BATCHES):
        values = (
            rng.standard_normal((*first, m, k)).astype(np.float32),
            rng.standard_normal((*second, k, n)).astype(np.float32),
        )
        found = matmul(of_first(backend.array, values[0]), of_second(backend.array, values[1]))
        assert found.dtype == np.float32
        np.testing.assert_allclose(host(found), values[0].astype(float) @ values[1], rtol=1e-5, atol=1e-5)


def test_what_lies_nowhere_together_is_copied_once(cupy: CupyStandIn) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    for layout in COPIED:
        with cupy.operation_log.recorded() as operations:
            matmul(layout(cupy.asarray, values), cupy.ones((4, 5)))
        assert [(operation.kind, operation.name) for operation in operations if operation.kind != "upload"] == [
            ("launch", "fill"), ("launch", "copy"), ("product", "gemm"),
        ]  # fmt: skip
        with cupy.operation_log.recorded() as operations:
            matmul(cupy.ones((2, 3, 3)), cupy.asarray(values), out=layout(cupy.asarray, values))
        assert [operation.name for operation in operations if operation.kind != "upload"] == ["fill", "gemm", "copy"]


def test_a_result_that_overlaps_itself_takes_the_last_product(cupy: CupyStandIn) -> None:
    a, b = np.arange(12, dtype=np.float32).reshape(2, 2, 3), np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    home = cupy.zeros((2, 2), np.float32)
    both = cupy.lib.stride_tricks.as_strided(home, (2, 2, 2), (0, 8, 4))
    matmul(cupy.asarray(a), cupy.asarray(b), out=both)
    np.testing.assert_array_equal(home.get(), a[1] @ b[1])


def test_what_overlaps_itself_is_copied_once(cupy: CupyStandIn) -> None:
    values = np.arange(1.0, 8)
    windows = np.lib.stride_tricks.sliding_window_view
    for of in (
        lambda xp, x: windows(x, 3) if xp is np else xp.lib.stride_tricks.sliding_window_view(x, 3),
        lambda xp, x: xp.broadcast_to(x, (5, 7)),
        lambda xp, x: xp.broadcast_to(x[:, None], (7, 5)),
        lambda xp, x: xp.broadcast_to(x[:1, None], (2, 3)),
    ):
        for turned in (False, True):
            lying, expected = of(cupy, cupy.asarray(values)), of(np, values)
            lying, expected = (lying.T, expected.T) if turned else (lying, expected)
            right = np.random.default_rng(9).standard_normal((expected.shape[1], 4))
            b = cupy.asarray(right)
            with cupy.operation_log.recorded() as operations:
                found = matmul(lying, b)
            assert [operation.name for operation in operations] == ["copy", "gemm"]
            np.testing.assert_allclose(found.get(), expected @ right, rtol=1e-12)


def test_vectors_rows_and_columns_are_taken_as_they_lie(cupy: CupyStandIn) -> None:
    values = np.random.default_rng(10).standard_normal((6, 9))
    whole = cupy.asarray(values)
    for of in (
        lambda x: (x[:, 2], x),
        lambda x: (x[2, ::2], x[:5]),
        lambda x: (x, x[2]),
        lambda x: (x[:, 3:], x[:, 4]),
        lambda x: (x[::2, 3:5].T, x[::2, :1]),
        lambda x: (x[:, 3:4].T, x),
        lambda x: (x[1:2, ::3], x[:3]),
        lambda x: (x[:, 3:4], x[1:2, ::3]),
    ):
        a, b = of(whole)
        with cupy.operation_log.recorded() as operations:
            found = matmul(a, b)
        np.testing.assert_allclose(found.get(), np.matmul(*of(values)), rtol=1e-12, atol=1e-12)
        assert [operation.name for operation in operations] == ["gemm"]


def test_as_few_products_as_can_be(cupy: CupyStandIn) -> None:
    def sizes(a: Any, b: Any) -> list[tuple[int, ...]]:
        with cupy.operation_log.recorded() as operations:
            matmul(a, b)
        return [operation.detail for operation in operations]

    one = cupy.ones((4, 5))
    assert sizes(cupy.ones((2, 3, 7, 4)), one) == [(6, 5, 7, 4)], "batch, and m, n, k as cuBLAS counts"
    assert sizes(cupy.ones((2, 3, 7, 4)), cupy.ones((2, 3, 4, 5))) == [(6, 5, 7, 4)]
    assert sizes(cupy.ones((3, 2, 7, 4)).swapaxes(0, 1), one) == [(3, 5, 7, 4)] * 2
    assert sizes(cupy.ones((9, 1, 7, 4)), cupy.ones((1, 2, 4, 5))) == [(9, 5, 7, 4)] * 2
    assert sizes(cupy.ones((2, 1, 7, 4)), cupy.ones((1, 9, 4, 5))) == [(9, 5, 7, 4)] * 2
    assert sizes(cupy.broadcast_to(one, (6, 4, 5)).swapaxes(1, 2), one) == [(6, 5, 5, 4)]


def test_vectors_and_nothing(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    for first, second in [
        ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((1,), (1,)),
        ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((3, 4), (4, 0)), ((0,), (0,)), ((2, 0, 4), (4, 5)), ((0, 3, 4), (4, 5)),
        ((2, 3, 0), (0, 5)), ((0,), (0, 5)), ((0, 0), (0, 0)),
    ]:  # fmt: skip
        values = rng.standard_normal(first), rng.standard_normal(second)
        expected = np.asarray(values[0] @ values[1])
        a, b = map(backend.array, values)
        for found in (matmul(a, b), matmul(a, b, out=backend.empty(expected.shape, float))):
            assert found.shape == expected.shape
            np.testing.assert_allclose(host(found), expected, rtol=1e-12)


def test_other_dtypes(backend: Backend, gpu: None) -> None:
    rng = np.random.default_rng(4)
    halves = rng.standard_normal((3, 40)).astype(np.float16), rng.standard_normal((40, 2)).astype(np.float16)
    found = matmul(*map(backend.array, halves))
    assert found.dtype == np.float16
    sums = np.matmul(*(half.astype(np.float32) for half in halves))
    np.testing.assert_allclose(host(found), sums, rtol=1e-3, err_msg="added up in float32")
    whole = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(host(matmul(backend.array(whole), backend.array(whole.T))), whole @ whole.T)
    mixed = matmul(backend.array(np.ones((2, 3), np.float32)), backend.array(np.full((3, 2), 1 + 2**-40)))
    assert (mixed.dtype, host(mixed)[0, 0]) == (np.float64, 3 + 3 * 2**-40)


def test_a_result_in_the_memory_of_an_operand(backend: Backend, gpu: None) -> None:
    values = np.random.default_rng(5).standard_normal((4, 4))
    a = backend.array(values)
    matmul(a, a.T, out=a)
    np.testing.assert_allclose(host(a), values @ values.T, rtol=1e-12)
    a, b = backend.array(values), backend.array(values.T)
    matmul(a, b, out=b)
    np.testing.assert_allclose(host(b), values @ values.T, rtol=1e-12)
    whole = backend.array(np.concatenate([values, values]))
    matmul(whole[2:6], whole[:4], out=whole[4:])
    np.testing.assert_allclose(host(whole[4:]), np.concatenate([values[2:], values[:2]]) @ values, rtol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "out", "error", "text"),
    [
        ((2, 3), (2, 3), None, ShapeError, "matmul: expected (..., M, K) and (..., K, N), got (2, 3) and (2, 3)"),
        ((), (3,), None, ShapeError, "matmul: expected (..., M, K) and (..., K, N), got () and (3,)"),
        ((3,), (4,), None, ShapeError, "matmul: expected (..., M, K) and (..., K, N), got (3,) and (4,)"),
        ((2, 3, 4), (3, 4, 5), None, ShapeError, "matmul: leading axes cannot be broadcast, got (2, 3, 4) and (3, 4, 5)"),
        ((2, 3), (3, 4), ((2, 3), float), ShapeError, "matmul: out must be (2, 4) for (2, 3) and (3, 4), got (2, 3)"),
        ((2, 3), (3, 4), ((1, 2, 4), float), ShapeError, "matmul: out must be (2, 4) for (2, 3) and (3, 4), got (1, 2, 4)"),
        ((2, 3), (3, 4), ((2, 4), "f"), DTypeError, "matmul: out must be of float64, as the product is, got float32"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(
    first: tuple[int, ...], second: tuple[int, ...], out: Any, error: type[Exception], text: str, cupy: CupyStandIn
) -> None:
    with cupy.operation_log.recorded() as operations, pytest.raises(error, match=f"^{re.escape(text)}$"):
        matmul(cupy.empty(first), cupy.empty(second), None if out is None else cupy.empty(*out))
    assert operations == []


def test_sides_beyond_what_cublas_counts(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "MOST", 6)
    gemm._plan.cache_clear()
    assert matmul(cupy.ones((2, 6)), cupy.ones((6, 3))).shape == (2, 3)
    for shapes in (((7, 2), (2, 3)), ((2, 7), (7, 3)), ((2, 3), (3, 7))):
        with pytest.raises(
            ShapeError, match=r"^matmul: cuBLAS takes sides of at most 6 elements, got \(., .\) and \(., .\)$"
        ):
            matmul(*map(cupy.ones, shapes))
    with cupy.operation_log.recorded() as operations:
        matmul(cupy.ones((2, 9))[:, :5], cupy.ones((5, 3)))
    assert [operation.name for operation in operations][-2:] == ["copy", "gemm"], "rows lie too far from each other"


def test_arrays_of_two_devices_and_of_two_modules(cupy: CupyStandIn) -> None:
    here = cupy.ones((2, 2))
    with pytest.raises(DeviceError, match="numpy and cupy met"):
        matmul(np.ones((2, 2)), here)
    with pytest.raises(DeviceError, match="cupy and numpy met"):
        matmul(here, here, out=np.ones((2, 2)))
    with cupy.cuda.Device(1):
        there = cupy.ones((2, 2))
    with pytest.raises(DeviceError, match="cuda:0 and cuda:1 met"):
        matmul(here, there)
    assert matmul(there, there).device.id == 1, "made where the operands are, whatever device is current"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (7, DeviceError, "with CUBLAS_STATUS_INVALID_VALUE; fix: look at what `gpucnn doctor` says"),
        (13, DeviceError, "with CUBLAS_STATUS_EXECUTION_FAILED; fix: an earlier kernel may have failed; run with CUDA_LAUNCH_BLOCKING=1 to see which"),
        (99, DeviceError, "with CUBLAS_STATUS_99; fix: look at what `gpucnn doctor` says"),
        (3, MemoryError, "with CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)  # fmt: skip
def test_what_cublas_refuses(
    status: int, error: type[Exception], text: str, cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cupy.cublas_library, "cublasGemmStridedBatchedEx", lambda *_: status)
    expected = f"cuBLAS: 4 product(s) of float32, m=5, n=2, k=3, failed {text}"
    with pytest.raises(error) as caught:
        matmul(cupy.ones((4, 2, 3), "f"), cupy.ones((3, 5), "f"))
    assert str(caught.value) == expected
    if status == 3:
        with pytest.raises(
            gpucnn.errors.OutOfMemoryError, match=f"^matmul: out of memory: {re.escape(expected)}; make "
        ):
            F.matmul(cupy.ones((4, 2, 3), "f"), cupy.ones((3, 5), "f"))


def test_handles_and_workspaces(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(cupy, monkeypatch)
    a = cupy.ones((2, 2))
    matmul(a, a)
    matmul(a, a)
    first = ["cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"]
    assert calls == [*first, "cublasGemmStridedBatchedEx", "cublasGemmStridedBatchedEx"]
    calls.clear()
    with cupy.cuda.Device(1):
        b = cupy.ones((2, 2))
    matmul(b, b)
    assert calls == [*first, "cublasGemmStridedBatchedEx"], "a handle of each device"


def test_a_stream_has_a_workspace_of_its_own_and_keeps_it(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [cupy.cuda.get_current_stream(), copy.copy(cupy.cuda.get_current_stream())]
    streams[1].ptr = 64
    a, places = cupy.ones((2, 2)), []
    set_workspace = cupy.cublas_library.cublasSetWorkspace_v2
    monkeypatch.setattr(
        cupy.cublas_library,
        "cublasSetWorkspace_v2",
        lambda handle, place, size: places.append((place, size)) or set_workspace(handle, place, size),
    )
    for number in (0, 1, 1, 0, 1):
        monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda number=number: streams[number])
        matmul(a, a)
    assert [place for place, _ in places] == [places[0][0], places[1][0]] * 2
    assert len(set(places)) == 2
    assert {size for _, size in places} == {32 << 20}


def test_nothing_is_made_in_a_capture(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(cupy, monkeypatch)
    a, captures = cupy.ones((2, 2)), True
    monkeypatch.setattr(type(cupy.cuda.get_current_stream()), "is_capturing", lambda _: captures)
    with pytest.raises(CaptureError) as caught:
        matmul(a, a)
    assert str(caught.value) == (
        "a matrix product was captured on a stream that cuBLAS has no workspace for; fix: run the step once on that stream, "
        "or call gpucnn.backend.cublas.prepare() there, before the capture begins"
    )
    assert calls == []
    captures = False
    handle = cublas.prepare()
    captures = True
    matmul(a, a)
    assert cublas.prepare() is handle
    with cupy.cuda.Stream(non_blocking=True), pytest.raises(CaptureError, match="that cuBLAS has no workspace for"):
        matmul(a, a)


def test_a_handle_is_given_back(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(cupy, monkeypatch)
    cublas.Handle(cupy)
    assert calls == ["cublasCreate_v2", "cublasDestroy_v2"]
    calls.clear()
    monkeypatch.setattr(cupy.cublas_library, "cublasCreate_v2", lambda _: 1)
    with pytest.raises(
        DeviceError, match="^cuBLAS: a handle could not be made with CUBLAS_STATUS_NOT_INITIALIZED; fix: "
    ):
        cublas.Handle(cupy)
    assert calls == []


def spy(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of cuBLAS's functions as they are called."""
    calls: list[str] = []
    for name in [name for name in dir(cupy.cublas_library) if name.startswith("cublas")]:
        own = getattr(cupy.cublas_library, name)

        def call(*arguments: Any, name: str = name, own: Callable[..., int] = own) -> int:
            calls.append(name)
            return own(*arguments)

        monkeypatch.setattr(cupy.cublas_library, name, call)
    return calls


# The stand-in's cuBLAS.


class Call:
    """One call of `cublasGemmStridedBatchedEx`, in which something is changed."""

    def __init__(self, cupy: CupyStandIn) -> None:
        self.cupy, self.library = cupy, cupy.cublas_library
        self.a, self.b, self.c = (cupy.ones((2, 3, 3), "f") for _ in range(3))
        pointer = ctypes.c_void_p()
        assert self.library.cublasCreate_v2(ctypes.addressof(pointer)) == 0
        self.handle = pointer.value
        self.workspace = cupy.empty(512, np.uint8)
        assert self.library.cublasSetStream_v2(self.handle, 0) == 0
        assert self.library.cublasSetWorkspace_v2(self.handle, self.workspace.data.ptr, 512) == 0
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    def __call__(self, **changes: Any) -> int:
        own = {
            "handle": self.handle, "transa": 0, "transb": 0, "m": 3, "n": 3, "k": 3, "alpha": ctypes.addressof(self.one),
            "a": self.a.data.ptr, "atype": 0, "lda": 3, "stridea": 9, "b": self.b.data.ptr, "btype": 0, "ldb": 3, "strideb": 9,
            "beta": ctypes.addressof(self.zero), "c": self.c.data.ptr, "ctype": 0, "ldc": 3, "stridec": 9, "batch": 2,
            "compute": 68, "algorithm": -1,
        }  # fmt: skip
        status: int = self.library.cublasGemmStridedBatchedEx(**own | changes)
        return status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0), ({"handle": 9}, 1), ({"m": -1}, 7), ({"lda": 2}, 7), ({"ldb": 2}, 7), ({"ldc": 2}, 7), ({"transa": 2}, 7),
        ({"transa": 1, "k": 4, "lda": 3}, 7), ({"transb": 1, "n": 4, "ldb": 3}, 7), ({"batch": -1}, 7),
        ({"compute": 70}, 15), ({"atype": 1}, 15), ({"ctype": 2}, 15), ({"m": 0, "a": 0}, 0), ({"batch": 0, "c": 0}, 0),
    ],
)  # fmt: skip
def test_the_stand_in_gives_cublas_s_status(changes: dict[str, int], status: int, cupy: CupyStandIn) -> None:
    assert Call(cupy)(**changes) == status


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (lambda call: {"a": call.a.data.ptr + 4}, "A goes 4 bytes beyond its array of 72 bytes"),
        (lambda call: {"stridea": 10}, "A goes 4 bytes beyond its array of 72 bytes"),
        (lambda call: {"ldb": 4}, "B goes 8 bytes beyond its array of 72 bytes"),
        (lambda call: {"batch": 3, "stridea": 0, "strideb": 0}, "C goes 36 bytes beyond its array of 72 bytes"),
        (lambda call: {"b": 64}, "B is not in memory of a device: it was given back, or is the host's"),
        (lambda call: {"b": ctypes.addressof(call.one)}, "B is not in memory of a device: it was given back, or is the host's"),
        (lambda call: {"a": call.a.data.ptr + 2, "batch": 1}, "A is not aligned to its elements of float32"),
        (lambda call: {"c": call.a.data.ptr}, "A and the result, C, overlap"),
        (lambda call: {"stridec": 0}, "the matrices of the result, C, overlap"),
        (lambda call: {"stridec": 8}, "the matrices of the result, C, overlap"),
        (lambda call: {"strideb": -9}, "B has a negative distance of matrices"),
        (lambda call: {"k": 2**31}, "2147483648 is no int of 32 bits"),
    ],
)  # fmt: skip
def test_the_stand_in_notices_what_cublas_would_not(
    changes: Callable[[Call], dict[str, int]], text: str, cupy: CupyStandIn
) -> None:
    call = Call(cupy)
    with pytest.raises(KernelError, match=f"{re.escape(text)}$"):
        call(**changes(call))


def test_the_stand_in_knows_what_is_gone_and_where_it_is(cupy: CupyStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(cupy)
    with (
        cupy.cuda.Device(1),
        pytest.raises(KernelError, match="the handle is of cuda:0, the current device is cuda:1$"),
    ):
        call()
    with cupy.cuda.Device(1):
        other = cupy.ones((2, 3, 3), "f")
    with pytest.raises(KernelError, match="A is on cuda:1, the current device is cuda:0$"):
        call(a=other.data.ptr)
    other = cupy.ones((2, 3, 3), "f")
    gone = other.data.ptr
    del other
    with pytest.raises(KernelError, match="A is not in memory of a device"):
        call(a=gone)
    call = Call(cupy)
    call.library.cublasSetStream_v2(call.handle, 0)
    with pytest.raises(
        KernelError, match="no workspace; cublasSetWorkspace comes after cublasSetStream, which takes it away$"
    ):
        call()
    call.library.cublasSetStream_v2(call.handle, 5)
    with pytest.raises(KernelError, match="the handle works on stream 5, the current stream is 0$"):
        call()
    with pytest.raises(KernelError, match="the workspace goes 1 bytes beyond"):
        call.library.cublasSetWorkspace_v2(call.handle, call.workspace.data.ptr, 513)
    assert call.library.cublasDestroy_v2(call.handle) == 0
    assert call() == call.library.cublasDestroy_v2(call.handle) == call.library.cublasSetStream_v2(call.handle, 0) == 1
    assert call.library.cublasSetWorkspace_v2(call.handle, call.workspace.data.ptr, 512) == 1


def test_the_stand_in_scales_and_adds(cupy: CupyStandIn) -> None:
    call, two, three = Call(cupy), ctypes.c_float(2), ctypes.c_float(3)
    assert call(alpha=ctypes.addressof(two), beta=ctypes.addressof(three)) == 0
    assert (call.c.get() == 2 * 3 + 3 * 1).all()
    call.c[...] = np.nan
    assert call(alpha=ctypes.addressof(two)) == 0
    assert (call.c.get() == 6).all(), "what was there is not read"


# Precision.


ROUNDED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tf32": lambda mantissa: np.copysign(np.floor(np.abs(mantissa) * 2**11 + 0.5), mantissa) / 2**11,
    "bf16": lambda mantissa: np.rint(mantissa * 2**8) / 2**8,
}
"""What each precision makes of a mantissa from 1/2 to 1."""


@pytest.mark.parametrize("precision", ROUNDED)
def test_cublas_rounds_what_it_multiplies(backend: Backend, precision: str) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 30, 40)).astype(np.float32), rng.standard_normal((40, 20)).astype(np.float32)
    arrays = backend.array(a), backend.array(b)
    exact = a.astype(float) @ b
    plain = host(matmul(*arrays))
    with gpucnn.backend.precision(precision):
        rounded = host(matmul(*arrays))
        doubles = host(matmul(*(array.astype(np.float64) for array in arrays)))
    np.testing.assert_allclose(doubles, exact, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(plain, exact, rtol=1e-5, atol=1e-5)
    if backend.name != "emulated":  # the CPU computes as ever; so may a GPU before Ampere
        np.testing.assert_allclose(rounded, exact, atol=2e-2 if precision == "tf32" else 2e-1)
        assert not backend.on_cpu or (rounded == plain).all()
        return
    mantissas = [np.frexp(array.astype(float)) for array in (a, b)]
    first, second = (np.ldexp(ROUNDED[precision](part), power) for part, power in mantissas)
    np.testing.assert_allclose(rounded, first @ second, rtol=1e-5, atol=1e-5)
    assert np.abs(rounded - exact).max() > 1e-3
    assert (host(matmul(*arrays)) == plain).all(), "and afterwards as before"


def test_tf32_of_special_values() -> None:
    values = np.array(
        [1, -1, 0, 1 + 2**-11, 1 + 2**-11 - 2**-20, -(1 + 3 * 2**-11), np.inf, -np.inf, np.nan], np.float32
    )
    expected = np.array([1, -1, 0, 1 + 2**-10, 1, -(1 + 2**-9), np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(as_tf32(values), expected)
    with_all_bits = np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)  # which rounding would carry over
    assert np.isnan(as_tf32(with_all_bits)).all()


def test_bf16_of_special_values() -> None:
    values = np.array([1, -1, 0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-20), np.inf, -np.inf, np.nan], np.float32)
    expected = np.array([1, -1, 0, 1, 1 + 2**-6, -(1 + 2**-7), np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(as_bf16(values), expected)
    with_all_bits = np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)  # which rounding would carry over
    assert np.isnan(as_bf16(with_all_bits)).all()


def test_precision_is_one_of_three_and_of_a_thread() -> None:
    for wrong in ("TF32", "BF16", "", None, 32, np.zeros(2), ["tf32"]):
        with pytest.raises(ArgumentError, match='^precision must be "float32", "tf32" or "bf16", got '):
            backend.precision(wrong)  # type: ignore[arg-type]
    with backend.precision("tf32"):
        assert backend.chosen_precision() == "tf32"
        with backend.precision("float32"):
            assert backend.chosen_precision() == "float32"
        with pytest.raises(ZeroDivisionError), backend.precision("float32"):
            raise ZeroDivisionError
        assert backend.chosen_precision() == "tf32"
    assert backend.chosen_precision() == "float32"


def test_layers_multiply_in_the_precision_that_was_chosen() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    rng = np.random.default_rng(7)
    images, filters = rng.standard_normal((2, 3, 6, 6)).astype("f"), rng.standard_normal((4, 3, 3, 3)).astype("f")
    rounded = F.conv2d(as_tf32(images), as_tf32(filters)).data
    with testing.emulated_gpu("fast") as cupy:
        on_gpu = [gpucnn.Tensor(cupy.asarray(array)) for array in (images, filters)]
        with backend.precision("tf32"):
            found = F.conv2d(*on_gpu).data.get()
    np.testing.assert_allclose(found, rounded, rtol=1e-5, atol=1e-5)
    assert np.abs(found - F.conv2d(images, filters).data).max() > 1e-4


# The door.

DOORS = {
    *("kernels/gemm.py", "testing/cublas_stand_in.py", "testing/cupy_array.py", "benchmark/pytorch.py"),
    *("export/numpy_file/functions.py", "export/numpy_file/images.py"),
}
"""The files that multiply by themselves: the door, and what stands for the device, for another library, or without gpucnn."""


def test_nothing_multiplies_device_arrays_but_the_door() -> None:
    products = {"matmul", "dot", "einsum", "tensordot", "inner", "vdot", "vecdot", "matvec", "vecmat"}
    found, seen = [], 0
    candidate = re.compile(rf"\.(?:{'|'.join(products)})\b|\S *@")
    for path in sorted(ROOT.rglob("*.py")):
        place, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if place in DOORS or not candidate.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            called = isinstance(node, ast.Attribute) and node.attr in products and ast.unparse(node.value)
            if called in ("gemm", "F", "arithmetic"):
                continue
            if called or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult)):
                found.append(f"{place}: {ast.unparse(node)}")
            seen += 1
    assert found == ["benchmark/limit.py: a @ a"], "PyTorch's, to compare with"
    assert seen > 10_000


# On the real CuPy.


@pytest.fixture
def real_cupy() -> Any:
    if missing := Backend("cupy").missing():
        pytest.skip(missing)
    return cuda.cupy()


def test_a_product_is_captured_and_replayed(real_cupy: Any) -> None:
    rng = np.random.default_rng(8)
    values = [rng.standard_normal(shape).astype("f") for shape in ((2, 4, 5), (2, 4, 5), (5, 3))]
    stream = real_cupy.cuda.Stream(non_blocking=True)
    with stream:
        a, b, out = real_cupy.asarray(values[0]), real_cupy.asarray(values[2]), real_cupy.empty((2, 4, 3), "f")
        stream.begin_capture()
        with pytest.raises(CaptureError, match=r"call gpucnn\.backend\.cublas\.prepare\(\) there"):
            matmul(a, b, out=out)
        stream.end_capture()
        handle = cublas.prepare()
        stream.begin_capture()
        matmul(a, b, out=out)
        graph = stream.end_capture()
        out.fill(np.nan)
        for now in (values[0], values[1]):
            a.set(now)
            graph.launch()
            np.testing.assert_allclose(out.get(), now @ values[2], rtol=1e-5, atol=1e-5)
        assert "ALLOC" not in graph.debug_dot_str().upper(), "the workspace is ours"
        assert cublas.prepare() is handle


def test_cupy_s_own_library_is_asked(real_cupy: Any) -> None:
    def version(library: Any, handle: int | None) -> int:
        number = ctypes.c_int()
        assert library.cublasGetVersion_v2(ctypes.c_void_p(handle), ctypes.byref(number)) == 0
        return number.value

    own = cublas.Handle(real_cupy)
    assert version(own._library, own._pointer) == real_cupy.cuda.cublas.getVersion(real_cupy.cuda.get_cublas_handle())
