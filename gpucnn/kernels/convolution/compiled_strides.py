"""Planes put together from their phases: the rows and columns of a stride, every stride-th from one start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gpucnn.checks import Pair
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size


def phase_size(size: Pair, stride: Pair, phase: Pair) -> Pair:
    """How many rows and columns of a plane of `size` belong to a phase."""
    rows, columns = (len(range(phase[axis], size[axis], stride[axis])) for axis in (0, 1))
    return rows, columns


@cached
def interleave(size: Pair, stride: Pair, present: tuple[Pair, ...]) -> Loop:
    """Of each phase that is `present` its rows and columns (P, h, w), in that order -> planes (P, H, W).

    What belongs to the other phases becomes 0. No phase is empty.

        phases (0, 0) and (0, 1)    a b c d  and  e f g h
        row 0 of the plane          a e b f c g d h
    """
    height, width = size

    def write(b: Builder) -> None:
        planes = b.pointer("planes")
        sources = {phase: b.pointer(_name(phase)) for phase in present}

        def one_plane(p: Size) -> None:
            for first in range(min(stride[0], height)):
                rows = phase_size(size, stride, (first, 0))[0]
                b.each(0, rows, 1, partial(one_row, p, first))

        def one_row(p: Size, first: int, y: Size) -> None:
            target = planes + (p * height * width + (y * stride[0] + first) * width)
            lines: list[Pointer | None] = []
            for column in range(min(stride[1], width)):
                rows, columns = phase_size(size, stride, (first, column))
                source = sources.get((first, column))
                lines.append(None if source is None else source + (p * rows + y) * columns)
            whole = _interleave_vectors(b, lines, width, target) if stride[1] == 2 and len(lines) == 2 else 0
            for column, line in enumerate(lines):
                columns = phase_size(size, stride, (first, column))[1]
                b.each(whole, columns, 1, _copy_one(b, line, target + column, stride[1]))

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = [Argument(_name(phase), (EACH, *phase_size(size, stride, phase))) for phase in present]
    arguments.append(Argument("planes", (EACH, height, width), written=True))
    return Loop("interleave", (size, stride, present), tuple(arguments), write)


def _name(phase: Pair) -> str:
    return f"phase_{phase[0]}_{phase[1]}"


def _copy_one(b: Builder, line: Pointer | None, target: Pointer, stride: int) -> Callable[[Size], None]:
    def copy(x: Size) -> None:
        target.store(b.splat(0.0, 1) if line is None else line.load(x, 1), x * stride)

    return copy


def _interleave_vectors(b: Builder, lines: Sequence[Pointer | None], width: int, target: Pointer) -> int:
    """The whole vectors of two lines that take turns; how many numbers of each that are."""
    whole = width // 2 // b.lanes * b.lanes

    def some(x: Size) -> None:
        both = [b.splat(0.0) if line is None else line.load(x) for line in lines]
        target.store(b.take_turns(*both), x * 2)

    b.each(0, whole, b.lanes, some)
    return whole
