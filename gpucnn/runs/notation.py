"""How a choice with settings is written: "name", "name:value" or "name:value,setting=value".

"shift:2" is RandomShift(2), "sgd:momentum=0.9,nesterov=true" is SGD with these arguments: settings are the arguments of the
function or class that a table has under the name, in their order, and each is read as its annotation says. The values of a
list stand between slashes: "multi_step:30/60/80". A share may be in percent: "shift:12%" is RandomShift(0.12).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from gpucnn.checks import known_name
from gpucnn.data.augment.augment import Share
from gpucnn.errors import ArgumentError
from gpucnn.runs.value_kind import Kind, Number, Text, Truth, Whole

Made = TypeVar("Made")

_LONG = 8
"""Characters of a number; one that has more is written with four digits, as 4/3 is."""


@dataclass(frozen=True)
class _NumberOrPercent(Number):
    """A share, as a number or in percent."""

    expected: str = "a number or a percentage"
    valid: Callable[[float], bool] = lambda _: True

    def read(self, text: str) -> float:
        number, percent, more = text.partition("%")
        return float(text) if more or not percent else float(number) / 100


_KINDS: dict[Any, Kind] = {
    bool: Truth(),
    int: Whole("a whole number", lambda _: True),
    float: Number("a number", lambda _: True),
    Share: _NumberOrPercent(),
    str: Text(),
}


class Choices(Generic[Made]):
    """What can be chosen by name.

    - `makers`: by name, the function or class that makes it.
    - `trial`: arguments that do not come from the notation, by name, with values to try settings with: so wrong ones are
      found before there is anything to train. A maker gets those of them that it takes.
    """

    def __init__(self, makers: Mapping[str, Callable[..., Made]], trial: Mapping[str, Any]) -> None:
        self.makers, self.trial = makers, trial

    def names(self) -> list[str]:
        """All names."""
        return list(self.makers)

    def name(self, written: str) -> str:
        """The name in "name:settings". ArgumentError, with the nearest one, if it is unknown."""
        return known_name(written.partition(":")[0].strip(), self.names(), "name")

    def make(self, written: str, **given: Any) -> Made:
        """What is `written`, made with its settings and the arguments `given`, those of `trial`.

        Raises ArgumentError for an unknown name or setting, and for a value that is of a wrong type or out of range.
        """
        name = self.name(written)
        taken = inspect.signature(self.makers[name]).parameters
        arguments = {key: value for key, value in given.items() if key in taken}
        return self.makers[name](**arguments, **self._settings(name, written.partition(":")[2]))

    def check(self, written: str) -> None:
        """See that `make` will do. ArgumentError if it will not."""
        self.make(written, **self.trial)

    def usages(self) -> list[str]:
        """Every name with its settings and their defaults, as they are written; those in capitals have none."""
        found = []
        for name in self.makers:
            parts = [
                key.upper() if parameter.default is parameter.empty else f"{key}={_written(parameter.default)}"
                for key, parameter in self._parameters(name).items()
            ]
            found.append(f"{name}:{','.join(parts)}" if parts else name)
        return found

    def _parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """What can be set, by name."""
        parameters = inspect.signature(self.makers[name]).parameters
        return {key: parameter for key, parameter in parameters.items() if key not in self.trial}

    def _settings(self, name: str, text: str) -> dict[str, Any]:
        """The settings that are written behind the name."""
        parameters = self._parameters(name)
        found: dict[str, Any] = {}
        for position, part in enumerate(text.split(",") if text.strip() else ()):
            key, equals, value = (word.strip() for word in part.rpartition("="))
            if not equals:
                if position >= len(parameters):
                    raise ArgumentError(f"{name} takes {_several(list(parameters))}, got {text!r}")
                key = list(parameters)[position]
            key = known_name(key, list(parameters), f"setting of {name}")
            if key in found:
                raise ArgumentError(f"{name}: {key} is given twice in {text!r}")
            found[key] = _read(f"{name}: {key}", value, parameters[key].annotation)
        for key, parameter in parameters.items():
            if parameter.default is parameter.empty and key not in found:
                raise ArgumentError(f"{name} needs {key}; write {name}:VALUE, or {name}:{key}=VALUE")
        return found


@dataclass(frozen=True)
class Choice(Kind):
    """What `choices` can make, kept as it is written, the name as the table has it."""

    choices: Choices[Any]
    expected: str = 'text such as "name" or "name:setting=value"'

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refusal(value)
        self.choices.check(value)
        _, colon, settings = value.partition(":")
        return f"{self.choices.name(value)}{colon}{settings}"

    def usages(self) -> list[str]:
        return self.choices.usages()

    def parse(self, text: str) -> str:
        return self.check(text)


def _several(names: list[str]) -> str:
    return f"the settings {', '.join(names)}" if names else "no settings"


def _written(value: Any) -> str:
    """A setting's value as it is written."""
    if isinstance(value, tuple | list):
        return "/".join(_written(item) for item in value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{value:.4g}" if isinstance(value, float) and len(text) > _LONG else text


def _read(what: str, text: str, annotation: Any) -> Any:
    """`text` as a value of the type that `annotation` is, or of the one of its types that goes with a list or with none."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        fitting = [kind for kind in kinds if (get_origin(kind) is tuple) == ("/" in text)] or kinds
        if int in fitting and text.lstrip("+-").isdigit():
            return _read(what, text, int)
        return _read(what, text, fitting[-1])
    if get_origin(annotation) is tuple:
        return tuple(_read(what, part, get_args(annotation)[0]) for part in text.split("/"))
    try:
        return _KINDS[annotation].parse(text)
    except ArgumentError as error:
        raise ArgumentError(f"{what}: {error}") from None
