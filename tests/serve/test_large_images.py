"""Large images take memory one after another, and give it back: glibc would keep more than a gigabyte after a few of 49 million pixels."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gpucnn
from gpucnn.serve import decoding
from gpucnn.serve.decoding import LARGE_PIXELS, Decoder
from gpucnn.serve.multipart import File
from gpucnn.serve.pixel_budget import PixelBudget
from tests.serve.bad_requests import packed_zeros, png

SIDE = 2100


@pytest.mark.parametrize(("side", "given_back"), [(SIDE, 1), (SIDE // 2, 0)])
def test_memory_is_given_back(run: Path, monkeypatch: pytest.MonkeyPatch, side: int, given_back: int) -> None:
    calls = []
    real = decoding._give_memory_back
    monkeypatch.setattr(decoding, "_give_memory_back", lambda: calls.append(real()))
    assert SIDE * SIDE > LARGE_PIXELS
    image = Decoder(gpucnn.load(run), SIDE * SIDE)(File("", png(side, side, packed_zeros(side * (side + 1)))))
    assert image.shape == (1, 1, 8, 8)
    assert len(calls) == given_back


SCRIPT = """
import re, sys, threading
import gpucnn
from gpucnn.serve import decoding
from gpucnn.serve.multipart import File
from tests.serve.bad_requests import packed_zeros, png

def most():
    with open("/proc/self/status") as status:  # getrusage would tell of the process that started this one, too
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])

side = 2600
decoding.PIXELS_TOGETHER = side * side
file = File("", png(side, side, packed_zeros(side * (4 * side + 1)), 8, 6))  # RGBA
decoder = decoding.Decoder(gpucnn.load(sys.argv[1]), side * side)
decoder(File("", png(200, 200, packed_zeros(200 * 801), 8, 6)))
idle = most()
decoder(file)
one = most()
together = threading.Barrier(4)

def decode():
    together.wait()
    decoder(file)

threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(idle, one, most())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has in memory is told in other ways elsewhere")
def test_four_large_images_take_the_memory_of_one(run: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(run)], capture_output=True, text=True, timeout=300)
    assert ended.stderr == ""
    idle, one, four = map(int, ended.stdout.split())
    assert one - idle > 20_000  # kB: it is large indeed
    assert four - idle < 2 * (one - idle)


def test_what_is_left_of_the_budget_is_for_small_images_and_one_that_is_larger_takes_all() -> None:
    budget, entered = PixelBudget(100), threading.Event()

    def enter() -> None:
        with budget.taken(1000):
            assert budget.left == 0
            entered.set()

    waiting = threading.Thread(target=enter)
    with budget.taken(60), budget.taken(40):
        waiting.start()
        assert budget.left == 0
    waiting.join(60)
    assert entered.is_set()
    assert budget.left == 100
    with pytest.raises(ZeroDivisionError), budget.taken(10):
        raise ZeroDivisionError
    assert budget.left == 100
