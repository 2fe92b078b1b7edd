"""The stand-in refuses what CuPy refuses, computes what NumPy computes, and writes down what a GPU would have done."""

import copy
import gc
import inspect
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.backend import cuda
from gpucnn.kernels.gemm import matmul
from gpucnn.testing import cupy_names as names
from gpucnn.testing import cupy_results
from gpucnn.testing.cupy_array import DeviceArray
from gpucnn.testing.cupy_memory import block_at
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator
from gpucnn.testing.operation_log import Operation, OperationLog

CUPY_ONLY = {
    *("RawKernel", "RawModule", "asnumpy", "cuda", "get_array_module"),
    *("get_default_memory_pool", "is_available", "lib", "ndarray"),
}
"""What the stand-in has beside NumPy's functions."""
ATTRIBUTES = {
    *("T", "base", "data", "device", "dtype", "fill", "flags", "get", "item"),
    *("itemsize", "nbytes", "ndim", "set", "shape", "size", "strides", "tolist"),
}
"""What its `ndarray` has beside the methods of NumPy's arrays."""


class FakeEmulator:
    """Takes Python functions for kernels, and remembers what it was asked for."""

    def __init__(self, **kernels: Callable[..., None]) -> None:
        self.kernels = kernels
        self.modules: list[tuple[str, Sequence[str], Sequence[str]]] = []
        self.calls: list[tuple[Any, ...]] = []

    def module(self, source: str, options: Sequence[str], *, name_expressions: Sequence[str] = ()) -> "FakeEmulator":
        self.modules.append((source, options, name_expressions))
        return self

    def function(self, name: str) -> Callable[..., None]:
        def kernel(grid: Any, block: Any, arguments: tuple[Any, ...], *, shared_mem: int) -> None:
            self.calls.append((grid, block, arguments, shared_mem))
            self.kernels[name](*arguments)

        return kernel


@pytest.fixture
def cupy() -> CupyStandIn:
    return CupyStandIn(FakeEmulator())


@pytest.fixture
def array(cupy: CupyStandIn) -> Any:
    """0 to 23 in float32, shape (2, 3, 4)."""
    return cupy.asarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))


def log_of(cupy: CupyStandIn, call: Callable[[], Any]) -> list[str]:
    with cupy.operation_log.recorded() as operations:
        call()
    return [f"{operation.kind} {operation.name}" for operation in operations]


@contextmanager
def refused(error: type[Exception], text: str) -> Iterator[None]:
    with pytest.raises(error, match=re.escape(text)):
        yield


# What is refused.

HOST = np.ones((2, 3, 4), np.float32)
NUMPY_IN = "Unsupported type <class 'numpy.ndarray'>"


@pytest.mark.parametrize(
    "call",
    [
        lambda cupy, array: array + HOST,
        lambda cupy, array: HOST + array,
        lambda cupy, array: HOST < array,  # noqa: SIM300
        lambda cupy, array: array.__iadd__(HOST),
        lambda cupy, array: HOST.copy().__iadd__(array),
        lambda cupy, array: cupy.add(array, HOST),
        lambda cupy, array: cupy.add(array, array, out=HOST.copy()),
        lambda cupy, array: cupy.where(array > 0, array, HOST),
        lambda cupy, array: cupy.concatenate([array, HOST]),
        lambda cupy, array: cupy.matmul(array, HOST),
        lambda cupy, array: cupy.copyto(array, HOST),
        lambda cupy, array: cupy.full((2, 3, 4), HOST),
        lambda cupy, array: cupy.sum(HOST),
        lambda cupy, array: array[np.array([0, 1])],
        lambda cupy, array: array.__setitem__(HOST > 0, 0),
        lambda cupy, array: array.__setitem__([0, 1], HOST),
    ],
)
def test_host_arrays_do_not_meet_device_arrays(cupy: CupyStandIn, array: Any, call: Callable[..., Any]) -> None:
    with refused(TypeError, NUMPY_IN):
        call(cupy, array)
    assert (HOST == 1).all()


def test_assigning_a_host_array_is_refused_in_cupys_words(array: Any) -> None:
    with refused(ValueError, "non-scalar numpy.ndarray cannot be used for fill"):
        array[...] = HOST
    with refused(ValueError, "non-scalar numpy.ndarray cannot be used for fill"):
        array.fill(HOST)


@pytest.mark.parametrize("call", [np.asarray, np.array, lambda array: np.array([array]), np.float32, np.zeros(3).dot])
def test_no_implicit_conversion(array: Any, call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        call(array)


def test_the_words_of_a_refused_conversion(array: Any) -> None:
    with refused(TypeError, "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct"):
        np.asarray(array)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sum", np.sum),
        ("exp", np.exp),
        ("add", lambda array: np.add(array, array)),
        ("add", lambda array: np.add(1.0, array)),
        ("add", lambda array: np.add.reduce(array)),
        ("concatenate", lambda array: np.concatenate([array])),
        ("reshape", lambda array: np.reshape(array, -1)),
    ],
)
def test_numpys_functions_refuse_device_arrays(array: Any, name: str, call: Callable[..., Any]) -> None:
    with refused(TypeError, f"numpy.{name} was called on a device array"):
        call(array)


