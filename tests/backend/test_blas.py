"""One thread for NumPy's products inside, as many as before outside, whichever thread asks."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, optim
from gpucnn import functions as F
from gpucnn.backend import blas
from gpucnn.backend.blas import one_blas_thread
from gpucnn.backend.threads import VARIABLE, parallel
from gpucnn.kernels import gemm, ways

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

THREADS = 4
"""Of NumPy's BLAS in these tests: more than one, on every machine."""


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
                assert leave[number].wait(60)

        threads = [threading.Thread(target=stay, args=(number,)) for number in (0, 1)]
        for number, thread in enumerate(threads):
            thread.start()
            assert inside[number].wait(60)
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


@pytest.fixture
def numpys_library() -> Iterator[None]:
    """NumPy's own BLAS, with `THREADS` threads. `numbers` tells its number without our functions."""
    pytest.importorskip("threadpoolctl")
    before = numbers()
    if not before:
        pytest.skip("NumPy's BLAS has no number of threads that can be set")
    for library in blas._libraries():
        library.set_num_threads(THREADS)
    assert set(numbers()) == {THREADS}
    yield
    left = set(numbers())
    for library, threads in zip(blas._libraries(), before, strict=True):
        library.set_num_threads(threads)
    assert left == {THREADS}


def numbers() -> list[int]:
    """How many threads each BLAS has, as threadpoolctl reads it."""
    from threadpoolctl import threadpool_info

    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def in_thread(task: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(task()))
    thread.start()
    thread.join()
    return found[0]


def in_executor(task: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(task).result()


def in_event_loop(task: Callable[[], Any]) -> Any:
    async def wait() -> Any:
        return await asyncio.to_thread(task)

    return asyncio.run(wait())


SECOND_THREADS = (in_thread, in_executor, in_event_loop)


def number_inside() -> set[int]:
    with one_blas_thread(), one_blas_thread():
        return set(numbers())


@pytest.mark.usefixtures("numpys_library")
@pytest.mark.parametrize("run", SECOND_THREADS)
def test_any_thread_sets_the_number_of_numpys_library(run: Callable[[Callable[[], Any]], Any]) -> None:
    assert number_inside() == {1}  # threadpoolctl 3.8 obeys the first thread, and no other
    assert run(number_inside) == {1}
    assert set(numbers()) == {THREADS}


@pytest.mark.usefixtures("numpys_library")
def test_a_limit_of_the_users_own_is_no_obstacle_and_stays() -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2, "blas"):
        assert in_thread(number_inside) == {1}
        assert set(numbers()) == {2}


@pytest.mark.usefixtures("numpys_library")
def test_the_first_to_leave_does_not_end_the_limit_of_the_other() -> None:
    first, second = threading.Event(), threading.Event()
    seen = []

    def come_and_go() -> None:
        with one_blas_thread():
            first.set()
            assert second.wait(60)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    assert first.wait(60)
    with one_blas_thread():
        second.set()
        thread.join()
        seen.append(set(numbers()))
    assert [*seen, set(numbers())] == [{1}, {THREADS}]


def test_a_number_that_is_set_meanwhile_stays(libraries: list[Library]) -> None:
    with one_blas_thread():
        libraries[0].threads = 9
    assert threads_of(libraries) == [9, 3]
    libraries[0].threads = 5


class LibraryWithANumberAThread(threading.local):
    """As OpenBLAS on OpenMP is: what a thread sets is its own."""

    threads = 6

    def get_num_threads(self) -> int:
        return self.threads

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads


def test_where_each_thread_has_a_number_each_sets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    library = LibraryWithANumberAThread()
    monkeypatch.setattr(blas, "_libraries", lambda: [library])
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def stay() -> None:
        with one_blas_thread():
            seen.append(library.threads)
            inside.set()
            assert leave.wait(60)
        seen.append(library.threads)

    thread = threading.Thread(target=stay)
    with one_blas_thread():
        thread.start()
        assert inside.wait(60)
        seen.append(library.threads)
    seen.append(library.threads)  # while the other thread is still inside
    leave.set()
    thread.join()
    assert seen == [1, 1, 6, 6]

    monkeypatch.setenv(VARIABLE, "2")
    both = threading.Barrier(2)

    def look(_: int) -> None:
        both.wait(60)
        seen.append(library.threads)

    del seen[:]
    parallel(look, 2)
    assert seen == [1, 1]


@pytest.mark.sample(0)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("numpys_library")
def test_a_fork_while_other_threads_come_and_go() -> None:
    """Returns in parent and child, and the child has its number, wherever the other threads were."""
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            with one_blas_thread():
                np.ones((8, 8)) @ np.ones((8, 8))

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            right = {library.get_num_threads() for library in blas._libraries()} == {THREADS}
            with one_blas_thread():
                right &= {library.get_num_threads() for library in blas._libraries()} == {1}
            os._exit(0 if right else 1)
        codes.append(os.waitpid(child, 0)[1])
    ended.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 20


