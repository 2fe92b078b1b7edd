"""Images in Parquet files: the same batches as of the image files, from memory that is bounded; what is damaged is refused."""

import io
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gpucnn import data, regular_file
from gpucnn.data import DataLoader, ImageFolder, Subset, hugging_face, parquet_images, timed_file
from gpucnn.data.dataset import Dataset
from gpucnn.data.parquet_file import ParquetTable
from gpucnn.data.parquet_images import ParquetImages
from gpucnn.data.timed_file import TimedFile
from gpucnn.errors import DataError, LibraryError
from tests.data.image_files import write_two_classes
from tests.data.parquet_files import features, rows_of, write, write_table


def png(value: int = 7) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    return ImageFolder(write_two_classes(tmp_path / "files", 10, 12), 8)


ORDER = np.random.default_rng(3).permutation(20)


@pytest.fixture
def mixed(tmp_path: Path, folder: ImageFolder) -> Path:
    """The images of `folder` in another order, in two files of several row groups."""
    rows = rows_of(folder)
    for number, places in enumerate(np.array_split(ORDER, 2)):
        write(
            tmp_path / "table" / "data" / f"train-{number:05}-of-00002.parquet",
            [rows[place] for place in places],
            folder.labels[places],
            folder.class_names,
        )
    return tmp_path / "table"


def batches(images: Dataset, workers: int) -> list[bytes]:
    loader = DataLoader(images, 6, shuffle=True, seed=4, augment=data.RandomFlip(), workers=workers)
    return [part.tobytes() for _ in range(2) for batch in loader for part in batch]


@pytest.mark.parametrize("piece_bytes", [1 << 26, 0])
def test_batches_are_those_of_the_files(
    folder: ImageFolder, mixed: Path, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_images, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(parquet_images, "PIECE_ROWS", 2)
    monkeypatch.setattr(parquet_images, "KEPT_BYTES", 2000)  # about two images
    tables = ParquetImages(mixed, 8, cache_bytes=0)
    assert tables.class_names == folder.class_names
    expected = batches(Subset(folder, ORDER), 0)
    for workers in (0, 3):
        assert batches(tables, workers) == expected
    assert batches(pickle.loads(pickle.dumps(tables)), 0) == expected
    kept = tables._images
    assert 0 < kept._bytes == sum(len(image or b"") for images in kept._kept.values() for image in images) <= 3000


def test_a_fifth_is_for_testing_by_the_names_that_the_files_had(folder: ImageFolder, tmp_path: Path) -> None:
    mixed = tmp_path / "table"
    write(mixed / "images.parquet", rows_of(folder), folder.labels, folder.class_names)
    for ours, theirs in zip(
        data.load(folder.folder, image_size=8)[:2], data.load(mixed, image_size=8)[:2], strict=True
    ):
        np.testing.assert_array_equal(ours[:][0], theirs[:][0])
        np.testing.assert_array_equal(ours[:][1], theirs[:][1])


def test_parts_by_the_names_of_files(tmp_path: Path) -> None:
    for name, count in (("train-00000-of-00001", 6), ("validation", 4), ("test-00000-of-00001", 2)):
        rows = [{"bytes": png(value), "path": None} for value in range(count)]
        write(tmp_path / "data" / f"{name}.parquet", rows, [0, 1] * (count // 2), ["cat", "dog"])
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    splits = data.load(tmp_path, image_size=4)
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 4, 2]
    assert splits.class_names == ("cat", "dog")
    found = data.inspect(tmp_path)
    assert (len(found.images), found.unreadable) == (12, ())


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (lambda rows: rows, ["a", "b", "a"], ("a", "b")),
        (lambda rows: rows, pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b")),
        (lambda rows: [row["bytes"] for row in rows], [1, 0, 1], ("0", "1")),
        (lambda rows: pa.array([row["bytes"] for row in rows], pa.large_binary()), pa.array([1, 0, 1], pa.uint8()), ("0", "1")),
    ],
)  # fmt: skip
def test_columns_of_other_types(
    tmp_path: Path, images: Callable[[Any], Any], labels: Any, expected: tuple[str, ...]
) -> None:
    rows = [{"bytes": png(value), "path": f"{value}.png"} for value in range(3)]
    write(tmp_path / "one.parquet", images(rows), labels)
    found = ParquetImages(tmp_path, 4)
    assert found.class_names == expected
    values = np.asarray(labels.to_pylist() if isinstance(labels, pa.Array) else labels).astype(str)
    shown = {
        round(float(image[0, 0, 0]) * 255): found.class_names[label] for image, label in zip(*found[:], strict=True)
    }
    assert shown == dict(enumerate(values))


def test_a_row_group_with_other_columns_is_not_read_whole(tmp_path: Path) -> None:
    table = pa.table({
        "caption": ["x" * 100_000] * 4, "img": [png(value) for value in range(4)], "fine_label": [3, 2, 1, 0], "label": [0, 1, 0, 1],
    })  # fmt: skip
    write_table(tmp_path / "one.parquet", table, 2)
    found = ParquetImages(tmp_path, 4)
    with mock.patch.object(
        pq.ParquetFile, "iter_batches", autospec=True, side_effect=pq.ParquetFile.iter_batches
    ) as read:
        assert list(found.contents(np.array([3]))) == [png(3)]
    assert [call.args[2:4] for call in read.call_args_list] == [([1], ["img"])]


def test_class_names_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "data" / "train.parquet", [png(), png(8)], [0, 1])
    card = "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': the cat\n          '1': 'dog''s'\n---\n# Pets\n"
    (tmp_path / "README.md").write_text(card)
    assert ParquetTable(path).columns.class_names == ("the cat", "dog's")
    (path.parent / "dataset_info.json").write_text(json.dumps({"features": features(["x", "y"])}))
    assert ParquetTable(path).columns.class_names == ("x", "y")


