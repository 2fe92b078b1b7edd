"""Warnings of libraries that read files: out of the way while they read, and back afterwards."""

import os
import threading
import warnings

import pytest

from gpucnn.data.quiet_reading import quiet_reading


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_that_is_forked_while_others_read_hears_warnings_and_can_read() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with quiet_reading():
            inside.set()
            assert leave.wait(60)

    thread = threading.Thread(target=read)
    thread.start()
    assert inside.wait(60)
    assert list(warnings.filters) != before
    child = os.fork()
    if child == 0:
        right = list(warnings.filters) == before
        with quiet_reading():
            right &= list(warnings.filters) != before
        os._exit(0 if right and list(warnings.filters) == before else 1)
    code = os.waitpid(child, 0)[1]
    leave.set()
    thread.join()
    assert code == 0
    assert list(warnings.filters) == before