@pytest.mark.parametrize("value", [[1.0], None, "1", (1,)])
def test_only_arrays_and_numbers_are_operands(cupy: CupyStandIn, array: Any, value: Any) -> None:
    for call in (lambda: array * value, lambda: array == value, lambda: cupy.exp(value), lambda: array.fill(value)):
        with refused(TypeError, f"Unsupported type {type(value)}"):
            call()


def test_an_operand_may_take_over(array: Any) -> None:
    class Takes:
        __array_ufunc__ = None

        def __radd__(self, other: object) -> str:
            return "taken"

    class Asks:
        __array_priority__ = 1000
        __radd__ = Takes.__radd__

    assert array + Takes() == array + Asks() == "taken"


def test_names_that_cupy_lacks(cupy: CupyStandIn, array: Any) -> None:
    for name in ("bitwise_countt", "nonsense", "testing_numpy", "unstack", "ndenumerate", "einsum_path", "str_"):
        with refused(AttributeError, f"module 'cupy' has no attribute '{name}'"):
            getattr(cupy, name)
    with refused(AttributeError, "the CuPy stand-in does not model cupy.ElementwiseKernel"):
        cupy.ElementwiseKernel  # noqa: B018
    with refused(AttributeError, "module 'cupy.cuda' has no attribute 'nonsense'"):
        cupy.cuda.nonsense  # noqa: B018
    with refused(AttributeError, "'ndarray' object has no attribute 'ctypes'"):
        array.ctypes  # noqa: B018
    with refused(AttributeError, "the CuPy stand-in does not model cupy.ndarray.toDlpack"):
        array.toDlpack()
    assert not hasattr(array, "__array_interface__")
    assert not hasattr(array, "__index__")


def test_parameters_that_cupy_lacks(cupy: CupyStandIn, array: Any) -> None:
    with refused(TypeError, "max() got an unexpected keyword argument 'initial'"):
        cupy.max(array, initial=0)
    with refused(TypeError, "sum() got an unexpected keyword argument 'where'"):
        array.sum(where=array > 0)
    with refused(TypeError, "Wrong arguments {'where':"):
        cupy.sqrt(array, where=array > 0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'like'"):
        cupy.zeros(3, like=array)


def test_lists_are_no_arrays(cupy: CupyStandIn) -> None:
    with refused(TypeError, "cupy.sum takes device arrays, got list; make them with cupy.asarray"):
        cupy.sum([1, 2])
    with refused(ValueError, "Unsupported dtype object"):
        cupy.asarray([None])


def test_uploading_into_an_array(cupy: CupyStandIn, array: Any) -> None:
    array.set(HOST)
    assert (array.get() == 1).all()
    with refused(TypeError, "Only numpy.ndarray can be set to cupy.ndarray"):
        array.set(array)
    with refused(TypeError, "float64 array cannot be set to float32 array"):
        array.set(HOST.astype(float))
    with refused(ValueError, "Shape mismatch. Old shape: (2, 3, 4), new shape: (3,)"):
        array.set(np.ones(3, np.float32))
    with refused(RuntimeError, "Cannot set to non-contiguous array"):
        array[..., ::2].set(HOST[..., ::2])


def test_arrays_of_another_stand_in_are_foreign(array: Any) -> None:
    with refused(TypeError, "Unsupported type <class 'cupy.ndarray'>"):
        CupyStandIn(FakeEmulator()).exp(array)


# Names.


def test_type_names(cupy: CupyStandIn, array: Any) -> None:
    assert (cupy.__name__, cupy.ndarray.__name__, type(array).__module__) == ("cupy", "ndarray", "cupy")
    assert isinstance(cupy, ModuleType)


def test_every_listed_name_is_there(cupy: CupyStandIn) -> None:
    public = {name for name in dir(DeviceArray) if not name.startswith("_")}
    assert public == names.METHODS.keys() | ATTRIBUTES
    newer_than_numpy_2_0 = {"cumulative_prod", "cumulative_sum"}
    for name in names.UFUNCS | names.FUNCTIONS.keys() | names.TYPES | names.CONSTANTS | CUPY_ONLY:
        assert hasattr(cupy, name) or name in newer_than_numpy_2_0, name
    listed = names.QUERIES | names.CREATION | names.VIEWS | names.COPIES | names.PRODUCTS | names.SYNCHRONIZING
    listed |= names.MOVES | cupy_results._OWN.keys()
    assert listed - names.FUNCTIONS.keys() - names.METHODS.keys() == set()
    assert all(parameter in names.FUNCTIONS[name] for name, parameter in names.SYNCHRONIZING_WITH.items())


def test_names_are_those_of_cupy(cupy: CupyStandIn) -> None:
    real = pytest.importorskip("cupy", reason="CuPy is not installed, with whose names to compare")
    own = {name for name in dir(CupyStandIn(FakeEmulator())) if not name.startswith("_")}
    listed = names.UFUNCS | names.FUNCTIONS.keys() | names.TYPES | names.CONSTANTS | CUPY_ONLY
    assert (own | listed | names.NOT_MODELLED) - {"emulator", "operation_log", "cublas_library"} - set(
        dir(real)
    ) == set()
    members = names.METHODS.keys() | ATTRIBUTES | names.METHODS_NOT_MODELLED
    assert members - set(dir(real.ndarray)) == set()
    for name, parameters in names.FUNCTIONS.items():
        try:
            signature = inspect.signature(getattr(real, name)).parameters
        except (TypeError, ValueError):  # a ufunc, or compiled
            continue
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in signature.values()):
            assert parameters == tuple(signature), name
    for name, parameters in names.METHODS.items():
        documented = getattr(real.ndarray, name).__doc__.partition(")")[0]
        assert all(parameter in documented for parameter in parameters), name
    for name in names.TYPES:
        assert getattr(real, name) is getattr(np, name)
    for path, thing in [
        ("cuda", cupy.cuda),
        ("cuda.runtime", cupy.cuda.runtime),
        ("cuda.memory", cupy.cuda.memory),
        ("cuda.Device", cupy.cuda.Device),
        ("cuda.Event", cupy.cuda.Event),
        ("cuda.Stream", cupy.cuda.Stream),
        ("cuda.MemoryPool", type(cupy.get_default_memory_pool())),
        ("lib.stride_tricks", cupy.lib.stride_tricks),
        ("RawModule", type(cupy.RawModule(code=""))),
        ("RawKernel", type(cupy.RawKernel("", "kernel"))),
    ]:
        original = real
        for part in path.split("."):
            original = getattr(original, part)
        assert {name for name in dir(thing) if not name.startswith("_")} - set(dir(original)) == set(), path


