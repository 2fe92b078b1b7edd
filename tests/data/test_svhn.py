"""SVHN's .mat files, written by SciPy or by hand, and every way in which they can be wrong."""

import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from gpucnn import data
from gpucnn.cli.main import main
from gpucnn.data.mat import read_mat
from gpucnn.errors import DataError, LibraryError
from tests.data.set_files import pixels, write_svhn

X = pixels(4, 3, 32, 32).transpose(2, 3, 1, 0)
Y = np.array([[1], [10], [9], [5]], np.uint8)


@pytest.mark.parametrize("compress", [False, True])
def test_label_10_is_the_digit_0(compress: bool, tmp_path: Path) -> None:
    images = pixels(3, 3, 32, 32)
    for name in ("train", "test"):
        write_svhn(tmp_path / f"{name}_32x32.mat", images, [10, 1, 9], compress)
    splits = data.load("svhn", tmp_path)
    assert splits.class_names == tuple("0123456789")
    assert splits.train.labels.tolist() == [0, 1, 9]
    assert isinstance(splits.test, data.ArrayDataset)
    np.testing.assert_array_equal(splits.test.images, images)
    assert splits.test.images.flags.c_contiguous


def test_labels_of_other_kinds_are_taken(tmp_path: Path) -> None:
    for labels in (Y.astype(float), Y.T, Y.astype(np.int32)):
        savemat(tmp_path / "train_32x32.mat", {"X": X, "y": labels, "other": np.arange(3)})
        savemat(tmp_path / "test_32x32.mat", {"X": X, "y": labels})
        assert data.load("svhn", tmp_path).train.labels.tolist() == [1, 0, 9, 5]


def test_without_scipy_the_line_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "test"):
        write_svhn(tmp_path / f"{name}_32x32.mat", pixels(1, 3, 32, 32), [1])
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(LibraryError, match=r'read by SciPy, which is not installed; pip install "gpucnn\[svhn\]"'):
        data.load("svhn", tmp_path)
    assert main(["train", "--data", "svhn", "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert 'pip install "gpucnn[svhn]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, "no array y in it; its arrays are X"),
        ({"X": X.astype(float), "y": Y}, r"X is float64 \(32, 32, 3, 4\), expected bytes \(32, 32, 3, N\)"),
        ({"X": X[:31], "y": Y}, r"X is uint8 \(31, 32, 3, 4\), expected bytes"),
        ({"X": X, "y": Y[:3]}, r"y is uint8 \(3, 1\), expected labels \(4, 1\), one per image"),
        ({"X": X, "y": Y + 1}, "label 11 found, expected 1 to 9, and 10 for the digit 0"),
        ({"X": X, "y": Y * 0}, "label 0 found, expected 1 to 9, and 10 for the digit 0"),
        ({"X": X, "y": Y + 0.5}, "label 1.5 found"),
        ({"X": X, "y": np.full((4, 1), np.nan)}, "label nan found"),
        ({"X": X, "y": "abcd"}, "an array of MATLAB's class 4, which has no real numbers"),
        ({"X": X, "y": Y * 1j}, "which has no real numbers"),
        ({"X": X, "y": np.array([[1], [2]], object)}, "an array of MATLAB's class 1, which"),
        ({"X": X, "y": {"a": 1}}, "an array of MATLAB's class 2, which"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_what_is_wrong_is_named(arrays: dict[str, Any], message: str, compress: bool, tmp_path: Path) -> None:
    savemat(tmp_path / "train_32x32.mat", arrays, do_compression=compress)
    write_svhn(tmp_path / "test_32x32.mat", pixels(1, 3, 32, 32), [1])
    with pytest.raises(DataError, match=message) as raised:
        data.load("svhn", tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "train_32x32.mat"))


def element(kind: int, content: bytes, promised: int | None = None) -> bytes:
    return struct.pack("<II", kind, len(content) if promised is None else promised) + content + bytes(-len(content) % 8)


def matrix(
    shape: tuple[int, ...], content: bytes, name: bytes = b"X", promised: int | None = None, flags: int = 9
) -> bytes:
    sizes = struct.pack(f"<{len(shape)}i", *shape)
    parts = (
        element(6, struct.pack("<II", flags, 0)) + element(5, sizes) + element(1, name) + element(2, content, promised)
    )
    return element(14, parts)


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
LARGE = 1 << 29


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as a .mat file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "does not begin as a .mat file"),
        (HEADER[:126] + b"MI", "another version than 5, or big-endian"),
        (HEADER, "no array X in it; its arrays are none"),
        (HEADER + b"\x0e\0\0", "ends in the middle of an element"),
        (HEADER + element(14, b"", LARGE), "promises 536,870,912 bytes, more than the file has"),
        (HEADER + element(15, b"", LARGE), "promises 536,870,912 bytes, more than the file has"),
        (HEADER + element(15, zlib.compress(element(14, b"", LARGE))), "promises 536,870,912 bytes of at most"),
        (HEADER + element(15, zlib.compress(element(9, bytes(8)))), "an element of type 9"),
        (HEADER + matrix((LARGE, 1), bytes(8)), r"an array \(536870912, 1\) with 8 bytes of type 2"),
        (HEADER + matrix((LARGE, 1), bytes(8), promised=LARGE), r"an array \(536870912, 1\) with 536,870,912 bytes .* in an element of"),
        (HEADER + matrix((-2, -4), bytes(8)), r"an array \(-2, -4\)"),
        (HEADER + matrix((4,) * 200, bytes(8)), "the description of an array is damaged"),
        (HEADER + matrix((2, 4), bytes(8), name=b"X" * 4000), "cut off or too long"),
        (HEADER + matrix((2, 4), bytes(8), flags=17), "MATLAB's class 17"),
        (HEADER + matrix((2, 4), bytes(8), flags=0x0409), "which has no real numbers|class"),
        (HEADER + element(15, b"no zlib"), "incorrect header check"),
    ],
)  # fmt: skip
def test_a_promise_takes_no_memory(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.mat").write_bytes(content)
    read_mat_once(tmp_path)  # SciPy's import is no part of it
    tracemalloc.start()
    with pytest.raises(DataError, match=message):
        read_mat(tmp_path / "file.mat", ("X",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def read_mat_once(tmp_path: Path) -> None:
    (tmp_path / "whole.mat").write_bytes(HEADER + matrix((2, 4), bytes(range(8))))
    assert read_mat(tmp_path / "whole.mat", ("X",))[0].tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