def test_what_is_beside_the_file_is_read_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data" / "train.parquet", [png(), png(8)], [0, 1])
    info = tmp_path / "dataset_infos.json"
    info.write_text(json.dumps({"default": {"description": "x" * (1 << 21), "features": features(["cat", "dog"])}}))
    assert ParquetTable(path).columns.class_names == ("cat", "dog")
    info.write_text(json.dumps({"features": features(["cat", "dog"])}))
    os.truncate(info, hugging_face.LARGEST + 1)  # takes no room on the drive
    reads: list[Path] = []
    original = TimedFile.read

    def noted(file: TimedFile, count: int | None = -1) -> bytes:
        reads.append(file.path)
        return original(file, count)

    monkeypatch.setattr(TimedFile, "read", noted)
    assert ParquetTable(path).columns.class_names == ()
    assert info not in reads


def test_classes_that_are_called_alike_have_their_number(tmp_path: Path) -> None:
    """As the two cranes of ImageNet, a bird and a machine."""
    names = ["cock", "crane", "crane", "Stra\u00dfe", "Strass", "Stra\u00dfe"]
    rows = [{"bytes": png(10 * label), "path": None} for label in range(6)]
    write(tmp_path / "one.parquet", rows, range(6), names)
    found = ParquetImages(tmp_path, 4)
    expected = ("cock", "crane (1)", "crane (2)", "Stra\u00dfe (3)", "Strass", "Stra\u00dfe (5)")
    assert found.class_names == expected
    assert found.labels.tolist() == list(range(6))
    assert ParquetImages(tmp_path, 4, class_names=expected[::-1]).labels.tolist() == [5, 4, 3, 2, 1, 0]