# Values.


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32"])
def test_what_nobody_wrote_shows(cupy: CupyStandIn, dtype: str) -> None:
    for array in (
        cupy.empty((2, 3), dtype),
        cupy.empty((), dtype),
        cupy.ndarray(3, dtype),
        cupy.empty_like(cupy.zeros((2, 3), dtype)),
        cupy.empty_like(cupy.zeros((2, 3, 4), dtype).transpose(1, 0, 2)),
    ):
        values = array.get()
        assert array.dtype == dtype
        if values.dtype.kind == "f":
            assert np.isnan(values).all()
        else:
            # 0xAA in every byte.
            unsigned = 0xAAAAAAAAAAAAAAAA >> (64 - 8 * values.itemsize)
            assert (values == (unsigned if dtype[0] == "u" else unsigned - (1 << 8 * values.itemsize))).all()


def test_results_stay_on_the_device(cupy: CupyStandIn, array: Any) -> None:
    for result in (
        array.sum(),
        array[0, 0, 0],
        array.argmax(),
        cupy.array_equal(array, array),
        array.max(axis=(0, 1)),
        cupy.exp(1.0),
        *cupy.nonzero(array),
        *cupy.divmod(array, 2),
        *cupy.unique_counts(array),
        *array,
    ):
        assert type(result) is cupy.ndarray
    assert float(array.sum()) == 276
    assert int(array.argmax()) == 23
    assert bool(array.any())
    assert array.sum().item() == 276
    assert array[0, 0].tolist() == [0, 1, 2, 3]
    assert (repr(array[0, 0]), str(array[0, 0]), f"{array.mean():.2f}") == (
        "array([0., 1., 2., 3.], dtype=float32)",
        "[0. 1. 2. 3.]",
        "11.50",
    )


def test_numbers_keep_the_dtype_as_in_numpy(cupy: CupyStandIn, array: Any) -> None:
    assert (array * 2.0).dtype == (2 * array).dtype == np.float32
    assert (array * np.float64(2)).dtype == (np.float64(2) * array).dtype == np.float64
    assert (array > np.float64(2)).sum().item() == (np.float64(2) < array).sum().item() == 21
    assert (np.float32(24) - array)[0, 0, 0].item() == 24
    assert cupy.where(array > 2, array, 0.0).dtype == np.float32
    assert cupy.full((), np.float32(2)).dtype == np.float32
    assert cupy.full((), 2).dtype == np.int64


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, a: (a - 3) / (a + 1) // 2 % 5 ** (a > 2),
        lambda xp, a: (-a, abs(a - 5), ~(a > 3), (a > 3) & (a < 9) | (a == 12) ^ (a != 1), 7 - a, 2 / (a + 1)),
        lambda xp, a: (a[:, 1], a[..., None, ::2], a[0, 0, 0], a[1, -1]),
        lambda xp, a: (a[xp.asarray([1, 0])], a[[1, 0], :, [0, 1]], a[:, xp.asarray(2)], a[a > 7], a[[]]),
        lambda xp, a: (
            a.astype("int64") @ a.astype("int32").transpose(0, 2, 1),
            xp.tensordot(a > 7, a > 3, ((2, 0), (2, 0))),
            xp.einsum("abc->cb", a.astype("int64")),
        ),
        lambda xp, a: (xp.stack([a, a]), xp.concatenate([a] * 10, axis=1), xp.split(a, 2), xp.pad(a, 1)),
        lambda xp, a: (a.astype("int32"), a.astype(a.dtype, copy=False), xp.ascontiguousarray(a.T), a.T.copy()),
        lambda xp, a: (
            a.var(axis=0, ddof=1),
            a.mean((0, 2), keepdims=True),
            xp.allclose(a, a),
            a.cumsum(),
            a.clip(2, 5),
        ),
        lambda xp, a: (xp.linspace(0, 1, 5), xp.arange(2, 8, 3), xp.eye(3), xp.ones((2, 2)), xp.full_like(a, 3)),
        lambda xp, a: xp.lib.stride_tricks.sliding_window_view(a, (2, 2), axis=(1, 2)),
        lambda xp, a: xp.lib.stride_tricks.as_strided(a, (2, 2), (4, 16)),
        lambda xp, a: (xp.sqrt(a, dtype="float64"), xp.log(a * 0), (a * 1e38 * 10).astype("int32") * 0),
        lambda xp, a: (xp.shape(a), xp.result_type(a, xp.float64), xp.array([[1, 2]], ndmin=3), xp.pi),
    ],
)
def test_values_are_numpys(cupy: CupyStandIn, array: Any, call: Callable[..., Any]) -> None:
    with np.errstate(all="ignore"):
        expected = call(np, array.get())
    found = call(cupy, array)
    for one, other in zip(
        *(value if isinstance(value, tuple) else (value,) for value in (expected, found)), strict=True
    ):
        for item, device in zip(
            *((value if isinstance(value, list) else [value]) for value in (one, other)), strict=True
        ):
            host = device.get() if isinstance(device, cupy.ndarray) else device
            np.testing.assert_array_equal(host, item)
            assert getattr(host, "dtype", None) == getattr(np.asarray(item), "dtype", None) or host == item