def trained() -> str:
    """The bits of a net after a step whose products are large enough for many threads."""
    net = layers.Sequential(layers.Linear(256, 512), layers.ReLU(), layers.Linear(512, 10), seed=0)
    optimizer = optim.SGD(net.parameters(), 0.1)
    vectors = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    F.cross_entropy(net(vectors), np.arange(256) % 10).backward()
    optimizer.step()
    net = models.LeNet5(seed=0)
    images = np.random.default_rng(1).standard_normal((32, 1, 32, 32), np.float32)
    output = net(images)
    output.sum().backward()
    arrays = [*(parameter.data for parameter in net.parameters()), output.data]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array) for array in arrays)).hexdigest()


@pytest.mark.usefixtures("numpys_library")
def test_a_step_has_the_same_bits_in_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_CPU", "numpy")
    first = trained()
    assert [run(trained) for run in SECOND_THREADS] == [first] * len(SECOND_THREADS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("numpys_library")
def test_a_fork_while_another_thread_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of many threads would lose its helpers in the fork, and never end."""
    monkeypatch.setenv("GPUCNN_CPU", "numpy")
    number_inside()
    steps: list[str] = []
    ended = threading.Event()

    def train() -> None:
        while not ended.is_set():
            steps.append(trained())

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    codes = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0 if {library.get_num_threads() for library in blas._libraries()} == {THREADS} else 1)
        codes.append(os.waitpid(child, 0)[1])
    ended.set()
    thread.join(60)
    assert not thread.is_alive()
    assert (codes, len(set(steps))) == ([0] * 5, 1)


def test_parts_run_in_the_context_of_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`numpy.errstate` holds in every thread of a loop."""
    monkeypatch.setenv(VARIABLE, "2")
    both = threading.Barrier(2)

    def overflow(_: int) -> None:
        both.wait(60)
        np.multiply(np.full(8, 1e38, np.float32), np.float32(10))

    with np.errstate(over="ignore"):
        parallel(overflow, 2)
    with np.errstate(over="raise"):
        for _ in range(2):  # the error of the helper is one of the two
            with pytest.raises(FloatingPointError):
                parallel(overflow, 2)


def test_products_are_quiet_where_accelerate_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.full((2, 2), 1e30, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow encountered in matmul"):
        assert np.isinf(gemm.matmul(large, large)).all()
    monkeypatch.setattr(blas, "has_false_alarms", lambda: True)
    place = np.empty((2, 2), np.float32)
    for product in (gemm.matmul(large, large), F.matmul(large, large).data, gemm.matmul(large, large, out=place)):
        assert np.isinf(product).all()
    assert product is place


@pytest.mark.parametrize("mode", ["plain", "numpy"])
def test_convolutions_and_linear_layers_are_quiet_there_too(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "has_false_alarms", lambda: True)
    images, filters = (
        Tensor(np.full((2, 3, 4, 4), 1e30, np.float32), True),
        Tensor(np.full((2, 3, 2, 2), 1e30, np.float32), True),
    )
    vectors, weight = Tensor(np.full((2, 3), 1e30, np.float32), True), Tensor(np.full((2, 3), 1e30, np.float32), True)
    with ways.use(mode):
        for output in (F.conv2d(images, filters), F.linear(vectors, weight)):
            output.backward(np.full(output.shape, 1e30, np.float32))
    for tensor in (images, filters, vectors, weight):
        assert np.isinf(tensor.grad).all()


@pytest.mark.parametrize(
    ("configuration", "name"),
    [
        ({"Build Dependencies": {"blas": {"name": "accelerate"}}}, "accelerate"),
        ({"Build Dependencies": {"blas": {"name": "scipy-openblas"}}}, "scipy-openblas"),
        ({"Build Dependencies": {}}, ""),
        (None, ""),
    ],
)
def test_numpy_tells_which_library_it_has(configuration: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "np", SimpleNamespace(show_config=lambda mode: configuration))
    assert blas.blas_name.__wrapped__() == name


def test_a_library_that_is_not_known_is_left_alone() -> None:
    """Accelerate has no entry in threadpoolctl at all; what has none of the functions has no number to set."""
    import ctypes.util

    path = ctypes.util.find_library("c")
    assert blas._functions_of({"internal_api": "unheard of", "filepath": path}) is None
    assert blas._functions_of({"internal_api": "mkl", "filepath": path}) is None
    assert blas._functions_of({"internal_api": "mkl", "filepath": "/no/such/library.so"}) is None


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
