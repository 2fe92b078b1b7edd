"""Every launch that a GPU would run with whatever bytes it found is refused; the others reach the runner as they should."""

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn.backend import arrays, cuda
from gpucnn.errors import KernelError, LaunchError
from gpucnn.kernels import kernel as kernel_module
from gpucnn.kernels import launch
from gpucnn.kernels.kernel import BF16_TYPE, NARROW, WIDE, IndexType, Kernel, Variant, divisor_of, source_text
from gpucnn.kernels.launch import CupyRunner, Runner, use_runner
from gpucnn.testing import emulated_gpu
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import compiler
from gpucnn.testing.operation_log import Operation

needs_compiler = pytest.mark.skipif(compiler() is None, reason="the emulator needs g++ (Debian: apt-get install g++)")

SIGNATURE = "const T* x, T* y, const int* labels = null, long long size, int flag, float rate, T scale"
DOUBLE = """// y = 2x
extern "C" __global__ void twice(const T* x, T* y, long long size)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) y[i] = 2 * x[i];
}
"""

Arguments = tuple[Any, ...]


class Call(NamedTuple):
    kernel: Kernel
    variant: Variant
    blocks: int
    arguments: Arguments


class Recorder:
    """A runner that runs nothing."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: Arguments) -> None:
        self.calls.append(Call(kernel, variant, blocks, arguments))


class NoCompiler:
    """In the emulator's place in a stand-in: writes down what it is asked to compile and to run."""

    def __init__(self) -> None:
        self.compiled: list[tuple[str, Sequence[str], str]] = []
        self.launches: list[tuple[str, Any, Any, Arguments]] = []
        self._source: tuple[str, Sequence[str]] = ("", ())

    def module(self, source: str, options: Sequence[str], *, name_expressions: Sequence[str] = ()) -> "NoCompiler":
        self._source = source, options
        return self

    def function(self, name: str) -> Callable[..., None]:
        self.compiled.append((*self._source, name))

        def run(grid: Any, block: Any, arguments: Arguments, *, shared_mem: int) -> None:
            self.launches.append((name, grid, block, arguments))

        return run


@pytest.fixture(autouse=True)
def _own_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels made here do not stay among the package's."""
    monkeypatch.setattr(kernel_module, "KERNELS", kernel_module.KERNELS.copy())


@pytest.fixture
def gpu() -> Iterator[Any]:
    stand_in = CupyStandIn(NoCompiler(), devices=2)
    with cuda.use_in_place_of_cupy(stand_in):
        yield stand_in


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    with use_runner(recorder):
        yield recorder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "twice.cu"
    path.write_text(DOUBLE)
    return path


def step(signature: str = SIGNATURE, **options: Any) -> Kernel:
    return Kernel(Path("step.cu"), "step", signature, **options)


def twice(source: Path, block: int = 256) -> Kernel:
    return Kernel(source, "twice", "const T* x, T* y, long long size", block)


def good(gpu: Any, dtype: str = "float32") -> Arguments:
    arrays = gpu.zeros((2, 3), dtype), gpu.zeros((2, 3), dtype), gpu.zeros(2, "int32")
    return *arrays, 6, 1, np.float32(0.5), np.dtype(dtype).type(2)


def on_device_1(gpu: Any) -> Any:
    with gpu.cuda.Device(1):
        return gpu.zeros((2, 3), "float32")


# What does not fit.

TO_GPU = 'give tensor.to("cuda").data, or backend.to_device(array, device)'
STRIDES = (
    "is not C-contiguous (a transposed array or a slice), and a kernel knows no strides; give xp.ascontiguousarray({})"
)


def wrong_float(name: str, got: str) -> str:
    return (
        f"{name} must be a numpy.float32, got {got}; a kernel would read its bytes as another number; "
        "give numpy.float32(...), or a device array if it changes from step to step"
    )


