"""Files that commands write their results to, as `--csv FILE` and `--json FILE`."""

import json
import math
from pathlib import Path
from typing import Any

from gpucnn.atomic_file import check_place, special_kind, telling_of


def check_writable(*paths: str | None) -> None:
    """Raise RunError for a path that cannot be written: before the work, not after it. None is passed over."""
    for path in paths:
        if path is not None:
            if special_kind(Path(path)) is None:  # /dev/stdout and the like are written to as they are
                check_place(Path(path))
            with telling_of(Path(path)):
                open(path, "ab").close()


def write_text(path: str, text: str) -> None:
    """Write a file, its ends of lines as they are and letters as UTF-8; names of files are the bytes that they were.

    Raises RunError if it cannot be written.
    """
    with telling_of(Path(path)):
        Path(path).write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(path: str, content: Any) -> None:
    """Write JSON values, without a number that JSON does not have. Raises RunError if the file cannot be written."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def finite(number: float) -> float | None:
    """`number`, or None for NaN and infinity, which JSON does not have."""
    return number if math.isfinite(number) else None
