"""A run as the command that trains it again."""

from typing import Any

from gpucnn import data, models
from gpucnn.data.catalog import FOLDER
from gpucnn.runs.config import RunConfig, settings
from gpucnn.runs.network import is_onnx
from gpucnn.runs.recipe import Recipe
from gpucnn.runs.value_kind import Kind, OrNone, Truth
from gpucnn.text import quoted_word


def train_command(config: RunConfig) -> str:
    """The `gpucnn train ...` that asks for the run of `config`, which is a resolved one, in as few options as say all of it."""
    options = (word for name, value in asked(config).items() for word in _option(name, settings()[name].kind, value))
    return " ".join(map(quoted_word, ["gpucnn", "train", *options]))


def asked(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that must be asked for, by name: without them it would be another.

    Among them are those that depend on more than settings, whatever they are: the device, and what the images of a folder, or
    weights to start from, decide.
    """
    whose = {name: getattr(config, name) for name in ("data", "data_dir", "mode", "weights", "optimizer")}
    plain, same_model = RunConfig(**whose).resolved(), RunConfig(**whose, model=config.model).resolved()
    model = plain.model if config.weights is None else None
    size = data.native_size(config.data)
    fits = None
    if config.model is not None and size is not None and not is_onnx(config.model):
        fits = models.image_size_for(config.model, size)
    expected = {**_values(same_model), **{name: _values(RunConfig())[name] for name in whose}, "model": model}
    expected["image_size"] = same_model.image_size or fits
    free = {"device", *(Recipe._fields if config.data == FOLDER else ())}
    values = _values(config)
    return {
        name: value for name, value in values.items() if value != expected[name] or (name in free and value is not None)
    }


def written(kind: Kind, value: Any) -> list[str]:
    """The value of a setting as words at the prompt; a truth is "yes" or "no"."""
    if value is None:
        return [kind.without if isinstance(kind, OrNone) else "none"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return list(map(str, value)) or ["none"] if isinstance(value, tuple) else [str(value)]


def _option(name: str, kind: Kind, value: Any) -> list[str]:
    """A setting as words of a command."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(kind.kind if isinstance(kind, OrNone) else kind, Truth):
        return [option if value else option.replace("--", "--no-", 1)]
    words = written(kind, value)
    return [f"{option}={words[0]}"] if words[0].startswith("-") else [option, *words]


def _values(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in settings()}
