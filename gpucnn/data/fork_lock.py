"""fork_lock: a lock that does not stay closed in a child."""

import os
import threading
from collections.abc import Callable


def fork_lock(in_child: Callable[[], None] = lambda: None) -> threading.Lock:
    """A lock for which a fork waits: in a child nobody would open it again. `in_child` is called there before it is opened.

    One for a module, not for each object: a fork takes all that were ever made.
    """
    lock = threading.Lock()

    def begin_child() -> None:
        in_child()
        lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=begin_child)
    return lock