REFUSED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "Python float for a float": ("rate", lambda gpu: 0.5, wrong_float("rate", "a Python float")),
    "float64 for a float": ("rate", lambda gpu: np.float64(0.5), wrong_float("rate", "a numpy.float64")),
    "int for a float": ("rate", lambda gpu: 1, wrong_float("rate", "a Python int")),
    "float64 for a T that is float32": ("scale", lambda gpu: np.float64(2), wrong_float("scale", "a numpy.float64")),
    "one-element array for a float": ("rate", lambda gpu: gpu.zeros(1, "float32"), wrong_float("rate", "a cupy.ndarray of float32")),
    "integers for T": (
        "x", lambda gpu: gpu.zeros(6, "int32"),
        "x must be an array of float32 or float64, got int32; convert it with astype",
    ),
    "half precision, which has no kernels": (
        "x", lambda gpu: gpu.zeros(6, "float16"),
        "x must be an array of float32 or float64, got float16; convert it with astype",
    ),
    "two dtypes for T": (
        "y", lambda gpu: gpu.zeros(6, "float64"),
        "y must be an array of float32, as x is, got float64; convert it with astype",
    ),
    "int64 for int": (
        "labels", lambda gpu: gpu.zeros(2, "int64"),
        "labels must be an array of int32, got int64; convert it with astype",
    ),
    "floats for int": (
        "labels", lambda gpu: gpu.zeros(2, "float32"),
        "labels must be an array of int32, got float32; convert it with astype",
    ),
    "transposed": ("x", lambda gpu: gpu.zeros((2, 3), "float32").T, f"x {STRIDES.format('x')}"),
    "slice": ("y", lambda gpu: gpu.zeros((2, 6), "float32")[:, ::2], f"y {STRIDES.format('y')}"),
    "host array": (
        "x", lambda gpu: np.zeros(6, np.float32), f"x must be a GPU array, got a numpy.ndarray of float32; {TO_GPU}",
    ),
    "host number": ("x", lambda gpu: np.float32(1), f"x must be a GPU array, got a numpy.float32; {TO_GPU}"),
    "list": ("labels", lambda gpu: [1, 2], f"labels must be a GPU array, got a Python list; {TO_GPU}"),
    "tensor": (
        "x", lambda gpu: Tensor(gpu.zeros(6, "float32")),
        f"x must be a GPU array, got a gpucnn.Tensor of float32; {TO_GPU}",
    ),
    "None for a pointer that must be given": (
        "x", lambda gpu: None,
        'x must be a GPU array, got None; only "= null" in the signature allows it',
    ),
    "two devices": (
        "y", on_device_1, "y is on cuda:1, the arrays before it on cuda:0; bring all arrays to one device",
    ),
    "int too large": (
        "flag", lambda gpu: 2**31, "flag must be from -2147483648 to 2147483647 (int), got 2147483648",
    ),
    "int too small": (
        "flag", lambda gpu: np.int64(-(2**31) - 1), "flag must be from -2147483648 to 2147483647 (int), got -2147483649",
    ),
    "unsigned int64 too large": (
        "size", lambda gpu: np.uint64(2**63),
        "size must be from -9223372036854775808 to 9223372036854775807 (long long), got 9223372036854775808",
    ),
    "bool": ("flag", lambda gpu: True, "flag must be an int (int), got a Python bool; give int(...)"),
    "NumPy's bool": ("flag", lambda gpu: np.True_, "flag must be an int (int), got a numpy.bool; give int(...)"),
    "float for an int": ("size", lambda gpu: 6.0, "size must be an int (long long), got a Python float; give int(...)"),
    "NumPy's float for an int": ("size", lambda gpu: np.float32(6), "size must be an int (long long), got a numpy.float32; give int(...)"),
    "None for a number": ("size", lambda gpu: None, "size must be an int (long long), got None; give int(...)"),
}  # fmt: skip


@pytest.fixture(params=["cold", "warm"])
def kernel(request: pytest.FixtureRequest, gpu: CupyStandIn, recorder: Recorder) -> Kernel:
    """`step`, launched never or, rightly, twice before: what is remembered of that must hide no fault."""
    kernel = step()
    if request.param == "warm":
        for _ in range(2):
            for size in (6, 0):
                launch.launch(kernel, size, *good(gpu))
        assert len(recorder.calls) == 2
        recorder.calls.clear()
    return kernel


@pytest.mark.parametrize("size", [6, 0])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(gpu: CupyStandIn, recorder: Recorder, kernel: Kernel, name: str, size: int) -> None:
    parameter, value, message = REFUSED[name]
    position = [each.name for each in kernel.parameters].index(parameter)
    arguments = good(gpu)
    for _ in range(2):  # a fault is not remembered as right, either
        with pytest.raises(LaunchError) as raised:
            launch.launch(kernel, size, *arguments[:position], value(gpu), *arguments[position + 1 :])
        assert str(raised.value) == f"step: {message}"
    assert not recorder.calls


@pytest.mark.parametrize("count", [0, 2, 6, 8])
def test_wrong_count(gpu: CupyStandIn, recorder: Recorder, kernel: Kernel, count: int) -> None:
    with pytest.raises(LaunchError) as raised:
        launch.launch(kernel, 6, *(*good(gpu), 0)[:count])
    assert str(raised.value) == f"step takes 7 arguments (x, y, labels, size, flag, rate, scale), got {count}"
    assert not recorder.calls


