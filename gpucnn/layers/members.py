"""The tree that a layer is: parameters, buffers and layers in its attributes, with paths, seeds, modes and saved arrays."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.autograd.tape import current_owner
from gpucnn.backend import Device, choose_device, to_host
from gpucnn.checks import as_dtype, as_flag
from gpucnn.errors import ArgumentError, StateError
from gpucnn.layers.parameter import Buffer, Parameter
from gpucnn.layers.plain_state import PlainState
from gpucnn.layers.saved_arrays import StateKeys, fitting_arrays, not_finite, refuse_not_finite
from gpucnn.layers.unregistered import first_unregistered
from gpucnn.text import value_text


class Members(PlainState):
    """The part of a layer that knows what it holds: all that is done to parameters, buffers and layers within, by path."""

    path: str = ""
    seed: int = 0

    _training: bool = True
    _frozen: bool = False
    _own_seed: bool = False

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

    def named_layers(self) -> Iterator[tuple[str, Any]]:
        """(path, layer) of this layer, as "", and of all within, in the order of definition."""
        yield from self._layers("")
        self._refuse_unregistered()

    def parameters(self) -> Iterator[Parameter]:
        """The parameters of this layer and all within, in the order of definition."""
        yield from (parameter for _, parameter in self.named_parameters())

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

    def state_dict(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as numpy arrays, by `prefix` and path. Device and model stay as they are."""
        if not isinstance(prefix, str):
            raise ArgumentError(f"{self.label}: prefix must be a text, got {value_text(prefix)}")
        return {prefix + path: np.array(to_host(member.array), order="C") for path, member in self._named_state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, finite: bool = True) -> StateKeys:
        """Take over parameters and buffers by path, on this model's device and in its dtype. Which paths did not meet.

        With `strict=False` the model keeps its own where `state` has none, and what the model has no place for is left. Entries
        of PyTorch's batch norms called "num_batches_tracked" are passed over. Raises StateError, and changes nothing, if a
        parameter is missing or unknown (not with `strict=False`, unless that is all of them), of another shape, or has NaN or
        infinite values: with `finite=False` these are taken, too, for a look at a model that is spoilt. A buffer that has such
        values in this model already, as a mask of -inf, may have them.
        """
        strict, finite = as_flag(strict, f"{self.label}: strict"), as_flag(finite, f"{self.label}: finite")
        if not isinstance(state, Mapping):
            raise StateError(
                f"{self.label}: expected arrays by path, as state_dict() gives them, got {value_text(state)}"
            )
        if odd := [path for path in state if not isinstance(path, str)]:
            raise StateError(f"{self.label}: the paths of arrays are texts, got {value_text(odd[0])}")
        own = dict(self._named_state())
        arrays = fitting_arrays(type(self).__name__, own, state, strict)
        if finite:
            masks = {path for path, one in own.items() if isinstance(one, Buffer) and not_finite({path: one.array})}
            refuse_not_finite(type(self).__name__, {path: arrays[path] for path in arrays if path not in masks})
        for path, array in arrays.items():
            own[path].assign(array)
        return StateKeys.of(own, state)

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

    def train(self, mode: bool = True) -> Self:
        """Switch to training, in this layer and all within but those that are frozen; `train(False)` is `eval()`. Returns the layer."""
        return self._set_training(as_flag(mode, f"{self.label}: mode"))

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
        """Convert all parameters and float buffers to a float dtype, in place. Returns the layer. DTypeError if it is not a float."""
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
            items = list(value.values()) if isinstance(value, dict) else value
            if any(isinstance(item, Members | Parameter) for item in items):
                what, fix = "layers", f"self.{name} = layers.Sequential(*layers), layers.LayerList(*layers)"
                if isinstance(value, dict):
                    fix = f"self.{name} = layers.LayerDict(layers)"
                if not any(isinstance(item, Members) for item in items):
                    what, fix = "parameters", f"self.{name} = layers.ParameterList(parameters)"
                raise ArgumentError(
                    f"{self.label}: {what} in a plain {type(value).__name__} would not be trained; use {fix} or one attribute "
                    f"a {what[:-1]}"
                )
        replaced = isinstance(vars(self).get(name), Parameter) and not isinstance(value, Parameter)
        trainable = isinstance(value, Tensor) and value.requires_grad and not isinstance(value, Parameter)
        if trainable or (replaced and value is not None):
            raise ArgumentError(
                f"{self.label}: self.{name} would not be trained or saved as a {type(value).__name__}; "
                f"make it a layers.Parameter, or put values into one with self.{name}.assign(values)"
            )
        changes_places = isinstance(value, Members | Parameter) or isinstance(vars(self).get(name), Members | Parameter)
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
            if isinstance(member, Members):
                lines.append(f"  {name}: " + repr(member).replace("\n", "\n  "))
        return "\n".join(lines)

    def describe(self) -> str:
        """The layer's arguments, for `repr` and messages."""
        return ""

    def _refuse_unregistered(self) -> None:
        """ArgumentError for a layer or parameter that is kept in a list or the like, and in no attribute."""
        if self.path:  # of a part nothing can be told: the whole may have the rest
            return
        found = first_unregistered([layer for _, layer in self._layers("")], Members)
        if found is not None:
            raise ArgumentError(found.message())

    def _layers(self, prefix: str) -> Iterator[tuple[str, Any]]:
        """This layer and all within, by their paths behind `prefix`."""
        yield prefix.removesuffix("."), self
        for name, member in self._members():
            if isinstance(member, Members):
                yield from member._layers(f"{prefix}{name}.")

    @property
    def _dtype(self) -> np.dtype:
        return next(
            (member.dtype for _, member in self._walk("") if not isinstance(member, Buffer)), np.dtype(np.float32)
        )

    def _members(self) -> "Iterator[tuple[str, Members | Parameter]]":
        for name, value in vars(self).items():
            if isinstance(value, Members | Parameter):
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


def _place(member: Members | Parameter, path: str, seed: int, seen: set[int]) -> None:
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
