"""What PyTorch's users look for in a layer: its names for walks over the tree, moves and members, and a word where there is another."""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from gpucnn.checks import check_keywords, check_set_to_none, is_int, unknown_name
from gpucnn.errors import ArgumentError, KeywordError
from gpucnn.layers.members import Members
from gpucnn.layers.parameter import Buffer, Parameter
from gpucnn.text import value_text

ELSEWHERE = {
    "half": 'astype("float16")',
    "bfloat16": 'astype("float16"), the half precision that NumPy has',
    "type": 'astype(dtype), e.g. astype("float64")',
    "device": "next(layer.parameters()).device",
    "dtype": "next(layer.parameters()).dtype",
    "register_module": "add_module(name, layer)",
    "register_backward_hook": "register_full_backward_hook(hook)",
    "register_full_backward_pre_hook": "register_full_backward_hook(hook), which sees grad_output, too",
    "get_parameter": "dict(layer.named_parameters())[path]",
    "get_buffer": "dict(layer.named_buffers())[path]",
    "extra_repr": "describe()",
    "to_empty": "to(device): parameters take no memory until they are read",
    "share_memory": "not needed: threads share a model, and pickle copies it",
    "compile": "training.CapturedStep(model, optimizer) for a step, training.Trainer(model, optimizer, loader) for training",
    "fit": "training.Trainer(model, optimizer, train_loader).fit(epochs)",
    "evaluate": "training.evaluate(model, loader)",
    "predict": "model.eval(), and model(images)",
    "save": "files.model_file.save_model(path, model, {})",
    "count_params": "parameter_count()",
    "get_weights": "state_dict()",
    "set_weights": "load_state_dict(state)",
    "load_weights": "load_state_dict(state)",
    "trainable": "requires_grad_(False), which freezes",
    "trainable_weights": "parameters()",
    "weights": "parameters()",
}
"""Methods and attributes of other libraries' layers, and what does the same here."""


ARGUMENTS = {
    "device": "make the layer, and move it: layer.to(device)",
    "dim": "it is axis",
    "dtype": "make the layer, and convert it: layer.astype(dtype)",
    "inplace": "leave it out: tensors do not change in place",
    "padding_mode": "leave it out, and pad in forward: F.pad(x, padding, mode)",
    "track_running_stats": "leave it out: the statistics are always kept",
}
"""Arguments of PyTorch's layers, and what to write here."""


class TorchNames(Members):
    """The part of a layer that is there so that a script for PyTorch finds it: each a line or two of what `Members` has."""

    if not TYPE_CHECKING:  # a checker has the arguments from __init__

        def __new__(cls, *given: Any, **options: Any) -> Self:
            """A layer, of which no argument has another name here."""
            check_keywords(cls, options, ARGUMENTS)
            if (given or options) and cls.__init__ is object.__init__:
                got = ", ".join(
                    [*map(value_text, given), *(f"{name}={value_text(one)}" for name, one in options.items())]
                )
                raise KeywordError(f"{cls.__name__} takes no arguments, got {got}")
            return super().__new__(cls)

        __new__.__signature__ = inspect.Signature([inspect.Parameter("cls", inspect.Parameter.POSITIONAL_ONLY)])

    def children(self) -> Iterator[Any]:
        """The layers in this layer's own attributes, in the order of definition; a shared one once."""
        yield from (layer for _, layer in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """(name, layer) of those in this layer's own attributes, in the order of definition; a shared one once."""
        yield from _once((name, member) for name, member in self._members() if isinstance(member, Members))

    def modules(self) -> Iterator[Any]:
        """This layer and all within, in the order of definition; a shared one once."""
        yield from (layer for _, layer in self.named_modules())

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """`named_layers`, a shared layer once."""
        yield from _once(self.named_layers())

    def buffers(self) -> Iterator[Buffer]:
        """The buffers of this layer and all within, in the order of definition."""
        yield from (buffer for _, buffer in self.named_buffers())

    def apply(self, function: Callable[[Any], object]) -> Self:
        """Call `function` with every layer within, from the innermost outwards, and last with this one. Returns the layer."""
        for layer in self.children():
            layer.apply(function)
        function(self)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters. ArgumentError unless `set_to_none`."""
        check_set_to_none(set_to_none)
        for parameter in self.parameters():
            parameter.grad = None

    def cpu(self) -> Self:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self, number: int = 0) -> Self:
        """`to("cuda")`, or to the GPU with another number."""
        if not is_int(number):
            raise ArgumentError(f"{self.label}: a GPU's number is an int, got {value_text(number)}")
        return self.to(f"cuda:{number}")

    def float(self) -> Self:
        """`astype("float32")`."""
        return self.astype("float32")

    def double(self) -> Self:
        """`astype("float64")`."""
        return self.astype("float64")

    def add_module(self, name: str, layer: Members) -> None:
        """`setattr(self, name, layer)`, of a layer, under a name that is no attribute of all layers."""
        if not isinstance(layer, Members):
            raise ArgumentError(f"{self.label}: self.{name} must be a layer, got {value_text(layer)}")
        setattr(self, checked_name(self, name), layer)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """`setattr(self, name, parameter)`, of a parameter or None, under a name that is no attribute of all layers."""
        if parameter is not None and (not isinstance(parameter, Parameter) or isinstance(parameter, Buffer)):
            raise ArgumentError(
                f"{self.label}: self.{name} must be a layers.Parameter or None, got {value_text(parameter)}"
            )
        setattr(self, checked_name(self, name), parameter)

    def register_buffer(self, name: str, values: Any) -> None:
        """`setattr(self, name, Buffer(values))`: saved and moved with the layer, but not learned."""
        setattr(self, checked_name(self, name), values if isinstance(values, Buffer) else Buffer(values))

    def get_submodule(self, path: str) -> Any:
        """The layer at `path`, e.g. "features.0"; itself at "". AttributeError, which names the nearest path, if none is there."""
        layers = dict(self._layers(""))
        if path not in layers:
            raise unknown_name(self.label, path, layers)
        return layers[path]

    if not TYPE_CHECKING:  # of what is not there, type checkers tell themselves

        def __getattr__(self, name: str) -> Any:
            if any(name in vars(kind) for kind in type(self).__mro__):
                return object.__getattribute__(self, name)  # a property that failed: its own error
            raise unknown_name(self.label, name, dir(self), ELSEWHERE)


def checked_name(layer: Members, name: str) -> str:
    """`name` itself; ArgumentError unless it can be that of a layer or parameter in `layer`."""
    if not isinstance(name, str) or not name or "." in name:
        raise ArgumentError(f"{layer.label}: a name is a text without dots, got {value_text(name)}")
    there = vars(layer).get(name)
    if not isinstance(there, Members | Parameter) and (there is not None or hasattr(type(layer), name)):
        raise ArgumentError(f"{layer.label}: self.{name} is something else already; choose another name")
    return name


def _once(pairs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """`pairs`, each layer under its first name alone."""
    seen: set[int] = set()
    for name, layer in pairs:
        if id(layer) not in seen:
            seen.add(id(layer))
            yield name, layer
