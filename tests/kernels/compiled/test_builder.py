"""What a builder writes, compiled and run: loops, loads, vectors of every width."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.errors import LaunchError
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.compiler.values import DOUBLE, INT32
from gpucnn.kernels.linear import compiled as compiled_linear
from tests.kernels.compiled.guarded_memory import Borders
from tests.kernels.compiled.kernel_cases import for_machine, machine_of

pytestmark = pytest.mark.usefixtures("needs_llvmlite")

numbers = itertools.count()


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cache's keys know of the package's source, not of what a test writes."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))


@pytest.fixture(params=[16, 8, 4])
def lanes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Kernels are compiled for vectors of so many floats."""
    with for_machine(machine_of(request.param)):
        yield request.param


def run(write: Callable[[Any], None], count: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Compile a kernel and run it on copies of `arrays` with guarded borders; what it left in them."""
    memory, copies = Borders(), {}
    for name, array in arrays.items():
        copies[name] = memory.place(array.shape, str(array.dtype))
        copies[name][...] = array
    arguments = [loop.Argument(name, array.shape, str(array.dtype), True) for name, array in copies.items()]
    kernel = loop.Loop(f"builder_test_{next(numbers)}", (), tuple(arguments), write)
    loop.run(kernel, count, list(copies.values()))
    assert memory.damage() == []
    return copies


def floats(size: int) -> np.ndarray:
    return np.arange(1, size + 1, dtype=np.float32)


def nothing(*shape: int) -> np.ndarray:
    return np.full(shape, -1, np.float32)


BOUNDS = [(0, 0, 1), (0, 1, 1), (0, 7, 1), (2, 7, 1), (0, 9, 3), (0, 10, 3), (0, 2, 3), (0, 3, 3), (5, 5, 1), (6, 3, 2)]


@pytest.mark.parametrize("compiled_in", ["both", "start", "stop", "neither"])
@pytest.mark.parametrize(("start", "stop", "step"), [*BOUNDS, (-4, 3, 2)])
def test_a_fold_carries_vectors_through_all_iterations(start: int, stop: int, step: int, compiled_in: str) -> None:
    """The iterations, in binary, of a loop whose bounds are known when it is compiled, or only when it runs."""

    def write(b: Any) -> None:
        seen, bounds = b.pointer("seen"), b.pointer("bounds", INT32)
        ends = [start, stop]
        for place, kept in enumerate(("start", "stop")):
            if compiled_in not in ("both", kept):
                ends[place] = b.as_index(bounds.load(place, 1))

        def note(i: Any, carried: list[Any]) -> list[Any]:
            total, count = carried
            seen.store(b.splat(1.0, 1), 4 + i)
            return [total + total + b.splat(1.0, 1), count + b.splat(1, 1, INT32)]

        first = [b.splat(5.0, 1), b.splat(0, 1, INT32)]
        total, count = b.fold(ends[0], ends[1], step, first, note)
        b.pointer("total").store(total)
        b.pointer("turns", INT32).store(count)

    integers = {"bounds": np.array([start, stop], np.int32), "turns": np.full(1, -1, np.int32)}
    found = run(write, 0, seen=np.zeros(20, np.float32), total=nothing(1), **integers)
    iterations = list(range(start, stop, step))
    expected = 5
    for _ in iterations:
        expected = 2 * expected + 1
    assert (found["total"][0], found["turns"][0]) == (expected, len(iterations))
    assert np.flatnonzero(found["seen"]).tolist() == [4 + i for i in iterations]


@pytest.mark.parametrize(("turns", "inner", "written_out"), [
    (0, 1, True), (1, 50, True), (50, 1, True), (51, 1, False), (10, 5, True), (10, 6, False), (2, 100, False),
])  # fmt: skip
def test_an_unroll_is_written_out_if_it_is_short(turns: int, inner: int, written_out: bool) -> None:
    seen: list[Any] = []

    def write(b: Any) -> None:
        def note(i: Any, carried: list[Any]) -> list[Any]:
            seen.append(i)
            return [carried[0] + carried[0] + b.spread(b.number(i, 1).narrowed(), 1)]

        b.pointer("total").store(b.unroll(3 * turns, 3, [b.splat(1.0, 1)], note, inner)[0])

    found = run(write, 0, total=nothing(1))
    expected = 1.0
    for i in range(0, 3 * turns, 3):
        expected = float(np.float32(2 * expected + i))
    assert found["total"] == [expected]
    assert (seen == list(range(0, 3 * turns, 3))) == written_out
    assert len(seen) == (turns if written_out else 1)


@pytest.mark.parametrize("divisor", [1, 2, 7, 100])
def test_integers_that_are_not_negative_are_divided(divisor: int) -> None:
    numbers = [0, 1, 6, 7, 99, 12345, 2**31 - 1]

    def write(b: Any) -> None:
        given = b.pointer("given", INT32)
        for place in range(len(numbers)):
            number = b.as_index(given.load(place, 1))
            for name, result in (("quotients", number // divisor), ("rests", number % divisor)):
                b.pointer(name, INT32).store(b.count_up(result, 0, 1), place)

    found = run(write, 0, given=np.array(numbers, np.int32), **{
        name: np.full(len(numbers), -1, np.int32) for name in ("quotients", "rests")
    })  # fmt: skip
    assert found["quotients"].tolist() == [number // divisor for number in numbers]
    assert found["rests"].tolist() == [number % divisor for number in numbers]


@pytest.mark.parametrize("sizes", [(0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (3, 1, 2), (3, 4, 5)])
@pytest.mark.parametrize("compiled_in", [True, False])
def test_loops_in_loops(sizes: tuple[int, int, int], compiled_in: bool) -> None:
    def write(b: Any) -> None:
        seen, bounds = b.pointer("seen"), b.pointer("bounds", INT32)
        stops = [size if compiled_in else b.as_index(bounds.load(k, 1)) for k, size in enumerate(sizes)]

        def innermost(i: Any, j: Any, k: Any) -> None:
            place = i * 25 + j * 5 + k
            seen.store(seen.load(place, 1) + b.splat(1.0, 1), place)

        b.each(0, stops[0], 1, lambda i: b.each(0, stops[1], 1, lambda j: b.each(
            0, stops[2], 1, lambda k: innermost(i, j, k)
        )))  # fmt: skip

    found = run(write, 0, seen=np.zeros((5, 5, 5), np.float32), bounds=np.array(sizes, np.int32))
    expected = np.zeros((5, 5, 5))
    expected[: sizes[0], : sizes[1], : sizes[2]] = 1
    np.testing.assert_array_equal(found["seen"], expected)


def test_an_inner_fold_begins_with_what_the_outer_one_carries() -> None:
    def write(b: Any) -> None:
        one = b.splat(1.0, 1)
        (total,) = b.fold(0, 4, 1, [b.splat(0.0, 1)], lambda i, outer: b.fold(
            0, i, 1, [outer[0] + outer[0]], lambda _, inner: [inner[0] + one]
        ))  # fmt: skip
        b.pointer("total").store(total)

    expected = 0
    for i in range(4):
        expected = 2 * expected + i
    assert run(write, 0, total=nothing(1))["total"] == [expected]


def test_a_sweep_covers_every_size(lanes: int) -> None:
    """In whole vectors, then in smaller ones: sizes known when compiled, one kernel for all of them."""
    sizes = range(3 * lanes + 2)

    def write(b: Any) -> None:
        source, target = b.pointer("source"), b.pointer("target")
        for size in sizes:
            row, widths = target + size * len(sizes), []

            def copy(i: Any, width: int, row: Any = row, widths: list[int] = widths) -> None:
                widths.append(width)
                row.store(row.load(i, width) + source.load(i, width), i)

            b.sweep(0, size, copy)
            rest = [width for width in (8, 4, 2, 1) if width < lanes and size % lanes & width]
            assert widths == [lanes] * (size >= lanes) + rest

    found = run(write, 0, source=floats(len(sizes)), target=np.zeros((len(sizes), len(sizes)), np.float32))
    np.testing.assert_array_equal(found["target"], np.tril(np.tile(floats(len(sizes)), (len(sizes), 1)), -1))


@pytest.mark.parametrize("known", [True, False])
def test_blocks_get_smaller_until_all_is_done(known: bool) -> None:
    """Which numbers are visited, and how many at a time."""

    def write(b: Any) -> None:
        widths, bounds = b.pointer("widths"), b.pointer("bounds", INT32)
        first, last = (3, 18) if known else (b.as_index(bounds.load(k, 1)) for k in (0, 1))
        b.in_tiles(first, last, 8, lambda i, count: widths.store(
            widths.load(i, count) + b.splat(float(count), count), i
        ))  # fmt: skip

    found = run(write, 0, widths=np.zeros(30, np.float32), bounds=np.array([3, 18], np.int32))
    assert found["widths"].tolist() == [0] * 3 + [8] * 8 + [4] * 4 + [2] * 2 + [1] + [0] * 12


def test_what_is_apart_is_done_once() -> None:
    def write(b: Any) -> None:
        one = b.splat(1.0, 4)
        (total,) = b.apart([b.pointer("source").load(0, 4)], lambda values: [values[0] + one])
        b.fence()
        b.pointer("target").store(total)

    assert run(write, 0, source=floats(4), target=nothing(4))["target"].tolist() == (floats(4) + 1).tolist()


@pytest.mark.parametrize("most", [0, -4, 3, 6, 12])
def test_blocks_of_no_power_of_two_are_refused(most: int) -> None:
    """They would lead beyond the last number, and into memory that is nobody's."""

    def write(b: Any) -> None:
        b.in_tiles(b.index("first"), b.index("last"), most, lambda i, count: None)

    with pytest.raises(LaunchError, match=f": tiles must be of a power of two, got {most}; take 1, 2, 4 or 8$"):
        run(write, 20)


def test_a_tile_of_six_filters_never_runs_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segmentation fault that it was: `kernel.run` raises before there is any code."""
    monkeypatch.setattr(processor.Processor, "filters_per_tile", 6)
    machine = processor.processor()
    kernel = compiled_linear.weight_gradient_loop.__wrapped__(40, 30, True, machine)
    arrays = [np.ones(shape, np.float32) for shape in ((64, 30), (64, 40), (30, 40), (30,))]
    with pytest.raises(LaunchError, match="^linear_weight_gradient: tiles must be of a power of two, got 6"):
        loop.run(kernel, 30, arrays)


@pytest.mark.parametrize(("count", "width"), [(1, 1), (1, 8), (2, 2), (2, 16), (4, 1), (4, 2), (4, 4), (4, 16), (8, 4)])
def test_the_sums_of_some_vectors_stand_side_by_side(count: int, width: int) -> None:
    def write(b: Any) -> None:
        source = b.pointer("source")
        b.pointer("target").store(b.sums([source.load(k * width, width) for k in range(count)]))

    values = np.random.default_rng(5).integers(-99, 99, (count, width)).astype(np.float32)
    assert run(write, 0, source=values, target=nothing(count))["target"].tolist() == values.sum(axis=1).tolist()


def test_numbers_are_merged_into_one_and_one_is_spread() -> None:
    def write(b: Any) -> None:
        vector, target = b.pointer("source").load(0, 8), b.pointer("target")
        target.store(b.merged(vector, lambda x, y: (x < y).select(y, x)))
        target.store(b.spread(vector, 3), 1)

    values = np.array([2, 1, 0, 5, 3, 4, 9, 7], np.float32)
    assert run(write, 0, source=values, target=nothing(4))["target"].tolist() == [9, 2, 2, 2]


def test_the_numbers_of_two_vectors_take_turns(lanes: int) -> None:
    def write(b: Any) -> None:
        source = b.pointer("source")
        b.pointer("target").store(b.take_turns(source.load(), source.load(lanes)))

    found = run(write, 0, source=floats(2 * lanes), target=nothing(2 * lanes))
    assert found["target"].tolist() == floats(2 * lanes).reshape(2, lanes).T.ravel().tolist()


def test_a_sweep_covers_every_size_known_at_run_time(lanes: int) -> None:
    size = 3 * lanes + 2

    def write(b: Any) -> None:
        source, target = b.pointer("source"), b.pointer("target")

        def copy(i: Any, width: int) -> None:
            target.store(target.load(i, width) + source.load(i, width), i)

        b.sweep(b.index("first"), b.index("last"), copy)

    arguments = (loop.Argument("source", (size,)), loop.Argument("target", (size,), written=True))
    kernel = loop.Loop(f"builder_test_{next(numbers)}", (), arguments, write)
    for first, last in itertools.combinations_with_replacement(range(size), 2):
        memory = Borders()
        target = memory.place((size,), "float32")
        target[...] = 0
        loop.run(kernel, size, [floats(size), target], [slice(first, last)])
        assert np.flatnonzero(target).tolist() == list(range(first, last))
        np.testing.assert_array_equal(target[first:last], floats(size)[first:last])
        assert memory.damage() == []


def test_a_sweep_that_ends_before_it_starts_does_nothing(lanes: int) -> None:
    def write(b: Any) -> None:
        target, bounds = b.pointer("target"), b.pointer("bounds", INT32)
        start, stop = (b.as_index(bounds.load(place, 1)) for place in (0, 1))
        for ends in ((start, stop), (start, 3), (3 * lanes, stop), (3 * lanes, 3)):
            b.sweep(*ends, lambda i, width: target.store(b.splat(1.0, width), i))

    bounds = np.array([3 * lanes, 3], np.int32)
    found = run(write, 0, target=np.zeros(4 * lanes, np.float32), bounds=bounds)
    np.testing.assert_array_equal(found["target"], np.zeros(4 * lanes))


def test_loads_stores_and_spreads_of_every_width(lanes: int) -> None:
    size = lanes + 3

    def write(b: Any) -> None:
        source, copied, filled = b.pointer("source"), b.pointer("copied"), b.pointer("filled")
        for width in range(1, lanes + 1):
            row = width * size
            (copied + row).store(source.load(width % 4, width), 2)
            filled.store((source + 1).spread(width % 3, width), row + 1)
        copied.store(source.load(), 0)
        filled.store(source.spread(2), 0)

    found = run(write, 0, source=floats(size), copied=nothing(lanes + 1, size), filled=nothing(lanes + 1, size))
    copied, filled = nothing(lanes + 1, size), nothing(lanes + 1, size)
    copied[0, :lanes], filled[0, :lanes] = floats(lanes), 3
    for width in range(1, lanes + 1):
        copied[width, 2 : 2 + width] = floats(size)[width % 4 : width % 4 + width]
        filled[width, 1 : 1 + width] = 2 + width % 3
    np.testing.assert_array_equal(found["copied"], copied)
    np.testing.assert_array_equal(found["filled"], filled)


def test_integers_are_loaded_added_and_stored() -> None:
    def write(b: Any) -> None:
        values = b.pointer("integers", INT32)
        values.store(values.load(1, 5) + b.splat(3, 5, INT32), 2)

    found = run(write, 0, integers=np.arange(9, dtype=np.int32))
    assert found["integers"].tolist() == [0, 1, 4, 5, 6, 7, 8, 7, 8]


@pytest.mark.parametrize("kind", ["integers", "rounded"])
def test_sums_of_every_width(lanes: int, kind: str) -> None:
    """Halves are added to halves."""
    widths = [width for width in (1, 2, 4, 8, 16, 32) if width <= 2 * lanes]
    source = floats(2 * lanes) if kind == "integers" else np.float32(1) / floats(2 * lanes)

    def write(b: Any) -> None:
        for width in widths:
            b.pointer("sums").store(b.sum(b.pointer("source").load(0, width)), width)

    def by_halves(values: np.ndarray) -> np.float32:
        half = len(values) // 2
        return by_halves(values[:half] + values[half:]) if half else values[0]

    sums = run(write, 0, source=source, sums=nothing(2 * lanes + 1))["sums"]
    assert [sums[width] for width in widths] == [by_halves(source[:width]) for width in widths]


SPECIAL = np.array([-math.inf, -1, -0.0, 0.0, 1, 2, math.inf, math.nan], np.float32)


def test_comparisons_with_every_special_value() -> None:
    a, c = (np.ascontiguousarray(grid).ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))

    def write(b: Any) -> None:
        left, right, found = b.pointer("left").load(0, 64), b.pointer("right").load(0, 64), b.pointer("found")
        one, zero = b.splat(1.0, 64), b.splat(0.0, 64)
        answers = [
            left < right, left.differs(right), left.is_nan(), left.is_number(), (left < right) & right.is_number(),
            (left < right) | left.is_nan(), left.exceeds_or_nan(right),
        ]  # fmt: skip
        for row, bits in enumerate(answers):
            found.store(bits.select(one, zero), row * 64)
        found.store((left < right).select(left, right), 7 * 64)

    found = run(write, 0, left=a, right=c, found=nothing(8, 64))["found"]
    expected = [a < c, a != c, np.isnan(a), ~np.isnan(a), a < c, (a < c) | np.isnan(a), ~(a <= c)]
    expected += [np.where(a < c, a, c)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_arithmetic_is_rounded_once(lanes: int) -> None:
    rng = np.random.default_rng(5)
    a, c, d = (rng.standard_normal(lanes).astype(np.float32) for _ in range(3))
    a, d = np.abs(a), (-(a * c)).astype(np.float32)  # so that a * c + d is nothing but what rounding a * c lost

    def write(b: Any) -> None:
        left, right, third, found = *(b.pointer(name).load() for name in "acd"), b.pointer("found")
        answers = [left + right, left - right, left * right, left / right, b.fma(left, right, third), b.sqrt(left)]
        for row, answer in enumerate(answers):
            found.store(answer, row * lanes)

    found = run(write, 0, a=a, c=c, d=d, found=nothing(6, lanes))["found"]
    exact = (a.astype(np.float64) * c + d).astype(np.float32)
    np.testing.assert_array_equal(found, [a + c, a - c, a * c, a / c, exact, np.sqrt(a)])


def test_picking(lanes: int) -> None:
    def write(b: Any) -> None:
        source, picked = b.pointer("source"), b.pointer("picked")
        for row, (start, step) in enumerate(itertools.product(range(3), range(1, 6))):
            picked.store(b.pick(source.load(0, 5 * lanes), start, step), row * 5 * lanes)

    source, picked = floats(5 * lanes), nothing(15, 5 * lanes)
    found = run(write, 0, source=source, picked=nothing(15, 5 * lanes))["picked"]
    for row, (start, step) in enumerate(itertools.product(range(3), range(1, 6))):
        places = source[start::step]
        picked[row, : len(places)] = places
    np.testing.assert_array_equal(found, picked)


def test_numbers_at_chosen_places(lanes: int) -> None:
    def write(b: Any) -> None:
        source = b.pointer("source").load()
        b.pointer("found").store(b.chosen(source, [3, 0, 0, lanes - 1]))
        with pytest.raises(AssertionError):
            b.chosen(source, [0, lanes])

    found = run(write, 0, source=floats(lanes), found=nothing(4))["found"]
    assert found.tolist() == [4, 1, 1, lanes]


def test_doubles_keep_what_floats_round_away(lanes: int) -> None:
    small = (floats(lanes) * np.float32(2.0**-30)).astype(np.float32)

    def write(b: Any) -> None:
        x, one = b.pointer("x").load().widened(), b.splat(1.0, lanes, DOUBLE)
        numbers = b.number(b.index("last") * -3, lanes)
        for row, result in enumerate([one + x - one, b.sqrt(one + x + x) - one, numbers, one / numbers * numbers]):
            b.pointer("found").store(result.narrowed(), row * lanes)

    found = run(write, 5, x=small, found=nothing(4, lanes))["found"]
    np.testing.assert_array_equal(found[:1], [small])
    np.testing.assert_allclose(found[1:], [small, small * 0 - 15, small * 0 + 1], rtol=1e-5)


def test_integers_that_count_up_and_lie_within(lanes: int) -> None:
    def write(b: Any) -> None:
        numbers, inside = b.pointer("numbers", INT32), b.pointer("inside", INT32)
        rows = [(start, step) for start in (0, -3, b.index("last")) for step in (0, 1, 3)]
        for row, (start, step) in enumerate(rows):
            counted = b.count_up(start, step, lanes)
            one, zero = (b.splat(flag, lanes, INT32) for flag in (1, 0))
            numbers.store(counted, row * lanes)
            inside.store(b.within(counted, 7).select(one, zero), row * lanes)
            same = counted.equals(b.splat(5, lanes, INT32))
            b.pointer("same", INT32).store(same.select(one, zero), row * lanes)

    empty = np.full((9, lanes), -77, np.int32)
    found = run(write, 5, numbers=empty, inside=empty, same=empty)
    expected = np.array([start + step * np.arange(lanes) for start in (0, -3, 5) for step in (0, 1, 3)])
    np.testing.assert_array_equal(found["numbers"], expected)
    np.testing.assert_array_equal(found["inside"], (expected >= 0) & (expected < 7))
    np.testing.assert_array_equal(found["same"], expected == 5)


def test_indices_add_subtract_multiply_and_compare() -> None:
    def write(b: Any) -> None:
        n, minus = b.index("last"), b.as_index(b.splat(-4, 1, INT32))
        found = b.pointer("found", INT32)
        results = [
            n + 0, n + 3, 3 + n, n + minus, n - 2, n - minus, n * 1, n * 6, 6 * n, n * minus,
            b.smaller(n, 7), b.smaller(7, n), b.smaller(n, 4), b.smaller(4, n), b.smaller(n, minus), b.smaller(n, n),
        ]  # fmt: skip
        for place, result in enumerate(results):
            found.store(b.count_up(result, 0, 1), place)
        assert (b.smaller(2, 3), b.smaller(3, 2)) == (2, 2)

    found = run(write, 5, found=np.full(16, -77, np.int32))["found"]
    assert found.tolist() == [5, 8, 8, 1, 3, 9, 5, 30, 30, -20, 5, 5, 4, 4, -4, 5]


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_square_of_vectors_is_transposed(size: int) -> None:
    def write(b: Any) -> None:
        x, y = b.pointer("x"), b.pointer("y")
        for column, vector in enumerate(b.transposed([x.load(row * size, size) for row in range(size)])):
            y.store(vector, column * size)

    square = floats(size * size).reshape(size, size)
    np.testing.assert_array_equal(run(write, 0, x=square, y=nothing(size, size))["y"], square.T)


def test_places_below_a_number_known_at_run_time(lanes: int) -> None:
    for count in (0, 1, lanes - 1, lanes, lanes + 3):

        def write(b: Any) -> None:
            b.pointer("y").store(b.below(b.index("last")).select(b.splat(2.0), b.splat(5.0)))

        expected = [2 if place < count else 5 for place in range(lanes)]
        assert run(write, count, y=nothing(lanes))["y"].tolist() == expected


@pytest.mark.parametrize("distance", [-7, -1, 0, 1, 3, 4, 7])
def test_steps_to_go_a_distance(distance: int) -> None:
    for step, expected in ((1, max(0, distance)), (3, max(0, math.ceil(distance / 3)))):

        def write(b: Any, step: int = step) -> None:
            y = b.pointer("y", INT32)
            known_later = b.index("last") - (100 - distance)
            y.store(b.count_up(b.steps(known_later, step), 1, 1), 0)
            y.store(b.count_up(b.steps(distance, step), 1, 1), 1)
            y.store(b.count_up(distance - b.index("last"), 1, 1), 2)

        result = run(write, 100, y=np.full(3, -1, np.int32))["y"]
        assert result.tolist() == [expected, expected, distance - 100]
