"""The tape: whether operations are recorded, one `Node` for each that is, and the walk back over them.

A node knows the nodes that its inputs came from, not the inputs themselves, so an array lives on only where a backward
function needs it. Nodes are numbered as they are made; an operation is always younger than its inputs, so going back
from the youngest to the oldest is a topological order.
"""

import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol, TypeAlias

from gpucnn.autograd.writes import changed, log
from gpucnn.backend import Array, beside, memory, recording
from gpucnn.checks import Shape
from gpucnn.errors import CaptureError, GradientError
from gpucnn.kernels.compiler.recording import check_recorded
from gpucnn.kernels.elementwise import add, add_bf16
from gpucnn.kernels.kernel import BF16
from gpucnn.kernels.rounding import narrowed, round_to, widened

BackwardFunction: TypeAlias = Callable[[Array], Sequence[Array | None]]
"""From the gradient of an operation's output to those of its inputs, in order; None for one that needs none."""

Hooks: TypeAlias = dict[Any, Callable[[Array], Array]]
"""Functions that a gradient goes through, one after the other."""

current_owner: ContextVar[str] = ContextVar("current_owner", default="")
"""The innermost layer that computes now, as messages name it; empty outside of layers."""

LEAF = "leaf"
"""The name of a node that is the use of a tensor which no operation made; its backward function is a method of that tensor."""

_enabled = ContextVar("grad_enabled", default=True)
_numbers = itertools.count()
_backward = itertools.count(1)
_current_backward = ContextVar("current_backward", default=0)  # of this thread: others may train models of their own


def grad_enabled() -> bool:
    """Whether operations of this thread are recorded now."""
    return _enabled.get()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside `with no_grad():` (or a function decorated with it) nothing is recorded: less memory, no `backward`."""
    with _set(False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Inside, operations are recorded, even where it stands within `no_grad`."""
    with _set(True):
        yield


@contextmanager
def _set(enabled: bool) -> Iterator[None]:
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def backward_number() -> int:
    """The number of the backward pass that runs, or ran last. Parameters tell by it what this pass has written."""
    return _current_backward.get()


class Node:
    """One recorded operation, or a leaf: a node without inputs, whose backward function keeps the gradient.

    - `owner`: the layer that made it, as messages name it; empty if none did. `shape`: the output's.
    - `inputs`: where those tensors came from. `backward`: None as soon as a backward pass has used what it saved.
    - `hooks`: see `Tensor.register_hook`. `writes_before`: the number of the last write to an array before it.
    - `is_bf16`: whether gradients that come to it are rounded to bfloat16, as the output was. `takes_stored`: whether `backward`
      gets them in two bytes, as kernels of a GPU pass them on. Others get float32, whatever they come from.
    """

    __slots__ = (
        "backward", "hooks", "inputs", "is_bf16", "name", "number", "owner", "shape", "takes_stored", "writes_before",
    )  # fmt: skip
    backward: BackwardFunction | None
    hooks: Hooks | None

    def __init__(self, name: str, inputs: "Sequence[Node | None]", backward: BackwardFunction, shape: Shape = ()):
        self.name, self.inputs, self.backward, self.shape = name, inputs, backward, shape
        self.owner, self.number = current_owner.get(), next(_numbers)
        self.hooks, self.writes_before = None, log.count
        self.is_bf16 = self.takes_stored = False

    @property
    def label(self) -> str:
        """How messages name the operation."""
        return f"{self.name} in {self.owner}" if self.owner else self.name


def run_backward(
    gradients: dict[Node, Array], keep: bool = False, leaves: dict[Any, Array | None] | None = None
) -> None:
    """Carry the gradients of what these nodes made back to the leaves, and let go of what every node on the way has saved.

    With `keep` nothing is let go of, and they may be gone over again. With `leaves` the gradients of those are put there, by
    tensor, and nobody's `grad` changes. Raises GradientError at a node that an earlier backward pass has used, and at one whose
    saved arrays have changed since.
    """
    uses = _uses(gradients) if leaves is None else None
    token = _current_backward.set(next(_backward))
    complete: dict[Any, Array | None] = {} if leaves is None else leaves
    for node in gradients:
        gradients[node] = _kept(node, gradients[node])
    queue = [(-node.number, node) for node in gradients]
    heapq.heapify(queue)
    while queue:
        _, node = heapq.heappop(queue)
        gradient = gradients.pop(node)
        if not node.inputs and node.name == LEAF and (leaves is not None or _tensor_of(node).hooks):
            if leaves is None or _tensor_of(node) in leaves:
                _add_up(complete, _tensor_of(node), _in_float32(gradient))
            continue
        try:
            with beside(gradient):
                if node.hooks:
                    gradient = _kept(node, through(node.hooks, _in_float32(gradient)))
                if not node.takes_stored:
                    gradient = _in_float32(gradient)
                backward = node.backward or _used(node)
                if node.writes_before != log.count and (error := changed(node)):
                    raise error
                input_gradients = backward(gradient)
            check_recorded(node.name, *input_gradients)
            if uses is not None and node.name == LEAF:
                uses.count_down(node)
        except Exception as error:
            _raise_named(node, error)
        for source, input_gradient in zip(node.inputs, input_gradients, strict=True):
            if source is None or input_gradient is None:
                continue
            input_gradient = _kept(source, input_gradient)
            if source in gradients:
                _add_up(gradients, source, input_gradient)
                gradients[source] = _kept(source, gradients[source])
            else:
                gradients[source] = input_gradient
                heapq.heappush(queue, (-source.number, source))
        if not keep:
            node.backward, node.inputs, node.hooks = None, (), None
    for tensor, total in complete.items():
        if total is not None:
            complete[tensor] = through(tensor.hooks or {}, total)
            if leaves is None:
                tensor.add_gradient(complete[tensor])
    if uses is not None:
        uses.end()
    _current_backward.reset(token)  # of the pass that this one is a part of, see `layers.Checkpoint`


