"""Hooks: functions of one's own that look at a layer's calls, before, after and on the way back, or step in."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from gpucnn.autograd import Tensor, record
from gpucnn.backend import Array, are_together, as_array
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.text import shape_text, value_text

ForwardPreHook: TypeAlias = Callable[[Any, tuple[Tensor, ...]], Tensor | tuple[Tensor, ...] | None]
"""From a layer and its inputs to None, or to what takes the inputs' place."""
ForwardHook: TypeAlias = Callable[[Any, tuple[Tensor, ...], Tensor], Tensor | None]
"""From a layer, its inputs and its output to None, or to a tensor that takes the output's place."""
Gradients: TypeAlias = tuple[Array | None, ...]
BackwardHook: TypeAlias = Callable[[Any, Gradients, Gradients], Gradients | Array | None]
"""From a layer, the gradients of its inputs and that of its output to None, or to what takes the place of the former."""

PRE, FORWARD, BACKWARD = "forward pre-hook", "forward hook", "backward hook"
ARGUMENTS = {
    PRE: "(layer, inputs)",
    FORWARD: "(layer, inputs, output)",
    BACKWARD: "(layer, grad_input, grad_output)",
}
"""What a hook of each kind is a function of."""


class HookHandle:
    """What registering a hook returns: `remove()` takes the hook away; once more does nothing.

    - `kind`: "forward pre-hook", "forward hook" or "backward hook".
    """

    def __init__(self, hooks: "dict[HookHandle, Callable[..., Any]]", kind: str) -> None:
        self._hooks, self.kind = hooks, kind

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)


Hooks: TypeAlias = dict[HookHandle, Callable[..., Any]]
"""A layer's hooks in the order of registration."""


class Hooked(Protocol):
    """What is called of a layer that has hooks."""

    _hooks: Hooks | None

    @property
    def label(self) -> str:
        """How messages name it."""

    def _called(self, tensors: list[Tensor], options: dict[str, Any]) -> Tensor: ...

    def _owning(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any: ...


def called_with_hooks(layer: Hooked, inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    """The output of a call that hooks see. What a hook changes in a layer, or computes, belongs to the forward pass."""
    hooks = layer._hooks or {}
    for hook in _of_kind(hooks, PRE):
        replaced = layer._owning(hook, layer, tuple(inputs))
        if replaced is not None:
            inputs = _as_inputs(layer, replaced)
    looking_back = _of_kind(hooks, BACKWARD)
    way_back = _WayBack(layer, looking_back, inputs) if looking_back else None
    output = layer._called(inputs if way_back is None else way_back.inputs, options)
    for hook in _of_kind(hooks, FORWARD):
        replacement = layer._owning(hook, layer, tuple(inputs), output)
        if replacement is None:
            continue
        if not isinstance(replacement, Tensor):
            raise ArgumentError(
                f"{layer.label}: a forward hook must return None or a tensor, got {type(replacement).__name__}"
            )
        output = replacement
    return output if way_back is None else way_back.ending(output)


def _of_kind(hooks: Hooks, kind: str) -> list[Callable[..., Any]]:
    return [hook for handle, hook in hooks.items() if handle.kind == kind]


def _as_inputs(layer: Hooked, replaced: Any) -> list[Tensor]:
    """What a pre-hook returned, as the inputs of the call."""
    inputs = list(replaced) if isinstance(replaced, tuple) else [replaced]
    for one in inputs:
        if not isinstance(one, Tensor):
            raise ArgumentError(
                f"{layer.label}: a forward pre-hook must return None, a tensor or a tuple of them, got {type(one).__name__}"
            )
    return inputs


class _WayBack:
    """One call of a layer with backward hooks, seen from its end.

    The output passes through an operation that notes its gradient, and each input through two that do nothing on the way
    there. On the way back the inner ones note the inputs' gradients; as all of them come before the first outer one, that
    knows every gradient, and calls the hooks.
    """

    def __init__(self, layer: Hooked, hooks: Sequence[Callable[..., Any]], inputs: Sequence[Tensor]) -> None:
        self._layer, self._hooks = layer, hooks
        self._output_gradient: Array | None = None
        self._gradients: list[Array | None] = [None] * len(inputs)
        self._called = False
        self.inputs = list(inputs)
        """What goes into `forward`."""
        needed = [place for place, one in enumerate(inputs) if one.requires_grad]
        for step in (self._outgoing, self._noted):
            for place in needed:
                self.inputs[place] = self._passed(self.inputs[place], step, place)
        self._has_inputs = any(one.requires_grad and one.node is not None for one in self.inputs)

    def ending(self, output: Tensor) -> Tensor:
        """The output, whose gradient is noted."""
        return self._passed(output, self._begun, 0)

    def _passed(self, tensor: Tensor, step: Callable[[int, Array], Array | None], place: int) -> Tensor:
        """The same array behind an operation whose gradient is what `step` makes of it."""
        passed: Tensor = self._layer._owning(
            record, BACKWARD, tensor.array, [tensor], lambda gradient: (step(place, gradient),)
        )
        return passed

    def _begun(self, _: int, gradient: Array) -> Array:
        self._output_gradient, self._called = gradient, False
        self._gradients = [None] * len(self._gradients)
        if not self._has_inputs:  # nobody would come by later
            self._call()
        return gradient

    def _noted(self, place: int, gradient: Array) -> Array:
        self._gradients[place] = gradient
        return gradient

    def _outgoing(self, place: int, gradient: Array) -> Array | None:
        if not self._called:
            self._call()
        return self._gradients[place]

    def _call(self) -> None:
        """Let the hooks see the gradients, or replace those of the inputs, one hook after the other."""
        self._called = True
        for hook in self._hooks:
            replaced = hook(self._layer, tuple(self._gradients), (self._output_gradient,))
            if replaced is not None:
                self._gradients = self._fitting(replaced)

    def _fitting(self, replaced: Any) -> list[Array | None]:
        """What a hook returned, as gradients of the inputs. ArgumentError or ShapeError if it is none."""
        given, label = replaced if isinstance(replaced, tuple) else (replaced,), self._layer.label
        if len(given) != len(self.inputs):
            raise ArgumentError(
                f"{label}: a backward hook must return None or one gradient an input, here {len(self.inputs)}, got {len(given)}"
            )
        found: list[Array | None] = []
        for one, x in zip(given, self.inputs, strict=True):
            if one is None:
                found.append(None)
                continue
            gradient = as_array(one.array if isinstance(one, Tensor) else one, x.dtype)
            if gradient.shape != x.shape:
                raise ShapeError(
                    f"{label}: a backward hook must return gradients of the inputs' shapes, expected {shape_text(x.shape)}, got "
                    f"{shape_text(gradient.shape)}"
                )
            if gradient.dtype != x.dtype or not are_together(gradient, x.array):
                raise ArgumentError(
                    f"{label}: a backward hook must return gradients like the inputs, {x.dtype} on {x.device}, got "
                    f"{value_text(gradient)}"
                )
            found.append(gradient)
        return found