def test_scalars_of_T_follow_the_arrays(gpu: CupyStandIn, recorder: Recorder) -> None:
    launch.launch(step(), 6, *good(gpu, "float64"))
    assert recorder.calls[0].variant.dtype == np.float64
    with pytest.raises(LaunchError, match=r"^step: scale must be a numpy\.float64, got a numpy\.float32; "):
        launch.launch(step(), 6, *good(gpu, "float64")[:-1], np.float32(2))


def test_a_kernel_runs_on_the_device_of_its_arrays(gpu: Any) -> None:
    """Whichever is current, and it stays so."""
    devices = []

    class Watch(Recorder):
        def run(self, *call: Any) -> None:
            devices.append(gpu.cuda.runtime.getDevice())

    with launch.use_runner(Watch()):
        for current in (0, 1):
            arguments = good(gpu)
            gpu.cuda.Device(1 - current).use()
            launch.launch(step(), 6, *arguments)
            assert gpu.cuda.runtime.getDevice() == 1 - current
    gpu.cuda.Device(0).use()
    assert devices == [0, 1]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (-1, "-1"),
        (6.0, "6.0"),
        (True, "True"),
        (False, "False"),
        (None, "None"),
        ([6], "[6]"),
        (np.float32(6), "np.float32(6.0)"),
    ],
)
def test_wrong_size(gpu: CupyStandIn, recorder: Recorder, kernel: Kernel, size: Any, text: str) -> None:
    with pytest.raises(LaunchError) as raised:
        launch.launch(kernel, size, *good(gpu))
    assert str(raised.value) == f"step: size, the number of threads, must be an int from 0, got {text}"
    assert not recorder.calls


@pytest.mark.parametrize(
    "parameter",
    [
        "size_t count",
        "unsigned int* x",
        "T** x",
        "long count",
        "I* x",
        "Divisor* x",
        "constant T y",
        "constant int* y",
        "",
    ],
)
def test_unknown_type_in_a_signature(parameter: str) -> None:
    with pytest.raises(LaunchError) as raised:
        launch.launch(step(f"T* y, {parameter}"), 1, None, None)
    assert str(raised.value) == (
        f'step: "{parameter.removeprefix("constant ") or " "}" has a type that launch does not know; it knows T, A, '
        "unsigned char, int, long long, unsigned long long, float, double, and I and Divisor for what is no pointer; a constant is an int"
    )


@pytest.mark.parametrize("type_name", ["I", "Divisor"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "must be from 0 to 9223372036854775807 ({}), got -1"),
        (2**63, "must be from 0 to 9223372036854775807 ({}), got 9223372036854775808"),
        (1.0, "must be an int ({}), got a Python float; give int(...)"),
        (True, "must be an int ({}), got a Python bool; give int(...)"),
    ],
)
def test_no_index(recorder: Recorder, type_name: str, value: Any, message: str) -> None:
    kernel = step(f"{type_name} count")
    for _ in range(2):
        with pytest.raises(LaunchError) as raised:
            launch.launch(kernel, 1, value)
        assert str(raised.value) == f"step: count {message.format(type_name)}"
        launch.launch(kernel, 1, 1)


def test_no_constant(recorder: Recorder) -> None:
    with pytest.raises(
        LaunchError, match=r"^step: stride must be from -2147483648 to 2147483647 \(int\), got 2147483648$"
    ):
        launch.launch(step("constant int stride"), 1, 2**31)


def test_no_array_tells_what_T_is(recorder: Recorder) -> None:
    with pytest.raises(LaunchError) as raised:
        launch.launch(step("T* x = null, A scale"), 1, None, np.float32(1))
    assert str(raised.value) == (
        "step: scale is of type A, but no array tells which that is; give at least one array of T"
    )


def test_no_array_is_a_gpu_array_where_cupy_is_not_loaded(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "loaded", lambda: None)
    with pytest.raises(LaunchError, match=r"^step: x must be a GPU array, got a numpy\.ndarray of float32; "):
        launch.launch(step("T* x"), 1, np.zeros(1, np.float32))


# What fits.


