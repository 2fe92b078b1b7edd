"""What the parts of a data set may be called."""

import re

NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What each part may be called, in any case, and with "set", "data" or "images" behind it."""

PART_OF = {name: part for part, called in NAMES.items() for name in called}
"""The part of each name."""


def part_of(name: str) -> str | None:
    """The part that a folder, or a group of packs, of this name is: "train", "validation" or "test"; None for none of them."""
    core = re.sub(r"[\W_]+", "", name.casefold().partition("*")[0])
    return PART_OF.get(core) or PART_OF.get(re.sub(r"(set|data|images)$", "", core))
