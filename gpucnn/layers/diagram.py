"""A model's picture as SVG: boxes with shapes and parameters, one below the other, and what goes past them beside."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gpucnn.atomic_file import telling_of, write_atomically
from gpucnn.checks import Shape, as_path
from gpucnn.errors import ArgumentError
from gpucnn.html_fragments import escaped
from gpucnn.layers.boxes import Frame, LayerBox, Picture, Side, picture_of
from gpucnn.layers.costs import zero_images, zero_model
from gpucnn.layers.graph import IMAGES, model_graph
from gpucnn.layers.summary import twin
from gpucnn.text import counted, shape_text, value_text

WIDTH, HEIGHT = 520, 40
"""Of a box, in pixels."""
SIDE_WIDTH, SIDE_HEIGHT = 304, 56
"""Of a box beside the trunk."""
GAP, MARGIN, HEAD, LANE = 22, 24, 24, 16
"""Between boxes; around everything, and within a frame; a frame's title; between lines beside the trunk."""
BOLD, PLAIN = 7.4, 6.1
"""How wide a letter is at most, about: of a path, and of the smaller text."""

STYLE = """
.gpucnn-diagram { --ground: #ffffff; --frame: #f3f5f8; --edge: #d0d7de; --box: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #818b98;
 --weights: #0969da; --pooling: #1a7f37; --norm: #818b98; --activation: #bf8700; --joining: #cf222e; --other: #818b98;
 font: 11px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { .gpucnn-diagram { --ground: #0d1117; --frame: #161b22; --edge: #3d444d; --box: #0d1117;
 --ink: #f0f6fc; --faint: #9198a1; --line: #8b949e; --weights: #4493f8; --pooling: #3fb950; --norm: #9198a1; --activation: #d29922;
 --joining: #f85149; --other: #9198a1; } }
.gpucnn-diagram text { fill: var(--faint); }
.gpucnn-diagram .name { fill: var(--ink); font-size: 13px; font-weight: 600; }
.gpucnn-diagram .shape { fill: var(--ink); }
.gpucnn-diagram .model { fill: var(--ink); font-size: 18px; font-weight: 600; }
.gpucnn-diagram .right { text-anchor: end; }
.gpucnn-diagram .middle { text-anchor: middle; }
.gpucnn-diagram .ground { fill: var(--ground); }
.gpucnn-diagram .frame { fill: var(--frame); stroke: var(--edge); }
.gpucnn-diagram .box { fill: var(--box); stroke: var(--edge); }
.gpucnn-diagram .way { fill: none; stroke: var(--line); stroke-width: 1.5; }
.gpucnn-diagram .residual { fill: none; stroke: var(--joining); stroke-width: 1.5; }
.gpucnn-diagram .head { fill: var(--line); }
.gpucnn-diagram .residual-head { fill: var(--joining); }
"""


class Diagram(str):
    """The text of an SVG file, in ASCII; notebooks show the picture. A `print` has the text, its `repr` says what it is."""

    def __repr__(self) -> str:
        name = self.partition("<title>")[2].partition("</title>")[0]
        return f"<Diagram of {name}, {len(self):,} letters of SVG>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a whole file, or none: .svg, for browsers to know it. ArgumentError for another ending, RunError if it cannot be written."""
        place = as_path(path, "path")
        if place.suffix.lower() != ".svg":
            raise ArgumentError(f"path: a diagram is an SVG file, got {value_text(str(path))}; call it e.g. model.svg")
        with telling_of(place):
            write_atomically(place, self.encode("ascii"))

    def _repr_svg_(self) -> str:
        return str(self)


def diagram_of(model: Any, input_shape: Shape) -> Diagram:
    """The picture of `model`, a layer that stays as it is, for an image of `input_shape` (C, H, W)."""
    zeros = zero_model(lambda: twin(model))
    with np.errstate(all="ignore"):  # zeros may be divided by zeros
        graph = model_graph(zeros, zero_images(zeros, 1, input_shape))
    picture = picture_of(zeros, graph)
    parameters, cost = model.parameter_count(), zeros.multiply_adds((1, *input_shape))
    foot = f"{counted(parameters, 'parameter')}, {counted(cost, 'multiply-add')} an image"
    return _Drawing(type(model).__name__, shape_text(("N", *input_shape)), foot, picture).svg()


