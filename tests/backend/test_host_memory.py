"""Memory that is used again, and never while anybody can still see it."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpucnn.backend import host_memory
from gpucnn.backend.host_memory import (
    LEAST_BYTES,
    LEAST_REGION,
    UNUSED_AFTER,
    empty,
    empty_like,
    release_memory,
    unpooled,
)

SHAPE = (64, 1024)
"""Of float32, twice as large as the smallest arrays that the pool serves."""


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    release_memory()
    yield
    release_memory()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_of_an_array_that_is_gone_serves_the_next_one() -> None:
    array = empty(SHAPE, np.float32)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == (
        SHAPE,
        np.float32,
        True,
        True,
    )
    before = address(array)
    del array
    again = empty((1024, 64), np.int32)
    assert address(again) == before
    assert address(empty_like(again)) != before
    del again
    assert address(empty((SHAPE[0], SHAPE[1] // 2), np.float64)) == before


VIEWS: dict[str, Callable[[np.ndarray], object]] = {
    "slice": lambda array: array[3:4],
    "slice of a reshaped one": lambda array: array.reshape(-1)[::8].reshape(-1, 2)[:1],
    "another dtype": lambda array: array.view(np.uint8)[:, -1:],
    "transposed": lambda array: array.T[5],
    "empty slice": lambda array: array[:0],
    "new axis": lambda array: array[..., None][0],
    "memoryview": lambda array: memoryview(array)[1:2],
    "frombuffer": lambda array: np.frombuffer(array, np.float32)[:3],
    "subclass": lambda array: array.view(np.recarray),
    "broadcast": lambda array: np.broadcast_to(array[:1, :1], (9, 9)),
    "dlpack": lambda array: np.from_dlpack(array)[1:],
    "strides": lambda array: np.lib.stride_tricks.sliding_window_view(array, (2, 2)),
    "flat": lambda array: array.flat,
}


@pytest.mark.parametrize("name", VIEWS)
def test_memory_that_somebody_sees_is_never_handed_out(name: str) -> None:
    array = empty(SHAPE, np.float32)
    before = address(array)
    view = VIEWS[name](array)
    del array
    others = [empty(SHAPE, np.float32) for _ in range(5)]
    assert before not in map(address, others)
    del view
    gc.collect()
    assert address(empty(SHAPE, np.float32)) == before


@given(st.lists(st.tuples(st.sampled_from(["new", "drop", "view", "release"]), st.integers(0, 30)), max_size=60))
def test_live_arrays_never_share_memory(steps: list[tuple[str, int]]) -> None:
    """Whatever is made, looked at and dropped: every array keeps the number that it was filled with."""
    live: list[tuple[np.ndarray, int]] = []
    for number, (step, choice) in enumerate(steps):
        if step == "new":
            array = empty((choice % 3 + 1, LEAST_BYTES), np.uint8)
            array[...] = number
            live.append((array, number))
        elif step == "release":
            release_memory()
        elif live:
            array, value = live.pop(choice % len(live))
            if step == "view":
                live.append((array[-1:, choice::3], value))
    for array, value in live:
        assert (array == value).all()


def test_small_arrays_are_numpys_own() -> None:
    assert empty((LEAST_BYTES - 1,), np.uint8).base is None
    assert empty((LEAST_BYTES,), np.uint8).base is not None
    assert empty((), np.float64).shape == ()
    assert empty((0, 5), np.float32).shape == (0, 5)


def free_bytes() -> int:
    """What the pool keeps for arrays to come."""
    return host_memory._pool.free_bytes()


def test_release_memory_gives_up_what_is_free_alone() -> None:
    kept, dropped = empty((LEAST_REGION,), np.uint8), empty((LEAST_REGION,), np.uint8)
    kept[...] = 3
    del dropped
    assert free_bytes() == LEAST_REGION
    release_memory()
    assert free_bytes() == 0
    assert (kept == 3).all()
    del kept
    assert free_bytes() == LEAST_REGION


def test_what_nobody_used_for_long_is_given_back() -> None:
    largest = empty((9 * LEAST_REGION,), np.uint8)
    small = empty((LEAST_BYTES,), np.uint8)
    del largest
    assert free_bytes() > 9 * LEAST_REGION
    for _ in range(2 * UNUSED_AFTER + 1):
        empty((LEAST_BYTES,), np.uint8)
    assert free_bytes() == LEAST_REGION - small.size


def test_small_blocks_lie_in_one_region_and_join_again() -> None:
    size = LEAST_REGION // 8
    arrays = [empty((size,), np.uint8) for _ in range(8)]
    assert free_bytes() == 0
    first = min(map(address, arrays))
    assert sorted(map(address, arrays)) == [first + number * size for number in range(8)]
    for number in (3, 6, 0, 4, 7, 1, 5, 2):
        arrays[number] = empty((0,), np.uint8)
    assert free_bytes() == LEAST_REGION
    assert address(empty((LEAST_REGION,), np.uint8)) == first


def test_blocks_of_many_sizes_wait_no_longer_than_until_a_new_size_is_asked_for() -> None:
    for pages in range(50, 150):
        host_memory.empty((pages * host_memory.PAGE,), np.uint8)
    assert len(host_memory._pool._waiting) <= 1
    first = host_memory.empty((200 * host_memory.PAGE,), np.uint8).ctypes.data
    assert host_memory.empty((200 * host_memory.PAGE,), np.uint8).ctypes.data == first


def test_the_smallest_block_that_fits_is_taken() -> None:
    large, small = empty((3 * LEAST_REGION,), np.uint8), empty((2 * LEAST_REGION,), np.uint8)
    places = address(large), address(small)
    del large, small
    for order in (1, -1):
        sizes = [3 * LEAST_REGION - 4096, 2 * LEAST_REGION - 4096][::order]
        assert [address(array) for array in [empty((size,), np.uint8) for size in sizes]] == list(places[::order])


def test_a_step_that_is_repeated_asks_the_system_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of many sizes that live and die as in a training step."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(LEAST_BYTES, 8 * LEAST_REGION, 30)

    def step() -> None:
        forward = [empty((size,), np.uint8) for size in sizes]
        while forward:
            gradient = empty((forward.pop().size,), np.uint8)
            del gradient

    for _ in range(3):
        step()
    monkeypatch.setattr(host_memory, "_fresh", lambda size: pytest.fail(f"{size} bytes were asked for"))
    step()


def test_unpooled_arrays_have_memory_of_their_own() -> None:
    array = empty(SHAPE, np.float32)
    del array
    with unpooled():
        assert empty(SHAPE, np.float32).base is None
        with pytest.raises(KeyError), unpooled():
            raise KeyError
        assert empty(SHAPE, np.float32).base is None
    assert free_bytes() == LEAST_REGION
    assert empty(SHAPE, np.float32).base is not None


@pytest.mark.parametrize("nbytes", [LEAST_BYTES, LEAST_BYTES + 1, 3 * LEAST_BYTES + 5, 1 << 22, (1 << 22) + 1])
def test_sizes_are_rounded_up_by_little_and_arrays_are_aligned(nbytes: int) -> None:
    size = host_memory._rounded(nbytes)
    assert nbytes <= size <= nbytes * (1 + 1 / 16)
    assert host_memory._rounded(size) == size
    array = empty((nbytes // 8,), np.float64)
    assert array.flags.aligned
    assert address(array) % 16 == 0


@given(st.integers(LEAST_BYTES, 1 << 40))
def test_sizes_are_whole_pages(nbytes: int) -> None:
    size = host_memory._rounded(nbytes)
    assert nbytes <= size < nbytes + 4096
    assert size % 4096 == 0


def test_the_pool_holds_no_more_than_was_in_use_at_a_time() -> None:
    """Arrays of many sizes, one after the other: each takes the place of those before it."""
    sizes = [number * LEAST_REGION for number in (1, 2, 3, 5)]
    for _ in range(3):
        for size in sizes:
            first = empty((size,), np.uint8)
            del first
    assert free_bytes() == max(sizes)
    kept = [empty((size,), np.uint8) for size in sizes]
    del kept
    assert sum(sizes) <= free_bytes() <= 1.25 * sum(sizes)  # one was cut up, and the rest was too small for another


def test_cycles_of_garbage_give_their_memory_back() -> None:
    array = empty(SHAPE, np.float32)
    before, cycle = address(array), [array]
    cycle.append(cycle)  # type: ignore[arg-type]
    del array, cycle
    assert address(empty(SHAPE, np.float32)) != before
    release_memory()
    gc.collect()
    assert address(empty(SHAPE, np.float32)) == before


def test_a_collection_while_a_block_is_taken() -> None:
    """The collector may run within the pool, and end arrays that give their memory back to it there."""
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            array = empty(SHAPE, np.float32)
            array[0, 0] = number
            cycle: list[object] = [array]
            cycle.append(cycle)
            assert array[0, 0] == number
    finally:
        gc.set_threshold(*thresholds)


def test_threads_share_the_pool() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        kept = []
        for turn in range(200):
            array = empty((1 + turn % 3, LEAST_BYTES), np.uint8)
            array[...] = number
            kept = [*kept[-3:], array]
            wrong.extend(number for one in kept if (one[0] != number).any())

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(60)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_another_thread_holds_the_pool() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with host_memory._pool._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    child = os.fork()
    if child == 0:
        taker = threading.Thread(target=empty, args=(SHAPE, np.float32), daemon=True)
        taker.start()
        taker.join(60)
        os._exit(1 if taker.is_alive() else 0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_arrays_that_outlive_the_interpreter() -> None:
    script = (
        "import builtins, sys\n"
        "from gpucnn.backend.host_memory import empty\n"
        "builtins.kept = empty((1 << 20,), 'f4')\n"
        "sys.kept = [empty((1 << 20,), 'f4')]\n"
        "sys.kept.append(sys.kept)\n"
        "here = empty((1 << 20,), 'f4')\n"
        "print(here.shape)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("(1048576,)\n", "", 0)