def test_in_place(cupy: CupyStandIn, array: Any) -> None:
    expected, same = array.get(), array
    array += 1
    array *= np.float32(2)
    array[:, 1] -= array[:, 0]
    array[0] = 7
    array[array == 7] = -1
    array[cupy.asarray([1])] = array[0]
    first = array[1, 2, 3]
    first /= 2
    expected = (expected + 1) * 2
    expected[:, 1] -= expected[:, 0]
    expected[:] = -1
    expected[1, 2, 3] = -0.5
    assert same is array
    np.testing.assert_array_equal(array.get(), expected)
    with pytest.raises(TypeError, match="same_kind|Cannot cast"):
        cupy.zeros(3, int).__iadd__(0.5)
    total = cupy.empty((), np.float32)
    assert cupy.sum(array, out=total) is total
    assert cupy.add(total, 1, out=total) is total
    assert cupy.clip(array, 0, 1, out=array) is array
    with refused(TypeError, "unhashable type: 'ndarray'"):
        hash(array)


def test_uploads_are_copies_and_downloads_too(cupy: CupyStandIn) -> None:
    host = np.arange(6.0).reshape(2, 3)
    array = cupy.asarray(host)
    host[:] = 0
    down = array.get()
    down[:] = 0
    assert array.sum().item() == 15
    assert cupy.asarray(array) is array
    assert cupy.array(array) is not array
    assert cupy.asarray(host.astype(">f8")).dtype == np.dtype("<f8")
    np.testing.assert_array_equal(cupy.asnumpy(array), [[0, 1, 2], [3, 4, 5]])
    assert cupy.asnumpy([1, 2]).tolist() == [1, 2]
    out = np.zeros((2, 3))
    assert array.get(out=out) is out
    assert out.sum() == 15
    for copied in (copy.copy(array), copy.deepcopy(array)):
        copied += 1
    assert array.sum().item() == 15


def test_a_gpu_warns_of_nothing(cupy: CupyStandIn) -> None:
    zeros = cupy.zeros(3)
    assert cupy.isnan(zeros / zeros).all()
    assert cupy.isinf(1 / zeros).all()
    assert cupy.isinf(cupy.full(2, 1e30, cupy.float32) * 1e30).all()


def test_attributes(cupy: CupyStandIn, array: Any) -> None:
    assert (array.shape, array.ndim, array.size, array.nbytes, array.itemsize) == ((2, 3, 4), 3, 24, 96, 4)
    assert (array.strides, array.T.shape, len(array)) == ((48, 16, 4), (4, 3, 2), 2)
    assert array.flags == (True, False, True)
    assert array.T.flags == (False, True, False)
    assert array[:, 1].flags.c_contiguous is False
    assert array[1].data.ptr == array.data.ptr + 48
    assert array.data.device_id == 0
    assert array.base is None
    assert array[1].T.base.shape == (2, 3, 4)
    assert array[1].base.data.ptr == array.data.ptr
    for call, text in ((len, "len() of unsized object"), (iter, "iteration over a 0-d array")):
        with refused(TypeError, text):
            call(array.sum())


def test_most_results_are_c_contiguous_as_cupys_are(cupy: CupyStandIn, array: Any) -> None:
    assert (array.T + 1).flags.c_contiguous
    assert cupy.exp(array.T).flags.c_contiguous
    assert array.T.sum(axis=1).flags.c_contiguous
    assert array.T.astype("float64").flags.f_contiguous
    assert cupy.copy(array.T).flags.f_contiguous
    assert cupy.asarray(np.ones((2, 3)).T).flags.f_contiguous
    assert array.T.copy().flags.c_contiguous


def test_array_module(cupy: CupyStandIn, array: Any) -> None:
    assert cupy.get_array_module(1, array) is cupy
    assert cupy.get_array_module(HOST) is np
    assert cupy.is_available()
    assert cupy.cuda.is_available()


# What is written down.


