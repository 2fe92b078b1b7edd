"""Kinds of plain values: what a setting may be, whether it comes from Python, TOML, JSON or as text from a command line."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from gpucnn.checks import is_int, known_name
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text


class Kind(ABC):
    """One kind of value. ArgumentError, which says what is expected, is raised for any other."""

    expected: str
    """What a value must be, as messages say it: "a whole number >= 1"."""

    @abstractmethod
    def check(self, value: object) -> Any:
        """`value` as it is kept, a plain JSON value. ArgumentError for a value of another kind."""

    def usages(self) -> list[str]:
        """How the values can be written, if there are few."""
        return []

    def read(self, text: str) -> object:
        """What `text` stands for, still to be checked. ValueError if it stands for nothing."""
        return text

    def parse(self, text: str) -> Any:
        """The value that is written as `text`. ArgumentError if it is of another kind."""
        try:
            return self.check(self.read(text))
        except ValueError:
            raise self.refusal(text) from None

    def refusal(self, value: object) -> ArgumentError:
        """What to raise for a wrong `value`."""
        return ArgumentError(f"expected {self.expected}, got {value_text(value)}")


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number of 64 bits at most, and not a bool."""

    expected: str
    valid: Callable[[int], bool]

    def check(self, value: object) -> int:
        if not is_int(value) or abs(value) >> 64 or not self.valid(value):  # type: ignore[arg-type]
            raise self.refusal(value)
        return int(value)  # type: ignore[call-overload, no-any-return]

    def read(self, text: str) -> int:
        return int(text)


@dataclass(frozen=True)
class Number(Kind):
    """A number, and not a bool, kept as a float."""

    expected: str
    valid: Callable[[float], bool]

    def check(self, value: object) -> float:
        try:
            if isinstance(value, Real) and not isinstance(value, bool) and self.valid(float(value)):
                return float(value)
        except OverflowError:  # an int that no float can hold
            pass
        raise self.refusal(value)

    def read(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Truth(Kind):
    """True or false."""

    expected: str = "true or false"

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.refusal(value)
        return value

    def read(self, text: str) -> object:
        return {"true": True, "false": False}.get(text.lower())


@dataclass(frozen=True)
class Text(Kind):
    """Text that is not empty."""

    expected: str = "text"

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.refusal(value)
        return value


@dataclass(frozen=True)
class Name(Kind):
    """One of the names that `names` gives, in upper or lower case; a wrong one is answered with the nearest."""

    names: Callable[[], Sequence[str]]
    expected: str = "a name"

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refusal(value)
        return known_name(value, self.names(), "name")

    def usages(self) -> list[str]:
        return list(self.names())

    def parse(self, text: str) -> str:
        return self.check(text)


@dataclass(frozen=True)
class OrWord(Kind):
    """A value of `kind`, or a word in its place, which says how it is come by."""

    kind: Kind
    word: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"{self.kind.expected} or {self.word}"

    def usages(self) -> list[str]:
        return self.kind.usages()

    def check(self, value: object) -> Any:
        if isinstance(value, str) and value == self.word:
            return value
        try:
            return self.kind.check(value)
        except ArgumentError:
            raise self.refusal(value) from None

    def read(self, text: str) -> object:
        return text if text == self.word else self.kind.read(text)


@dataclass(frozen=True)
class OrNone(Kind):
    """A value of `kind`, or None, which is also written as the word `without`."""

    kind: Kind
    without: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        return self.kind.expected

    def usages(self) -> list[str]:
        return self.kind.usages()

    def check(self, value: object) -> Any:
        return None if value is None or (isinstance(value, str) and value == self.without) else self.kind.check(value)

    def parse(self, text: str) -> Any:
        return None if text == self.without else self.kind.parse(text)


@dataclass(frozen=True)
class Several(Kind):
    """A list of values of `kind`, kept as a tuple. The empty one is also written as the word none."""

    kind: Kind
    expected: str

    def check(self, value: object) -> tuple[Any, ...]:
        if isinstance(value, str) and value == "none":
            return ()
        if not isinstance(value, list | tuple):
            raise self.refusal(value)
        if len(value) == 1 and isinstance(value[0], str) and value[0] == "none":
            return ()
        return tuple(self.kind.check(item) for item in value)

    def usages(self) -> list[str]:
        return self.kind.usages()

    def parse(self, text: str) -> tuple[Any, ...]:
        """The values in a text that has spaces between them."""
        return () if text == "none" else tuple(self.kind.parse(part) for part in text.split())


COUNT = Whole("a whole number >= 1", lambda value: value >= 1)
COUNT_OR_ZERO = Whole("a whole number >= 0", lambda value: value >= 0)
SEED = Whole("a whole number from 0 to 2^64 - 1", lambda value: 0 <= value < 1 << 64)
POSITIVE = Number("a number > 0", lambda value: 0 < value < float("inf"))
POSITIVE_OR_ZERO = Number("a number >= 0", lambda value: 0 <= value < float("inf"))
SHARE = Number("a number from 0 to below 1", lambda value: 0 <= value < 1)
BETWEEN_0_AND_1 = Number("a number between 0 and 1", lambda value: 0 < value < 1)
