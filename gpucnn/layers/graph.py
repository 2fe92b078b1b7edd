"""A model as a graph: the calls of functions that one forward pass makes, and which of them takes what another gave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.autograd import Tensor, no_grad
from gpucnn.autograd.calls import FunctionCall, noting_calls
from gpucnn.backend import Array, arrays, device_of, generator, to_device, to_host
from gpucnn.checks import Shape, as_items
from gpucnn.errors import GpucnnError, GraphError
from gpucnn.layers.forward_state import ForwardState
from gpucnn.text import shape_text, value_text

IMAGES = -1
"""The number of what the model is given."""


@dataclass(frozen=True)
class Input:
    """An argument that is the output of another node; of the images, if `number` is -1."""

    number: int


@dataclass(frozen=True)
class Saved:
    """An argument that is the model's parameter or buffer at `path`."""

    path: str


@dataclass(frozen=True, eq=False)
class Constant:
    """An argument that is an array of numbers which belong to no parameter; on the CPU."""

    array: np.ndarray


@dataclass(frozen=True)
class Batch:
    """A size, or another whole number, that is so many times the number of images."""

    times: int | None
    """None for a size that depends on it in another way, as that of one image joined to all of them; in shapes alone."""


Sizes: TypeAlias = tuple[int | Batch, ...]
"""A shape of which some sizes may depend on the number of images."""


@dataclass(frozen=True, eq=False)
class Repeated:
    """An argument that is an array of `sizes`, the same all along the axes of which the number of images is the size.

    Along these `array`, on the CPU, has one element.
    """

    array: np.ndarray
    sizes: Sizes


class GraphNode(NamedTuple):
    """One call of a function."""

    function: str
    """Its name in `gpucnn.functions`."""
    path: str
    """Of the innermost layer that called it; "" for the model itself."""
    inputs: tuple[int, ...]
    """The numbers of the nodes whose outputs it takes, in the order of the arguments; -1 for the images."""
    arguments: dict[str, Any]
    """By name, defaults among them: `Input`, `Saved`, `Constant`, numbers, texts, None; tuples and slices of these.

    In a `graph_of_any_batch` also `Batch` and `Repeated`.
    """
    shape: Shape
    """Of the output."""
    output: np.ndarray
    """What came out for the graph's images, on the CPU."""
    sizes: Sizes
    """The shape; in a `graph_of_any_batch` with `Batch` where a size depends on the number of images."""


class ModelGraph(NamedTuple):
    """What a model computes in evaluation mode, in an order in which it can be computed; the last node gives the model's output."""

    images: np.ndarray
    """What went in, as the model took it: in its dtype, on the CPU."""
    nodes: list[GraphNode]
    saved: dict[str, Array]
    """The model's parameters and buffers by their paths, where they are."""


def model_graph(model: Any, images: Any) -> ModelGraph:
    """The graph of `model`, a layer of one input, found by forward passes of `images`; the model stays as it is.

    A second pass, of other images, shows that both make the same calls with the same arguments. GraphError, which names the layer
    and the fix, where they do not: what `forward` computes with NumPy, or decides by values, no graph can follow.
    """
    first = _ForwardPass(model, model._take(images).array)
    second = _ForwardPass(model, _other_images(first.images, len(first.images) if first.images.ndim else None))
    return _graph_of(first, second, _same, _same)


def graph_of_any_batch(model: Any, images: Any) -> ModelGraph:
    """The graph of `model` for any number of images: one where numbers that depend on it are `Batch`.

    Found by forward passes of two and of five images, whatever the number of those that are given, of which the first are
    taken; a number that is the same for both is taken for one that does not depend on it. All else is as for `model_graph`. GraphError where an argument depends on the number of images in another way than
    as so many times it, or where other numbers of images make other calls.
    """
    taken = model._take(images).array
    if taken.ndim == 0 or taken.size == 0:
        raise GraphError(f"{model.label}: a graph needs an example, images (N, C, H, W), got {shape_text(taken.shape)}")
    two = taken[[0, min(1, len(taken) - 1)]]
    first = _pass_beside(taken, model, two)
    second = _pass_beside(two, model, _other_images(two, BATCHES[1]))
    return _graph_of(first, second, _of_any_batch, _sizes_of_any_batch)


