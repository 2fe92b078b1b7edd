"""Loops on a pool of threads: every number once, whatever goes wrong."""

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpucnn.backend import threads
from gpucnn.backend.threads import (
    FEW_PARTS,
    LARGE_SHARE,
    LEAST_WORK,
    MOST_PARTS,
    SHARE_VARIABLE,
    VARIABLE,
    cut,
    one_thread,
    parallel,
    thread_count,
)
from gpucnn.errors import ArgumentError


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More than the least machine has, and after each test the pool works."""
    monkeypatch.setenv(VARIABLE, "3")
    yield
    monkeypatch.setenv(VARIABLE, "3")
    assert who_works(6) == 3


def who_works(count: int) -> int:
    """How many threads work on a loop whose every number waits until all of them do."""
    together = threading.Barrier(min(count, thread_count()))
    seen = set()

    def work(number: int) -> None:
        seen.add(threading.get_ident())
        if number < together.parties:
            together.wait(60)

    parallel(work, count)
    return len(seen)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 50, 1000])
@pytest.mark.parametrize("available", ["1", "2", "3", "5"])
def test_every_number_is_done_once(monkeypatch: pytest.MonkeyPatch, available: str, count: int) -> None:
    monkeypatch.setenv(VARIABLE, available)
    done: list[int] = []
    parallel(done.append, count)
    assert sorted(done) == list(range(count))


def test_as_many_threads_work_as_may(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (1, 2, 3, 5, 3):
        monkeypatch.setenv(VARIABLE, str(available))
        assert [who_works(count) for count in (1, 2, 8)] == [1, min(2, available), available]


@pytest.mark.parametrize(("system", "expected"), [
    ("os.sched_getaffinity = lambda _: {0, 4, 5, 7}", 4),
    ("vars(os).pop('sched_getaffinity', None); os.cpu_count = lambda: 6", 6),
    ("vars(os).pop('sched_getaffinity', None); os.cpu_count = lambda: None", 1),
])  # fmt: skip
def test_without_the_variable_there_are_as_many_as_cores(system: str, expected: int) -> None:
    script = f"import os\n{system}\nfrom gpucnn.backend.threads import thread_count\nprint(thread_count())"
    variables = {**os.environ, VARIABLE: "", SHARE_VARIABLE: ""}
    run = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == (f"{expected}\n", "")


@pytest.mark.parametrize(("share", "expected"), [
    ("1", 1), (" 3 ", 3), ("2,4", 2), ("9", 4), ("0", 4), ("-1", 4), ("all", 4), ("9" * 5000, 4), (",", 4), ("", 4),
])  # fmt: skip
def test_a_process_takes_no_more_than_its_share_of_the_cores(share: str, expected: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_usable_cores", lambda: 4)
        patch.setenv(SHARE_VARIABLE, share)
        patch.setenv(VARIABLE, "")
        assert thread_count() == expected
        patch.setenv(VARIABLE, "7")
        assert thread_count() == 7, "what is said for gpucnn alone goes before"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " 2", "²", "12345678901"])
def test_a_variable_that_is_no_count(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, text)
        with pytest.raises(ArgumentError) as caught:
            parallel(lambda _: None, 2)
    expected = f"GPUCNN_NUM_THREADS must be an int >= 1, got {text!r}; unset it to use every core"
    assert str(caught.value) == expected


@pytest.mark.parametrize("wrong", [0, 3, 7])
def test_what_a_task_raises_comes_out(wrong: int) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == wrong:
            raise KeyError(number)
        done.append(number)

    with pytest.raises(KeyError, match=f"^{wrong}$"):
        parallel(work, 8)
    assert set(range(wrong)) <= {*done, wrong}
    assert len(done) == len(set(done))


def test_the_first_of_two_exceptions_comes_out_once_all_that_began_is_finished() -> None:
    together, first_raised, finished = threading.Barrier(3), threading.Event(), threading.Event()

    def work(number: int) -> None:
        together.wait(60)
        if number == 0:
            first_raised.set()
            raise KeyError(number)
        assert first_raised.wait(60)
        time.sleep(0.05)
        if number == 1:
            raise ValueError(number)
        finished.set()

    with pytest.raises(KeyError):
        parallel(work, 3)
    assert finished.is_set()


def test_no_number_is_begun_after_an_exception() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise KeyError

    with pytest.raises(KeyError):
        parallel(work, 1000)
    assert len(begun) <= 3


def test_an_interrupt_in_a_task_comes_out() -> None:
    """What Ctrl-C raises in the main thread, be it in a task, ends the loop like any other exception."""
    main, done = threading.get_ident(), []

    def work(number: int) -> None:
        done.append(number)
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        parallel(work, 1000)
    assert len(done) < 1000


def test_ctrl_c_ends_a_loop() -> None:
    script = (
        "import signal, threading, time\n"
        "from gpucnn.backend.threads import parallel\n"
        "main = threading.get_ident()\n"
        "def work(number):\n"
        "    if threading.get_ident() == main:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    time.sleep(0.01)\n"
        "try:\n"
        "    parallel(work, 100000)\n"
        "except KeyboardInterrupt:\n"
        "    done = []\n"
        "    parallel(done.append, 4)\n"
        "    print(sorted(done))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("[0, 1, 2, 3]\n", "", 0)


def test_loops_in_loops() -> None:
    done: list[tuple[int, int]] = []
    parallel(lambda i: parallel(lambda j: done.append((i, j)), 5), 7)
    assert sorted(done) == [(i, j) for i in range(7) for j in range(5)]


def test_an_exception_of_an_inner_loop_comes_out() -> None:
    def inner(number: int) -> None:
        if number == 2:
            raise KeyError(number)

    with pytest.raises(KeyError, match="2"):
        parallel(lambda _: parallel(inner, 5), 7)


def test_one_thread_leaves_the_pool_alone() -> None:
    seen = set()
    with one_thread():
        with one_thread():
            parallel(lambda _: seen.add(threading.get_ident()), 50)
        parallel(lambda _: seen.add(threading.get_ident()), 50)
    assert seen == {threading.get_ident()}


def test_threads_that_call_at_the_same_time() -> None:
    totals = np.zeros((4, 20, 30), np.int64)

    def add_one(total: np.ndarray, number: int) -> None:
        total[number] += 1

    def loops(caller: int) -> None:
        for turn in range(20):
            parallel(functools.partial(add_one, totals[caller, turn]), 30)

    callers = [threading.Thread(target=loops, args=(caller,)) for caller in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert (totals == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("inside", [False, True])
def test_a_forked_child_has_a_pool_of_its_own(inside: bool) -> None:
    parallel(lambda _: None, 8)
    main, statuses = threading.get_ident(), []

    def fork(number: int) -> None:
        if threading.get_ident() != main or statuses:
            return
        child = os.fork()
        if child == 0:
            done: list[int] = []
            parallel(done.append, 20)
            os._exit(0 if sorted(done) == list(range(20)) and (inside or who_works(6) == 3) else 1)
        statuses.append(os.waitpid(child, 0)[1])

    if inside:
        parallel(fork, 8)
    else:
        fork(0)
    assert statuses == [0]


def test_a_process_ends_while_the_pool_waits() -> None:
    script = "from gpucnn.backend.threads import parallel\nparallel(print, 1)\nparallel(lambda _: None, 9)\n"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("0\n", "", 0)


def test_nothing_is_kept_alive_after_a_loop() -> None:
    """What a task held, its arrays, is gone with the loop, in the workers as well."""
    ended = threading.Event()

    class Held:
        def __del__(self) -> None:
            ended.set()

    held = Held()

    def work(_: int, held: Held = held) -> None:
        time.sleep(0.001)

    parallel(work, 9)
    del held, work
    assert ended.wait(60)


@given(
    count=st.integers(0, 2000), work=st.integers(0, 1 << 24), most=st.integers(1, 64), step=st.sampled_from([1, 4, 16])
)
def test_parts_cover_all_items_in_order_and_evenly(count: int, work: int, most: int, step: int) -> None:
    parts = cut(count, work, most, step)
    assert [item for part in parts for item in range(part.start, part.stop)] == list(range(count))
    assert all(part.start % step == 0 for part in parts)
    steps = [-(-(part.stop - part.start) // step) for part in parts]
    largest = max(1, min(most, -(-count // step)))
    assert 1 <= len(parts) <= largest
    assert max(steps) - min(steps) <= 1
    total, share = count * work, LEAST_WORK * (LARGE_SHARE if len(parts) > FEW_PARTS else 1)
    assert len(parts) == 1 or total // len(parts) >= share
    assert len(parts) in (largest, FEW_PARTS) or total < (len(parts) + 1) * share
    assert len(parts) != FEW_PARTS or largest == FEW_PARTS or total < (FEW_PARTS + 1) * LARGE_SHARE * LEAST_WORK


def test_parts_of_much_work() -> None:
    eighths = tuple(slice(part * 10 // 8, (part + 1) * 10 // 8) for part in range(8))
    assert cut(10, LEAST_WORK) == cut(10, LEAST_WORK * 3) == eighths
    assert cut(10, LEAST_WORK * 4) == tuple(slice(part, part + 1) for part in range(10))
    assert len(cut(100, LEAST_WORK * 4)) == MOST_PARTS == 32
    assert len(cut(100, LEAST_WORK * 4, 20)) == 20
    assert len(cut(10, LEAST_WORK * 2, few=4)) == 5
    assert cut(3, LEAST_WORK) == (slice(0, 1), slice(1, 2), slice(2, 3))
    assert cut(4, LEAST_WORK // 2) == (slice(0, 2), slice(2, 4))
    assert cut(40, LEAST_WORK, 2, 16) == (slice(0, 16), slice(16, 40))
    assert cut(0, LEAST_WORK) == (slice(0, 0),)
