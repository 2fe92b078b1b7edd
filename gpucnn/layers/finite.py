"""Weights that are no numbers are not loaded."""

from collections.abc import Mapping

from gpucnn.backend import Array, current, device_of, xp_of
from gpucnn.errors import StateError

MOST_NAMED = 4


def not_finite(arrays: Mapping[str, Array]) -> list[str]:
    """A line for each array with NaN or infinite values: its name, and how many there are."""
    found = []
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        with current(device_of(array)):
            xp = xp_of(array)
            if bool(xp.isfinite(array).all()):
                continue
            nan, infinite = int(xp.isnan(array).sum()), int(xp.isinf(array).sum())
        kinds = [f"{count:,} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count]
        found.append(f"{name} has {' and '.join(kinds)} of {array.size:,} values in {array.dtype}")
    return found


def refuse_not_finite(owner: str, arrays: Mapping[str, Array]) -> None:
    """StateError, which calls what they are for `owner`, if there are values that are not finite."""
    if problems := not_finite(arrays):
        more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
        raise StateError(
            f"the weights for {owner} are spoilt: {'; '.join(problems[:MOST_NAMED])}{more}; load a file that was saved before "
            f"they became so, e.g. an earlier checkpoint, and train from there with a lower learning rate"
        )