def _graph_of(
    first: "_ForwardPass",
    second: "_ForwardPass",
    merged: Callable[[Any, Any], Any],
    merged_sizes: Callable[[Shape, Shape], Sizes],
) -> ModelGraph:
    """The graph of two passes, whose arguments and shapes are merged into what holds for both."""
    nodes = []
    for one, other in zip_longest(first.nodes, second.nodes):
        if one is None or other is None or (one.function, one.path) != (other.function, other.path):
            raise GraphError(f"{first.label_of(one or other)}: {_DECIDES}")
        try:
            sizes = merged_sizes(one.shape, other.shape)
        except _OtherwiseError:
            raise GraphError(f"{first.label_of(one)}: {_DECIDES}") from None
        arguments = {}
        for name, value in one.arguments.items():
            try:
                arguments[name] = merged(value, other.arguments[name])
            except _OtherwiseError as error:
                found = f"(found at {name} of {one.function})"
                if error.args:
                    raise GraphError(f"{first.label_of(one)}: {error} {found}") from None
                owner = _culprit(first, second) or first.label_of(one)
                raise GraphError(f"{owner}: {_ELSEWHERE} {found}") from None
        nodes.append(one._replace(arguments=arguments, sizes=sizes))
    number = first.numbers.get(id(first.output.array))
    nodes = [] if number is None else _leading_to(number, nodes)
    if number is None or (nodes and not any(IMAGES in node.inputs for node in nodes)):
        raise GraphError(f"{_culprit(first, second) or first.model.label}: {_ELSEWHERE}")
    members = [*first.model.named_parameters(), *first.model.named_buffers()]
    return ModelGraph(to_host(first.images), nodes, {path: member.array for path, member in members})


class _OtherwiseError(Exception):
    """Two passes have different arguments: without a text in a way that the values of the images explain."""


def _same(one: Any, other: Any) -> Any:
    """What two passes have as the same, to the bit."""
    if not _is_same(one, other):
        raise _OtherwiseError
    return one


def _pass_beside(taken: Array, model: Any, images: Array) -> "_ForwardPass":
    """The pass of some images; if it fails, the error that those which were `taken` make, or one that says they make none."""
    try:
        return _ForwardPass(model, images)
    except GraphError:
        raise
    except GpucnnError as error:
        _ForwardPass(model, taken)
        raise GraphError(
            f"{model.label}: a graph is for any number of images, and this takes {len(taken)} but not {len(images)} of them "
            f"({error}); take sizes from x.shape, or let one be -1"
        ) from None


BATCHES = (2, 5)
"""Images in the two passes: not one, which broadcasts, and so far apart that what is rounded is not taken for a multiple."""


