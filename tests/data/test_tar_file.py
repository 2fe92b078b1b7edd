"""Tars as they come: each way of writing them, what is kept of them, and each kind of damage."""

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpucnn import regular_file
from gpucnn.backend import user_cache
from gpucnn.data import file_stamp, tar_file, tar_index
from gpucnn.data.tar_file import TarFile, open_tar
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls
from tests.data.tar_files import picture, tar

NAMES = ("cat/1.png", "dog/ünï 日本.png", f"dog/{'long' * 60}.png", f"{'deep/' * 40}2.png")
FILES = {name: picture(number) for number, name in enumerate(NAMES)}


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are taken for such as are not being written now."""
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))


def opened(path: Path) -> TarFile:
    with TimedCalls() as timed:
        return open_tar(path, timed)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.tar"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_file_is_found_as_python_finds_it(format_: int, tmp_path: Path) -> None:
    files = {name: FILES[name] for name in NAMES if format_ != tarfile.USTAR_FORMAT or "long" not in name}
    path = write(tmp_path, tar(files, format_))
    found, again = opened(path), opened(path)
    with tarfile.open(path) as oracle:
        expected = {one.name: oracle.extractfile(one).read() for one in oracle}  # type: ignore[union-attr]
    assert expected == files
    for one in (found, again):
        assert {name: one.read(name) for name in one.images} == expected
        assert one.labels == [name.partition("/")[0] for name in files]


def test_owners_times_and_folders_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    (tmp_path / "in" / "cat" / "1.png").write_bytes(picture(0))
    with tarfile.open(
        tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a commit"}
    ) as archive:
        archive.add(tmp_path / "in", ".")
    found = opened(tmp_path / "x.tar")
    assert (found.images, found.labels, found.read("cat/1.png")) == (["cat/1.png"], ["cat"], picture(0))


def test_large_numbers_may_be_bytes(tmp_path: Path) -> None:
    content = bytearray(tar({"cat/1.png": picture(0)}, tarfile.USTAR_FORMAT))
    content[124:136] = b"\x80" + len(picture(0)).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    assert opened(write(tmp_path, bytes(content))).read("cat/1.png") == picture(0)


def test_it_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, tar(FILES))
    first = opened(path)
    beside, _ = tar_index.index_files(path)
    assert beside.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(tar_index, "members", lambda *_: pytest.fail("it is known"))
        again = opened(path)
    assert (again.images, again.labels, again.left_out) == (first.images, first.labels, first.left_out)
    path.write_bytes(tar({"cow/3.png": picture(3)}))
    assert opened(path).images == ["cow/3.png"]
    assert opened(path).read("cow/3.png") == picture(3)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"null", b"9" * 5000, b"[" * 100_000, b'{"version":1}', b"\xff", None],
    ids=["empty", "list", "half", "null", "number", "deep", "other", "bytes", "offsets"],
)
def test_a_damaged_index_is_as_none(content: bytes | None, tmp_path: Path) -> None:
    path = write(tmp_path, tar(FILES))
    opened(path)
    beside, _ = tar_index.index_files(path)
    if content is None:  # bytes that were changed on the drive
        content = beside.read_bytes().replace(b'"cat"', b'"cow"')
        assert content != beside.read_bytes()
    else:
        content = user_cache.with_checksum(content)
    beside.write_bytes(content)
    found = opened(path)
    assert {name: found.read(name) for name in found.images} == FILES
    assert found.labels == [name.partition("/")[0] for name in FILES]


def test_in_a_folder_that_cannot_be_written_the_index_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(user_cache.VARIABLE, str(tmp_path / "cache"))

    def refused(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tar_index, "write_atomically", refused)
    path = write(tmp_path, tar(FILES))
    opened(path)
    beside, cached = tar_index.index_files(path)
    assert not beside.exists()
    assert cached.is_file()
    monkeypatch.setattr(tar_index, "members", lambda *_: pytest.fail("it is known"))
    assert opened(path).images == list(FILES)


def test_what_may_be_written_just_now_is_looked_through_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamp, "SETTLED", 2 * 10**9)
    path = write(tmp_path, tar(FILES))
    os.utime(path, (1, 1))  # as copies have it: the time of the status tells
    opened(path)
    assert not tar_index.index_files(path)[0].exists()


def test_a_tar_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, tar(FILES))
    found = opened(path)
    assert found.read(NAMES[0]) == FILES[NAMES[0]]
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"x.tar: has changed since its images were found; start again"):
        found.read(NAMES[0])


def test_a_tar_that_was_replaced_before_it_was_read_is_noticed(tmp_path: Path) -> None:
    """Also by one of the same size and time."""
    path = write(tmp_path, tar({"cat/1.png": b"1"}))
    os.utime(path, ns=(1, 1))
    found = opened(path)
    other = tmp_path / "other"
    other.write_bytes(tar({"cat/1.png": b"2"}))
    os.utime(other, ns=(1, 1))
    time.sleep(0.02)  # file systems count in ticks
    os.replace(other, path)
    with pytest.raises(DataError, match=r"x.tar: has changed since its images were found; start again"):
        found.read("cat/1.png")


def test_an_open_tar_may_get_other_rights_or_be_removed(tmp_path: Path) -> None:
    path = write(tmp_path, tar(FILES))
    found = opened(path)
    assert found.read(NAMES[0]) == FILES[NAMES[0]]
    time.sleep(0.02)
    path.chmod(0o600)
    assert found.read(NAMES[0]) == FILES[NAMES[0]]
    if os.name == "posix":
        path.unlink()
        assert found.read(NAMES[1]) == FILES[NAMES[1]]


def test_an_index_is_of_no_use_for_a_tar_of_the_same_size_and_time(tmp_path: Path) -> None:
    """Sizes are padded, and times set by what copies files: here the classes of two images are exchanged."""
    path = write(tmp_path, tar({"cat/1.png": b"1", "dog/2.png": b"2"}))
    os.utime(path, ns=(1, 1))
    assert opened(path).images == ["cat/1.png", "dog/2.png"]
    size = path.stat().st_size
    time.sleep(0.02)  # file systems count in ticks
    path.write_bytes(tar({"dog/2.png": b"2", "cat/1.png": b"1"}))
    os.utime(path, ns=(1, 1))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, 1)
    found = opened(path)
    assert {name: found.read(name) for name in found.images} == {"cat/1.png": b"1", "dog/2.png": b"2"}


@pytest.mark.parametrize(
    "name", ["/etc/1.png", "../1.png", "cat/../../1.png", "./cat/1.png", "cat//1.png", "cat/1\0.png", ""]
)
def test_names_that_an_index_has_are_those_of_members(name: str, tmp_path: Path) -> None:
    """It may come with a download."""
    path = write(tmp_path, tar(FILES))
    opened(path)
    beside, _ = tar_index.index_files(path)
    whole = json.loads(user_cache.without_checksum(beside.read_bytes()) or b"null")
    assert whole["images"][0][0] == NAMES[0]
    whole["images"][0][0] = name
    beside.write_bytes(user_cache.with_checksum(json.dumps(whole).encode()))
    assert opened(path).images == [*NAMES]
    assert name not in json.loads(user_cache.without_checksum(beside.read_bytes()) or b"null")["images"][0], (
        "it is written anew"
    )


def test_few_files_are_open_and_none_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_file, "MOST_OPEN", 3)
    tar_file._handles._open.clear()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    tars = []
    for number in range(12):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(tar({"cat/1.png": picture(number)}))
        tars.append(opened(path))
    for _ in range(2):
        assert [one.read("cat/1.png") for one in tars] == [picture(number) for number in range(12)]
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 3


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_drive_that_goes_while_a_tar_is_looked_through_is_not_waited_for(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, tar({"1.png": bytes(20_000), "1.cls": b"1", "2.png": bytes(20_000), "2.cls": b"2"}))
    back, reads, files = threading.Event(), [], []

    class Going(io.FileIO):
        def readinto(self, into: object) -> int | None:
            reads.append(into)
            if len(reads) > after:
                back.wait()
            return super().readinto(into)  # type: ignore[arg-type]

    def open_going(path: Path) -> io.BufferedReader:
        files.append(io.BufferedReader(Going(path)))
        return files[-1]

    with monkeypatch.context() as patch:
        patch.setattr(tar_file, "open_regular", open_going)
        patch.setattr(regular_file, "ANSWER_SECONDS", 0.5)
        with pytest.raises(DataError, match=r"x.tar: cannot be read \(no answer in 0.5 seconds; is its drive"):
            opened(path)
    back.set()
    for file in files:  # nobody else does
        file.close()


def changed(at: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:at] + content + whole[at + len(content) :]


def special(kind: bytes, name: str = "cat/2.png") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "1.png"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(member)
    return content.getvalue()


ONE = tar({"cat/1.png": picture(0)}, tarfile.USTAR_FORMAT)
SIZE = len(picture(0))
DAMAGED = "it is damaged: copy it again, or write its images anew"

REFUSED = [
    (b"", f"an empty file; {DAMAGED}"),
    (ONE[:300], f"ends at its beginning, without the mark of an end; {DAMAGED}"),
    (ONE[:600], f"cat/1.png is promised to have {SIZE} bytes, of which 88 are there; {DAMAGED}"),
    (ONE[:1024], f"ends after cat/1.png, without the mark of an end; {DAMAGED}"),
    (ONE[:1536], f"its end is cut off; {DAMAGED}"),
    (changed(5, b"x")(ONE), f"what comes at its beginning, at byte 0, has a wrong checksum; {DAMAGED}"),
    (ONE[:1024] + b"x" * 512 + ONE[1024:], f"what comes after cat/1.png, at byte 1,024, has a wrong checksum; {DAMAGED}"),
    (ONE + ONE, f"bytes come after its end; {DAMAGED}"),
    (special(b"1"), "cat/2.png is a link; pack the files themselves, with gpucnn data pack, or tar --dereference --hard-dereference"),
    (special(b"2"), "cat/2.png is a link; pack the files themselves"),
    (special(b"3"), "cat/2.png is a device; "),
    (special(b"4"), "cat/2.png is a device; "),
    (special(b"6"), "cat/2.png is a named pipe; "),
    (special(b"S"), "cat/2.png is a sparse file; "),
    (special(b"0", "../2.png"), "../2.png leads out of the folder that was packed; write its images anew, from within that folder"),
    (special(b"0", "/etc/2.png"), "/etc/2.png leads out of the folder that was packed"),
    (b"\x1f\x8b" + ONE, "is compressed, so that no image in it can be read by itself; unpack it first: gunzip x.tar"),
    (b"\x28\xb5\x2f\xfd" + ONE, "unpack it first: unzstd x.tar"),
    (tar({"readme.txt": b"x"}), "no images in it; pack some, or remove the file"),
    (tar({"1.png": b"x", "1.cls": b"3", "1.jpg": b"x"}), "1.png and 1.jpg have one label between them, 1.cls; give each image a name of its own"),
    (tar({"1.png": b"x", "1.cls": b"3", "1.json": b'{"label": 4}'}), "1 has two labels: 3 and 4; remove one of 1.cls and 1.json"),
    (tar({"1.png": b"x", "1.cls": b"-1"}), "the label is -1"),
    (tar({"1.png": b"x", "1.cls": b"\xff"}), "1.cls: no label can be read ("),
    (tar({"1.png": b"x", "1.json": b"{"}), "1.json: no label can be read ("),
    (tar({"1.png": b"x", "1.json": b'{"label": 1.5}'}), "1.json: the label is 1.5; expected a class's number from 0 on, or its name"),
    (tar({"1.png": b"x", "1.json": b'{"label": true}'}), "the label is True; "),
    (tar({"1.png": b"x", "1.cls": b" "}), "1.cls: the label is ''; "),
    (tar({"1.png": b"x", "1.cls": b"9" * 70_000}), "1.cls: 70,000 bytes are no label"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as refused:
        opened(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert not tar_index.index_files(path)[0].exists()


def test_a_file_twice_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("cat/1.png", "./cat/1.png"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DataError, match=r"x.tar: cat/1.png is in it twice; write its images anew, under other names"):
        opened(write(tmp_path, content.getvalue()))


def test_labels_beside_images(tmp_path: Path) -> None:
    files = {
        "a/7.png": b"1",
        "a/7.cls": b"12\n",
        "b.png": b"2",
        "b.json": b'{"label": "dog", "by": "x"}',
        "c.jpg": b"3",
        "c.cls": b"cat",
    }
    found = opened(write(tmp_path, tar({**files, "d.seg.png": b"4", "d.cls": b"0", "d.txt": b"", "._d.png": b""})))
    assert dict(zip(found.images, found.labels, strict=True)) == {
        "a/7.png": 12,
        "b.png": "dog",
        "c.jpg": "cat",
        "d.seg.png": 0,
    }
    assert found.left_out == {".txt": 1, "hidden": 1}
