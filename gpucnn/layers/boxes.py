"""What a model's picture shows: a box for each layer, the trunk from the images to the output, and what stands beside it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from gpucnn.checks import Shape
from gpucnn.layers.graph import IMAGES, Constant, GraphNode, Input, ModelGraph, Saved

MOST_BOXES = 48
"""Pictures of more layers than these are folded: what is alike and stands one after the other is shown once."""

COLOURS = {
    "weights": ("conv", "linear", "matmul"),
    "pooling": ("max_pool", "avg_pool", "adaptive"),
    "norm": ("batch_norm", "layer_norm", "group_norm", "instance_norm", "local_response_norm"),
    "activation": ("relu", "leaky", "prelu", "gelu", "silu", "elu", "selu", "hard", "sigm", "tanh", "soft", "mish"),
    "joining": ("add", "concatenate", "stack"),
}
"""The colours of boxes, and how the names of their functions begin."""


class LayerBox(NamedTuple):
    """One layer, or one function that a layer with others within calls itself; or several of them, see `_joined`."""

    paths: tuple[str, ...]
    """Of the layers; the names of functions."""
    is_layer: bool
    kinds: tuple[str, ...]
    """The layers' classes, and ReLU where it is computed along."""
    colour: str
    """A key of `COLOURS`, or "other"."""
    filters: int
    """How many filters it has; 0 for what has none."""
    detail: str
    """What else matters: kernel, stride; "again" where a box before it is of the same layer."""
    shape: Shape
    parameters: int
    """Those that no earlier box has used."""
    inputs: tuple[int, ...]
    """The numbers of the boxes whose outputs it takes; -1 for the images."""
    block: str
    """The path of the layer around it that is shown as a frame; "" if there is none."""


class Side(NamedTuple):
    """Boxes beside the trunk, one after the other, between two in it; none for what is taken as it is."""

    source: int
    boxes: tuple[int, ...]
    target: int


class Frame(NamedTuple):
    """Boxes of the trunk that belong to one block, or to several that are alike and stand one after the other."""

    blocks: tuple[str, ...]
    """Their paths; none where there is no frame to be seen."""
    kind: str
    """The class of the blocks."""
    numbers: tuple[int, ...]


class Picture(NamedTuple):
    """What is shown where. Boxes go by their numbers."""

    boxes: dict[int, list[LayerBox]]
    """Each with those that it stands for, too."""
    frames: list[Frame]
    """The trunk, from the images to the output."""
    sides: list[Side]
    links: set[tuple[int, int]]
    """Which neighbours of the trunk take what the one before gives."""


def picture_of(model: Any, graph: ModelGraph) -> Picture:
    """What is shown of a model. What has more than `MOST_BOXES` is folded."""
    boxes = _boxes(model, graph)
    is_folded = len(boxes) > MOST_BOXES
    if is_folded:
        boxes = _joined(boxes)
    trunk, beside = _trunk(boxes)
    frames, stands_for = _frames(boxes, trunk, beside, is_folded)
    kinds = {path: type(layer).__name__ for path, layer in model.named_layers()}
    frames = [frame._replace(kind=kinds[frame.blocks[0]]) if frame.blocks else frame for frame in frames]
    shown = [number for frame in frames for number in frame.numbers]
    after = dict(pairwise([IMAGES, *shown]))
    links: set[tuple[int, int]] = set()
    sides: dict[Side, None] = {}
    for number in shown:
        for source in (stands_for[one] for one in boxes[number].inputs):
            if after.get(source) == number:
                links.add((source, number))
            elif source in after:
                sides[Side(source, (), number)] = None
    for side in beside:
        if side.target in shown:
            sides[Side(stands_for[side.source], side.boxes, side.target)] = None
    copies: dict[int, list[LayerBox]] = {}
    for number, box in enumerate(boxes):
        copies.setdefault(stands_for[number], []).append(box)
    return Picture(copies, frames, list(sides), links)