def _of_any_batch(one: Any, other: Any) -> Any:
    """What passes of `BATCHES` images have, for any number of them."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return tuple(_of_any_batch(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    if isinstance(one, slice) and isinstance(other, slice):
        ends = ((one.start, other.start), (one.stop, other.stop), (one.step, other.step))
        return slice(*(_of_any_batch(mine, theirs) for mine, theirs in ends))
    if _is_same(one, other):
        return one
    if type(one) is int and type(other) is int:
        size = _size_of_any_batch(one, other)
        if isinstance(size, Batch) and size.times is None:
            raise _OtherwiseError(_NOT_SO_MANY.format(one=one, other=other))
        return size
    if isinstance(one, Constant) and isinstance(other, Constant) and one.array.ndim == other.array.ndim:
        sizes = _sizes_of_any_batch(one.array.shape, other.array.shape)
        along = tuple(slice(1) if isinstance(size, Batch) else slice(None) for size in sizes)
        single = np.ascontiguousarray(one.array[along])
        is_one = _is_same(Constant(single), Constant(np.ascontiguousarray(other.array[along])))
        if is_one and (one.array == single).all() and (other.array == single).all():
            return Repeated(single, sizes)
        if one.array.shape != other.array.shape:
            raise _OtherwiseError(_EACH_ITS_OWN)
    raise _OtherwiseError


def _sizes_of_any_batch(one: Shape, other: Shape) -> Sizes:
    """A shape for any number of images."""
    if len(one) != len(other):
        raise _OtherwiseError
    return tuple(map(_size_of_any_batch, one, other))


def _size_of_any_batch(one: int, other: int) -> int | Batch:
    if one == other:
        return one
    return Batch(one // BATCHES[0] if one * BATCHES[1] == other * BATCHES[0] else None)


_NOT_SO_MANY = (
    "a graph is for any number of images, and a number here is {one} for two of them and {other} for five, which is not so "
    "many times theirs; count from the end, e.g. x[-1], or take a size that does not depend on it"
)
_EACH_ITS_OWN = (
    "a graph is for any number of images, and an array made with NumPy has other numbers for each of them; make it of one "
    "element along that axis, so that it broadcasts, or with gpucnn.functions of x"
)
_ELSEWHERE = (
    "a graph cannot follow what it gives, as not all of it was computed by gpucnn.functions; use those, and tensors' operators, "
    "in place of NumPy"
)
_DECIDES = (
    "which functions it calls depends on the values of the images, or on chance, and a graph has the same calls for all; "
    "choose with F.where"
)


class _ForwardPass:
    """One pass in evaluation mode, without gradients, whose calls become nodes."""

    def __init__(self, model: Any, images: Array) -> None:
        self.model, self.images = model, images
        self.output, calls = _computed(model, images)
        self._labels = {layer.path: layer.label for _, layer in reversed(list(model.named_layers()))}
        self._paths = {layer.label: path for path, layer in reversed(list(model.named_layers()))}
        members = [*model.named_parameters(), *model.named_buffers()]
        self.saved = {id(member.array): path for path, member in members}
        self.numbers = {id(images): IMAGES}
        """Of the nodes that gave arrays, by the arrays' ids. The tensors, which `calls` holds, keep them alive."""
        self.calls = [single for call in calls for single in _single_calls(call)]
        self.nodes = [self._node(number, call) for number, call in enumerate(self.calls)]

    def knows(self, output: Tensor) -> bool:
        """Whether a node gave this, or it is the images, or the model's own."""
        return id(output.array) in self.numbers or id(output.array) in self.saved

    def label_of(self, node: GraphNode) -> str:
        """How messages name the layer that called the function."""
        return str(self._labels.get(node.path, self.model.label))

    def _node(self, number: int, call: FunctionCall) -> GraphNode:
        label = call.owner or self.model.label
        if call.name.startswith("_"):
            own = getattr(call.arguments.get("function"), "__name__", call.name)
            raise GraphError(
                f"{label}: a graph has functions of gpucnn.functions alone, not {own}; write it with those"
            )
        if not isinstance(call.output, Tensor):
            raise GraphError(
                f"{label}: {call.name} gives a {type(call.output).__name__} here, and a graph has calls that give one tensor; "
                f"take parts by x[...]"
            )
        given = call.arguments
        if call.name == "getitem":
            given = {**given, "index": _without_lists(given["index"])}
        arguments = {name: self._argument(value) for name, value in given.items()}
        inputs = tuple(_inputs(tuple(arguments.values())))
        self.numbers[id(call.output.array)] = number
        path = self._paths.get(call.owner, "")
        shape = call.output.shape
        return GraphNode(call.name, path, inputs, arguments, shape, to_host(call.output.array), shape)

    def _argument(self, value: Any) -> Any:
        array = value.array if isinstance(value, Tensor) else value
        if isinstance(array, np.ndarray | getattr(arrays.loaded(), "ndarray", np.ndarray)):
            if id(array) in self.numbers:
                return Input(self.numbers[id(array)])
            return Saved(self.saved[id(array)]) if id(array) in self.saved else Constant(np.array(to_host(array)))
        if isinstance(value, list | tuple):
            return tuple(map(self._argument, value))
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        if isinstance(value, np.generic):
            return value.item()
        return str(np.dtype(value)) if isinstance(value, type | np.dtype) else value


def _computed(model: Any, images: Array) -> tuple[Tensor, list[FunctionCall]]:
    """The output, and the calls."""
    before = ForwardState(model)
    try:
        model.eval()
        with no_grad(), noting_calls() as calls:
            output = model(Tensor(images))
    finally:
        before.restore()
    if not isinstance(output, Tensor):
        raise GraphError(f"{model.label}: a graph is that of one output, a tensor; got {value_text(output)}")
    return output, calls


