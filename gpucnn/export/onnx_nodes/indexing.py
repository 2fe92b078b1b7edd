"""Indices as ONNX nodes: slices first, then arrays and single places, as NumPy has them."""

from typing import Any, NamedTuple

import numpy as np

from gpucnn.export.onnx_call import INT64, Call, Nodes
from gpucnn.layers.graph import Batch, Constant, Input, Saved

FROM_THE_END = np.iinfo(np.int64).max
TO_THE_START = np.iinfo(np.int64).min


class _LookedUp(NamedTuple):
    axis: int
    place: Any
    """An int, a `Batch`, or an array of whole numbers."""


def getitem(call: Call) -> str:
    """Slice for slices, Gather for one array or place, GatherND for several, and Unsqueeze for new axes."""
    index = call.arguments["index"]
    parts = _parts(call, index if isinstance(index, tuple) else (index,))
    x, slices, looked_up = call.x, [], []
    axis = 0
    for part in parts:
        if isinstance(part, slice):
            if part != slice(None):
                slices.append((axis, part))
        elif part is not None:
            looked_up.append(_LookedUp(axis, part))
        axis += part is not None
    if slices:
        x = _sliced(call, x, slices)
    are_arrays = [not isinstance(one.place, int | Batch) for one in looked_up]
    if not any(are_arrays):
        for one in reversed(looked_up):
            x = call.put("Gather", x, call.value(one.place, INT64), axis=one.axis)
        axes = _new_axes([part for part in parts if part is None or isinstance(part, slice)])
        return call.put("Unsqueeze", x, call.ints(axes)) if axes else x
    return _gathered(call, x, parts, looked_up)


def _parts(call: Call, index: tuple[Any, ...]) -> list[Any]:
    """One part to each axis of x, and None for new ones: Ellipsis, masks and missing parts are written out."""
    found: list[Any] = []
    for part in index:
        array = part.array if isinstance(part, Constant) else None
        if isinstance(part, bool) or (array is not None and array.dtype.kind == "b" and array.ndim == 0):
            raise call.refused("a single truth value as an index", "use x[None] for a new axis")
        if array is not None and array.dtype.kind == "b":
            found.extend(Constant(places) for places in array.nonzero())
        elif isinstance(part, Input | Saved) and call.dtype_of(part).kind == "b":
            raise call.refused("a mask that the model computes, as its values tell the shape", "use F.where")
        else:
            found.append(part)
    given = sum(part is not None and part is not ... for part in found)
    rest = [slice(None)] * (len(call.sizes) - given)
    if ... in [part for part in found if not isinstance(part, Constant)]:
        at = next(place for place, part in enumerate(found) if part is ...)
        return [*found[:at], *rest, *found[at + 1 :]]
    return [*found, *rest]


def _sliced(call: Call, x: str, slices: list[tuple[int, slice]]) -> str:
    """The stretches of some axes."""
    starts, stops, steps = [], [], []
    for _, part in slices:
        steps.append(1 if part.step is None else part.step)
        is_back = isinstance(steps[-1], int) and steps[-1] < 0
        starts.append(part.start if part.start is not None else FROM_THE_END if is_back else 0)
        stops.append(part.stop if part.stop is not None else TO_THE_START if is_back else FROM_THE_END)
    axes = call.ints([axis for axis, _ in slices])
    return call.put("Slice", x, call.whole(starts), call.whole(stops), axes, call.whole(steps))


def _gathered(call: Call, x: str, parts: list[Any], looked_up: list[_LookedUp]) -> str:
    """What arrays look up: their axes stand where the first of them was, or first of all, if something was between them."""
    axes = [one.axis for one in looked_up]
    names = [call.value(one.place, INT64) for one in looked_up]
    ndim = len(call.sizes)
    found_ndim = max(len(call.sizes_of(one.place)) for one in looked_up)
    if len(axes) == 1:
        found, at = call.put("Gather", x, names[0], axis=axes[0]), axes[0]
    else:
        order = [*axes, *(axis for axis in range(ndim) if axis not in axes)]
        moved = x if order == list(range(ndim)) else call.put("Transpose", x, perm=order)
        found, at = call.put("GatherND", moved, _side_by_side(call, names, found_ndim)), 0
    places = [place for place, part in enumerate(parts) if part is not None and not isinstance(part, slice)]
    is_one_stretch = places == list(range(places[0], places[-1] + 1))
    before = sum(isinstance(part, slice) for part in parts[: places[0]]) if is_one_stretch else 0
    if at != before:  # the axes that were looked up move to their place
        rest = ndim - len(axes)
        looked = range(at, at + found_ndim)
        others = [axis for axis in range(rest + found_ndim) if axis not in looked]
        found = call.put("Transpose", found, perm=[*others[:before], *looked, *others[before:]])
    kept = [part for part in parts if part is None or isinstance(part, slice)]
    first = sum(part is None or isinstance(part, slice) for part in parts[: places[0]]) if is_one_stretch else 0
    new = _new_axes([*kept[:first], *[slice(None)] * found_ndim, *kept[first:]])
    return call.put("Unsqueeze", found, call.ints(new)) if new else found


def _side_by_side(call: Call, names: list[str], ndim: int) -> str:
    """Arrays of places, broadcast, as one whose last axis has a place for each of theirs."""
    nothing = call.put("Mul", names[0], call.graph.array(np.int64(0)))
    for name in names[1:]:
        nothing = call.put("Add", nothing, call.put("Mul", name, call.graph.array(np.int64(0))))
    last = call.ints([ndim])
    return call.put(
        "Concat", *(call.put("Unsqueeze", call.put("Add", name, nothing), last) for name in names), axis=ndim
    )


def _new_axes(parts: list[Any]) -> list[int]:
    """Where the new ones are among axes of a result."""
    return [place for place, part in enumerate(parts) if part is None]


NODES: Nodes = {"getitem": getitem}
