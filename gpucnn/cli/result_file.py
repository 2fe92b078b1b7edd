"""Files that commands write their results to, as `--csv FILE` and `--json FILE`."""

import json
import math
from pathlib import Path
from typing import Any


def check_writable(*paths: str | None) -> None:
    """Raise OSError for a path that cannot be written: before the work, not after it. None is passed over."""
    for path in paths:
        if path is not None:
            open(path, "ab").close()


def write_json(path: str, content: Any) -> None:
    """Write JSON values, without a number that JSON does not have."""
    Path(path).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def finite(number: float) -> float | None:
    """`number`, or None for NaN and infinity, which JSON does not have."""
    return number if math.isfinite(number) else None
