"""Pickles of plain values: what Python and NumPy write is read, and nothing that stands in a file is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.data.plain_pickle import read_pickle
from gpucnn.errors import DataError
from gpucnn.files import restricted_pickle
from tests.data.set_files import pixels, python_2_batch

BATCH = {
    b"data": pixels(3, 3072), b"labels": [0, 9, 255, 70_000, -1, 2**70], b"batch_label": b"training batch 1 of 5",
    "text": "größe", "pair": (1, "a"), "triple": (1, 2, 3), "many": tuple(range(9)), "none": None, "yes": True, "no": False, 7: {},
    "filenames": [b"a.png"] * 2_000,
}  # fmt: skip


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "batch").write_bytes(content)
    return tmp_path / "batch"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", [pixels(2, 5), pixels(0, 4), np.asfortranarray(pixels(3, 5)), np.arange(4), np.arange(4, dtype=np.int32)])  # fmt: skip
def test_what_python_writes_is_read(protocol: int, array: np.ndarray, tmp_path: Path) -> None:
    found = read_pickle(written(tmp_path, pickle.dumps({**BATCH, b"data": array}, protocol)))
    expected = {**BATCH, b"data": array}
    assert list(found) == list(expected)
    np.testing.assert_array_equal(found.pop(b"data"), expected.pop(b"data"))
    assert found == expected


def test_what_python_2_wrote_is_read_as_bytes(tmp_path: Path) -> None:
    content = python_2_batch(pixels(2, 3, 32, 32), [3, 1])
    found, expected = read_pickle(written(tmp_path, content)), pickle.loads(content, encoding="bytes")
    assert found[b"labels"] == expected[b"labels"] == [3, 1]
    np.testing.assert_array_equal(found[b"data"], expected[b"data"])


class Runs:
    """What pickle.load would call a function for."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Odd:
    x = 1


HOSTILE: dict[str, tuple[Any, str]] = {
    "a command": (Runs(os.system, "touch planted"), "it names (posix|nt).system, which could run anything"),
    "code": (Runs(eval, "open('planted', 'w')"), r"it names (__builtin__|builtins)\.eval"),
    "a class of one's own": (Odd(), "it names (copy_reg|copyreg)._reconstructor|it names .*Odd"),
    "an array of objects": (np.array([{}], object), "an array of dtype 'O8'"),
    "an array of text": (np.array(["a"]), "an array of dtype 'U1'"),
    "an array of structures": (np.zeros(1, [("a", "u1")]), "an array of dtype 'V1'"),
    "big-endian numbers": (np.arange(3, dtype=">i8"), "an array of big-endian numbers|an array of dtype '>i8'"),
    "a set": ({1, 2}, r"it names (__builtin__|builtins)\.set"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_planted_file_runs_nothing_and_is_refused_by_name(case: str, protocol: int, in_tmp_path: Path) -> None:
    planted, message = HOSTILE[case]
    path = written(in_tmp_path, pickle.dumps({b"data": planted, b"labels": [0]}, protocol))
    with pytest.raises(DataError, match=message) as raised:
        read_pickle(path)
    assert str(raised.value).startswith(f"{path}: not a pickle of plain values and byte arrays (")
    assert "nothing of it was run" in str(raised.value)
    assert not (in_tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pickle exhausted|not enough"),
        (b"no pickle", "batch: not a pickle of plain values"),
        (b"\x80\x02cposix\nsystem\n.", "it names posix.system"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}b.", "sets the state of what has none"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "it calls what is no function"),
        (b"\x80\x02K\x01)R.", "it calls what is no function"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00ascii\x86R.", "an encoding that is not latin1"),
        (b"\x80\x02]K\x01K\x02s.", "SETITEM for what is no container"),
        (b"\x80\x02}" + b")" + b"\x85" * 60_000 + b"K\x01s.", "neither text nor numbers"),
        (b"\x80\x02(", "pickle exhausted"),
        (b"\x80\x02e.", "takes more from the stack than there is"),
        (b"\x80\x02s.", "takes more from the stack than there is"),
        (b"\x80\x02K\x01K\x02.", "it ends with no value, or with more than one"),
        (b"\x80\x02h\x05.", "5"),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"abc.", "expected 1152921504606846976 bytes"),
        (b"\x80\x02]r\xff\xff\xff\xff" + b".", None),
        (b"\x80\x02K\x01Q.", "it has the opcode BINPERSID"),
        (b"\x80\x02\x82\x01.", "it has the opcode EXT1"),
    ],
)  # fmt: skip
def test_a_file_put_together_by_hand(content: bytes, message: str | None, tmp_path: Path) -> None:
    if message is None:
        assert read_pickle(written(tmp_path, content)) == []
        return
    with pytest.raises(DataError, match=message):
        read_pickle(written(tmp_path, content))


@pytest.mark.parametrize("kept", [1, 100, 5_000, -1])
def test_a_file_cut_off(kept: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="batch: not a pickle"):
        read_pickle(written(tmp_path, pickle.dumps(BATCH, 2)[:kept]))


def test_a_shape_that_its_bytes_do_not_fill(tmp_path: Path) -> None:
    content = pickle.dumps({b"data": pixels(3, 7)}, 2).replace(b"K\x03K\x07\x86", b"K\x63K\x07\x86")
    with pytest.raises(DataError, match=r"cannot reshape array of size 21 into shape \(99,7\)"):
        read_pickle(written(tmp_path, content))


def test_a_file_of_nothing_but_lists_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MOST_OPCODES", 1_000)
    path = written(tmp_path, b"\x80\x02" + b"]" * 2_000 + b".")
    with pytest.raises(DataError, match="more than 1,000 opcodes"):
        read_pickle(path)
