"""What a large image takes of memory is given back."""

import os
import platform
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import gpucnn
from gpucnn.serve.decoding import LARGE_PIXELS, Decoder
from gpucnn.serve.multipart import File
from tests.serve.bad_requests import png

SIDE = 2100


def memory() -> float:
    """Megabytes that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems give it back by themselves")
def test_memory_is_given_back(run: Path) -> None:
    decoder = Decoder(gpucnn.load(run), SIDE * SIDE)
    assert SIDE * SIDE > LARGE_PIXELS
    content = png(SIDE, SIDE, zlib.compress(bytes(SIDE * (SIDE * 8 + 1)), 1), 16, 6)
    with ThreadPoolExecutor(2) as threads:
        before = memory()
        images = list(threads.map(lambda _: decoder(File("", content)), range(2)))
        assert memory() - before < SIDE * SIDE * 4 / 1e6
    assert [image.shape for image in images] == [(1, 1, 8, 8)] * 2