class _Way(NamedTuple):
    """Something beside the trunk, from `start` to `end`, both heights; it takes `width` from `x` on."""

    side: Side
    start: float
    end: float
    starts_at_box: bool
    is_in_frame: bool
    x: float = 0
    width: float = 0


class _Drawing:
    """The picture with the place of everything in it."""

    def __init__(self, name: str, input_shape: str, foot: str, picture: Picture) -> None:
        self._name, self._input_shape, self._foot, self._picture = name, input_shape, foot, picture
        self._left = MARGIN * 2 if any(frame.blocks for frame in picture.frames) else MARGIN
        self._right, self._middle = self._left + WIDTH, self._left + WIDTH / 2
        numbers = [number for frame in picture.frames for number in frame.numbers]
        self._after = dict(pairwise([IMAGES, *numbers]))
        self._frame_of = {number: place for place, frame in enumerate(picture.frames) for number in frame.numbers}
        self._tops: dict[int, float] = {}
        self._frame_heights: list[tuple[float, float]] = []
        self._bottom = self._place_trunk()
        self._ways = self._place_ways()

    def svg(self) -> Diagram:
        """The text of the file."""
        inside = [way.x + way.width for way in self._ways if way.is_in_frame]
        frame_right = max([self._right, *inside]) + MARGIN / 2
        right = max([frame_right, *(way.x + way.width for way in self._ways)]) + MARGIN
        height = self._bottom + MARGIN
        size = f'width="{right:g}" height="{height:g}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gpucnn-diagram" role="img" {size} viewBox="0 0 {right:g} {height:g}">',
            f"<title>{escaped(self._name)} for images {escaped(self._input_shape)}</title>",
            f"<desc>{escaped('; '.join(self._lines()))}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" {size} rx="8"/>',
            _label("model", self._left, MARGIN + 16, self._name),
        ]
        for frame, (top, bottom) in zip(self._picture.frames, self._frame_heights, strict=True):
            parts += self._frame(frame, top, bottom, frame_right)
        parts += self._images()
        for number in self._tops:
            if number != IMAGES:
                parts += self._box(number, self._left, self._tops[number], WIDTH)
        for link in sorted(self._picture.links):
            parts += self._link(*link)
        for way in self._ways:
            parts += self._way(way)
        parts += [_label("shape", self._left, self._bottom, self._foot), "</svg>\n"]
        return Diagram("\n".join(parts).encode("ascii", "xmlcharrefreplace").decode())

    def _place_trunk(self) -> float:
        """Find the heights of boxes and frames. Returns where the foot's text stands."""
        y = self._tops[IMAGES] = MARGIN + 30.0
        y += HEIGHT
        for frame in self._picture.frames:
            y += GAP
            top = y
            if frame.blocks:
                y += HEAD + GAP * 0.75
            for place, number in enumerate(frame.numbers):
                y += GAP if place else 0
                for side in self._picture.sides:
                    if side.target == number and side.boxes:  # they need room
                        y = max(y, self._start(side) + len(side.boxes) * (SIDE_HEIGHT + GAP) - HEIGHT / 2 + 8)
                self._tops[number] = y
                y += HEIGHT
            y += MARGIN / 2 if frame.blocks else 0
            self._frame_heights.append((top, y))
        return y + GAP + 8

    def _start(self, side: Side) -> float:
        """The height at which something leaves the trunk: above the box after its source, or beside that if no line leads there."""
        following = self._after[side.source]
        if (side.source, following) not in self._picture.links:
            return self._tops[side.source] + HEIGHT / 2
        return self._tops[following] - 12 if following in self._tops else self._tops[side.source] + HEIGHT + GAP - 12

    def _place_ways(self) -> list[_Way]:
        """Find a place for all that goes past the trunk: short ones near it, others beside those that they meet."""
        found = []
        arriving = Counter(side.target for side in self._picture.sides)
        arrived: Counter[int] = Counter()
        for side in self._picture.sides:
            at_box = (side.source, self._after[side.source]) not in self._picture.links
            first = side.source if at_box else self._after[side.source]
            in_frame = self._frame_of.get(first) == self._frame_of[side.target]
            in_frame = in_frame and bool(self._picture.frames[self._frame_of[side.target]].blocks)
            arrived[side.target] += 1
            end = self._tops[side.target] + HEIGHT * arrived[side.target] / (arriving[side.target] + 1)
            width = SIDE_WIDTH if side.boxes else 0
            found.append(_Way(side, self._start(side), end, at_box, in_frame, width=width))
        placed: list[_Way] = []
        for way in sorted(found, key=lambda way: (not way.is_in_frame, way.end - way.start)):
            edge: float = self._right
            if not way.is_in_frame:
                edge = max([edge, *(one.x + one.width for one in placed if one.is_in_frame)])
                edge += MARGIN / 2 if self._left > MARGIN else 0
            meeting = [one.x + one.width for one in placed if one.start < way.end and way.start < one.end]
            placed.append(way._replace(x=max([edge, *meeting]) + LANE))
        return placed

    def _images(self) -> list[str]:
        top = self._tops[IMAGES]
        return [
            f'<rect class="box" x="{self._left:g}" y="{top:g}" width="{WIDTH}" height="{HEIGHT}" rx="{HEIGHT / 2:g}"/>',
            _label("name", self._left + 18, top + 25, "images"),
            _label("shape right", self._right - 18, top + 25, self._input_shape),
        ]

    def _frame(self, frame: Frame, top: float, bottom: float, right: float) -> Iterator[str]:
        if not frame.blocks:
            return
        left, count = self._left - MARGIN / 2, len(frame.blocks)
        name = frame.blocks[0] if count == 1 else f"{frame.blocks[0]} to {_after(frame.blocks[-1], frame.blocks[0])}"
        kind = frame.kind if count == 1 else f"{frame.kind}, {count} times"
        yield f'<rect class="frame" x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" rx="8"/>'
        yield (
            f'<text x="{self._left:g}" y="{top + 17:g}"><tspan class="name">{escaped(_fitting(name, 40))}</tspan>'
            f'<tspan dx="8">{escaped(_fitting(kind, 30))}</tspan></text>'
        )
        beside = [number for side in self._picture.sides if side.target in frame.numbers for number in side.boxes]
        boxes = [box for number in (*frame.numbers, *beside) for box in self._picture.boxes[number]]
        parameters = sum(box.parameters for box in boxes)
        yield _label("right", right - 10, top + 17, counted(parameters, "parameter") if parameters else "")

    def _box(self, number: int, left: float, top: float, width: float) -> list[str]:
        boxes = self._picture.boxes[number]
        path, kind, detail, shape, parameters = _texts(boxes, self._block_of(number))
        is_side = width != WIDTH
        height = SIDE_HEIGHT if is_side else HEIGHT
        right = left + width - 10
        parts = [
            f"<g><title>{escaped(_line(boxes))}</title>",
            f'<rect class="box" x="{left:g}" y="{top:g}" width="{width}" height="{height}" rx="4"/>',
            f'<rect x="{left:g}" y="{top:g}" width="4" height="{height}" rx="2" fill="var(--{boxes[0].colour})"/>',
            _label("name", left + 14, top + 17, _fitting(path, (width - 34 - len(shape) * PLAIN) / BOLD)),
            _label("shape right", right, top + 17, shape),
        ]
        space = (width - 34 - len(parameters) * PLAIN) / PLAIN
        told = list(filter(None, (kind, detail)))
        lines = told if is_side else [", ".join(told)]
        parts.append(_label("right", right, top + 32, parameters))
        for place, (line, letters) in enumerate(zip(lines, (space, (width - 24) / PLAIN), strict=False)):
            parts.append(_label("", left + 14, top + 32 + 15 * place, _fitting(line, letters)))
        return [*filter(None, parts), "</g>"]

    def _block_of(self, number: int) -> str:
        """The block whose frame a box is in, as far as paths in it are told from there; "" for others."""
        target = next((side.target for side in self._picture.sides if number in side.boxes), number)
        blocks = self._picture.frames[self._frame_of[target]].blocks
        return blocks[0] if blocks and self._picture.boxes[number][0].block == blocks[0] else ""

    def _link(self, source: int, target: int) -> Iterator[str]:
        """An arrow down the trunk; a frame's title interrupts it."""
        start, end, x = self._tops[source] + HEIGHT, self._tops[target], self._middle
        frame = self._frame_of[target]
        if source == IMAGES or self._frame_of[source] != frame:
            top, _ = self._frame_heights[frame]
            if self._picture.frames[frame].blocks:
                yield f'<path class="way" d="M{x:g} {start:g}V{top:g}"/>'
                start = top + HEAD
        yield f'<path class="way" d="M{x:g} {start:g}V{end - 5:g}"/>'
        yield f'<path class="head" d="M{x:g} {end:g}l-4 -7h8z"/>'

    def _way(self, way: _Way) -> Iterator[str]:
        """What goes past the trunk: a line that turns twice, with the boxes on it."""
        x = way.x + way.width / 2
        begin, turn = (self._right if way.starts_at_box else self._middle), 8
        line = f"M{begin:g} {way.start:g}H{x - turn:g}q{turn} 0 {turn} {turn}"
        total = len(way.side.boxes) * (SIDE_HEIGHT + GAP) - GAP
        top = (way.start + way.end - total) / 2
        for number in way.side.boxes:
            yield from self._box(number, way.x, top, SIDE_WIDTH)
            line += f"V{top:g}M{x:g} {top + SIDE_HEIGHT:g}"
            top += SIDE_HEIGHT + GAP
        line += f"V{way.end - turn:g}q0 {turn} {-turn} {turn}H{self._right + 6:g}"
        yield f'<path class="residual" d="{line}"/>'
        yield f'<path class="residual-head" d="M{self._right:g} {way.end:g}l7 -4v8z"/>'

    def _lines(self) -> Iterator[str]:
        for frame in self._picture.frames:
            for number in frame.numbers:
                yield _line(self._picture.boxes[number])
        yield self._foot