def _other_images(images: Array, count: int | None) -> Array:
    """So many images of the same size and dtype, at the same place, with other values; an array () if None."""
    shape = images.shape if count is None else (count, *images.shape[1:])
    drawn = generator(0, "other images of a graph").random(shape) * 2
    return to_device(drawn.astype(images.dtype), device_of(images))


def _single_calls(call: FunctionCall) -> list[FunctionCall]:
    """A call as calls that give one tensor each: a split as its parts x[...]."""
    if call.name != "split":
        return [call]
    x, sections, axis = (call.arguments[name] for name in ("x", "sections", "axis"))
    axis, positions = axis % x.ndim, as_items(sections)
    size = x.shape[axis]
    if positions is None:
        positions = tuple(part * (size // sections) for part in range(1, sections))
    ends = pairwise([0, *map(int, positions), size])
    indices = [(*[slice(None)] * axis, slice(*part)) for part in ends]
    parts = zip(indices, call.output, strict=True)
    return [FunctionCall("getitem", {"x": x, "index": index}, part, call.owner) for index, part in parts]


def _without_lists(index: Any) -> Any:
    """An index with arrays in place of lists, which NumPy takes for something else than tuples."""
    if isinstance(index, list):
        return np.asarray(index, None if index else np.intp)
    return tuple(map(_without_lists, index)) if isinstance(index, tuple) else index


def _inputs(arguments: tuple[Any, ...]) -> Iterator[int]:
    """The numbers of the nodes among arguments, in tuples, too."""
    for value in arguments:
        if isinstance(value, Input):
            yield value.number
        elif isinstance(value, tuple):
            yield from _inputs(value)


def _leading_to(number: int, nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """The nodes that the output of that `number` needs, it as the last, numbered anew."""
    needed = {number}
    for position in range(number, -1, -1):
        if position in needed:
            needed.update(nodes[position].inputs)
    numbers = {IMAGES: IMAGES, **{old: new for new, old in enumerate(sorted(needed - {IMAGES}))}}
    return [
        node._replace(
            inputs=tuple(numbers[one] for one in node.inputs),
            arguments={name: _renumbered(value, numbers) for name, value in node.arguments.items()},
        )
        for node in (nodes[old] for old in sorted(needed - {IMAGES}))
    ]


def _renumbered(value: Any, numbers: Mapping[int, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_renumbered(one, numbers) for one in value)
    return Input(numbers[value.number]) if isinstance(value, Input) else value


def _is_same(one: Any, other: Any) -> bool:
    """Whether two arguments are the same, to the bit."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, Constant) and isinstance(other, Constant):
        a, b = one.array, other.array
        return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())
    return type(one) is type(other) and repr(one) == repr(other)


def _culprit(first: _ForwardPass, second: _ForwardPass) -> str | None:
    """The label of the first layer, innermost first, that gives what no node gave and other images change; None if none does."""
    ends = (_layer_outputs(one.model, one.images) for one in (first, second))
    for one, other in zip(next(ends), next(ends), strict=False):
        if not (one.is_known or _is_same(Constant(one.array), Constant(other.array))):
            return one.label
    return None


class _LayerOutput(NamedTuple):
    label: str
    is_known: bool
    array: np.ndarray


def _layer_outputs(model: Any, images: Array) -> list[_LayerOutput]:
    """What every layer gives in a forward pass, in the order in which they end."""
    ends: list[tuple[str, Tensor]] = []

    def watched(layer: Any) -> Callable[..., Tensor]:
        forward = layer.forward

        def called(*inputs: Any, **options: Any) -> Tensor:
            output: Tensor = forward(*inputs, **options)
            ends.append((layer.label, output))
            return output

        return called

    before = {layer: vars(layer).get("forward") for _, layer in model.named_layers()}
    try:
        for layer in before:
            object.__setattr__(layer, "forward", watched(layer))
        passed = _ForwardPass(model, images)
    finally:
        for layer, forward in before.items():
            if forward is None:
                vars(layer).pop("forward", None)
            else:
                object.__setattr__(layer, "forward", forward)
    return [_LayerOutput(label, passed.knows(output), to_host(output.array)) for label, output in ends]