class GradientWatch(Protocol):
    """Who wants to know early which gradients of a backward pass are final."""

    def expected(self, leaves: Collection[Any]) -> None:
        """A pass begins, which leads to these tensors, and to no others."""

    def final(self, leaf: Any) -> None:
        """The pass adds nothing more to the `grad` of this one. Each of those that were expected is told once."""


_watch: ContextVar[GradientWatch | None] = ContextVar("gradient_watch", default=None)


@contextmanager
def watching_gradients(watch: GradientWatch) -> Iterator[None]:
    """Inside, `backward()` tells `watch`; passes within a pass, and those that leave every `grad` alone, do not."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


class _Uses:
    """How many gradients each leaf is still to get in a pass: one a node, and it has a node for each of its uses."""

    def __init__(self, watch: GradientWatch, starts: Iterable[Node]) -> None:
        self._watch, self._left = watch, dict[Any, int]()
        self._has_hooks = False
        waiting = list(starts)
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if node.name == LEAF and not node.inputs and node.backward is not None:
                tensor = _tensor_of(node)
                self._left[tensor] = self._left.get(tensor, 0) + 1
                self._has_hooks |= bool(tensor.hooks)
            self._has_hooks |= bool(node.hooks)
            new = {source for source in node.inputs if source is not None} - seen
            waiting += new
            seen |= new
        self._before = _watch.set(None)
        watch.expected(tuple(self._left))

    def count_down(self, leaf: Node) -> None:
        """This use has given its gradient. Hooks may change any gradient, so with them all are final at the end."""
        tensor = _tensor_of(leaf)
        self._left[tensor] -= 1
        if self._left[tensor] == 0 and not self._has_hooks:
            del self._left[tensor]
            self._watch.final(tensor)

    def end(self) -> None:
        """The pass is over: no gradient has come by uses that are left."""
        for tensor in self._left:
            self._watch.final(tensor)
        _watch.reset(self._before)


def _uses(starts: Iterable[Node]) -> _Uses | None:
    """What counts for who watches; None if nobody does."""
    watch = _watch.get()
    return None if watch is None else _Uses(watch, starts)


def _tensor_of(leaf: Node) -> Any:
    return leaf.backward.__self__  # type: ignore[union-attr]


def _add_up(gradients: dict[Any, Any], key: Any, gradient: Array) -> None:
    before = gradients.get(key)
    if before is None:
        gradients[key] = gradient
        return
    with beside(gradient):
        if before.dtype == gradient.dtype == BF16:
            gradients[key] = add_bf16(before, gradient)
        else:
            gradients[key] = add(_in_float32(before), _in_float32(gradient))


def _kept(node: Node, gradient: Array) -> Array:
    """A gradient that comes to a node, as it is kept until the node's turn. Others may have it, too, so it is not rounded in place."""
    if not node.is_bf16 or gradient.dtype == BF16:
        return gradient
    return narrowed(gradient) if node.takes_stored else round_to("bf16", gradient)


def _in_float32(gradient: Array) -> Array:
    """A gradient that may be of bfloat16 in two bytes: there are none of integers."""
    return widened(gradient) if gradient.dtype == BF16 else gradient


def through(hooks: Hooks, gradient: Array) -> Array:
    """What hooks make of a gradient."""
    for hook in list(hooks.values()):
        gradient = hook(gradient)
    return gradient


def _used(node: Node) -> NoReturn:
    raise GradientError(
        f"backward() reached {node.name}, whose saved arrays an earlier backward() has released; "
        f"run the forward pass again before each backward(), or give the earlier one retain_graph=True"
    )


def _raise_named(node: Node, error: Exception) -> NoReturn:
    """Raise `error`, which `node` and its layer are named in if memory did not suffice, or it cannot be recorded."""
    if isinstance(error, CaptureError):
        raise error.named(f"the gradient of {node.owner or node.name}") from error.__cause__
    failure = memory.named(f"gradient of {node.name}", error) if isinstance(error, MemoryError) else error
    if memory.is_out_of_memory(failure) or recording():
        failure.add_note(f"in the gradient of {node.owner or node.name}")
    if failure is error:
        raise error
    raise failure from error
