"""Parameter groups: parameters that an optimizer treats apart from the others."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

from gpucnn.checks import as_number, nearest
from gpucnn.errors import ArgumentError
from gpucnn.layers import Parameter
from gpucnn.text import counted, value_text

KEYS = ("params", "lr", "weight_decay")
"""Of a group that is given as PyTorch has it, as a dict."""


class Rates(NamedTuple):
    """How fast parameters learn and shrink."""

    lr_factor: float
    weight_decay: float | None
    """None: the optimizer's."""


class Group:
    """Parameters with a learning rate and a weight decay of their own: `Adam([Group(body, lr_factor=0.1), Group(head)])`.

    - `parameters`: some parameters of a model, e.g. `model.features.parameters()`.
    - `lr_factor`: their learning rate is the optimizer's `lr`, which a schedule may set, times this. 0 leaves them as
      they are, but for what the optimizer remembers.
    - `weight_decay`: in place of the optimizer's; None for that of the optimizer.

    Raises ArgumentError for anything but parameters, and for numbers out of range.
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr_factor: float = 1.0, weight_decay: float | None = None
    ) -> None:
        self.parameters = as_parameters(parameters, "Group")
        decay = None if weight_decay is None else as_number(weight_decay, "weight_decay")
        self.rates = Rates(as_number(lr_factor, "lr_factor"), decay)

    def __repr__(self) -> str:
        decay = self.rates.weight_decay
        shrinks = "" if decay is None else f", weight_decay={decay:g}"
        return f"Group({numbers_text(self.parameters)}; lr_factor={self.rates.lr_factor:g}{shrinks})"


class GroupSettings(dict[str, Any]):
    """A group as `Optimizer.param_groups` shows it: to be read. ArgumentError for who writes to it: that would change nothing."""

    def __setitem__(self, key: str, value: Any) -> NoReturn:
        raise ArgumentError(
            f"param_groups are to be read, and {key!r} there changes nothing; set optimizer.lr, of which the rate of each group is a "
            f"multiple, or optimizer.weight_decay"
        )

    def update(self, *given: Any, **settings: Any) -> None:
        """What writes one of them does, for each."""
        for key, value in dict(*given, **settings).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key that is there; the same as writing it for one that is not."""
        if key not in self:
            self[key] = default
        return self[key]


ToLearn: TypeAlias = Iterable[Parameter | Group | Mapping[str, Any]]
"""What an optimizer is given: parameters, groups of them, or both; a group may be a dict, see `as_group`."""


def as_group(item: Any, lr: float, owner: str) -> Group:
    """`item`, a group, or a dict {"params": parameters, "lr": ..., "weight_decay": ...} beside an optimizer's `lr`, as a group.

    ArgumentError, which begins with `owner`, if it is neither, if a key is missing or unknown, and for a rate beside lr=0.
    """
    if isinstance(item, Group):
        return item
    if not isinstance(item, Mapping):
        raise ArgumentError(f"{owner}: expected a group, Group(parameters) or a dict, got {value_text(item)}")
    for key in item:
        if key not in KEYS:
            like = nearest(key, KEYS) if isinstance(key, str) else None
            fix = f"did you mean {like!r}?" if like else "other settings are the optimizer's own, and the same for all"
            raise ArgumentError(
                f"{owner}: a group has 'params', and may have 'lr' and 'weight_decay', got {value_text(key)}; {fix}"
            )
    if "params" not in item:
        raise ArgumentError(f"{owner}: a group needs 'params', e.g. {{'params': model.head.parameters(), 'lr': 0.01}}")
    factor = 1.0
    if "lr" in item:
        own = as_number(item["lr"], f"{owner}: the lr of a group")
        if own and not lr:
            raise ArgumentError(
                f"{owner}: a group has lr={own:g}, a multiple of the optimizer's, which must not be 0 then"
            )
        factor = own / lr if own else 0.0
    given = item["params"]
    own_parameters = as_parameters([given] if isinstance(given, Parameter) else given, owner)
    return Group(own_parameters, factor, item.get("weight_decay"))


def numbers_text(parameters: Iterable[Parameter]) -> str:
    """How many parameters there are, and how many numbers are in them."""
    sizes = [parameter.size for parameter in parameters]
    return f"{counted(len(sizes), 'parameter')}, {counted(sum(sizes), 'number')}"


def as_list(items: Any) -> list[Any]:
    """`items` as a list; a dict, and what cannot be iterated over, is its only item."""
    several = isinstance(items, Iterable) and not isinstance(items, Mapping) and getattr(items, "shape", None) != ()
    return list(items) if several else [items]


def as_parameters(parameters: Iterable[Parameter], owner: str) -> list[Parameter]:
    """`parameters` as a list; ArgumentError, which begins with `owner`, if something else is given or is among them."""
    found = as_list(parameters)
    for parameter in found:
        if not isinstance(parameter, Parameter):
            raise ArgumentError(
                f"{owner}: expected parameters, got {type(parameter).__name__}; pass model.parameters()"
            )
    return found