def test_a_drive_that_has_gone_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do other threads, or a fork, wait for the one that reads."""
    path = write(tmp_path / "train.parquet", [png(value) for value in range(8)], [0, 1] * 4, rows=2)
    found = ParquetImages(tmp_path, 4, cache_bytes=0)
    expected = found[:2][0].tobytes()
    back = threading.Event()

    read: list[io.FileIO] = []

    class Gone(io.FileIO):
        def read(self, count: int | None = -1) -> bytes:
            read.append(self)
            back.wait()
            return super().read(-1 if count is None else count) or b""

    with monkeypatch.context() as patch:
        patch.setattr(timed_file, "open_regular", lambda path: io.BufferedReader(Gone(path)))
        patch.setattr(regular_file, "ANSWER_SECONDS", 0.5)
        for _ in range(2):
            with pytest.raises(
                DataError, match=r"train.parquet: cannot be read \(no answer in 0.5 seconds; is its drive"
            ):
                found[6:]
        with pytest.raises(DataError, match="no answer in 0.5 seconds"):
            ParquetImages(tmp_path, 4)
        assert found[:2][0].tobytes() == expected  # it is kept
    assert not any(file.closed for file in read), "a thread still reads"
    assert found[6:][0].shape == (2, 3, 4, 4)
    back.set()
    assert path.is_file()


def test_class_names_that_are_no_names_of_folders(tmp_path: Path) -> None:
    names = ["../up", "a/b", "."]
    write(tmp_path / "one.parquet", [{"bytes": png(n), "path": f"../{n}/.."} for n in range(3)], [0, 1, 2], names)
    found = ParquetImages(tmp_path, 4)
    assert found.class_names == tuple(names)
    assert [round(float(image[0, 0, 0]) * 255) for image in found[:][0]] == [0, 1, 2]
    assert all(tmp_path / "one.parquet" in path.parents for path in found.paths)


def spoilt(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        write(
            path,
            [{"bytes": png(value), "path": None} for value in range(6)],
            [0, 1] * 3,
            compression="none",
            use_dictionary=False,
        )
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def encrypted(path: Path) -> Path:
    return spoilt(lambda content: content[:-4] + b"PARE")(path)


def table(**columns: Any) -> Callable[[Path], Path]:
    return lambda path: write_table(path, pa.table(columns))


REFUSED = [
    (spoilt(lambda content: content[:-30]), "cut off, or damaged: its end is not that of a Parquet file; download it again"),
    (spoilt(lambda content: content[:9]), "cut off, or damaged"),
    (spoilt(lambda content: b""), "not a Parquet file: it begins with b''"),
    (spoilt(lambda content: b"PK\3\4" + content[4:]), "it begins with b'PK.*expected b'PAR1'"),
    (spoilt(lambda content: b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull fetches it"),
    (spoilt(lambda content: content[:-8] + b"\xff\xff\xff\x7f" + content[-4:]), "cut off, or damaged"),
    (spoilt(lambda content: content[:-60] + b"\xff" * 52 + content[-8:]), "not a Parquet file that can be read"),
    (encrypted, "is encrypted; write it without encryption"),
    (table(label=[0, 1]), r"no column of images, as bytes; expected a column image of bytes.*got label \(int64\)"),
    (table(image=[b"x", b"y"]), "no column of labels; expected integers or text in a column called label, got none"),
    (table(image=[b"x"], score=[0.5]), r"no column of labels.*got score \(double\); rename"),
    (table(one=[b"x"], two=[b"y"], label=[0]), "images, as bytes, could be in one, two; rename the column that is meant to image"),
    (table(image=[b"x", b"y"], label=[0, None]), "row 1: there is no label in label; leave the row out"),
    (table(image=[b"x", b"y", b"z"], label=[0, -1, 1]), "row 1: label -1 .-1 is what images without a label have. in label is not from 0 to"),
    (lambda path: write(path, [b"x", b"y"], [0, 2], ["cat", "dog"]), "row 1: label 2 in label is not from 0 to 1; leave the row out"),
    (lambda path: write(path, [b"x", b"y"], [0, 1 << 40]), "row 1: label 1099511627776 in label is not from 0 to"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_read_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=message) as caught:
        data.load(tmp_path, image_size=4)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "row 1.*there is no image in image.bytes; leave the row out"),
        ({"bytes": None, "path": "far/away.png"}, "row 1.*the image is given by its path alone, 'away.png'; write the table with"),
        ({"bytes": b"", "path": None}, "row 1.*the image has no bytes"),
        ({"bytes": b"hello", "path": None}, "row 1.*not an image that can be read"),
        ({"bytes": png()[:40], "path": None}, "row 1.*not an image that can be read .*damaged or cut off"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, image: Any, message: str) -> None:
    rows = [{"bytes": png(value), "path": None} for value in range(4)]
    path = write(tmp_path / "train.parquet", [rows[0], image, *rows[2:]], [0, 1, 0, 1], rows=10)
    found = data.inspect(tmp_path)
    assert len(found.images) == 3
    assert [file.path.name for file in found.unreadable] == ["row 1"]
    with pytest.raises(DataError, match=message):
        found.check()
    with pytest.raises(DataError, match=message) as caught:
        ParquetImages(tmp_path, 4)[:]
    assert str(path) in str(caught.value)
    splits = data.load(tmp_path, image_size=4, skip=[file.path for file in found.unreadable])
    assert len(splits.train) + len(splits.test) == 3
    assert np.isfinite(splits.train[:][0]).all()


def test_a_file_that_has_changed_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", [png(1), png(2)], [0, 1])
    found = ParquetImages(tmp_path, 4)
    write(path, [png(2), png(3)], [0, 1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="has changed since it was opened; start again"):
        found[0]


def test_damage_in_a_page_is_told(tmp_path: Path) -> None:
    """Where pages have checksums, also within an image."""
    images = [png(value) for value in range(4)]
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    path = write(tmp_path / "train.parquet", images, [0, 1, 0, 1], **options)
    content = path.read_bytes()
    assert images[2] in content
    path.write_bytes(content.replace(images[2], images[2][:-1] + b"!"))
    with pytest.raises(DataError, match=r"train.parquet: not a Parquet file that can be read .*download it again"):
        ParquetImages(tmp_path, 4)[:]


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train.parquet", [png(), png()], [0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(LibraryError, match=r'pip install "gpucnn\[parquet\]"'):
        ParquetImages(tmp_path, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_reads_on_its_own(mixed: Path) -> None:
    images = ParquetImages(mixed, 8, cache_bytes=0)
    expected = images[:][0].tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if images[:][0].tobytes() == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


MEASURE = """
import sys
import numpy as np
from gpucnn.data import DataLoader, parquet_images
parquet_images.KEPT_BYTES, parquet_images.PIECE_BYTES = 4 << 20, 1 << 20
images = parquet_images.ParquetImages(sys.argv[1], 4, cache_bytes=0)
images[:4]
for _ in DataLoader(images, 8):
    pass
print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) >> 10)
"""


@pytest.mark.sample(0)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux does it")
def test_ten_times_the_data_take_no_more_memory(tmp_path: Path) -> None:
    """Also where one row group is larger than what may be kept."""
    draw, peaks = np.random.default_rng(0), []
    for count in (14, 140):
        images = [png() + draw.bytes(1 << 19) for _ in range(count)]
        write(
            tmp_path / str(count) / "one.parquet",
            images,
            [0, 1] * (count // 2),
            rows=count,
            use_dictionary=False,
            write_batch_size=4,
        )
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / str(count))], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert 0 < peaks[1] < peaks[0] + 45, peaks  # of 70 MB