@pytest.mark.parametrize(
    ("expected", "call"),
    [
        ([], lambda cupy, array: (array.reshape(6, 4), array.T, array[1:, ..., 0], cupy.broadcast_to(array, (5, 2, 3, 4)))),
        ([], lambda cupy, array: (cupy.split(array, 2), array.ravel(), cupy.flip(array), array.view("int32"), array.shape)),
        ([], lambda cupy, array: (cupy.empty(9), cupy.empty_like(array), array.astype("float32", copy=False))),
        ([], lambda cupy, array: (cupy.asarray(array), cupy.ascontiguousarray(array), cupy.result_type(array, array))),
        ([], lambda cupy, array: (array[:0] + 1, array[:0].sum(axis=1), array[:0].get(), cupy.asarray(HOST[:0]))),
        (["launch add"], lambda cupy, array: array + 1),
        (["launch add"], lambda cupy, array: cupy.add(array, array, out=array)),
        (["launch multiply"], lambda cupy, array: array.__imul__(2)),
        (["launch add"], lambda cupy, array: np.float32(1) + array),
        (["launch divmod"], lambda cupy, array: cupy.divmod(array, 2)),
        (["launch sum"], lambda cupy, array: array.sum(axis=0)),
        (["launch sum"], lambda cupy, array: cupy.sum(array, out=cupy.empty((), cupy.float32))),
        (["launch clip"], lambda cupy, array: cupy.clip(array, 0, 1, out=array)),
        (["launch mean"], lambda cupy, array: array.mean()),
        (["launch argmax"], lambda cupy, array: cupy.argmax(array, axis=1)),
        (["launch where"], lambda cupy, array: cupy.where(cupy.empty((2, 3, 4), bool), array, 0)),
        (["launch astype", "launch where"], lambda cupy, array: cupy.where(array, array, 0)),
        (["launch astype"], lambda cupy, array: array.astype("float64")),
        (["launch astype"], lambda cupy, array: cupy.asarray(array, "float64")),
        (["launch copy"], lambda cupy, array: array.copy()),
        (["launch copy"], lambda cupy, array: cupy.array(array)),
        (["launch copy"], lambda cupy, array: array.T.reshape(-1)),
        (["launch copy"], lambda cupy, array: cupy.ascontiguousarray(array.T)),
        (["launch copy"], lambda cupy, array: array.__setitem__(0, array[1])),
        (["launch copy"], lambda cupy, array: cupy.copyto(array[0], array[1], where=cupy.empty((3, 4), bool))),
        (["launch fill"], lambda cupy, array: array.__setitem__(..., 0)),
        (["launch fill"], lambda cupy, array: array.fill(3)),
        (["launch fill"], lambda cupy, array: cupy.zeros((2, 2))),
        (["launch fill"], lambda cupy, array: cupy.ones_like(array)),
        (["launch arange"], lambda cupy, array: cupy.arange(5)),
    ],
)  # fmt: skip
def test_log(cupy: CupyStandIn, array: Any, expected: list[str], call: Callable[..., Any]) -> None:
    assert log_of(cupy, lambda: call(cupy, array)) == expected


def test_log_of_indexing(cupy: CupyStandIn, array: Any) -> None:
    rows, mask = cupy.asarray([1, 0]), array > 3

    def add_to(index: Any) -> None:
        array[index] += 1

    assert log_of(cupy, lambda: array[rows]) == ["launch take"]
    assert log_of(cupy, lambda: array[[1, 0]]) == ["upload index", "launch take"]
    assert log_of(cupy, lambda: array[mask]) == ["launch take", "synchronize getitem"]
    assert log_of(cupy, lambda: array.__setitem__(rows, array)) == ["launch put"]
    assert log_of(cupy, lambda: array.__setitem__(mask, 0)) == [
        "upload setitem", "synchronize setitem", "launch put",
    ]  # fmt: skip
    assert log_of(cupy, lambda: add_to((slice(None), 1))) == ["launch add"]
    assert log_of(cupy, lambda: add_to(rows)) == ["launch take", "launch add", "launch put"]


def test_log_of_transfers(cupy: CupyStandIn, array: Any) -> None:
    total = array.sum()
    for call, expected in [
        (lambda: cupy.asarray(HOST), ["upload array"]),
        (lambda: cupy.array([1.0]), ["upload array"]),
        (lambda: array.set(HOST), ["upload set"]),
        (lambda: array.get(), ["download get"]),
        (lambda: cupy.asnumpy(array), ["download get"]),
        (lambda: array.T.get(), ["launch copy", "download get"]),
        (total.item, ["download item"]),
        (lambda: float(total), ["download float"]),
        (lambda: int(total), ["download int"]),
        (lambda: 1 if total else 2, ["download bool"]),
        (lambda: f"{total}", ["download format"]),
        (lambda: repr(total), ["download repr"]),
        (array.tolist, ["download tolist"]),
    ]:
        assert log_of(cupy, call) == expected


