"""Layer: what every layer and model is made of. How it is called, and what a call does to shapes."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np

from gpucnn.autograd import Tensor, as_operand, as_tensor, no_grad
from gpucnn.autograd.operation import BYTES_FIX
from gpucnn.autograd.tape import current_owner
from gpucnn.backend import Array, beside, recording
from gpucnn.backend.memory import is_out_of_memory
from gpucnn.checks import Shape, check_shape, is_int
from gpucnn.errors import ArgumentError, CaptureError, DTypeError, ShapeError
from gpucnn.layers import hooks
from gpucnn.layers.diagram import Diagram, diagram_of
from gpucnn.layers.forward_state import ForwardState
from gpucnn.layers.hooks import BackwardHook, ForwardHook, ForwardPreHook, HookHandle
from gpucnn.layers.one_output import one_output
from gpucnn.layers.parameter import Buffer
from gpucnn.layers.summary import model_html, summary_lines
from gpucnn.layers.torch_names import TorchNames
from gpucnn.layers.trace import LayerCall, Trace, current_calls
from gpucnn.text import value_text

T = TypeVar("T")


class Layer(TorchNames):
    """Parameters and a function of them.

    Subclass it, assign parameters and other layers as attributes (no `super().__init__()` is needed), and write
    `forward`. Attributes get dotted paths by their names, e.g. "features.conv1.weight", in the order of definition.

    What a forward pass changes beside buffers, e.g. a counter of draws, is declared in `forward_state`.

    - `training`: True until `eval()`, and False while the layer is frozen, see `requires_grad_`; dropout looks at it.
    - `seed`: initial weights and dropout masks are functions of it and of their path. A seed that was set holds for
      the layer and all within; else it is that of the layer around, 0 at the outermost.
    """

    _hooks: hooks.Hooks | None = None
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
        with beside(tensors[0].held) if tensors else nullcontext():
            if self._hooks and current_calls.get() is None:
                return hooks.called_with_hooks(self, tensors, options)
            return self._called(tensors, options)

    def _called(self, tensors: list[Tensor], options: dict[str, Any]) -> Tensor:
        """The output of a call; while shapes are traced, one of that shape."""
        if not self.is_innermost:
            return self._owning(self.forward, *tensors, **options)
        shapes = [x.shape for x in tensors]
        shape, calls = self.output_shape(*shapes), current_calls.get()
        if calls is None:
            return self._compute(tensors, options)
        cost = self.multiply_adds(*shapes)
        calls.append(LayerCall(self.path, type(self).__name__, shapes[0], shape, self.parameter_count(), cost))
        dtype = next((parameter.dtype for parameter in self.parameters()), tensors[0].dtype)
        return Tensor(np.broadcast_to(dtype.type(0), shape))

    def _compute(self, inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
        """`forward` of an innermost layer, which errors of the memory, and of a step being recorded, name; on the way back, too."""
        try:
            return self._owning(self.forward, *inputs, **options)
        except DTypeError as error:
            integers = [str(x.dtype) for x in inputs if x.dtype.kind in "iub"]
            fix = f"; if these are raw images, {BYTES_FIX}" if integers and BYTES_FIX not in str(error) else ""
            error.args = (f"{self.label}: {error}{fix}",)
            raise
        except Exception as error:
            named = isinstance(error, CaptureError) and str(error).startswith(self.label)
            if (is_out_of_memory(error) or recording()) and not named:
                error.add_note(f"in {self.label}")
            raise

    def _owning(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> T:
        """What `function` gives, `forward` or a hook, with this layer as the owner of what it puts on the tape."""
        token = current_owner.set(self.label)
        try:
            return function(*arguments, **options)
        finally:
            current_owner.reset(token)

    @property
    def has_hooks(self) -> bool:
        """Whether a hook of any kind is registered with this layer itself."""
        return bool(self._hooks)

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Call `hook(layer, inputs, output)` after each forward pass of this layer, in the order of registration.

        `inputs` is a tuple of tensors. A tensor that the hook returns takes the output's place; None leaves it. While shapes
        are traced nothing is computed, and no hook called. The handle's `remove()` ends it. ArgumentError if `hook` cannot
        be called, and from the forward pass if it returns anything else.
        """
        return self._register(hook, hooks.FORWARD)

    def register_forward_pre_hook(self, hook: ForwardPreHook) -> HookHandle:
        """Call `hook(layer, inputs)` before each forward pass; a tensor, or tuple of them, that it returns is what goes in."""
        return self._register(hook, hooks.PRE)

    def register_full_backward_hook(self, hook: BackwardHook) -> HookHandle:
        """Call `hook(layer, grad_input, grad_output)` in each backward pass, when the gradients of the layer's inputs are known.

        Both are tuples of arrays; of an input that needs no gradient it is None, and where none does, as with images, the hook is
        called before the parameters' gradients are known. A gradient, or tuple of them, that it returns goes on in place of
        `grad_input`; ShapeError and ArgumentError if it does not fit. Gradients are to be read, not written to.
        """
        return self._register(hook, hooks.BACKWARD)

    def _register(self, hook: Callable[..., Any], kind: str) -> HookHandle:
        if not callable(hook):
            raise ArgumentError(
                f"{self.label}: a hook is a function of {hooks.ARGUMENTS[kind]}, got {value_text(hook)}"
            )
        own = {} if self._hooks is None else self._hooks
        object.__setattr__(self, "_hooks", own)  # no state, also where it is done inside of a forward pass
        handle = HookHandle(own, kind)
        own[handle] = hook
        return handle

    def named_layers(self) -> "Iterator[tuple[str, Layer]]":
        """(path, layer) of this layer, as "", and of all within, in the order of definition."""
        return super().named_layers()

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """The shape that comes out for inputs of `input_shapes` (batch axis included), found without computing.

        Raises ShapeError, which names the layer's path, if the input does not fit.
        """
        traced = self.trace(*input_shapes)  # first, as it refuses what cannot be a shape
        return (input_shapes[0][0], *traced.output_shape[1:])

    def multiply_adds(self, *input_shapes: Shape) -> int:
        """How many multiplications with addition inputs of `input_shapes` take. Layers without weights count as 0."""
        if self.is_innermost:
            return 0
        return sum(call.multiply_adds for call in self.trace(*input_shapes).calls) * input_shapes[0][0]

    def im2col_bytes(self, *input_shapes: Shape) -> int:
        """How many bytes the columns of all its convolutions would take for inputs of `input_shapes`, made at once."""
        if self.is_innermost:
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
            self._check_sizes(shape)
        before = ForwardState(self)
        token = current_calls.set([])
        try:
            zero = self._dtype.type(0)
            with no_grad():
                output = self(*(np.broadcast_to(zero, (1, *shape[1:])) for shape in input_shapes))
            return Trace(current_calls.get() or [], one_output(self.label, output).shape)
        finally:
            current_calls.reset(token)
            before.restore()

    def _check_sizes(self, shape: Any) -> None:
        are_sizes = isinstance(shape, tuple | list) and all(is_int(size) and size >= 0 for size in shape)
        if not are_sizes or not shape:
            raise ShapeError(
                f"{self.label}: an input's shape is a tuple (N, ...) of ints >= 0, got {value_text(shape)}"
            )
        check_shape(self.label, tuple(shape))

    def built_for(self) -> Shape | None:
        """The shape (C, H, W) of the images that the layer was built for; None if it is not known, or any will do."""
        return None

    def summary(self, input_shape: Shape | None = None) -> None:
        """Print the operations, with their shapes, parameters and costs, for an input of `input_shape`, e.g. (3, 32, 32).

        The shape has no batch axis; models of images know theirs. ArgumentError where it is missing, ShapeError if it does not fit.
        """
        print("\n".join(summary_lines(self, self._shown_for(input_shape, "summary"))))

    def diagram(self, input_shape: Shape | None = None) -> Diagram:
        """The model's picture as the text of an SVG file, which notebooks show: layers, shapes, parameters, residual paths.

        For an input of `input_shape`, as for `summary`, with its errors; GraphError where `forward` computes with NumPy. Deep models
        are folded: blocks that are alike are drawn once. `model.diagram().save("model.svg")` keeps it.
        """
        return diagram_of(self, self._shown_for(input_shape, "diagram"))

    def _shown_for(self, input_shape: Any, method: str) -> Shape:
        """The shape, without the batch axis, that a look at the model is for."""
        shape = self.built_for() if input_shape is None else input_shape
        if shape is None:
            raise ArgumentError(
                f"{self.label}: {method} needs the shape of an input, without the batch axis, e.g. {method}((3, 32, 32))"
            )
        shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        self._check_sizes((1, *shape))
        try:
            self.output_shape((1, *shape))  # refuses what does not fit
        except ShapeError:
            if len(shape) != 4:
                raise
            raise ShapeError(
                f"{self.label}: {method} takes a shape without the batch axis, got {value_text(shape)}; give {value_text(shape[1:])}"
            ) from None
        return shape

    def _repr_html_(self) -> str | None:
        return model_html(self)

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

    def _look_at_lists(self) -> None:
        """At the first call: see that all layers within are known, in the outermost layer for all."""
        if current_owner.get():
            return
        for _, layer in self.named_layers():
            object.__setattr__(layer, "_looked_at_lists", True)

    @property
    def is_innermost(self) -> bool:
        """Whether the layer tells its own shape, and is one call of a trace; containers and models are not."""
        return type(self).output_shape is not Layer.output_shape
