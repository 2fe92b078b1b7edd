"""Layer: what every layer and model is made of."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Self

import numpy as np

from gpucnn.autograd import Tensor, as_operand, as_tensor, no_grad
from gpucnn.autograd.tape import current_owner
from gpucnn.backend import Array, Device, as_array, beside, choose_device, to_host
from gpucnn.backend.memory import is_out_of_memory
from gpucnn.checks import Shape, shape_text
from gpucnn.errors import ArgumentError, DTypeError, StateError
from gpucnn.layers.buffer import Buffer
from gpucnn.layers.hooks import ForwardHook, HookHandle
from gpucnn.layers.observe import current_observers
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.trace import LayerCall, Trace, current_calls

IGNORED_STATE = "num_batches_tracked"
"""A counter of PyTorch's batch norms, which its momentum makes no use of: state from there loads without it."""


class Layer:
    """Parameters and a function of them.

    Subclass it, assign parameters and other layers as attributes (no `super().__init__()` is needed), and write
    `forward`. Attributes get dotted paths by their names, e.g. "features.conv1.weight", in the order of definition.

    - `training`: True until `eval()`; dropout looks at it.
    - `seed`: initial weights and dropout masks are functions of it and of their path. A seed that was set holds for
      the layer and all within; else it is that of the layer around, 0 at the outermost.
    """

    path: str = ""
    seed: int = 0
    training: bool = True
    _own_seed: bool = False
    _forward_hooks: dict[HookHandle, ForwardHook] | None = None

    def forward(self, *inputs: Any) -> Tensor:
        """The layer's output. Write this in a subclass."""
        raise TypeError(f"{self.label}: the class {type(self).__name__} needs a method forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        """`forward`, after a check of the shapes. Plain arrays are taken in the layer's dtype, on its device."""
        tensors = [self._take(x) for x in inputs]
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
        """The output, or what the hooks put in its place."""
        for hook in list((self._forward_hooks or {}).values()):
            replacement = hook(self, tuple(inputs), output)
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
            raise ArgumentError(f"{self.label}: a hook is a function of (layer, inputs, output), got {hook!r}")
        if self._forward_hooks is None:
            self._forward_hooks = {}
        handle = HookHandle(self._forward_hooks)
        self._forward_hooks[handle] = hook
        return handle

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """The shape that comes out for inputs of `input_shapes` (batch axis included), found without computing.

        Raises ShapeError, which names the layer's path, if the input does not fit.
        """
        return (input_shapes[0][0], *self.trace(*input_shapes).output_shape[1:])

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

        Layers that know their shape only tell it; functions that a model's `forward` calls itself run on one image.
        """
        token = current_calls.set([])
        try:
            zero = self._dtype.type(0)
            with no_grad():
                output = self(*(np.broadcast_to(zero, (1, *shape[1:])) for shape in input_shapes))
            return Trace(current_calls.get() or [], output.shape)
        finally:
            current_calls.reset(token)

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
        yield "", self
        for name, member in self._members():
            if isinstance(member, Layer):
                for path, layer in member.named_layers():
                    yield f"{name}.{path}" if path else name, layer

    def parameters(self) -> Iterator[Parameter]:
        """The parameters of this layer and all within, in the order of definition."""
        for _, parameter in self.named_parameters():
            yield parameter

    def _named_state(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters and buffers, in the order of definition; a shared one once."""
        seen: set[int] = set()
        for path, member in self._walk(""):
            if id(member) not in seen:
                seen.add(id(member))
                yield path, member

    def parameter_count(self) -> int:
        """How many numbers this layer and all within learn. No memory is taken for them."""
        return sum(parameter.size for parameter in self.parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as numpy arrays, by path. Device and model stay as they are."""
        return {path: np.array(to_host(member.data), order="C") for path, member in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters and buffers by path, on this model's device and in its dtype.

        Entries of PyTorch's batch norms called "num_batches_tracked" are passed over. Raises StateError, and changes
        nothing, if a parameter is missing, unknown, or of another shape.
        """
        own = dict(self._named_state())
        problems = [f"{path} is missing" for path in own if path not in state]
        arrays: dict[str, Array] = {}
        for path, value in state.items():
            if path not in own:
                if path.rpartition(".")[2] != IGNORED_STATE:
                    problems.append(f"{path} is unknown")
                continue
            try:
                arrays[path] = value.data if isinstance(value, Tensor) else as_array(value, own[path].dtype)
            except DTypeError as error:
                problems.append(f"{path}: {error}")
                continue
            got, expected = arrays[path].shape, own[path].shape
            if got != expected:
                problems.append(f"{path} has shape {shape_text(got)}, expected {shape_text(expected)}")
        if problems:
            raise StateError(
                f"these parameters do not fit {type(self).__name__}: {'; '.join(problems[:4])}"
                f"{f'; and {len(problems) - 4} more' if len(problems) > 4 else ''}; build the model with the arguments "
                f"it was saved with"
            )
        for path, parameter in own.items():
            parameter.assign(arrays[path])

    def train(self) -> Self:
        """Switch to training, in this layer and all within. Returns the layer."""
        return self._set_training(True)

    def eval(self) -> Self:
        """Switch to evaluation (no dropout), in this layer and all within. Returns the layer."""
        return self._set_training(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether this layer's parameters, and those of all within, learn; False freezes them. Returns the layer.

        Frozen ones get no gradient, cost no time for it, and no optimizer changes them. Batch norms still move their running
        statistics in training, unless they are built with `frozen=True`. A gradient that is there is forgotten.
        """
        for parameter in self.parameters():
            parameter.requires_grad = bool(requires_grad)
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
        """Convert all parameters and buffers to a float dtype, in place. Returns the layer. DTypeError if it is no float."""
        if np.dtype(dtype).kind != "f":
            raise DTypeError(f"a model's dtype must be a float, got {np.dtype(dtype)}")
        for _, member in self._named_state():
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
                    f"use self.{name} = layers.Sequential(*layers) or one attribute a layer"
                )
        replaced = isinstance(vars(self).get(name), Parameter) and not isinstance(value, Parameter)
        trainable = isinstance(value, Tensor) and value.requires_grad and not isinstance(value, Parameter)
        if trainable or (replaced and value is not None):
            raise ArgumentError(
                f"{self.label}: self.{name} would not be trained or saved as a {type(value).__name__}; "
                f"make it a layers.Parameter, or put values into one with self.{name}.assign(values)"
            )
        changes_places = isinstance(value, Layer | Parameter) or isinstance(vars(self).get(name), Layer | Parameter)
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
        parameter = None if isinstance(x, Tensor) else next(self.parameters(), None)
        return as_tensor(x) if parameter is None else as_operand(x, parameter)

    @property
    def _knows_its_shape(self) -> bool:
        return type(self).output_shape is not Layer.output_shape

    @property
    def _dtype(self) -> np.dtype:
        return next((parameter.dtype for parameter in self.parameters()), np.dtype(np.float32))

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
