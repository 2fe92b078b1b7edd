"""Commands that users are told to type."""

import os
import re
import shlex

WINDOWS = os.name == "nt"


def quoted(path: object) -> str:
    r"""A path as one word of a command, for sh or, on Windows, for cmd.exe and PowerShell.

    cmd.exe knows double quotes alone, which no Windows path can hold, and \ is no special character there.
    """
    text = str(path)
    if not WINDOWS:
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w.:\\/+-]+", text) else f'"{text}"'
