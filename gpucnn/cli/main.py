"""The command `gpucnn`, from its first moment on: Ctrl-C is one line, also while Python still imports what it needs."""

import importlib
import os
import signal

TYPE_CHECKING = False  # typing's own takes a while to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

INTERRUPTED = 130


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command line and return its exit status: 0, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM."""
    # An exception would not do: imports turn it into errors of their own, and callbacks of Python's lose it.
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:  # which it is in the main thread alone, and not where Ctrl-C shall be ignored
        signal.signal(signal.SIGINT, _end_at_once)
    try:
        commands = importlib.import_module("gpucnn.cli.commands")
        options = commands.parse(arguments)
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    return int(commands.carry_out(options))


def _end_at_once(number: int, frame: "FrameType | None") -> None:
    os.write(2, b"gpucnn: stopped by Ctrl-C\n")
    os._exit(INTERRUPTED)