def test_numbers_are_cast_to_the_exact_type(gpu: CupyStandIn, recorder: Recorder) -> None:
    kernel = step("int a, int b, long long c, unsigned long long d, float e, double f")
    values = 7, np.uint8(7), np.int32(-7), 2**64 - 1, np.float32(0.1), np.float64(0.1)
    launch.launch(kernel, 1, *values)
    given = recorder.calls[0].arguments
    assert [type(value) for value in given] == [np.int32, np.int32, np.int64, np.uint64, np.float32, np.float64]
    assert given == (7, 7, -7, 2**64 - 1, np.float32(0.1), 0.1)


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1])
def test_the_largest_and_smallest_int(recorder: Recorder, value: int) -> None:
    launch.launch(step("int count"), 1, value)
    assert recorder.calls[0].arguments == (value,)


def test_a_runner_gets_the_arrays_themselves(gpu: CupyStandIn, recorder: Recorder) -> None:
    kernel, arguments = step(), good(gpu)
    launch.launch(kernel, 6, *arguments)
    [call] = recorder.calls
    assert (call.kernel, call.variant, call.blocks) == (kernel, Variant(np.dtype(np.float32), NARROW), 1)
    assert all(got is given for got, given in zip(call.arguments[:3], arguments[:3], strict=True))


def test_pointers_that_may_be_none(gpu: CupyStandIn, recorder: Recorder) -> None:
    kernel = step("const T* bias = null, const T* x, T scale")
    launch.launch(kernel, 6, None, gpu.zeros(6, "float64"), np.float64(1))
    assert recorder.calls[0].arguments[0] is None
    assert recorder.calls[0].variant.dtype == np.float64, "the first array that is given says what T is"


def test_a_kernel_without_arrays_of_T(gpu: CupyStandIn, recorder: Recorder) -> None:
    launch.launch(step("int* labels"), 6, gpu.zeros(6, "int32"))
    assert recorder.calls[0].variant.dtype == np.float32


def test_nothing_to_do_launches_nothing(gpu: CupyStandIn, recorder: Recorder) -> None:
    launch.launch(step("T* x"), 0, gpu.zeros((0, 3), "float32"))
    assert not recorder.calls


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(1, 1), (32, 1), (33, 2), (np.int64(64), 2), (32 * 16_384, 16_384), (32 * 16_384 + 1, 16_384), (2**40, 16_384)],
)
def test_blocks(recorder: Recorder, size: int, blocks: int) -> None:
    launch.launch(step("int count", block=32), size, 0)
    assert recorder.calls[0].blocks == blocks
    assert type(recorder.calls[0].blocks) is int


def test_parameters() -> None:
    kernel = step("const T* x, T* y,\n int* argmax = null, unsigned long long seed, A scale")
    assert [str(parameter) for parameter in kernel.parameters] == [
        "const T* x", "T* y", "int* argmax", "unsigned long long seed", "A scale",
    ]  # fmt: skip
    assert [parameter.nullable for parameter in kernel.parameters] == [False, False, True, False, False]
    assert kernel.block == 256
    assert kernel_module.KERNELS["step"] is kernel


# Which integers count.