def _texts(boxes: Sequence[LayerBox], block: str) -> tuple[str, str, str, str, str]:
    """Path within `block`, kind, detail, shape and parameters; of several boxes that one stands for, from the least to the most."""
    box = boxes[0]
    inside = [path.removeprefix(f"{block}.") for path in box.paths]
    first, *others = box.paths if inside[0][:1].isdigit() else inside  # a number alone says little
    short = [_after(path, first) for path in others]
    path = f"{first} to {short[-1]}" if box.is_layer and len(short) > 1 else ", ".join([first, *short])
    kind = " + ".join(box.kinds) or ("" if box.detail else counted(len(box.paths), "function").partition(" ")[2])
    detail = box.detail
    if box.filters:
        detail = f"{_several([one.filters for one in boxes], 'filter')} {detail}"
    rows = box.shape[0]
    sizes = [_range(sizes, "") for sizes in zip(*(one.shape[1:] for one in boxes), strict=True)]
    shape = shape_text(("N" if rows == 1 else f"{rows} * N", *sizes))
    parameters = _several([one.parameters for one in boxes], "parameter")
    return path, kind, detail, shape, parameters


def _after(path: str, first: str) -> str:
    """A path that is told after `first`: the last name alone if they are in the same layer, as in "conv.0, .1"."""
    around, _, name = path.rpartition(".")
    return f".{name}" if around and around == first.rpartition(".")[0] else path


def _several(numbers: Sequence[int], noun: str) -> str:
    """6 filters, 12-48 filters, 1 filter; nothing for none."""
    most = max(numbers)
    return f"{_range(numbers)} {noun}{'s' * (most > 1)}" if most else ""


def _range(numbers: Sequence[int], form: str = ",") -> str:
    least, most = min(numbers), max(numbers)
    return f"{most:{form}}" if least == most else f"{least:{form}}-{most:{form}}"


def _line(boxes: Sequence[LayerBox]) -> str:
    """All that there is to say of a box: what is shown when the mouse rests on it."""
    box = boxes[0]
    _, kind, detail, shape, parameters = _texts(boxes, "")
    where = f" in {box.block}" if box.block and not box.is_layer else ""
    times = f", {len(boxes)} times" if len(boxes) > 1 else ""
    return ", ".join(filter(None, (f"{' '.join(box.paths)}{where}: {kind}", detail, shape, parameters))) + times


def _label(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escaped(text)}</text>' if text else ""


def _fitting(text: str, letters: float) -> str:
    """`text`, cut where it would be longer than so many letters."""
    return text if len(text) <= letters else f"{text[: max(int(letters) - 2, 1)]}..."