def _boxes(model: Any, graph: ModelGraph) -> list[LayerBox]:
    """The boxes of a graph, in its order; what one call of a layer that has none within computes is one box."""
    layers = dict(reversed(list(model.named_layers())))
    members = [*model.named_parameters(), *model.named_buffers()]
    sizes = {path: member.shape for path, member in members}
    uncounted = {path: parameter.size for path, parameter in model.named_parameters()}
    innermost = {path for path, layer in layers.items() if len(list(layer._layers(""))) == 1}
    boxes: list[LayerBox] = []
    box_of = {IMAGES: IMAGES}
    before = None
    called: set[str] = set()
    computed: set[tuple[str, ...]] = set()
    for number, node in enumerate(graph.nodes):
        is_layer = node.path in innermost
        kind = type(layers[node.path]).__name__
        saved = [value.path for value in node.arguments.values() if isinstance(value, Saved)]
        is_more = is_layer and node.path == before and not (saved and (node.function, *saved) in computed)
        is_again = is_layer and not is_more and node.path in called
        called.add(node.path)
        computed.add((node.function, *saved))
        box = LayerBox(
            (node.path or kind if is_layer else node.function,),
            is_layer,
            (kind,) * is_layer + tuple(_with_it(node)),
            next((colour for colour, names in COLOURS.items() if node.function.startswith(names)), "other"),
            _filters(node, sizes),
            ", ".join([*_details(node, sizes), *["again"] * is_again]),
            node.shape,
            sum(uncounted.pop(path, 0) for path in saved),
            tuple(dict.fromkeys(box_of[one] for one in node.inputs)),
            _block(node.path, layers),
        )
        if is_more:
            boxes[-1] = _together(boxes[-1], box._replace(paths=(), kinds=()), len(boxes) - 1)
        else:
            boxes.append(box)
        box_of[number], before = len(boxes) - 1, node.path
    return boxes


def _with_it(node: GraphNode) -> Iterator[str]:
    """What a function computes along with its own."""
    if isinstance(node.arguments.get("residual"), Input):
        yield "residual"
    if node.arguments.get("activation") == "relu":
        yield "ReLU"


def _together(first: LayerBox, second: LayerBox, number: int) -> LayerBox:
    """Two boxes as one, of which the first has that `number`, and the second takes what it gives."""
    return first._replace(
        paths=first.paths + second.paths,
        is_layer=first.is_layer or second.is_layer,
        kinds=first.kinds + second.kinds,
        colour=second.colour if first.colour == "other" else first.colour,
        filters=first.filters or second.filters,
        detail=", ".join(filter(None, (first.detail, second.detail))),
        shape=second.shape,
        parameters=first.parameters + second.parameters,
        inputs=tuple(dict.fromkeys(one for one in (*first.inputs, *second.inputs) if one != number)),
    )


def _block(path: str, layers: Mapping[str, Any]) -> str:
    """The nearest layer at or around `path` that has others within, if it is more than a list of layers, or a list of innermost ones."""
    names = path.split(".") if path else []
    around = [".".join(names[:end]) for end in range(len(names), 0, -1)]
    around = [one for one in around if len(list(layers[one]._layers(""))) > 1]
    own = (one for one in around if not hasattr(layers[one], "__len__"))  # a list has a length
    flat = [one for one in around[:1] if not any(len(list(layer._layers(""))) > 1 for layer in layers[one].children())]
    return next(own, flat[0] if flat else "")


def _filters(node: GraphNode, sizes: Mapping[str, Shape]) -> int:
    weight = node.arguments.get("weight")
    if not node.function.startswith("conv") or not isinstance(weight, Saved):
        return 0
    shape = sizes[weight.path]
    return shape[1] * int(node.arguments["groups"]) if "transpose" in node.function else shape[0]


def _details(node: GraphNode, sizes: Mapping[str, Shape]) -> Iterator[str]:
    """What matters of a call, beside the number of filters."""
    arguments, weight = node.arguments, node.arguments.get("weight")
    shape = sizes[weight.path] if isinstance(weight, Saved) else ()
    if node.function.startswith("conv") and shape:
        yield _size(shape[2:])
        yield from _window(arguments)
        groups = arguments.get("groups", 1)
        if groups != 1:
            yield "depthwise" if groups == shape[0] and shape[1] == 1 else f"{groups} groups"
    elif node.function.startswith(("max_pool", "avg_pool")):
        kernel = arguments["kernel_size"]
        yield _size((kernel, kernel) if node.function.endswith("2d") and isinstance(kernel, int) else kernel)
        yield from _window({**arguments, "stride": kernel if arguments["stride"] is None else arguments["stride"]})
    elif node.function == "linear" and len(shape) == 2:
        yield f"{shape[1]:,} to {shape[0]:,}"
    elif node.function == "concatenate" and arguments["axis"] == 1:
        yield "of the channels"
    elif node.function == "mean" and arguments["axis"] == (2, 3):
        yield "of each map"
    elif node.function == "getitem":
        index = arguments["index"]
        yield f"x[{', '.join(map(_index, index if isinstance(index, tuple) else (index,)))}]"