class Large:
    """An array of the stand-in's kind as far as `launch` looks, with no memory behind it."""

    def __init__(self, size: int, dtype: str = "float32") -> None:
        self.size, self.dtype = size, np.dtype(dtype)
        self.flags, self.data = SimpleNamespace(c_contiguous=True), SimpleNamespace(device_id=0)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(getDevice=lambda: 0)
    cupy = SimpleNamespace(ndarray=Large, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(arrays, "loaded", lambda: cupy)


@pytest.mark.parametrize("first", [1, 2**31 - 1, 2**31, 2**33])
@pytest.mark.parametrize("count", [2**31 - 1, 2**31, 2**33])
@pytest.mark.parametrize("where", ["threads", "first array", "last array", "I", "Divisor"])
def test_32_bits_count_less_than_2_to_the_31(
    large: None, recorder: Recorder, where: str, count: int, first: int
) -> None:
    kernel = step("const T* x, I a, Divisor b, const int* y = null")
    for number in (first, count, first):  # whatever is remembered
        size, x, y, a, b = 1, Large(1), Large(1, "int32"), 1, 1
        match where:
            case "threads":
                size = number
            case "first array":
                x = Large(number)
            case "last array":
                y = Large(number, "int32")
            case "I":
                a = number
            case "Divisor":
                b = number
        launch.launch(kernel, size, x, a, b, y)
        call, index = recorder.calls[-1], NARROW if number < 2**31 else WIDE
        assert call.variant.index_type is index
        assert call.arguments[0] is x
        assert (type(call.arguments[1]), call.arguments[1]) == (index.integer, a)
        assert call.arguments[2] == divisor_of(b, index)
        assert call.arguments[2].dtype == index.divisor
        assert call.arguments[3] is y


def test_other_numbers_say_nothing_of_the_index(large: None, recorder: Recorder) -> None:
    launch.launch(step("const T* x, unsigned long long threshold, long long shift"), 1, Large(1), 2**40, -(2**40))
    assert recorder.calls[0].variant.index_type is NARROW


def quotients(divisor: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """What a kernel makes of a narrow Divisor: `__umulhi(2 * n, multiplier) >> shift`."""
    return (((2 * numbers.astype(np.uint64)) * np.uint64(divisor["multiplier"])) >> np.uint64(32)) >> np.uint64(
        divisor["shift"]
    )


def test_a_multiplier_divides_exactly() -> None:
    """The largest number, and all around multiples of the divisor, where a quotient changes: small, random and largest."""
    rng, last = np.random.default_rng(5), 2**31 - 1
    powers = 2 ** np.arange(31)
    around = np.concatenate([powers - 1, powers, powers + 1, last - np.arange(300), 2**30 - np.arange(300)])
    values = np.unique(np.concatenate([np.arange(1, 2000), around, rng.integers(1, 2**31, 2000)]))
    for value in values[(values > 0) & (values <= last)].tolist():
        most = last // value
        multiples = (
            np.unique(
                np.concatenate(
                    [np.arange(min(most, 50) + 1), most - np.arange(min(most, 50) + 1), rng.integers(0, most + 1, 50)]
                )
            )
            * value
        )
        numbers = np.concatenate([multiples, multiples - 1, multiples + 1, multiples + value - 1, [last]])
        numbers = numbers[(numbers >= 0) & (numbers <= last)]
        np.testing.assert_array_equal(quotients(divisor_of(value, NARROW), numbers), numbers // value, str(value))


@pytest.mark.parametrize("value", [1, 2, 3, 7, 10, 641, 1000, 65_537])
def test_a_multiplier_divides_exactly_for_all_small_numbers(value: int) -> None:
    numbers = np.arange(1 << 20)
    np.testing.assert_array_equal(quotients(divisor_of(value, NARROW), numbers), numbers // value)


@pytest.mark.parametrize("value", [0, 1, 2, 3, 2**16, 2**31 - 2, 2**31 - 1])
def test_the_parts_of_a_multiplier_fit(value: int) -> None:
    divisor = divisor_of(value, NARROW)
    assert divisor["value"] == value
    assert divisor["multiplier"] == (2 ** (31 + int(divisor["shift"])) // value + 1 if value else 0)
    assert divisor.dtype.itemsize == 12
    assert divisor_of(value, WIDE).dtype.itemsize == 8


QUOTIENTS = """// Quotients and remainders
extern "C" __global__ void divide(const long long* numbers, long long* quotients, long long* remainders, I size, Divisor by)
{
    for (I i = threadIdx.x; i < size; i += blockDim.x) {
        const I n = (I)numbers[i];
        quotients[i] = n / by;
        remainders[i] = n % by + 0 * by.value;
    }
}
"""


@needs_compiler
@pytest.mark.parametrize("index", [NARROW, WIDE], ids=["32-bit", "64-bit"])
def test_kernels_divide_exactly(tmp_path: Path, index: IndexType) -> None:
    path, numbers = tmp_path / "divide.cu", np.array([0, 1, 2, 6, 7, 8, 2**30, 2**31 - 2, 2**31 - 1])
    path.write_text(QUOTIENTS)
    if index is WIDE:
        numbers = np.append(numbers, [2**31, 2**40 + 5, 2**63 - 1])
    with emulated_gpu() as gpu:
        divide = gpu.RawModule(code=source_text(path, Variant(np.dtype(np.float32), index))).get_function("divide")
        for value in (1, 2, 3, 7, 641, 2**30 + 1, 2**31 - 1):
            given, quotients, remainders = gpu.asarray(numbers), *(gpu.empty(numbers.size, np.int64) for _ in range(2))
            divide((1,), (32,), (given, quotients, remainders, index.integer(numbers.size), divisor_of(value, index)))
            np.testing.assert_array_equal(quotients.get(), numbers // value)
            np.testing.assert_array_equal(remainders.get(), numbers % value)


# What a source includes.


@needs_compiler
def test_what_a_source_includes_stands_in_its_place_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "half.cuh").write_text("// half\n__device__ inline A half(A x) { return x / 2; }")
    (tmp_path / "quarter.cuh").write_text(
        '#include "deeper/half.cuh"\n__device__ inline A quarter(A x)\n{\n    assert(x > 0);\n    return half(half(x));\n}\n'
    )
    path = tmp_path / "kernels" / "use.cu"
    path.parent.mkdir()
    path.write_text(
        '// Uses it.\n#include "../quarter.cuh"\n\nextern "C" __global__ void use(T* x)\n{\n'
        "    assert(x[0] != 8);\n    x[0] = quarter(x[0]);\n}\n"
    )
    with emulated_gpu() as gpu:
        use = gpu.RawModule(code=source_text(path, Variant(np.dtype(np.float32), NARROW))).get_function("use")
        x = gpu.asarray(np.array([6], np.float32))
        use((1,), (1,), (x,))
        assert x.get().tolist() == [1.5]
        for value, place in ((8, r"use\.cu:6"), (-1, r"quarter\.cuh:4")):
            with pytest.raises(KernelError, match=rf"assertion failed: .*@\[{place}\]$"):
                use((1,), (1,), (gpu.asarray(np.array([value], np.float32)),))


def test_what_a_source_includes_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "use.cu"
    path.write_text('// Uses it.\n#include "warp.cuh"\n')
    with pytest.raises(LaunchError) as raised:
        source_text(path, Variant(np.dtype(np.float32), NARROW))
    assert str(raised.value) == (
        f'use.cu has #include "warp.cuh", but there is no {tmp_path / "warp.cuh"}; give the path from where use.cu lies'
    )


# What the compiler is to know.

SCALED = """// y = factor * x
extern "C" __global__ void scale(const T* x, T* y, I size)
{
    const I threads = gridDim.x * blockDim.x;
    for (I i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) y[i] = factor * x[i] + shift;
}
"""


def scale(path: Path) -> Kernel:
    path.write_text(SCALED)
    return Kernel(path, "scale", "const T* x, constant int factor, T* y, constant int shift, I size")


def test_constants_are_declared_and_not_passed(gpu: Any, tmp_path: Path) -> None:
    kernel, x = scale(tmp_path / "scale.cu"), gpu.zeros(3, "float32")
    with use_runner(CupyRunner()):
        for factor, shift in ((2, 5), (3, -5), (2, 5), (np.int8(3), -5), (2, -5)):
            launch.launch(kernel, 3, x, factor, x, shift, 3)
    types = f"{BF16_TYPE} typedef float T; typedef float A; {NARROW.declared}"
    assert [source for source, _, _ in gpu.emulator.compiled] == [
        f'#line 1 "scale.cu"\n{types} constexpr int factor = {factor}; constexpr int shift = {shift}; {SCALED}'
        for factor, shift in ((2, 5), (3, -5), (2, -5))
    ]
    assert all(len(arguments) == 3 for _, _, _, arguments in gpu.emulator.launches)


@needs_compiler
def test_kernels_see_their_constants(tmp_path: Path) -> None:
    kernel = scale(tmp_path / "scale.cu")
    with emulated_gpu() as gpu:
        x, y = gpu.asarray(np.arange(3.0)), gpu.empty(3)
        for factor, shift in ((2, 5), (-3, -1)):
            launch.launch(kernel, 3, x, factor, y, shift, 3)
            np.testing.assert_array_equal(y.get(), factor * np.arange(3.0) + shift)


# What is remembered.


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels whose calls were checked, one a check."""
    names, check = [], launch._check

    def counted(kernel: Kernel, size: int, arguments: Arguments) -> Any:
        names.append(kernel.name)
        return check(kernel, size, arguments)

    monkeypatch.setattr(launch, "_check", counted)
    return names


def test_a_call_is_checked_once(gpu: CupyStandIn, recorder: Recorder, checks: list[str]) -> None:
    kernel = step()
    for _ in range(3):
        launch.launch(kernel, 6, *good(gpu))  # other arrays each time
    assert checks == ["step"]
    assert len(recorder.calls) == 3
    assert recorder.calls[0].arguments[3:] == recorder.calls[2].arguments[3:]
    assert len({id(call.arguments[0]) for call in recorder.calls}) == 3, "each with its own arrays"


OTHERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "size": lambda gpu: {"size": 5},
    "flag": lambda gpu: {"flag": 0},
    "int of another type": lambda gpu: {"flag": np.int32(1)},
    "None": lambda gpu: {"labels": None},
    "dtype": lambda gpu: dict(
        zip(("x", "y", "labels", "size", "flag", "rate", "scale"), good(gpu, "float64"), strict=True)
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_call_is_checked_too(gpu: CupyStandIn, recorder: Recorder, checks: list[str], name: str) -> None:
    kernel, given = step(), OTHERS[name](gpu)
    names = [parameter.name for parameter in kernel.parameters]
    arguments = {**dict(zip(names, good(gpu), strict=True)), **given}
    for _ in range(2):
        launch.launch(kernel, 6, *good(gpu))
        launch.launch(kernel, 6, *arguments.values())
    assert len(checks) == 2
    for call, wanted in zip(recorder.calls, (good(gpu), arguments.values()) * 2, strict=True):
        assert [value for value in call.arguments if isinstance(value, np.generic)] == [
            value for value in wanted if isinstance(value, int | np.generic)
        ]


def test_another_number_of_threads_is_another_number_of_blocks(recorder: Recorder) -> None:
    kernel = step("int count", block=32)
    for size in (32, 33, 32, 33):
        launch.launch(kernel, size, 1)
    assert [call.blocks for call in recorder.calls] == [1, 2, 1, 2]


def test_floats_are_as_they_are_given(gpu: CupyStandIn, recorder: Recorder, checks: list[str]) -> None:
    """0.0 == -0.0 and nan != nan, but both are floats, and the kernel gets the one that this call gives."""
    kernel, values = step("T* x, T scale"), [np.float32(value) for value in (0.0, -0.0, 1.5, np.nan, np.inf)]
    for value in values:
        launch.launch(kernel, 1, gpu.zeros(1, "float32"), value)
    assert [call.arguments[1].tobytes() for call in recorder.calls] == [value.tobytes() for value in values]
    assert len(checks) == 1


def test_it_forgets_rather_than_fill_the_memory(
    recorder: Recorder, checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "MOST_REMEMBERED", 5)
    kernel = step("int count")
    for count in range(100):
        launch.launch(kernel, 1, count)
        assert len(launch._known.calls) <= 5
    launch.launch(kernel, 1, 99)
    assert len(checks) == 100


def test_another_cupy_has_arrays_of_its_own(gpu: CupyStandIn, recorder: Recorder) -> None:
    """What was right with one stand-in's arrays is wrong with another in its place, and nothing keeps the first alive."""
    kernel, arguments = step(), good(gpu)
    launch.launch(kernel, 6, *arguments)
    other = CupyStandIn(NoCompiler())
    with cuda.use_in_place_of_cupy(other):
        with pytest.raises(LaunchError, match="^step: x must be a GPU array, got a cupy.ndarray of float32; "):
            launch.launch(kernel, 6, *arguments)
        launch.launch(kernel, 6, *good(other))
        assert len(launch._known.calls) == 1
    launch.launch(kernel, 6, *arguments)
    assert len(launch._known.calls) == 1
    assert len(recorder.calls) == 3


def test_a_kernel_made_anew_has_no_past(gpu: CupyStandIn, recorder: Recorder, checks: list[str]) -> None:
    arguments = list(good(gpu))
    arguments[3] = 2**31
    launch.launch(step(), 6, *arguments)
    with pytest.raises(
        LaunchError, match=r"^step: size must be from -2147483648 to 2147483647 \(int\), got 2147483648$"
    ):
        launch.launch(step(SIGNATURE.replace("long long size", "int size")), 6, *arguments)
    assert len(checks) == 2


# Runners.


def test_runners_are_nested_and_left_after_an_error(recorder: Recorder) -> None:
    class Full(Recorder):
        def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: Arguments) -> None:
            raise MemoryError

    runner: Runner = Full()
    with pytest.raises(MemoryError), use_runner(runner):
        launch.launch(step("int count"), 1, 1)
    launch.launch(step("int count"), 1, 2)
    assert [call.arguments for call in recorder.calls] == [(2,)]


def test_compiles_once_for_each_dtype(gpu: Any, source: Path) -> None:
    kernel, runner = twice(source, block=64), CupyRunner()
    with use_runner(runner):
        for dtype in ("float32", "float64", "float32", "float64"):
            launch.launch(kernel, 300, gpu.zeros(300, dtype), gpu.zeros(300, dtype), 300)
    assert gpu.emulator.compiled == [
        (f'#line 1 "twice.cu"\n{BF16_TYPE} typedef float T; typedef float A; {NARROW.declared} {DOUBLE}', (), "twice"),
        (
            f'#line 1 "twice.cu"\n{BF16_TYPE} typedef double T; typedef double A; {NARROW.declared} {DOUBLE}',
            (),
            "twice",
        ),
    ]
    assert list(runner.compile_seconds) == [("twice", "float32"), ("twice", "float64")]
    assert all(0 < seconds < 60 for seconds in runner.compile_seconds.values())
    assert [(name, grid, block) for name, grid, block, _ in gpu.emulator.launches] == [("twice", (5,), (64,))] * 4
    assert gpu.emulator.launches[1][3][0].dtype == np.float64


def test_cupy_runs_kernels_unless_told_otherwise(gpu: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.cupy_runner, "compile_seconds", {})
    launch.launch(twice(source), 1, gpu.zeros(1, "float32"), gpu.zeros(1, "float32"), 1)
    assert list(launch.cupy_runner.compile_seconds) == [("twice", "float32")]
    assert len(gpu.emulator.launches) == 1


def test_a_stand_in_gets_functions_of_its_own(gpu: Any, source: Path) -> None:
    kernel, other = twice(source), CupyStandIn(NoCompiler())
    with use_runner(CupyRunner()):
        for stand_in in (gpu, other, gpu):
            with cuda.use_in_place_of_cupy(stand_in):
                launch.launch(kernel, 1, stand_in.zeros(1, "float32"), stand_in.zeros(1, "float32"), 1)
    assert len(gpu.emulator.launches) == 2
    assert len(other.emulator.launches) == 1  # type: ignore[attr-defined]


def test_a_kernel_made_anew_is_compiled_anew(gpu: Any, source: Path) -> None:
    """In a notebook the source is mended and the cell run again; elsewhere another file has a kernel of that name."""
    arrays = gpu.zeros(1, "float32"), gpu.zeros(1, "float32")
    with use_runner(CupyRunner()):
        launch.launch(twice(source), 1, *arrays, 1)
        source.write_text(DOUBLE.replace("2 * x[i]", "x[i] + x[i]"))
        launch.launch(twice(source), 1, *arrays, 1)
    assert "x[i] + x[i]" in gpu.emulator.compiled[1][0]


# On the emulator.


@needs_compiler
def test_few_blocks_do_all_the_work(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MOST_BLOCKS", 2)
    host = np.arange(1300, dtype=np.float64)
    with emulated_gpu() as gpu, gpu.operation_log.recorded() as operations:
        x = gpu.asarray(host)
        y = gpu.empty(1300)
        launch.launch(twice(source), 1300, x, y, 1300)
        np.testing.assert_array_equal(y.get(), 2 * host)
    assert [operation for operation in operations if operation.name == "twice"] == [Operation("launch", "twice", (2,))]


@needs_compiler
def test_the_emulator_names_file_and_line(source: Path) -> None:
    source.write_text(DOUBLE.replace("i < size", "i <= size"))
    with emulated_gpu() as gpu, pytest.raises(KernelError) as raised:
        launch.launch(twice(source), 5, gpu.zeros(5, "float32"), gpu.zeros(5, "float32"), 5)
    assert str(raised.value) == (
        "twice: out of bounds: block (0,0,0) thread (5,0,0): read of 4 bytes @[twice.cu:5] "
        "at byte 20 of x float32[5] (20 bytes)"
    )


@needs_compiler
def test_the_compiler_names_file_and_line(source: Path) -> None:
    source.write_text(DOUBLE.replace("2 * x[i]", "2 * z[i]"))
    with emulated_gpu() as gpu, pytest.raises(KernelError) as raised:
        launch.launch(twice(source), 5, gpu.zeros(5, "float32"), gpu.zeros(5, "float32"), 5)
    assert re.match(
        r"twice\.cu does not compile:\ntwice\.cu:.*\ntwice\.cu:5:\d+: error: .z. was not declared", str(raised.value)
    )


# The package's own kernels.

for module in (
    "functions",
    "optim",
    "kernels.preprocess",
    "kernels.scores",
    "kernels.tree_sum",
):  # which register all of them
    importlib.import_module(f"gpucnn.{module}")
FOLDER = Path(launch.__file__).parent
FUNCTION = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)')


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.cu")), ids=lambda path: path.name)
def test_signatures_are_those_of_the_sources(path: Path) -> None:
    """Read out of the text, so that it holds where nothing can be compiled."""
    kernels = {name: kernel for name, kernel in kernel_module.KERNELS.items() if kernel.source == path}
    functions = dict(FUNCTION.findall(path.read_text()))
    assert set(functions) == set(kernels)
    for name, parameters in functions.items():
        declared = [" ".join(part.split()) for part in parameters.split(",")]
        assert [str(parameter) for parameter in kernels[name].arguments] == declared
        assert kernels[name].source == path
