"""Tensor cores, ldmatrix and cp.async, held to the tables of the PTX ISA, see `ptx_tables`."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn.errors import KernelError
from gpucnn.kernels.kernel import with_includes
from gpucnn.testing.emulator import EmulatedFunction, Emulator
from gpucnn.testing.emulator.source import shared_alignments
from tests.testing.emulator.clean_kernels import FOLDER, Array
from tests.testing.emulator.ptx_tables import BF16_A, BF16_B, SUMS, TF32_A, TF32_B, fragments
from tests.testing.emulator.rounding import as_bf16, as_tf32, bf16_bits, bits

SOURCE = with_includes((FOLDER / "warp.cu").read_text(), FOLDER / "warp.cu")


@pytest.fixture(params=["fast", "check", "coverage"])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    return Emulator(request.param)


def function(emulator: Emulator, name: str, source: str = SOURCE) -> EmulatedFunction:
    return emulator.module(source, filename="warp.cu").function(name)


def test_each_element_is_in_one_place() -> None:
    for places, shape in ((SUMS, (16, 8)), (TF32_A, (16, 8)), (TF32_B, (8, 8)), (BF16_A, (16, 16)), (BF16_B, (16, 8))):
        assert sorted(places.values()) == list(np.ndindex(shape))


def odd_floats(rng: np.random.Generator) -> Array:
    """Of all sizes, ties among them, at both ends of the range, and what is no number."""
    drawn = rng.integers(0, 2**32, 2000, np.uint32)
    ties = drawn[:1000] & ~np.uint32(0xFFFF) | np.uint32(0x8000)
    fine_ties = drawn[:1000] & ~np.uint32(0x1FFF) | np.uint32(0x1000)
    ends = np.array([0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F8000, 0x7F7F7FFF], np.uint32)
    specials = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001, 0x7F800001, 0x7FFFFFFF], np.uint32)
    return np.concatenate((drawn, ties, fine_ties, ends, specials)).view(np.float32)


def test_rounding(emulator: Emulator, rng: np.random.Generator) -> None:
    x = odd_floats(rng)
    tf32, bf16, pairs = (np.zeros(x.size, dtype) for dtype in (np.uint32, np.uint16, np.uint32))
    function(emulator, "convert")((-(-x.size // 64),), (64,), (x, tf32, bf16, pairs, np.int32(x.size)))
    number = ~np.isnan(x)
    np.testing.assert_array_equal(tf32[number], bits(as_tf32(x[number])))
    np.testing.assert_array_equal(bf16[number], bf16_bits(as_bf16(x[number])))
    assert set(tf32[~number]) == {0x7FFFFFFF}
    assert set(bf16[~number]) == {0x7FFF}
    np.testing.assert_array_equal(pairs, bf16 | np.roll(bf16, -1).astype(np.uint32) << 16)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_products_of_tf32(emulator: Emulator, rng: np.random.Generator, order: str) -> None:
    emulator.order = order
    a, b, c = (rng.standard_normal(shape, np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    # What stands in the 13 bits below counts for nothing.
    left = bits(as_tf32(fragments(a, TF32_A))) | rng.integers(0, 2**13, (32, 4), np.uint32)
    right = bits(as_tf32(fragments(b, TF32_B))) | rng.integers(0, 2**13, (32, 2), np.uint32)
    sums = fragments(c, SUMS)
    function(emulator, "multiply_tf32")((1,), (32,), (left, right, sums))
    np.testing.assert_allclose(sums, fragments(as_tf32(a) @ as_tf32(b) + c, SUMS), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_products_of_bf16(emulator: Emulator, rng: np.random.Generator, order: str) -> None:
    emulator.order = order
    a, b, c = (rng.standard_normal(shape, np.float32) for shape in ((16, 16), (16, 8), (16, 8)))
    left, right = (
        bf16_bits(as_bf16(fragments(matrix, places))).view("<u4") for matrix, places in ((a, BF16_A), (b, BF16_B))
    )
    sums = fragments(c, SUMS)
    function(emulator, "multiply_bf16")((1,), (32,), (left, right, sums))
    np.testing.assert_allclose(sums, fragments(as_bf16(a) @ as_bf16(b) + c, SUMS), rtol=1e-6, atol=1e-6)


def test_products_that_are_no_finite_numbers(emulator: Emulator) -> None:
    b = np.zeros((8, 8), np.float32)
    b[:, :4] = 1e30, np.inf, np.nan, 0.5  # 8 * 0.5 * 3e38 is beyond a float too, if only as a sum
    left, right = bits(np.full((32, 4), 3e38)), bits(fragments(b, TF32_B))
    sums = np.ones((32, 4), np.float32)
    function(emulator, "multiply_tf32")((1,), (32,), (left, right, sums))
    expected = np.tile(np.float32([np.inf, np.inf, np.nan, np.inf, 1, 1, 1, 1]), (16, 1))
    np.testing.assert_array_equal(sums, fragments(expected, SUMS))


# "ldmatrix": lanes 0 to 7 give the addresses of the first matrix's rows, the next eight those of the second, ... A lane gets
# two neighbours of a row, four lanes a row; transposed, two neighbours of a column.
def expected_matrices(rows: Array, count: int, transposed: bool) -> Iterator[Array]:
    for matrix in rows.reshape(4, 8, 8)[:count]:
        held = matrix.T if transposed else matrix
        yield np.ascontiguousarray(held).view("<u4").reshape(32)


def test_matrices_are_loaded(emulator: Emulator, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 2**16, (32, 8), np.uint16)
    order = rng.permutation(32).astype(np.int32)
    registers = np.zeros((32, 14), np.uint32)
    function(emulator, "load")((1,), (32,), (rows, order, registers))
    expected = [
        register
        for transposed in (False, True)
        for count in (1, 2, 4)
        for register in expected_matrices(rows[order], count, transposed)
    ]
    np.testing.assert_array_equal(registers, np.stack(expected, axis=1))


def test_copies_and_zeros(emulator: Emulator, rng: np.random.Generator) -> None:
    x, y = rng.integers(1, 256, (17, 16), np.uint8), np.zeros((17, 28), np.uint8)
    function(emulator, "copy")((1,), (17,), (x, y))
    given, column = np.arange(17)[:, None], np.arange(16)
    np.testing.assert_array_equal(y[:, :4], np.where(column[:4] < given, x[:, :4], 0))
    np.testing.assert_array_equal(y[:, 4:12], np.where(column[:8] < given, x[:, :8], 0))
    np.testing.assert_array_equal(y[:, 12:], np.where(column < given, x, 0))


def test_groups_arrive_in_order(emulator: Emulator) -> None:
    x, y = np.array([3, 5, 7], np.float32), np.zeros((32, 3), np.float32)
    function(emulator, "groups")((1,), (32,), (x, y))
    np.testing.assert_array_equal(y, np.tile(x, (32, 1)))


def test_nothing_is_there_before_it_was_waited_for() -> None:
    # Unchecked, a copy still comes no earlier than a GPU may bring it: what is read too early is garbage.
    early = SOURCE.replace("wait_for_copies<2>();", "wait_for_copies<4>();")
    assert early != SOURCE
    x, y = np.array([3, 5, 7], np.float32), np.zeros((32, 3), np.float32)
    function(Emulator("fast"), "groups", early)((1,), (32,), (x, y))
    assert np.isnan(y[:, 0]).all()
    np.testing.assert_array_equal(y[:, 1:], np.tile(x[1:], (32, 1)))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("early", [True, False])
def test_the_source_of_a_copy_must_stay_until_it_was_waited_for(early: bool, order: str) -> None:
    x, y = np.ones(64, np.float32), np.zeros(64, np.float32)
    with pytest.raises(
        KernelError, match=r"race on byte \d+ of x float32\[64\]: .* (read|write) .*; .* (write|read) .*; no bar"
    ):
        function(Emulator("check", order), "change_source")((1,), (64,), (x, y, np.bool_(early)))


@pytest.mark.parametrize(("block", "lane"), [((31,), 31), ((33,), 1)])
def test_a_warp_that_is_not_whole(emulator: Emulator, block: tuple[int, ...], lane: int) -> None:
    a, b, sums = np.zeros((64, 4), np.uint32), np.zeros((64, 2), np.uint32), np.zeros((64, 4), np.float32)
    with pytest.raises(KernelError, match=rf"mma\.sync needs all 32 lanes of a warp, and lane {lane} does not exist: "):
        function(emulator, "multiply_tf32")((1,), block, (a, b, sums))


def test_shared_memory_that_a_gpu_need_not_align() -> None:
    # As g++ does: without the check, nobody but a GPU would notice.
    source = SOURCE.replace("__align__(16) unsigned short tile", "__align__(8) unsigned short tile")
    source = source.replace("__shared__ __align__(16) unsigned char", "__shared__ unsigned char")
    emulator = Emulator("check")
    rows, order, registers = np.zeros((32, 8), np.uint16), np.zeros(32, np.int32), np.zeros((32, 14), np.uint32)
    with pytest.raises(
        KernelError, match=r"declared without __align__\(16\): .*: read of 16 bytes .* of __shared__ tile "
    ):
        function(emulator, "load", source)((1,), (32,), (rows, order, registers))
    x, y = np.zeros((17, 16), np.uint8), np.zeros((17, 28), np.uint8)
    with pytest.raises(
        KernelError, match=r"declared without __align__\(4\): .*: cp\.async of 4 bytes .* __shared__ four "
    ):
        function(emulator, "copy", source)((1,), (17,), (x, y))


def test_how_shared_variables_are_aligned() -> None:
    text = """
    __shared__ __align__(16) unsigned short bf16[8], more[2][(3, 4)];
    __shared__ alignas( 8 ) unsigned char bytes[8]; __shared__ unsigned short pairs[N];
    __shared__ unsigned long int longs[2]; __shared__ unsigned words[2]; __shared__ float
        twice[4], sum; __shared__ A partial[2]; __shared__ float4 vectors[2]; extern __shared__ int dynamic[];
    } void other() { __shared__ double twice[4]; __shared__ Pair sum; }
    """
    assert shared_alignments(text) == {
        **dict.fromkeys(("bf16", "more"), 16),
        **dict.fromkeys(("bytes", "longs", "twice", "partial"), 8),
        **dict.fromkeys(("words", "dynamic"), 4),
        **dict.fromkeys(("sum", "vectors"), 0),
        "pairs": 2,
    }


def functions(path: Path) -> dict[str, str]:
    """Name to parameters of what a kernel may call, without what the emulator's have besides."""
    text = re.sub(r"namespace emulator \{.*?// namespace", "", path.read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"//.*", "", text))
    found = re.findall(r"inline (?:void|unsigned|unsigned short) (\w+)\(((?:[^()]|\([^()]*\))*)\) ?\{", text)
    return {name: re.sub(r",? ?EMULATOR_CALLER", "", parameters) for name, parameters in found}


def test_every_function_has_a_twin_of_the_same_parameters() -> None:
    package = Path(gpucnn.__file__).parent
    on_a_gpu = functions(package / "kernels" / "warp.cuh")
    assert len(on_a_gpu) == 11
    assert functions(package / "testing" / "emulator" / "device" / "warp.h") == on_a_gpu


def test_inline_ptx_stands_in_warp_cuh_alone() -> None:
    package = Path(gpucnn.__file__).parent
    sources = [path for path in package.rglob("*.cu*") if path.suffix in (".cu", ".cuh")]
    assert [path.name for path in sources if re.search(r"\basm\b", path.read_text())] == ["warp.cuh"]
