"""Names that other libraries put before those of a model's parameters when they save it, and how they are taken off."""

from collections.abc import Mapping, Set
from typing import Any

ORIGINS = {
    "module": "torch.nn.DataParallel or DistributedDataParallel",
    "_orig_mod": "torch.compile",
    "model": "a LightningModule",
}
"""Whose model it was, by the name that stands before."""


def foreign_names_fix(state: Mapping[str, Any], names: Set[str]) -> str:
    """What makes `state` fit a model whose parameters have these `names`, as messages say it; "" if nothing plain does.

    It is a prefix that all names have, or a checkpoint in which the state is one entry of several.
    """
    for key, value in state.items():
        if isinstance(value, Mapping) and (not names.isdisjoint(value) or _prefix(value, names)):
            return f"they are in one entry of a checkpoint: give state[{key!r}]"
    prefix = _prefix(state, names)
    if not prefix:
        return ""
    makers = " and ".join(ORIGINS[part] for part in prefix.split(".") if part in ORIGINS)
    return (
        f'every name begins with "{prefix}"{f", as {makers} puts it there" if makers else ""}: take it off, '
        f"{{name.removeprefix({prefix!r}): value for name, value in state.items()}}"
    )


def _prefix(state: Mapping[str, Any], names: Set[str]) -> str:
    """What all keys of `state` begin with, ending in a dot, if one of `names` comes after it; else ""."""
    keys = list(map(str, state))
    parts = keys[0].split(".") if keys else []
    for count in range(1, len(parts)):
        prefix = f"{'.'.join(parts[:count])}."
        if all(key.startswith(prefix) for key in keys) and any(key.removeprefix(prefix) in names for key in keys):
            return prefix
    return ""
