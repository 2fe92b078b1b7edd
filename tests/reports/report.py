"""What a report of a user is, as a row of a table."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Report(NamedTuple):
    """Something that went wrong for users of gpucnn or of its like, and what is right instead.

    - `situation`: what the user did, or what the machine was.
    - `behaviour`: what is right, in a few words.
    - `reference`: where it was told in public, as `owner/repository#number`; "" if it was found here.
    - `check`: shows the right behaviour, or raises. It gets an empty folder.
    """

    situation: str
    behaviour: str
    reference: str
    check: Callable[[Path], None]
