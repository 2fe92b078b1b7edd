"""Layer: what every layer and model is made of."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from gpucnn.autograd import Tensor, as_operand, as_tensor, no_grad
from gpucnn.autograd.tape import current_owner
from gpucnn.backend import Array, Device, beside, choose_device, to_host
from gpucnn.backend.memory import is_out_of_memory
from gpucnn.checks import Shape, as_dtype, as_flag, check_shape, is_int
from gpucnn.errors import ArgumentError, DTypeError, ShapeError, StateError
from gpucnn.layers.buffer import Buffer
from gpucnn.layers.finite import not_finite, refuse_not_finite
from gpucnn.layers.fitting_state import fitting_arrays
from gpucnn.layers.forward_state import ForwardState, as_json, from_json, is_plain
from gpucnn.layers.hooks import ForwardHook, HookHandle
from gpucnn.layers.observe import current_observers
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.trace import LayerCall, Trace, current_calls
from gpucnn.layers.unregistered import first_unregistered
from gpucnn.text import value_text

BYTES_FIX = "divide them, e.g. (images / 255).astype('float32'), or feed them through a data.Preprocess"

OWN_ATTRIBUTES = ("path", "seed", "training")
"""Attributes of every layer that are no part of its forward state."""


class Layer:
    """Parameters and a function of them.

    Subclass it, assign parameters and other layers as attributes (no `super().__init__()` is needed), and write
    `forward`. Attributes get dotted paths by their names, e.g. "features.conv1.weight", in the order of definition.

    What a forward pass changes beside buffers, e.g. a counter of draws, is declared in `forward_state`.

    - `training`: True until `eval()`, and False while the layer is frozen, see `requires_grad_`; dropout looks at it.
    - `seed`: initial weights and dropout masks are functions of it and of their path. A seed that was set holds for
      the layer and all within; else it is that of the layer around, 0 at the outermost.
    """

    path: str = ""
    seed: int = 0
    replaces_buffers: bool = False
    """Whether `forward` puts new arrays in its buffers' place, and never writes into one: then nobody needs a copy of it."""

    _training: bool = True
    _frozen: bool = False
    _own_seed: bool = False
    _forward_hooks: dict[HookHandle, ForwardHook] | None = None
    _changed_by_forward: Mapping[str, Any] = MappingProxyType({})
    """What each attribute was before a forward pass first assigned it; ... if it was not there."""

    _looked_at_lists: bool = False
    _looked_at_bytes: bool = False
    _told_of_state: bool = False

    def forward(self, *inputs: Any) -> Tensor:
        """The layer's output. Write this in a subclass."""
        raise TypeError(f"{self.label}: the class {type(self).__name__} needs a method forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        """`forward`, after a check of the shapes. Plain arrays are taken in the layer's dtype, on its device."""
        if not self._looked_at_lists:
            self._look_at_lists()
        tensors = list(map(self._take, inputs))
        with beside(tensors[0].data) if tensors else nullcontext():
            return self._called(tensors, options)

    def _called(self, tensors: list[Tensor], options: dict[str, Any]) -> Tensor:
        """The output of a call, seen by hooks and observers; while shapes are traced, one of that shape."""
        calls = current_calls.get()
        if not self._knows_its_shape:
            output = self._owning(tensors, options)
            return output if calls is not None else self._after_hooks(tensors, output)
        shapes = [x.shape for x in tensors]
        shape = self.output_shape(*shapes)
        if calls is None:
            output = self._compute(tensors, options)
            for tell in current_observers.get():
                tell(self, output)
            return self._after_hooks(tensors, output)
        cost = self.multiply_adds(*shapes)
        calls.append(LayerCall(self.path, type(self).__name__, shapes[0], shape, self.parameter_count(), cost))
        dtype = next((parameter.dtype for parameter in self.parameters()), tensors[0].dtype)
        return Tensor(np.broadcast_to(dtype.type(0), shape))

    def _compute(self, inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
        """`forward` of an innermost layer, which errors of the memory, here and on the way back, then name."""
        try:
            return self._owning(inputs, options)
        except DTypeError as error:
            integers = [str(x.dtype) for x in inputs if x.dtype.kind in "iub"]
            fix = f"; if these are raw images, {BYTES_FIX}" if integers else ""
            error.args = (f"{self.label}: {error}{fix}",)
            raise
        except Exception as error:
            if is_out_of_memory(error):
                error.add_note(f"in {self.label}")
            raise

    def _owning(self, inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
        """`forward`, as the owner of what it puts on the tape."""
        token = current_owner.set(self.label)
        try:
            return self.forward(*inputs, **options)
        finally:
            current_owner.reset(token)

    def _after_hooks(self, inputs: list[Tensor], output: Tensor) -> Tensor:
        """The output, or what the hooks put in its place. What a hook changes in a layer belongs to the forward pass."""
        for hook in list((self._forward_hooks or {}).values()):
            token = current_owner.set(self.label)
            try:
                replacement = hook(self, tuple(inputs), output)
            finally:
                current_owner.reset(token)
            if replacement is None:
                continue
            if not isinstance(replacement, Tensor):
                raise ArgumentError(
                    f"{self.label}: a forward hook must return None or a tensor, got {type(replacement).__name__}"
                )
            output = replacement
        return output

    @property
    def has_forward_hooks(self) -> bool:
        """Whether a forward hook is registered with this layer itself."""
        return bool(self._forward_hooks)

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Call `hook(layer, inputs, output)` after each forward pass of this layer, in the order of registration.

        `inputs` is a tuple of tensors. A tensor that the hook returns takes the output's place; None leaves it. While shapes
        are traced nothing is computed, and no hook called. The handle's `remove()` ends it. ArgumentError if `hook` cannot
        be called, and from the forward pass if it returns anything else.
        """
        if not callable(hook):
            raise ArgumentError(
                f"{self.label}: a hook is a function of (layer, inputs, output), got {value_text(hook)}"
            )
        hooks = {} if self._forward_hooks is None else self._forward_hooks
        object.__setattr__(self, "_forward_hooks", hooks)  # no state, also where it is done inside of a forward pass
        handle = HookHandle(hooks)
        hooks[handle] = hook
        return handle

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """The shape that comes out for inputs of `input_shapes` (batch axis included), found without computing.

        Raises ShapeError, which names the layer's path, if the input does not fit.
        """
        traced = self.trace(*input_shapes)  # first, as it refuses what is no shape
        return (input_shapes[0][0], *traced.output_shape[1:])

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """How many multiplications with addition inputs of `input_shapes` take. Layers without weights count as 0."""
        if self._knows_its_shape:
            return 0
        return sum(call.multiply_adds for call in self.trace(*input_shapes).calls) * input_shapes[0][0]

    def im2col_bytes(self, *input_shapes: Shape) -> int:
        """How many bytes the columns of all its convolutions would take for inputs of `input_shapes`, made at once."""
        if self._knows_its_shape:
            return 0
        layers = {layer.path: layer for _, layer in self.named_layers()}
        calls = self.trace(*input_shapes).calls
        return sum(layers[call.path].im2col_bytes(call.input_shape) for call in calls) * input_shapes[0][0]

    def trace(self, *input_shapes: Shape) -> Trace:
        """Every innermost layer's call for one image of `input_shapes` (whose batch axis is not looked at).

        Layers that know their shape only tell it; functions that a model's `forward` calls itself run on one image. What a
        forward pass changes is put back.
        """
        for shape in input_shapes:
            if (
                not isinstance(shape, tuple | list)
                or not shape
                or not all(is_int(size) and size >= 0 for size in shape)
            ):
                raise ShapeError(
                    f"{self.label}: an input's shape is a tuple (N, ...) of ints >= 0, got {value_text(shape)}"
                )
            check_shape(self.label, tuple(shape))
        before = ForwardState(self)
        token = current_calls.set([])
        try:
            zero = self._dtype.type(0)
            with no_grad():
                output = self(*(np.broadcast_to(zero, (1, *shape[1:])) for shape in input_shapes))
            return Trace(current_calls.get() or [], output.shape)
        finally:
            current_calls.reset(token)
            before.restore()

    def forward_state(self) -> dict[str, Any]:
        """What a forward pass changes in this layer itself, beside its buffers: JSON values by name, e.g. {"calls": 3}.

        `Checkpoint`, a step that is made again, `replay` and saved trainers hold it, and give it to `set_forward_state`.
        A layer that counts its draws, as `Dropout` does, declares its counter here. Without that it is the numbers, truth
        values and texts that `forward` was seen to assign to attributes, but for those that are as before the first pass. What
        changes otherwise (the elements of a list, the state of a generator) is known only where it is declared; arrays belong
        in a `Buffer`.
        """
        found = {}
        for name, first in self._changed_by_forward.items():
            value = vars(self).get(name, ...)
            if is_plain(value) and not (type(value) is type(first) and value == first):
                found[name] = as_json(value)
        return found

    @property
    def declares_forward_state(self) -> bool:
        """Whether the class has a `forward_state` of its own."""
        return type(self).forward_state is not Layer.forward_state

    def set_forward_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `forward_state` gave: the next forward pass is then the one that came next there.

        What it gives of a layer that has not computed yet is an empty one. Raises StateError for the state of another layer.
        """
        for name, first in self._changed_by_forward.items():
            if name not in state and first is not ...:
                object.__setattr__(self, name, first)
            elif name not in state:
                vars(self).pop(name, None)
        for name, value in state.items():
            own, value = getattr(self, name, ...), from_json(value)
            known = is_plain(own) or (self._names_in_its_code(name) and not isinstance(own, Layer | Parameter))
            fits = is_plain(value) and (own is None or own is ... or isinstance(own, tuple) == isinstance(value, tuple))
            if name in OWN_ATTRIBUTES or callable(own) or not known or not fits:
                raise StateError(
                    f"{self.label}: there is no number or text self.{name} that could take {value!r}; build the layer as it "
                    f"was when the state was saved"
                )
            self._note_change(name)
            object.__setattr__(self, name, type(own)(value) if isinstance(own, np.generic) else value)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of this layer and all within, in the order of definition; a shared one once."""
        for path, member in self._named_state():
            if not isinstance(member, Buffer):
                yield path, member

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(path, buffer) of this layer and all within, in the order of definition; a shared one once."""
        for path, member in self._named_state():
            if isinstance(member, Buffer):
                yield path, member

    def named_layers(self) -> "Iterator[tuple[str, Layer]]":
        """(path, layer) of this layer, as "", and of all within, in the order of definition."""
        yield from self._layers("")
        self._refuse_unregistered()

    def parameters(self) -> Iterator[Parameter]:
        """The parameters of this layer and all within, in the order of definition."""
        for _, parameter in self.named_parameters():
            yield parameter

    def _named_state(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters and buffers, in the order of definition; a shared one once.

        At their end ArgumentError, if there are more in lists, which nobody would train: whoever wants all is told.
        """
        seen: set[int] = set()
        for path, member in self._walk(""):
            if id(member) not in seen:
                seen.add(id(member))
                yield path, member
        self._refuse_unregistered()

    def parameter_count(self) -> int:
        """How many numbers this layer and all within learn. No memory is taken for them."""
        return sum(parameter.size for parameter in self.parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as numpy arrays, by path. Device and model stay as they are."""
        return {path: np.array(to_host(member.data), order="C") for path, member in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any], finite: bool = True) -> None:
        """Take over parameters and buffers by path, on this model's device and in its dtype.

        Entries of PyTorch's batch norms called "num_batches_tracked" are passed over. Raises StateError, and changes
        nothing, if a parameter is missing, unknown, or of another shape, or has NaN or infinite values: with
        `finite=False` these are taken, too, for a look at a model that is spoilt. A buffer that has such values in this model
        already, as a mask of -inf, may have them.
        """
        if not isinstance(state, Mapping):
            raise StateError(
                f"{self.label}: expected arrays by path, as state_dict() gives them, got {value_text(state)}"
            )
        if odd := [path for path in state if not isinstance(path, str)]:
            raise StateError(f"{self.label}: the paths of arrays are texts, got {value_text(odd[0])}")
        own = dict(self._named_state())
        arrays = fitting_arrays(type(self).__name__, own, state)
        if finite:
            masks = {path for path, one in own.items() if isinstance(one, Buffer) and not_finite({path: one.data})}
            refuse_not_finite(type(self).__name__, {path: arrays[path] for path in own if path not in masks})
        for path, parameter in own.items():
            parameter.assign(arrays[path])

    @property
    def training(self) -> bool:
        """Whether the layer is in training mode; never while it is frozen, see `requires_grad_`."""
        return self._training and not self.is_frozen

    @training.setter
    def training(self, training: bool) -> None:
        object.__setattr__(self, "_training", training)

    @property
    def is_frozen(self) -> bool:
        """Whether this layer has parameters, itself or within, and none of them learns; one without goes by `requires_grad_`."""
        frozen = self._frozen
        for _, member in self._walk(""):
            if member.requires_grad:
                return False
            frozen = frozen or not isinstance(member, Buffer)
        return frozen

    def train(self) -> Self:
        """Switch to training, in this layer and all within but those that are frozen. Returns the layer."""
        return self._set_training(True)

    def eval(self) -> Self:
        """Switch to evaluation (no dropout), in this layer and all within. Returns the layer."""
        return self._set_training(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether this layer, and all within, learn; False freezes them, True ends that. Returns the layer.

        What is frozen stays as in evaluation, whatever `train()` and `Trainer.fit` switch: its parameters get no gradient,
        cost no time for it, and no optimizer changes them; batch norms use their running statistics and leave them as they
        are; dropout lets everything through. A gradient that is there is forgotten.

        Parameters whose own `requires_grad` is False freeze the layers all of whose parameters they are; of layers that have
        none, such as dropout, that says nothing. A batch norm built with `frozen=True` freezes its statistics alone.
        """
        requires_grad = as_flag(requires_grad, f"{self.label}: requires_grad")
        for _, layer in self.named_layers():
            object.__setattr__(layer, "_frozen", not requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
            if not requires_grad:
                parameter.grad = None
        return self

    def to(self, device: str | Device) -> Self:
        """Move all parameters and buffers to `device`, in place. Returns the layer. DeviceError if the device does not work."""
        chosen = choose_device(device).device
        for _, member in self._named_state():
            member.move(chosen)
        return self

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters and float buffers to a float dtype, in place. Returns the layer. DTypeError if it is no float."""
        dtype = as_dtype(dtype, "a model's dtype")
        for _, member in self._named_state():
            if member.dtype.kind == "f":  # a counter stays one
                member.convert(dtype)
        return self

    @property
    def label(self) -> str:
        """How messages name this layer: its path in the model and its class."""
        return f"{self.path} ({type(self).__name__})" if self.path else type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, list | tuple | dict):
            items = value.values() if isinstance(value, dict) else value
            if any(isinstance(item, Layer | Parameter) for item in items):
                raise ArgumentError(
                    f"{self.label}: layers in a plain {type(value).__name__} would not be trained; "
                    f"use self.{name} = layers.Sequential(*layers), layers.LayerList(*layers) or one attribute a layer"
                )
        replaced = isinstance(vars(self).get(name), Parameter) and not isinstance(value, Parameter)
        trainable = isinstance(value, Tensor) and value.requires_grad and not isinstance(value, Parameter)
        if trainable or (replaced and value is not None):
            raise ArgumentError(
                f"{self.label}: self.{name} would not be trained or saved as a {type(value).__name__}; "
                f"make it a layers.Parameter, or put values into one with self.{name}.assign(values)"
            )
        changes_places = isinstance(value, Layer | Parameter) or isinstance(vars(self).get(name), Layer | Parameter)
        if current_owner.get() and not changes_places:
            if name == "seed" and value != self.seed:
                raise ArgumentError(
                    f"{self.label}: seed is no counter, and a forward pass changes it; count draws in an attribute of its own, "
                    f"and draw from (self.seed, purpose, counter), as layers.Dropout does"
                )
            self._note_change(name)
        object.__setattr__(self, name, value)
        if name == "seed":
            object.__setattr__(self, "_own_seed", True)
        if name == "seed" or changes_places:
            _place(self, self.path, self.seed, set())

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}({self.describe()})"]
        for name, member in self._members():
            if isinstance(member, Layer):
                lines.append(f"  {name}: " + repr(member).replace("\n", "\n  "))
        return "\n".join(lines)

    def describe(self) -> str:
        """The layer's arguments, for `repr` and messages."""
        return ""

    def _take(self, x: Any) -> Tensor:
        if isinstance(x, Tensor):
            return x
        parameter = next((member for _, member in self._walk("") if not isinstance(member, Buffer)), None)
        if parameter is None:
            return as_tensor(x)
        if (
            not self._looked_at_bytes
            and isinstance(getattr(x, "dtype", None), np.dtype)
            and (x.dtype == np.uint8 or (x.dtype.kind in "iu" and x.ndim == 4))
        ):
            self._look_at_bytes(x)
        return as_operand(x, parameter)

    def _look_at_bytes(self, x: Array) -> None:
        """Warn of raw images, once a layer: of truth values, 0 and 1, as integers, nothing is wrong."""
        if x.size and x.max() > 1:
            object.__setattr__(self, "_looked_at_bytes", True)
            warnings.warn(
                f"{self.label}: got {'bytes' if x.dtype == np.uint8 else 'integers'} ({x.dtype}) from {x.min()} to {x.max()}, and "
                f"takes them for floats as large as that; "
                f"models learn from images from 0 to 1: {BYTES_FIX}",
                stacklevel=4,  # who called the layer
            )

    def _names_in_its_code(self, name: str) -> bool:
        """Whether a method of this layer's class names the attribute, which its forward pass may then be the first to make."""
        methods = (
            method for kind in type(self).__mro__[: type(self).__mro__.index(Layer)] for method in vars(kind).values()
        )
        return any(name in getattr(getattr(method, "__code__", None), "co_names", ()) for method in methods)

    def _note_change(self, name: str) -> None:
        """Remember that a forward pass changes the attribute called `name`, and what it is before that."""
        if name not in self._changed_by_forward and name not in OWN_ATTRIBUTES:
            first = vars(self).get(name, ...)
            object.__setattr__(self, "_changed_by_forward", {**self._changed_by_forward, name: first})

    def _look_at_lists(self) -> None:
        """At the first call: see that all layers within are known, in the outermost layer for all."""
        if current_owner.get():
            return
        for _, layer in self.named_layers():
            object.__setattr__(layer, "_looked_at_lists", True)

    def _refuse_unregistered(self) -> None:
        """ArgumentError for a layer or parameter that is kept in a list or the like, and in no attribute."""
        if self.path:  # of a part nothing can be told: the whole may have the rest
            return
        found = first_unregistered([layer for _, layer in self._layers("")], Layer)
        if found is None:
            return
        raise ArgumentError(found.message())

    def _layers(self, prefix: str) -> "Iterator[tuple[str, Layer]]":
        """This layer and all within, by their paths behind `prefix`."""
        yield prefix.removesuffix("."), self
        for name, member in self._members():
            if isinstance(member, Layer):
                yield from member._layers(f"{prefix}{name}.")

    @property
    def _knows_its_shape(self) -> bool:
        return type(self).output_shape is not Layer.output_shape

    @property
    def _dtype(self) -> np.dtype:
        return next(
            (member.dtype for _, member in self._walk("") if not isinstance(member, Buffer)), np.dtype(np.float32)
        )

    def _members(self) -> "Iterator[tuple[str, Layer | Parameter]]":
        for name, value in vars(self).items():
            if isinstance(value, Layer | Parameter):
                yield name, value

    def _walk(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, member in self._members():
            if isinstance(member, Parameter):
                yield prefix + name, member
            else:
                yield from member._walk(f"{prefix}{name}.")

    def _set_training(self, training: bool) -> Self:
        for _, layer in self.named_layers():
            layer.training = training
        return self


def _place(member: Layer | Parameter, path: str, seed: int, seen: set[int]) -> None:
    """Tell `member`, and all within, where it now stands and which seed holds there. A shared one keeps its first."""
    if id(member) in seen:
        return
    seen.add(id(member))
    object.__setattr__(member, "path", path)
    if isinstance(member, Parameter):
        member.seed = seed
        return
    if not member._own_seed:
        object.__setattr__(member, "seed", seed)
    for name, inner in member._members():
        _place(inner, f"{path}.{name}" if path else name, member.seed, seen)
