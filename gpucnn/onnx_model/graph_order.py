"""In which order a graph's nodes can be computed, and which of them are needed."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from gpucnn.errors import OnnxError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.text import printed


def leading_to(outputs: Iterable[str], nodes: Sequence[OnnxNode]) -> list[OnnxNode]:
    """Those of the nodes, which are in an order in which they can be computed, that the outputs need."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def in_order(
    nodes: Sequence[OnnxNode], inputs: Sequence[str], arrays: Sequence[str], outputs: Sequence[str]
) -> list[OnnxNode]:
    """The nodes that the outputs need, each behind those whose outputs it takes. OnnxError if there is no such order."""
    makers: dict[str, int] = {}
    given = [*inputs, *arrays]
    if len(set(given)) < len(given):
        raise OnnxError("two inputs have one name")
    known = set(given)
    for number, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in known or name in makers:
                raise OnnxError(f"{node.label} gives {printed(name)}, which is there already")
            makers[name] = number
    for owner, names in [*((node.label, node.inputs) for node in nodes), ("an output", outputs)]:
        for name in filter(None, names):
            if name not in makers and name not in known:
                raise OnnxError(f"{owner} takes {printed(name)}, which nothing gives")
    needed, waiting = set(), [makers[name] for name in outputs if name in makers]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting.extend(makers[name] for name in nodes[number].inputs if name in makers)
    return _sorted(nodes, makers, needed)


def _sorted(nodes: Sequence[OnnxNode], makers: Mapping[str, int], needed: set[int]) -> list[OnnxNode]:
    """Those of the nodes that are `needed`, in the file's order as far as that is one in which they can be computed."""
    sources = {number: {makers[name] for name in nodes[number].inputs if name in makers} for number in needed}
    users: dict[int, list[int]] = {number: [] for number in needed}
    for number, own in sources.items():
        for source in own:
            users[source].append(number)
    left = {number: len(own) for number, own in sources.items()}
    ready, order = [number for number, count in left.items() if count == 0], []
    heapq.heapify(ready)
    while ready:
        number = heapq.heappop(ready)
        order.append(nodes[number])
        for user in users[number]:
            left[user] -= 1
            if left[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < len(needed):
        stuck = min(number for number, count in left.items() if count)
        raise OnnxError(f"{nodes[stuck].label} takes, in a circle, what is computed of its own output")
    return order
