"""SIGTERM, by which batch systems end a job: commands that train end with their locks given back."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gpucnn.errors import Terminated


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Inside, SIGTERM raises Terminated wherever it comes, also before training begins, so that no lock stays behind."""
    is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not is_default:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("stopped by SIGTERM")
