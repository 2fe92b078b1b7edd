"""One thread for NumPy's products inside, as many as before outside."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from gpucnn.backend import blas
from gpucnn.backend.blas import one_blas_thread
from gpucnn.backend.threads import parallel


class Library:
    """A BLAS that counts what it is told."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def get_num_threads(self) -> int:
        return self.threads

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Library]]:
    """Two of them, of 5 and 3 threads, in place of NumPy's."""
    found = [Library(5), Library(3)]
    monkeypatch.setattr(blas, "_libraries", lambda: found)
    yield found
    assert [library.threads for library in found] == [5, 3]


def threads_of(libraries: list[Library]) -> list[int]:
    return [library.threads for library in libraries]


def test_the_number_is_one_inside_and_as_before_afterwards(libraries: list[Library]) -> None:
    with one_blas_thread():
        assert threads_of(libraries) == [1, 1]
        with one_blas_thread():
            assert threads_of(libraries) == [1, 1]
        assert threads_of(libraries) == [1, 1]
    assert threads_of(libraries) == [5, 3]


def test_the_number_is_as_before_after_an_exception(libraries: list[Library]) -> None:
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert threads_of(libraries) == [5, 3]

    def fail(_: int) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        parallel(fail, 3)


def test_the_last_of_two_threads_puts_the_number_back(libraries: list[Library]) -> None:
    """Whichever leaves first, BLAS keeps one thread as long as the other is inside, and its own number afterwards."""
    for first_in_leaves_first in (True, False):
        inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

        def stay(number: int, inside: list[threading.Event] = inside, leave: list[threading.Event] = leave) -> None:
            with one_blas_thread():
                inside[number].set()
                assert leave[number].wait(10)

        threads = [threading.Thread(target=stay, args=(number,)) for number in (0, 1)]
        for number, thread in enumerate(threads):
            thread.start()
            assert inside[number].wait(10)
        order = (0, 1) if first_in_leaves_first else (1, 0)
        for number, expected in zip(order, ([1, 1], [5, 3]), strict=True):
            leave[number].set()
            threads[number].join()
            assert threads_of(libraries) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_that_is_forked_inside_has_its_threads_again(libraries: list[Library]) -> None:
    with one_blas_thread():
        child = os.fork()
        if child == 0:
            outside = threads_of(libraries) == [5, 3]
            with one_blas_thread():
                inside = threads_of(libraries) == [1, 1]
            os._exit(0 if outside and inside and threads_of(libraries) == [5, 3] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert threads_of(libraries) == [1, 1]


def test_numpys_own_library_is_found_and_left_as_it_was() -> None:
    pytest.importorskip("threadpoolctl")
    before = [library.get_num_threads() for library in blas._libraries()]
    assert before
    with one_blas_thread():
        assert {library.get_num_threads() for library in blas._libraries()} == {1}
    assert [library.get_num_threads() for library in blas._libraries()] == before


def test_nothing_happens_without_threadpoolctl() -> None:
    script = (
        "import sys\n"
        "sys.modules['threadpoolctl'] = None\n"
        "from gpucnn.backend import blas, threads\n"
        "seen = []\n"
        "threads.parallel(seen.append, 3)\n"
        "print(sorted(seen), blas._libraries())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("[0, 1, 2] []\n", "")
