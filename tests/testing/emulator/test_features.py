"""What kernels may use of CUDA, each against what it should give."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import KernelError
from gpucnn.testing.emulator import EmulatedFunction, Emulator
from tests.testing.emulator.clean_kernels import FOLDER, Array

SOURCE = (FOLDER / "features.cu").read_text()
EXPRESSIONS = ("scale<float, 3>", "scale<double, 2>", "scale<__half, 2>")


@pytest.fixture(params=["fast", "check", "coverage"])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    return Emulator(request.param)


def feature(emulator: Emulator, name: str, sync: str = "__syncwarp()") -> EmulatedFunction:
    return emulator.module(SOURCE, ["-DSYNC=" + sync], "features.cu", EXPRESSIONS).function(name)


def zeros(count: int, dtype: Any) -> Array:
    return np.zeros(count, dtype)


def test_votes(emulator: Emulator) -> None:
    result = zeros(64, np.uint32)
    feature(emulator, "votes")((1,), (32,), (result,))
    assert set(result[:32]) == {sum(1 << lane for lane in range(0, 32, 3))}
    assert set(result[32:]) == {2}


def test_shuffles(emulator: Emulator) -> None:
    result, lane = zeros(128, np.int32), np.arange(32)
    feature(emulator, "shuffles")((1,), (32,), (result,))
    up = np.where(lane % 8 == 0, lane, lane - 1)
    down = np.where(lane % 16 >= 14, lane, lane + 2)
    np.testing.assert_array_equal(result.reshape(4, 32), [np.full(32, 5), up, down, lane ^ 3])


def test_syncwarp_orders_a_warp(emulator: Emulator) -> None:
    x, y = np.arange(64, dtype=np.float32), zeros(64, np.float32)
    feature(emulator, "swap_neighbours")((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, x[np.arange(64) ^ 1])


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_a_shuffle_orders_nothing(order: str) -> None:
    x, y = zeros(64, np.float32), zeros(64, np.float32)
    kernel = feature(Emulator("check", order), "swap_neighbours", sync="__shfl_sync(0xffffffffu, 1, 0)")
    with pytest.raises(KernelError, match=r"race on byte \d+ of __shared__ shared: .*; no barrier between them"):
        kernel((1,), (64,), (x, y))


def test_atomics(emulator: Emulator) -> None:
    ints, unsigneds = np.array([0, 0, 50, 0, 0, 0], np.int32), np.array([2**32 - 1, 0, 0, 0, 0], np.uint32)
    longs, floats, doubles, halves = (zeros(1, dtype) for dtype in (np.uint64, np.float32, np.float64, np.float16))
    feature(emulator, "atomics")((2,), (64,), (ints, unsigneds, longs, floats, doubles, halves))
    np.testing.assert_array_equal(ints, [256, -256, 0, 63, 7, 9])
    np.testing.assert_array_equal(unsigneds, [0, 2**32 - 1, 0, 128 % 10, (-128) % 10])
    assert (longs[0], floats[0], halves[0]) == (128 << 32, 64.0, 128.0)
    assert doubles[0] == pytest.approx(128e-9)


def test_half(emulator: Emulator, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 96)).astype(np.float16)
    expected = np.float16(1.7) * x + y
    feature(emulator, "half_axpy")((1,), (128,), (np.float16(1.7), x, y, np.int32(96)))
    np.testing.assert_array_equal(y, expected)


def test_vector_types(emulator: Emulator) -> None:
    x, y = np.arange(32, dtype=np.float32), zeros(32, np.float32)
    kernel = feature(emulator, "reverse_vectors")
    kernel((1,), (8,), (x, y))
    np.testing.assert_array_equal(y.reshape(8, 4), x.reshape(8, 4)[:, ::-1])
    assert kernel.signature == (("x", "const float4*"), ("y", "float4*"))


def test_vector_types_are_checked() -> None:
    x, y = zeros(33, np.float32), zeros(33, np.float32)
    kernel = feature(Emulator(), "reverse_vectors")
    with pytest.raises(KernelError, match=r"out of bounds: block \(0,0,0\) thread \(8,0,0\): read of "):
        kernel((1,), (9,), (x, y))
    with pytest.raises(KernelError, match=r"misaligned address"):
        kernel((1,), (2,), (x[1:9], y))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("scale<float, 3>", np.float32), ("scale<double, 2>", np.float64), ("scale<__half, 2>", np.float16)],
)
def test_templates(emulator: Emulator, name: str, dtype: Any) -> None:
    x, y = np.arange(64, dtype=dtype), zeros(64, dtype)
    feature(emulator, name)((1,), (64,), (x, y))
    np.testing.assert_array_equal(y, x * int(name[-2]))


def test_high_halves_of_products(emulator: Emulator) -> None:
    a, b = 0xFEDC_BA98_7654_3210, 0x8000_0000_9ABC_DEF1
    unsigneds, signeds, words = zeros(1, np.uint64), zeros(1, np.int64), zeros(2, np.uint32)
    feature(emulator, "high_products")((1,), (1,), (np.uint64(a), np.uint64(b), unsigneds, signeds, words))
    assert int(unsigneds[0]) == a * b >> 64
    assert int(signeds[0]) == (a - 2**64) * (b - 2**64) >> 64
    low_a, low_b = a % 2**32, b % 2**32
    assert [int(word) for word in words] == [low_a * low_b >> 32, (low_a * (low_b - 2**32) >> 32) % 2**32]


def test_overloads_of_float_and_double(emulator: Emulator) -> None:
    x, y = np.float32(0.7), np.float64(0.7)
    floats, doubles, flags, sizes = (
        zeros(5, np.float32),
        zeros(5, np.float64),
        zeros(6, np.bool_),
        zeros(6, np.int32),
    )
    feature(emulator, "overloads")((1,), (1,), (x, y, floats, doubles, flags, sizes))
    np.testing.assert_array_max_ulp(floats, np.array([np.exp(x), np.log(x), np.sqrt(x), x, 1], np.float32), 1)
    np.testing.assert_array_max_ulp(doubles, np.array([np.exp(y), np.log(y), np.sqrt(y), y, 1]), 1)
    assert flags.tolist() == [False, False, False, False, True, True]
    assert sizes.tolist() == [4, 4, 4, 8, 4, 4]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="denormals are flushed on x86-64 alone")
def test_denormals_are_flushed_during_a_launch_alone(emulator: Emulator) -> None:
    x, y = np.array([2e-38, 1e-39], np.float32), np.ones(2, np.float32)
    feature(emulator, "halve")((1,), (1,), (x, y))
    assert y.tolist() == [0, 0]
    assert (x * np.float32(0.5))[0] > 0


def test_shared_arrays_of_every_element_size(emulator: Emulator) -> None:
    sums = zeros(32, np.float64)
    feature(emulator, "shared_elements")((1,), (32,), (sums,), shared_mem=32)
    following = (np.arange(32) + 1) % 32
    np.testing.assert_array_equal(sums, following % 2 + 2.5 * following)


def test_device_variables_last(emulator: Emulator) -> None:
    kernel, result = feature(emulator, "count_launches"), zeros(1, np.int32)
    kernel((1,), (1,), (result,))
    first = result[0]
    kernel((1,), (1,), (result,))
    assert result[0] == first + 3


def test_long_indices(emulator: Emulator) -> None:
    kernel, result = feature(emulator, "take_long"), zeros(2, np.uint64)
    kernel((1,), (2,), (np.int64(2**40), result, np.int64(-(2**35)), np.bool_(False)))
    assert result.tolist() == [2**40, 2**40 - 2**35]
    assert kernel.signature == (
        ("first", "long long"),
        ("result", "unsigned long long*"),
        ("stride", "long long"),
        ("negative", "bool"),
    )


def test_racecheck_can_be_left_out_of_a_launch() -> None:
    kernel = feature(Emulator(), "last_block_sums")

    def arrays() -> tuple[Array, Array, Array]:
        return zeros(4, np.float32), zeros(1, np.uint32), zeros(1, np.float32)

    with pytest.raises(KernelError, match=r"race on byte 0 of parts float32\[4\]: .*; different blocks"):
        kernel((4,), (32,), arrays())
    parts, finished, total = arrays()
    kernel((4,), (32,), (parts, finished, total), racecheck=False)
    assert total[0] == 10


REPORTS: dict[str, tuple[tuple[int, ...], tuple[Any, ...], str]] = {
    "fail_in_thread_five": (
        (64,),
        (zeros(64, np.int32),),
        r"fail_in_thread_five: assertion failed: threadIdx\.x != 5: block \(0,0,0\) thread \(5,0,0\) @\[features\.cu:\d+\]",
    ),
    "shift": (
        (1,),
        (zeros(1, np.int32), np.int32(33)),
        (
            r"shift: undefined behaviour: shift by a negative number, or by more than the type has bits: "
            r"block \(0,0,0\) thread \(0,0,0\) @\[features\.cu:\d+\]"
        ),
    ),
    "write_behind": (
        (1,),
        (zeros(3, np.float32), zeros(3, np.float32)),
        (
            r"write_behind: write to a const argument: block \(0,0,0\) thread \(0,0,0\): write of 4 bytes "
            r"@\[features\.cu:\d+\] at byte 0 of constant float32\[3\] \(12 bytes\)"
        ),
    ),
    "two_barriers": (
        (64,),
        (zeros(64, np.int32),),
        (
            r"two_barriers: barrier divergence: block \(0,0,0\) thread \(0,0,0\) waits at __syncthreads\(\) "
            r"@\[features\.cu:\d+\], block \(0,0,0\) thread \(32,0,0\) at another @\[features\.cu:\d+\]"
        ),
    ),
    "halve": (
        (1,),
        (None, zeros(2, np.float32)),
        (
            r"halve: undefined behaviour: access of 'const float' through a null pointer: "
            r"block \(0,0,0\) thread \(0,0,0\) @\[features\.cu:\d+\]"
        ),
    ),
    "number_threads": (
        (2, 2, 2),
        (zeros(64, np.int32),),
        (
            r"number_threads: assertion failed: numbers\[i\] != 111111: "
            r"block \(1,1,1\) thread \(1,1,1\) @\[features\.cu:\d+\]"
        ),
    ),
    "write_after_another_warp_reads": (
        (64,),
        (zeros(1, np.int32), zeros(64, np.int32)),
        (
            r"write_after_another_warp_reads: race on byte 0 of x int32\[1\]: block \(0,0,0\) thread \(0,0,0\) write "
            r"@\[features\.cu:\d+\]; block \(0,0,0\) thread \(32,0,0\) read @\[features\.cu:\d+\]; .*"
        ),
    ),
    "write_whole_read_part": (
        (2,),
        (zeros(1, np.uint8),),
        (
            r"write_whole_read_part: race on byte 2 of __shared__ whole: block \(0,0,0\) thread \(1,0,0\) read .*; "
            r"block \(0,0,0\) thread \(0,0,0\) write .*; no barrier between them"
        ),
    ),
    "misaligned_atomic": (
        (1,),
        (zeros(2, np.int32),),
        (
            r"misaligned_atomic: misaligned address: block \(0,0,0\) thread \(0,0,0\): atomic of 4 bytes "
            r"@\[features\.cu:\d+\] at byte 2 of x int32\[2\] \(8 bytes\)"
        ),
    ),
    "read_across_the_end": (
        (1,),
        (zeros(3, np.float32), zeros(1, np.float64)),
        (
            r"read_across_the_end: out of bounds: block \(0,0,0\) thread \(0,0,0\): read of 8 bytes "
            r"@\[features\.cu:\d+\] at byte 8 of x float32\[3\] \(12 bytes\)"
        ),
    ),
    "count_launches": (
        (1,),
        (zeros(0, np.int32),),
        r"count_launches: out of bounds: block \(0,0,0\) thread \(0,0,0\): write of 4 bytes @\[features\.cu:\d+\] .*",
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports(name: str) -> None:
    block, arguments, message = REPORTS[name]
    with pytest.raises(KernelError, match=f"^{message}$"):
        feature(Emulator(), name)((2, 2, 2) if name == "number_threads" else (1,), block, arguments)


def test_usable_after_a_failure(emulator: Emulator) -> None:
    x = zeros(64, np.int32)
    for _ in range(3):
        with pytest.raises(KernelError, match="assertion failed"):
            feature(emulator, "fail_in_thread_five")((1,), (64,), (x,))
        test_syncwarp_orders_a_warp(emulator)
        test_atomics(emulator)


def test_threads_and_blocks_in_three_dimensions(emulator: Emulator) -> None:
    numbers = zeros(3 * 2 * 4 * 5 * 3 * 2, np.int32)
    feature(emulator, "number_threads")((3, 2, 4), (5, 3, 1), (numbers[:360],))
    digits = np.indices((4, 2, 3, 1, 3, 5)).reshape(6, -1)
    np.testing.assert_array_equal(numbers[:360], digits[::-1].T @ 10 ** np.arange(6))


def test_failures_leave_no_stacks_behind() -> None:
    kernel, x = feature(Emulator(), "fail_in_thread_five"), zeros(64, np.int32)

    def mappings_after(launches: int) -> int:
        for _ in range(launches):
            with pytest.raises(KernelError, match="assertion failed"):
                kernel((1,), (64,), (x,))
        return len(Path("/proc/self/maps").read_text().splitlines())

    before = mappings_after(1)
    assert mappings_after(20) - before < 200


def test_arrays_side_by_side_are_told_apart() -> None:
    whole = np.arange(66, dtype=np.float32)
    with pytest.raises(KernelError, match=r"read of 4 bytes .* at byte 128 of x float32\[32\] \(128 bytes\)$"):
        feature(Emulator(), "swap_neighbours")((1,), (64,), (whole[:32], whole[32:]))


def test_what_was_written_before_a_failure_stays() -> None:
    numbers = zeros(64, np.int32)
    with pytest.raises(KernelError, match="assertion failed"):
        feature(Emulator(), "number_threads")((2, 2, 2), (2, 2, 2), (numbers,))
    assert numbers[-1] == 111111


def test_constants_of_the_first_line_need_no_compilation_of_their_own(emulator: Emulator) -> None:
    kernel = 'extern "C" __global__ void tell(int* output) { output[0] = stride * 10 + padding; }'

    def told(stride: int, padding: int) -> EmulatedFunction:
        constants = f"constexpr int stride = {stride}; constexpr int padding = {padding};"
        return emulator.module(f"{constants} // a kernel\n{kernel}").function("tell")

    first, second = told(2, 3), told(-4, 1)
    output = zeros(1, np.int32)
    for function, expected in ((first, 23), (second, -39), (first, 23)):
        function((1,), (1,), (output,))
        assert output[0] == expected
    assert first.path == second.path


def test_a_constant_is_not_written() -> None:
    kernel = 'extern "C" __global__ void change() { stride = 1; }'
    changing = Emulator("check").module(f"constexpr int stride = 2; //\n{kernel}").function("change")
    with pytest.raises(KernelError, match=r"write.*constant stride"):
        changing((1,), (1,), ())
