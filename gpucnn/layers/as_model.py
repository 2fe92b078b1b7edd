"""What is taken for a model: a layer. Names, runs and classes are told what to give."""

from typing import Any

from gpucnn.errors import ArgumentError
from gpucnn.layers.layer import Layer
from gpucnn.text import value_text


def as_model(owner: str, model: Any) -> Layer:
    """`model` itself; ArgumentError, which names `owner`, if it is no layer, and says where it is to be had."""
    if isinstance(model, Layer):
        return model
    fix = ""
    if isinstance(model, str):
        fix = '; gpucnn.models.create("lenet5") makes one of a name, gpucnn.load(folder).model is that of a run'
    elif isinstance(model, type) and issubclass(model, Layer):
        fix = f"; give one of its objects, e.g. {model.__name__}()"
    elif isinstance(getattr(model, "model", None), Layer):
        fix = f"; give {'trainer' if hasattr(model, 'fit') else 'trained'}.model"
    raise ArgumentError(f"{owner}: model must be a layer, got {value_text(model)}{fix}")
