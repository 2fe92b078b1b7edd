"""After a large image the memory that it took is given back, which glibc would keep: more than a gigabyte after a few of 49 million pixels."""

from pathlib import Path

import pytest

import gpucnn
from gpucnn.serve import decoding
from gpucnn.serve.decoding import LARGE_PIXELS, Decoder
from gpucnn.serve.multipart import File
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
