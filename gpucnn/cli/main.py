"""The command `gpucnn`, from its first moment on: Ctrl-C is one line, also while Python still imports what it needs."""

import importlib
import os
import signal
import sys

TYPE_CHECKING = False  # typing's own takes a while to import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

INTERRUPTED = 130


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command line and return its exit status: 0, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM."""
    # An exception would not do: imports turn it into errors of their own, and callbacks of Python's lose it. But a notebook
    # that runs a command shall not end.
    is_interactive = hasattr(sys, "ps1")
    changed = not is_interactive and _on_ctrl_c(signal.default_int_handler, _end_at_once)
    try:
        commands = importlib.import_module("gpucnn.cli.commands")
        options = commands.parse(arguments)
    finally:
        if changed:
            _on_ctrl_c(_end_at_once, signal.default_int_handler)
    return int(commands.carry_out(options))


def _on_ctrl_c(old: "Callable[[int, FrameType | None], None]", new: "Callable[[int, FrameType | None], None]") -> bool:
    """Put a handler in another's place, if that is there, and tell: Ctrl-C may have to be ignored, or be someone else's."""
    if signal.getsignal(signal.SIGINT) is not old:
        return False
    try:
        signal.signal(signal.SIGINT, new)
    except ValueError:  # not in the main thread, the only one that gets signals
        return False
    return True


def _end_at_once(number: int, frame: "FrameType | None") -> None:
    os.write(2, b"gpucnn: stopped by Ctrl-C\n")
    if "PMI_SIZE" in os.environ:  # MPICH's mpiexec ends the others, who wait for this one, after a signal alone
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(INTERRUPTED)