def test_log_of_synchronization(cupy: CupyStandIn, array: Any) -> None:
    labels = cupy.asarray([1, 0, 1])
    for call, expected in [
        (lambda: cupy.nonzero(array), ["launch nonzero", "synchronize nonzero"]),
        (lambda: array.nonzero(), ["launch nonzero", "synchronize nonzero"]),
        (lambda: cupy.where(array), ["launch nonzero", "synchronize nonzero"]),
        (lambda: cupy.bincount(labels), ["launch bincount", "synchronize bincount"]),
        (lambda: cupy.unique(labels), ["launch unique", "synchronize unique"]),
        (lambda: cupy.repeat(labels, 2), ["launch repeat"]),
        (lambda: labels.repeat(labels), ["launch repeat", "synchronize repeat"]),
        (lambda: cupy.repeat(labels, repeats=labels), ["launch repeat", "synchronize repeat"]),
        (lambda: cupy.average(labels), ["launch average"]),
        (lambda: cupy.average(labels, None, labels), ["launch average", "synchronize average"]),
        (lambda: cupy.cuda.Device(0).synchronize(), ["synchronize Device.synchronize"]),
        (lambda: cupy.cuda.get_current_stream().synchronize(), ["synchronize Stream.synchronize"]),
        (lambda: cupy.cuda.Stream.null.record().synchronize(), ["synchronize Event.synchronize"]),
        (lambda: cupy.cuda.runtime.deviceSynchronize(), ["synchronize deviceSynchronize"]),
    ]:
        assert log_of(cupy, call) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_products_of_floats_are_refused(dtype: str, cupy: CupyStandIn, array: Any) -> None:
    matrix = array.reshape(6, 4).astype(dtype)
    calls: dict[str, Callable[[], Any]] = {
        "matmul": lambda: matrix @ matrix.T,
        "dot": lambda: matrix.T.dot(matrix),
        "inner": lambda: cupy.inner(matrix, matrix),
        "vdot": lambda: cupy.vdot(matrix, matrix),
        "tensordot": lambda: cupy.tensordot(matrix, matrix, 2),
        "einsum": lambda: cupy.einsum("ij,kj->ik", matrix, matrix),
    }
    assert calls.keys() == names.PRODUCTS
    for name, call in calls.items():
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == (
            f"cupy.{name} of {dtype} goes to cuBLAS, which CuPy does not ask while a step is captured; "
            "use gpucnn.kernels.gemm.matmul"
        )
    whole = array.astype("int64")
    assert log_of(cupy, lambda: whole @ whole.transpose(0, 2, 1)) == ["launch matmul"], "a kernel of CuPy's own"


def test_log_of_joins(cupy: CupyStandIn, array: Any) -> None:
    assert log_of(cupy, lambda: cupy.concatenate([array, array[:1]])) == ["launch concatenate"] * 2
    assert log_of(cupy, lambda: cupy.stack((array, array, array), axis=1)) == ["launch stack"] * 3
    # More than eight are copied by one kernel that reads where they are from a table.
    assert log_of(cupy, lambda: cupy.concatenate([array] * 9)) == ["upload concatenate", "launch concatenate"]
    assert log_of(cupy, lambda: cupy.concatenate([array] * 8)) == ["launch concatenate"] * 8
    mixed = [array] * 8 + [array.astype("float64")]
    assert log_of(cupy, lambda: cupy.concatenate(mixed)) == ["launch concatenate"] * 9


def test_details(cupy: CupyStandIn, array: Any) -> None:
    with cuda.use_in_place_of_cupy(cupy), cupy.operation_log.recorded() as outer:
        array.sum(axis=0)
        with cupy.operation_log.recorded() as inner:
            matmul(array.reshape(6, 4).T, array.reshape(6, 4))
        array[0].get()
    assert inner == [Operation("product", "gemm", (1, 4, 4, 6))]
    assert outer == [Operation("launch", "sum", (3, 4)), *inner, Operation("download", "get", (3, 4))]
    assert cupy.operation_log[-3:] == outer
    cupy.operation_log.clear()
    array.sum()
    assert [operation.name for operation in cupy.operation_log] == ["sum"]
    assert len(outer) == 3


def test_recordings_that_have_seen_the_same_end_by_themselves() -> None:
    log = OperationLog()
    with log.recorded() as outer:
        with log.recorded() as inner:
            log.add("launch", "add")
        log.add("launch", "sum")
    log.add("launch", "max")
    assert [operation.name for operation in inner] == ["add"]
    assert [operation.name for operation in outer] == ["add", "sum"]


def test_the_log_keeps_the_latest_and_recordings_all() -> None:
    log = OperationLog()
    with log.recorded() as operations:
        for step in range(100_001):
            log.add("launch", "step", (step,))
    assert len(operations) == 100_001
    assert len(log) == 50_001
    assert log[-1] == operations[-1]


# Memory.


def test_memory_is_counted_and_given_back(cupy: CupyStandIn) -> None:
    pool = cupy.get_default_memory_pool()
    assert cupy.cuda.runtime.memGetInfo() == (1 << 40, 1 << 40)
    array = cupy.zeros(1000, np.float32)
    assert (pool.used_bytes(), pool.total_bytes(), pool.free_bytes()) == (4096, 4096, 0)
    view = array[5:6].reshape(1, 1)
    del array
    assert pool.used_bytes() == 4096
    other = view + 1
    assert (pool.used_bytes(), other.nbytes) == (4608, 4)
    del view
    assert (pool.used_bytes(), pool.total_bytes(), pool.free_bytes()) == (512, 4608, 4096)
    assert cupy.cuda.runtime.memGetInfo()[0] == (1 << 40) - 4608
    pool.free_all_blocks()
    assert cupy.cuda.Device().mem_info == ((1 << 40) - 512, 1 << 40)
    other += 1
    assert pool.used_bytes() == 512


