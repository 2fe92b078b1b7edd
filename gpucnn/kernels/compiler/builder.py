"""Machine code in the words of a loop: turns, loads of vectors, fused multiply-adds.

A `Builder` writes one function, instruction by instruction, for LLVM to turn into machine code. What a Python `for` loop
emits is unrolled; what must be a loop at run time is a `fold` or an `each`, and an `unroll` is the one or the other: what
depends on sizes that may be large is never written out without a bound, as it takes 60 microseconds an instruction to
compile. Sizes that are Python ints are compiled in.

    def dot(b, x, y, size):                       # the sum of x[i] * y[i], for a size that the lanes divide
        zero = b.splat(0.0, b.lanes)
        (total,) = b.fold(0, size, b.lanes, [zero], lambda i, sums: [b.fma(x.load(i), y.load(i), sums[0])])
        return b.sum(total)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from gpucnn.errors import LaunchError
from gpucnn.kernels.compiler import MOST_WRITTEN_OUT, PARAMETERS
from gpucnn.kernels.compiler.values import DOUBLE, FLOAT, INT32, INT64, Index, Pointer, Size, Vector, integer, repeated

__all__ = ["Builder", "Index", "Pointer", "Size", "Vector"]

IN_TURN = 4
"""Vectors that `add_up` has side by side, as each addition waits for the one before."""


class Builder:
    """Writes one function over `arrays`, by name. `lanes`: how many floats a vector of the processor holds."""

    DOUBLE, INT32 = DOUBLE, INT32

    def __init__(self, name: str, arrays: Sequence[str], lanes: int) -> None:
        self.lanes = lanes
        self.module = ir.Module(name)
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [INT64] * len(PARAMETERS)), name)
        self._integers = dict(zip(PARAMETERS, function.args, strict=True))
        self._instructions = ir.IRBuilder(function.append_basic_block("entry"))
        self._places = {array: place for place, array in enumerate(arrays)}

    def finish(self) -> ir.Module:
        """The module, with the function complete."""
        self._instructions.ret_void()
        return self.module

    def index(self, parameter: str) -> Index:
        """One of the integers of PARAMETERS."""
        return Index(self._instructions, self._integers[parameter])

    def pointer(self, array: str, element: ir.Type = FLOAT) -> Pointer:
        """Where an array of `element` starts: one of the arrays that the function works on, or "scratch"."""
        address = self._integers["scratch"]
        if array != "scratch":
            address = self._entry(self._places[array])
        start = self._instructions.inttoptr(address, ir.PointerType())
        return Pointer(self._instructions, start, element, self.lanes)

    def known_late(self, number: int) -> Index:
        """A number as if it were known at run time alone: a loop that counts from it is one even if it runs only once."""
        return Index(self._instructions, INT64(number))

    def free_size(self) -> Index:
        """The size that arguments have in common whose first size is FREE: it stands in the table after the addresses."""
        return Index(self._instructions, self._entry(len(self._places)))

    def _entry(self, place: int) -> ir.Value:
        table = self._instructions.inttoptr(self._integers["arrays"], ir.PointerType())
        entry = self._instructions.gep(table, [INT64(place)], source_etype=INT64)
        return self._instructions.load(entry, typ=INT64)

    def splat(self, number: float, width: int | None = None, element: ir.Type = FLOAT) -> Vector:
        """A vector of one number."""
        kind = ir.VectorType(element, self.lanes if width is None else width)
        return Vector(self._instructions, ir.Constant(kind, [number] * kind.count))

    def count_up(self, start: Size, step: int, width: int) -> Vector:
        """The 32-bit integers start, start + step, start + 2 * step, and so on."""
        kind = ir.VectorType(INT32, width)
        if isinstance(start, int):
            return Vector(self._instructions, ir.Constant(kind, [start + step * i for i in range(width)]))
        first = self._instructions.trunc(start.value, INT32)
        steps = ir.Constant(kind, [step * i for i in range(width)])
        return Vector(self._instructions, self._instructions.add(repeated(self._instructions, first, width), steps))

    def number(self, size: Size, width: int) -> Vector:
        """An integer as a vector of doubles."""
        scalar = self._instructions.sitofp(integer(size), DOUBLE)
        return Vector(self._instructions, repeated(self._instructions, scalar, width))

    def within(self, a: Vector, stop: int) -> Vector:
        """Where a 32-bit integer is at least 0 and below `stop`. A vector of bits."""
        limit = self.splat(stop, a.width, INT32)
        return Vector(self._instructions, self._instructions.icmp_unsigned("<", a.value, limit.value))

    def below(self, stop: Size) -> Vector:
        """Which places of a vector have numbers below `stop`. A vector of bits."""
        limit = repeated(self._instructions, self._instructions.trunc(integer(stop), INT32), self.lanes)
        places = self.count_up(0, 1, self.lanes)
        return Vector(self._instructions, self._instructions.icmp_signed("<", places.value, limit))

    def as_index(self, a: Vector) -> Index:
        """The one number of a vector of a 32-bit integer."""
        number = self._instructions.extract_element(a.value, INT32(0))
        return Index(self._instructions, self._instructions.sext(number, INT64))

    def fma(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a * b + c, rounded once."""
        return self._intrinsic("llvm.fma", a, b, c)

    def sqrt(self, a: Vector) -> Vector:
        """The square roots."""
        return self._intrinsic("llvm.sqrt", a)

    def spread(self, a: Vector, width: int) -> Vector:
        """The first number of `a` in all places of a vector."""
        return self.chosen(a, [0] * width)

    def rounded(self, a: Vector) -> Vector:
        """The nearest integers, as floats."""
        return self._intrinsic("llvm.rint", a)

    def scaled(self, a: Vector, exponents: Vector) -> Vector:
        """a * 2^exponents, for integers from -252 to 254 as floats. What `exponents` of NaN does to a NaN leaves it one."""
        ins, kind = self._instructions, ir.VectorType(INT32, a.width)
        # With 1.5 * 2^23 added an integer stands in the low bits of a float.
        bits = ins.bitcast((exponents + self.splat(1.5 * 2**23, a.width)).value, kind)
        whole = ins.sub(bits, ir.Constant(kind, [0x4B400000] * a.width))
        half = ins.ashr(whole, ir.Constant(kind, [1] * a.width))
        for exponent in (half, ins.sub(whole, half)):  # one alone would leave the range of a float's exponent
            biased = ins.add(exponent, ir.Constant(kind, [127] * a.width))
            power = ins.bitcast(ins.shl(biased, ir.Constant(kind, [23] * a.width)), a.value.type)
            a = a * Vector(ins, power)
        return a

    def split(self, a: Vector) -> tuple[Vector, Vector]:
        """The reverse of `scaled`: a as numbers from sqrt(1/2) to sqrt(2), and the exponents that take them there.

        For floats above 0 that are not subnormal; what comes out for others is no power of theirs.
        """
        ins, kind = self._instructions, ir.VectorType(INT32, a.width)
        bits = ins.bitcast(a.value, kind)
        above = ins.sub(bits, ir.Constant(kind, [0x3F3504F3] * a.width))  # the bits of sqrt(1/2)
        exponents = ins.ashr(above, ir.Constant(kind, [23] * a.width))
        rest = ins.sub(bits, ins.shl(exponents, ir.Constant(kind, [23] * a.width)))
        return Vector(ins, ins.bitcast(rest, a.value.type)), Vector(ins, ins.sitofp(exponents, a.value.type))

    def merged(self, a: Vector, merge: Callable[[Vector, Vector], Vector]) -> Vector:
        """All numbers of a vector, of a power of two, merged into one: halves with halves."""
        while a.width > 1:
            half = a.width // 2
            a = merge(self.chosen(a, range(half)), self.chosen(a, range(half, a.width)))
        return a

    def sum(self, a: Vector) -> Vector:
        """The sum of all numbers, of a power of two, as a vector of one: halves are added to halves."""
        return self.merged(a, lambda low, high: low + high)

    def sums(self, vectors: Sequence[Vector]) -> Vector:
        """The sum of each of some vectors, whose number and width are powers of two, side by side. Adds as `sum` does.

        What is left of several stands in one vector, group by group, and the halves of all groups are added at once.
        """
        groups, length = 1, vectors[0].width
        while len(vectors) > 1 or length > 1:
            merged = min(2, len(vectors))
            starts = [group * length for group in range(merged * groups)]
            half = max(1, length // 2)
            low = [start + i for start in starts for i in range(half)]
            pairs = list(zip(vectors[::merged], vectors[merged - 1 :: merged], strict=True))
            halves = [self._shuffled(*pair, low) for pair in pairs]
            if length > 1:
                high = [place + half for place in low]
                halves = [part + self._shuffled(*pair, high) for part, pair in zip(halves, pairs, strict=True)]
            vectors, groups, length = halves, merged * groups, half
        return vectors[0]

    def take_turns(self, a: Vector, b: Vector) -> Vector:
        """The first number of `a`, the first of `b`, the second of `a`, and so on."""
        return self._shuffled(a, b, [place for i in range(a.width) for place in (i, a.width + i)])

    def transposed(self, rows: Sequence[Vector]) -> list[Vector]:
        """The columns of a square matrix, whose size is a power of two, from its rows.

        Each round lets the rows of the upper half and those of the lower half take turns, number by number.
        """
        rows, size = list(rows), len(rows)
        halves = [
            [place for i in range(start, start + size // 2) for place in (i, size + i)] for start in (0, size // 2)
        ]
        for _ in range(size.bit_length() - 1):
            pairs = zip(rows[: size // 2], rows[size // 2 :], strict=True)
            rows = [self._shuffled(upper, lower, half) for upper, lower in pairs for half in halves]
        return rows

    def chosen(self, a: Vector, places: Sequence[int]) -> Vector:
        """The numbers of `a` at `places`, any of them as often as wanted."""
        assert max(places) < a.width
        return self._shuffled(a, Vector(self._instructions, ir.Constant(a.value.type, ir.Undefined)), places)

    def pick(self, a: Vector, start: int, step: int) -> Vector:
        """Every `step`-th number of `a` from `start` on."""
        return self.chosen(a, range(start, a.width, step))

    def _shuffled(self, a: Vector, b: Vector, places: Sequence[int]) -> Vector:
        """The numbers at `places`, counted through `a` and then `b`."""
        order = ir.Constant(ir.VectorType(INT32, len(places)), list(places))
        return Vector(self._instructions, self._instructions.shuffle_vector(a.value, b.value, order))

    def fold(
        self,
        start: Size,
        stop: Size,
        step: int,
        initial: Sequence[Vector],
        body: Callable[[Size, list[Vector]], Sequence[Vector]],
    ) -> list[Vector]:
        """A loop that carries vectors: values = body(i, values) for i = start, start + step, ... below stop.

        Returns the last values, which are `initial` if there is no i.
        """
        if isinstance(start, int) and isinstance(stop, int) and stop - start <= step:
            return list(body(start, list(initial))) if start < stop else list(initial)
        ins = self._instructions
        known_to_run = isinstance(start, int) and isinstance(stop, int)
        before = ins.block
        loop, after = ins.append_basic_block("loop"), ins.append_basic_block("after")
        if known_to_run:
            ins.branch(loop)
        else:
            ins.cbranch(ins.icmp_signed("<", integer(start), integer(stop)), loop, after)
        ins.position_at_end(loop)
        counter = ins.phi(INT64)
        carried = [ins.phi(vector.value.type) for vector in initial]
        counter.add_incoming(integer(start), before)
        for phi, vector in zip(carried, initial, strict=True):
            phi.add_incoming(vector.value, before)
        values = body(Index(ins, counter), [Vector(ins, phi) for phi in carried])
        following = ins.add(counter, INT64(step))
        end = ins.block  # the body may have loops of its own
        counter.add_incoming(following, end)
        for phi, vector in zip(carried, values, strict=True):
            phi.add_incoming(vector.value, end)
        ins.cbranch(ins.icmp_signed("<", following, integer(stop)), loop, after)
        ins.position_at_end(after)
        results = [ins.phi(vector.value.type) for vector in initial]
        for phi, first, last in zip(results, initial, values, strict=True):
            if not known_to_run:
                phi.add_incoming(first.value, before)
            phi.add_incoming(last.value, end)
        return [Vector(ins, phi) for phi in results]

    def unroll(
        self,
        stop: int,
        step: int,
        initial: Sequence[Vector],
        body: Callable[[Size, list[Vector]], Sequence[Vector]],
        inner: int = 1,
    ) -> list[Vector]:
        """A `fold` from 0 on. Its turns, each with `inner` turns of its own, are written out one by one if they are few."""
        if len(range(0, stop, step)) * inner > MOST_WRITTEN_OUT:
            return self.fold(0, stop, step, initial, body)
        values = list(initial)
        for i in range(0, stop, step):
            values = list(body(i, values))
        return values

    def each(self, start: Size, stop: Size, step: int, body: Callable[[Size], Any]) -> None:
        """A loop: body(i) for i = start, start + step, ... below stop."""

        def run(i: Size, _: list[Vector]) -> list[Vector]:
            body(i)
            return []

        self.fold(start, stop, step, [], run)

    def sweep(self, start: Size, stop: Size, body: Callable[[Size, int], Any]) -> None:
        """body(i, width) over all elements from `start` to below `stop`: in whole vectors, then in smaller ones."""
        self.in_tiles(start, stop, self.lanes, body)

    def in_tiles(self, start: Size, stop: Size, most: int, body: Callable[[Size, int], Any]) -> None:
        """body(i, count) over all i from `start` to below `stop`, `most` of them at a time, then half as many, down to 1.

        Raises LaunchError unless `most` is a power of two: others would lead beyond `stop`.
        """
        if most < 1 or most & (most - 1):
            raise LaunchError(f"{self.module.name}: tiles must be of a power of two, got {most}; take 1, 2, 4 or 8")
        while most:
            whole = self._whole(start, stop, most)
            self.each(start, whole, most, functools.partial(lambda count, i: body(i, count), most))
            start, most = whole, most // 2

    def add_up(self, size: int, count: int, terms: Callable[[Size, int], Sequence[Vector]]) -> list[Vector]:
        """The sums of the `count` vectors terms(i, width) over all elements i below `size`, each a vector of one.

        They are always added up in the same order.
        """
        step = IN_TURN * self.lanes
        turns, whole = size // step * step, size // self.lanes * self.lanes

        def add_turn(i: Size, totals: list[Vector]) -> list[Vector]:
            fresh = [term for turn in range(IN_TURN) for term in terms(i + turn * self.lanes, self.lanes)]
            return [total + term for total, term in zip(totals, fresh, strict=True)]

        def add(width: int) -> Callable[[Size, list[Vector]], list[Vector]]:
            return lambda i, totals: [total + term for total, term in zip(totals, terms(i, width), strict=True)]

        vectors = self.fold(0, turns, step, [self.splat(0.0)] * (IN_TURN * count), add_turn)
        totals = [
            (vectors[k] + vectors[k + count]) + (vectors[k + 2 * count] + vectors[k + 3 * count]) for k in range(count)
        ]
        totals = self.fold(turns, whole, self.lanes, totals, add(self.lanes))
        rest = self.fold(whole, size, 1, [self.splat(0.0, 1)] * count, add(1))
        return [self.sum(total) + one for total, one in zip(totals, rest, strict=True)]

    def _whole(self, start: Size, stop: Size, step: int) -> Size:
        """The end of the last whole step, of a power of two, between `start` and `stop`."""
        if isinstance(start, int) and isinstance(stop, int):
            return start + max(0, stop - start) // step * step
        ins = self._instructions
        count = ins.sub(integer(stop), integer(start))
        count = ins.select(ins.icmp_signed("<", count, INT64(0)), INT64(0), count)
        return Index(ins, ins.add(integer(start), ins.and_(count, INT64(-step))))

    def fence(self) -> None:
        """Nothing that follows is loaded before this place. It is no instruction of the processor's.

        LLVM would load ahead of a long row of multiply-adds, until there are more vectors than registers, and then keep sums
        on the stack.
        """
        self._instructions.fence("acq_rel", "singlethread")

    def apart(self, values: Sequence[Vector], body: Callable[[list[Vector]], Sequence[Vector]]) -> list[Vector]:
        """body(values), as a loop that runs once: LLVM does not mix its instructions with others."""
        return self.fold(self.known_late(0), 1, 1, values, lambda _, values: body(values))

    def smaller(self, a: Size, b: Size) -> Size:
        """The smaller of two integers."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        ins = self._instructions
        return Index(ins, ins.select(ins.icmp_signed("<", integer(a), integer(b)), integer(a), integer(b)))

    def steps(self, distance: Size, step: int) -> Size:
        """How many steps it takes to go a distance, or beyond it; none for one that is negative."""
        if isinstance(distance, int):
            return max(0, -(-distance // step))
        ins = self._instructions
        far = ins.select(ins.icmp_signed("<", distance.value, INT64(0)), INT64(0), distance.value)
        return Index(ins, far if step == 1 else ins.udiv(ins.add(far, INT64(step - 1)), INT64(step)))

    def _intrinsic(self, name: str, *operands: Vector) -> Vector:
        kind = operands[0].value.type
        full_name = f"{name}.v{kind.count}{'f64' if kind.element == DOUBLE else 'f32'}"
        function = self.module.globals.get(full_name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind, [kind] * len(operands)), full_name)
        return Vector(self._instructions, self._instructions.call(function, [operand.value for operand in operands]))