def _window(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Stride and dilation, where they are not 1. Of padding the shapes tell."""
    for name in ("stride", "dilation"):
        value = arguments.get(name, 1)
        if value not in (1, (1,), (1, 1)):
            yield f"{name} {_size(value)}"


def _size(value: Any) -> str:
    """3x3; a single number, or text, as it is."""
    if not isinstance(value, tuple):
        return str(value)
    return _size(value[0]) if len(value) == 1 else "x".join(map(_size, value))


def _index(index: Any) -> str:
    """A part of an index as Python writes it."""
    if isinstance(index, Constant):
        return "array"
    if not isinstance(index, slice):
        return "..." if index is ... else str(index)
    start, stop, step = ("" if part is None else str(part) for part in (index.start, index.stop, index.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _joined(boxes: Sequence[LayerBox]) -> list[LayerBox]:
    """Fewer boxes: norms and activations with what has the weights before them, and functions of one layer with each other."""
    uses = Counter(one for box in boxes for one in box.inputs)
    found: dict[int, LayerBox] = {}
    for number, box in enumerate(boxes):
        first = box.inputs[0] if box.inputs else IMAGES
        if first in found and uses[first] == 1 and _belong_together(found[first], box):
            if found[first].is_layer and not box.is_layer:
                box = box._replace(kinds=box.paths + box.kinds, paths=())
            found[number] = _together(found.pop(first), box, first)
        else:
            found[number] = box
    numbers = {IMAGES: IMAGES, **{old: new for new, old in enumerate(found)}}
    return [box._replace(inputs=tuple(numbers[one] for one in box.inputs)) for box in found.values()]


def _belong_together(first: LayerBox, second: LayerBox) -> bool:
    if first.block != second.block:
        return False
    if not (first.is_layer or second.is_layer):
        return True
    follows = {"weights": ("norm", "activation"), "norm": ("activation",)}
    return second.colour in follows.get(first.colour, ())


def _trunk(boxes: Sequence[LayerBox]) -> tuple[list[int], list[Side]]:
    """The trunk, the longest way to the output with all that is no plain chain beside it; and those chains."""
    best = {IMAGES: (0, IMAGES)}
    for number, box in enumerate(boxes):
        way = max(box.inputs, key=lambda one: best[one][0], default=IMAGES)
        best[number] = best[way][0] + 1, way
    trunk: set[int] = set()
    number = len(boxes) - 1
    while number != IMAGES:
        trunk.add(number)
        number = best[number][1]
    users: dict[int, list[int]] = {}
    for number, box in enumerate(boxes):
        for one in box.inputs:
            users.setdefault(one, []).append(number)
    while True:
        sides = list(_chains(boxes, users, trunk))
        chained = {number for side in sides for number in side.boxes}
        others = set(range(len(boxes))) - trunk - chained
        if not others:
            return sorted(trunk), sides
        trunk |= others


def _chains(boxes: Sequence[LayerBox], users: Mapping[int, Sequence[int]], trunk: set[int]) -> Iterator[Side]:
    """Chains of boxes beside the trunk that begin and end there."""
    for number, box in enumerate(boxes):
        if number in trunk or len(box.inputs) != 1 or not (box.inputs[0] in trunk or box.inputs[0] == IMAGES):
            continue
        chain = [number]
        while len(users[chain[-1]]) == 1:
            (following,) = users[chain[-1]]
            if following in trunk:
                yield Side(box.inputs[0], tuple(chain), following)
                break
            if len(boxes[following].inputs) != 1:
                break
            chain.append(following)


def _frames(
    boxes: Sequence[LayerBox], trunk: Sequence[int], beside: Sequence[Side], is_folded: bool
) -> tuple[list[Frame], dict[int, int]]:
    """The trunk's frames, and for each box the one that is shown for it: itself, or its like in the first of several blocks."""
    frames: list[Frame] = []
    stands_for = {number: number for number in range(IMAGES, len(boxes))}
    like: Any = None
    before = IMAGES
    for block, numbers in groupby(trunk, lambda number: boxes[number].block):
        members = list(numbers)
        last = members[-1]
        members += [number for side in beside if side.target in members for number in side.boxes]
        looks = _looks(boxes, members, before)
        if is_folded and frames and frames[-1].blocks and looks == like:
            shown = list(frames[-1].numbers)
            shown += [number for side in beside if side.target in shown for number in side.boxes]
            stands_for.update(zip(members, shown, strict=True))
            frames[-1] = frames[-1]._replace(blocks=(*frames[-1].blocks, block))
        else:
            frames.append(Frame((block,) * bool(block), "", tuple(one for one in members if one in trunk)))
        like, before = looks, last
    return frames, stands_for


def _looks(boxes: Sequence[LayerBox], members: Sequence[int], before: int) -> list[Any]:
    """What a block shows but its numbers of channels: blocks for which this is equal are alike."""
    places = {before: "before", **{number: str(place) for place, number in enumerate(members)}}
    return [
        (
            tuple(path.removeprefix(boxes[number].block) for path in boxes[number].paths),
            boxes[number].kinds,
            boxes[number].detail,
            boxes[number].shape[2:],
            [places.get(one, f"number {one}") for one in boxes[number].inputs],
        )
        for number in members
    ]