def test_memory_runs_out() -> None:
    cupy = CupyStandIn(FakeEmulator(), memory_bytes=10_240)
    error = cupy.cuda.memory.OutOfMemoryError
    assert issubclass(error, MemoryError)
    held = [cupy.zeros(1024, np.float32)]
    with refused(error, "Out of memory allocating 8,192 bytes (allocated so far: 4,096 bytes)."):
        cupy.zeros(1024, np.float64)
    for call in (lambda: cupy.zeros(10**15), lambda: cupy.asarray(np.zeros(1024)), lambda: held[0].astype("float64")):
        with pytest.raises(error):
            call()
    with pytest.raises(error):
        cupy.concatenate([held[0], held[0][:600]])
    cupy.cuda.Device(1).use()
    cupy.zeros(1024, np.float64)  # every device has its own
    cupy.cuda.Device(0).use()
    held.clear()
    with refused(error, "(allocated so far: 0 bytes)"):  # what the pool kept has been let go
        cupy.zeros(2048, np.float64)
    assert cupy.zeros(1280, np.float64).nbytes == 10_240
    assert cupy.get_default_memory_pool().used_bytes() == 0


def test_garbage_is_collected_before_memory_runs_out() -> None:
    cupy = CupyStandIn(FakeEmulator(), memory_bytes=8192)
    gc.disable()
    try:
        cycle: list[Any] = [cupy.zeros(1024)]
        cycle.append(cycle)
        del cycle
        assert cupy.get_default_memory_pool().used_bytes() == 8192
        assert cupy.zeros(1024).nbytes == 8192
    finally:
        gc.enable()


# Devices.


def test_devices(cupy: CupyStandIn) -> None:
    Device = cupy.cuda.Device
    assert cupy.cuda.runtime.getDeviceCount() == 2
    first = cupy.ones(3)
    with Device(1) as device:
        second = cupy.ones(3)
        assert (device.id, int(device), Device().id, cupy.cuda.runtime.getDevice()) == (1, 1, 1, 1)
        assert second.device == Device(1) != first.device
        assert second[:1].device.id == 1
        with refused(ValueError, "Array device must be same as the current device: array device = 0 while current = 1"):
            first + 1
    assert Device().id == 0
    assert repr(second.device) == "<CUDA Device 1>"
    assert len({first.device, second.device}) == 2
    for call in (
        lambda: first + second,
        lambda: second.sum(),
        lambda: cupy.concatenate([first, second]),
        lambda: first.__setitem__(0, second[0]),
        lambda: second.__setitem__(0, 1),
        lambda: cupy.where(first > 0, first, second),
        lambda: second[cupy.asarray([0])],
        lambda: cupy.broadcast_to(second, (2, 3)).reshape(-1),
        lambda: cupy.copyto(first, second, where=first > 0),
    ):
        with refused(ValueError, "Array device must be same as the current device: array device = 1 while current = 0"):
            call()
    # Views, copies and downloads know no device.
    assert second[1:].T.reshape(2, 1).device.id == 1
    assert second.get().sum() == float(second[0]) * 3 == 3
    with cupy.operation_log.recorded() as operations:
        assert cupy.asarray(second).device.id == second.copy().device.id == 0
    assert operations == [Operation("launch", "copy", (3,))] * 2
    assert copy.deepcopy(second).device.id == 1
    assert Device().id == 0
    cupy.copyto(first, second)
    for call in (Device(2).use, lambda: Device(-1).__enter__(), lambda: cupy.cuda.runtime.setDevice(2)):
        with refused(cupy.cuda.runtime.CUDARuntimeError, "cudaErrorInvalidDevice: invalid device ordinal"):
            call()


def test_events_belong_to_a_device(cupy: CupyStandIn) -> None:
    event = cupy.cuda.Event()
    with cupy.cuda.Device(1):
        with refused(cupy.cuda.runtime.CUDARuntimeError, "cudaErrorInvalidResourceHandle: invalid resource handle"):
            event.record()
        cupy.cuda.Event().record()
    event.record()


def test_devices_are_gone_back_to(cupy: CupyStandIn) -> None:
    Device = cupy.cuda.Device
    Device(1).use()
    with Device(0):
        with Device(1):
            Device(0).use()
        assert Device().id == 0
    assert Device().id == 1


def test_every_thread_has_its_own_current_device(cupy: CupyStandIn) -> None:
    cupy.cuda.Device(1).use()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(cupy.zeros(1).device.id))
    thread.start()
    thread.join()
    assert (found, cupy.zeros(1).device.id) == ([0], 1)


def test_properties_and_versions(cupy: CupyStandIn) -> None:
    runtime = cupy.cuda.runtime
    assert runtime.getDeviceProperties(1)["totalGlobalMem"] == runtime.memGetInfo()[1]
    assert f"{runtime.getDeviceProperties(0)['major']}0" == cupy.cuda.Device(0).compute_capability
    assert runtime.driverGetVersion() >= runtime.runtimeGetVersion() >= 12000
    assert cupy.__version__ == "14.2.0"


def test_events(cupy: CupyStandIn) -> None:
    start, end, silent = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Event(disable_timing=True)
    with refused(cupy.cuda.runtime.CUDARuntimeError, "cudaErrorInvalidResourceHandle: invalid resource handle"):
        cupy.cuda.get_elapsed_time(start, end)
    for event in (start, end, silent):
        event.record()
        cupy.cuda.get_current_stream().wait_event(event)
    assert cupy.cuda.get_elapsed_time(start, end) >= 0
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.get_elapsed_time(start, silent)


