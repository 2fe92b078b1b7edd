"""Shapes, joins, borders and orders of axes as ONNX nodes."""

import numpy as np

from gpucnn.export.onnx_call import Call, Nodes
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.padding import CROPS_FIRST

TO_THE_END = np.iinfo(np.int64).max


def reshape(call: Call) -> str:
    """The shape that came out, whatever was asked for; of the number of images one size is worked out."""
    return call.reshaped(call.x, call.node.sizes)


def flatten(call: Call) -> str:
    """Flatten for images that become vectors."""
    if call.arguments["start_axis"] % len(call.sizes) == 1:
        return call.put("Flatten", call.x, axis=1)
    return reshape(call)


def squeeze(call: Call) -> str:
    """Without axes of size 1."""
    axis = call.arguments["axis"]
    axes = [place for place, size in enumerate(call.sizes) if size == 1] if axis is None else call.axes()
    return call.put("Squeeze", call.x, call.ints(axes)) if axes else call.x


def expand_dims(call: Call) -> str:
    """With axes of size 1."""
    return call.put(
        "Unsqueeze", call.x, call.ints(as_axes("expand_dims", len(call.node.shape), call.arguments["axis"]))
    )


def transpose(call: Call) -> str:
    """Axes in another order."""
    axes = call.arguments["axes"]
    return call.put("Transpose", call.x, perm=range(len(call.sizes))[::-1] if axes is None else call.axes("axes"))


def concatenate(call: Call) -> str:
    """One after another."""
    parts = [call.value(part, call.dtype) for part in call.arguments["tensors"]]
    return call.put("Concat", *parts, axis=int(call.arguments["axis"]) % len(call.node.shape))


def stack(call: Call) -> str:
    """One beside another, each with a new axis."""
    axis = int(call.arguments["axis"]) % len(call.node.shape)
    parts = [call.value(part, call.dtype) for part in call.arguments["tensors"]]
    return call.put("Concat", *(call.put("Unsqueeze", part, call.ints([axis])) for part in parts), axis=axis)


def pad(call: Call) -> str:
    """Pad, which cuts, too; circular borders, which Pad has since opset 19 alone, are joined to what they border."""
    mode, pairs = call.arguments["mode"], [(int(before), int(after)) for before, after in call.arguments["padding"]]
    borders = [(max(before, 0), max(after, 0)) for before, after in pairs]
    cut = [(max(-before, 0), max(-after, 0)) for before, after in pairs]
    x = call.x
    if mode in CROPS_FIRST:
        x = _cut(call, x, cut)
    if mode == "circular":
        for axis, (before, after) in enumerate(borders):
            first = [sliced(call, x, axis, -before, TO_THE_END)] if before else []
            last = [sliced(call, x, axis, 0, after)] if after else []
            x = call.put("Concat", *first, x, *last, axis=axis) if before or after else x
    elif any(map(any, borders)):
        sides = call.ints([before for before, _ in borders] + [after for _, after in borders])
        value = [call.number(call.arguments["value"])] if mode == "constant" else []
        x = call.put("Pad", x, sides, *value, mode={"replicate": "edge"}.get(mode, mode))
    return x if mode in CROPS_FIRST else _cut(call, x, cut)


def _cut(call: Call, x: str, cut: list[tuple[int, int]]) -> str:
    """x without so many elements before and after, axis by axis."""
    for axis, (before, after) in enumerate(cut):
        if before or after:
            x = sliced(call, x, axis, before, -after if after else TO_THE_END)
    return x


def sliced(call: Call, x: str, axis: int, start: int, stop: int) -> str:
    """A stretch of an axis."""
    return call.put("Slice", x, call.ints([start]), call.ints([stop]), call.ints([axis]))


NODES: Nodes = {
    "reshape": reshape,
    "flatten": flatten,
    "squeeze": squeeze,
    "expand_dims": expand_dims,
    "transpose": transpose,
    "concatenate": concatenate,
    "stack": stack,
    "pad": pad,
}