# Kernels.


def double(values: np.ndarray, *_: Any) -> None:
    values *= 2


def test_kernels_run_on_the_emulator() -> None:
    emulator = FakeEmulator(double=double)
    cupy = CupyStandIn(emulator)
    array = cupy.ones(3, np.float32)
    module = cupy.RawModule(code="source", options=("-DT=float",), name_expressions=("double",))
    assert emulator.modules == []
    kernel = module.get_function("double")
    with cupy.operation_log.recorded() as operations:
        kernel((2, 0), (128,), (array, None, np.int32(5), 7, 0.5, True), shared_mem=64)
    assert emulator.modules == [("source", ("-DT=float",), ("double",))]
    assert array.get().tolist() == [2, 2, 2]
    assert operations == [Operation("launch", "double", (2, 1))]
    (grid, block, arguments, shared_mem), *more = emulator.calls
    assert (grid, block, shared_mem, more) == ((2, 1), (128,), 64, [])
    assert type(arguments[0]) is np.ndarray
    assert arguments[1] is None
    # Numbers are what CuPy makes of them: eight bytes of a Python number, whatever the kernel reads.
    assert [value.dtype for value in arguments[2:]] == ["int32", "int64", "float64", "bool"]
    cupy.RawKernel("other", "double", ("-DT=float",))((1,), (1,), (array,))
    assert emulator.modules[1:] == [("other", ("-DT=float",), ())]
    assert array.get().tolist() == [4, 4, 4]


def test_kernels_refuse_what_cupy_refuses() -> None:
    cupy = CupyStandIn(FakeEmulator(double=double))
    kernel = cupy.RawModule(code="").get_function("double")
    with cupy.operation_log.recorded() as operations:
        with refused(
            TypeError, f"You are trying to pass a numpy.ndarray of shape {HOST.shape} as a kernel parameter. Only "
        ):
            kernel((1,), (1,), (HOST,))
        with refused(TypeError, "Unsupported type <class 'str'>"):
            kernel((1,), (1,), ("1",))
        with refused(TypeError, "Argument 'grid' has incorrect type (expected tuple, got int)"):
            kernel(1, (1,), ())
        with refused(TypeError, "Argument 'block' has incorrect type (expected tuple, got list)"):
            kernel((1,), [1], ())
    assert operations == []
    array = cupy.ones(3)
    cupy.cuda.Device(1).use()
    with refused(ValueError, "array device = 0 while current = 1"):
        kernel((1,), (1,), (array,))
    with refused(TypeError, "Argument 'options' has incorrect type (expected tuple, got list)"):
        cupy.RawModule(code="", options=["-DT=float"])


def test_kernels_take_a_numpy_array_of_one_as_what_it_holds() -> None:
    emulator = FakeEmulator(note=lambda *_: None)
    kernel = CupyStandIn(emulator).RawModule(code="").get_function("note")
    pair = np.array((3, 0.5), [("count", np.int32), ("factor", np.float32)])
    kernel((1,), (1,), (pair, np.ones((1, 1), np.float32)))
    [(_, _, given, _)] = emulator.calls
    assert given[0].tobytes() == pair.tobytes()
    assert (type(given[0]), type(given[1])) == (np.void, np.float32)


# The library on it.


def train(device: str) -> tuple[list[float], dict[str, np.ndarray]]:
    model = layers.Sequential(
        layers.Conv2d(2, 4, 3, padding=1), layers.ReLU(), layers.MaxPool2d(3, 2, 1),
        layers.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), layers.ReLU(), layers.AvgPool2d(2, 1),
        layers.Flatten(), layers.Dropout(0.3), layers.Linear(24, 5), seed=3,
    ).to(device)  # fmt: skip
    optimizer = optim.Adam(model.parameters(), 0.01)
    losses = []
    for step in range(4):
        draw = np.random.default_rng(step)
        images, labels = draw.standard_normal((6, 2, 12, 12)).astype(np.float32), draw.integers(0, 5, 6)
        logits = model(Tensor(images))
        assert str(logits.device) == device
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++, with which the emulator compiles kernels")
def test_training_on_it_is_training_on_the_cpu() -> None:
    cupy = CupyStandIn(Emulator("fast"))
    expected, host_state = train("cpu")
    with cuda.use_in_place_of_cupy(cupy), cupy.operation_log.recorded() as operations:
        losses, state = train("cuda:1")
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert len(set(losses)) == 4
    for path, array in host_state.items():
        np.testing.assert_allclose(state[path], array, rtol=1e-3, atol=1e-5)
    assert {operation.kind for operation in operations} >= {"launch", "product", "upload", "download"}


def test_memory_is_found_while_other_threads_take_and_give_back_some() -> None:
    cupy = CupyStandIn(FakeEmulator())  # type: ignore[arg-type]
    kept, done = cupy.zeros(3, np.float32), threading.Event()

    def take_and_give_back() -> None:
        while not done.is_set():
            cupy.empty(2)

    threads = [threading.Thread(target=take_and_give_back) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        found = [block_at(kept.data.ptr + 4) for _ in range(300)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {block.end - block.start for block in found if block is not None} == {12}
    assert None not in found
