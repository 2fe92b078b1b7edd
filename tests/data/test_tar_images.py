"""A folder of tars is what the folder of its images is, to the byte; and what is refused."""

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data.image_folder import names_of
from gpucnn.data.tar_images import TarImages
from gpucnn.errors import DataError
from tests.data.image_files import write_two_classes
from tests.data.tar_files import picture, tar, write_tars
from tests.data.test_fork import exit_status


def write(folder: Path, tars: Mapping[str, Mapping[str, bytes]], names: str = "") -> Path:
    """Tars of these files, by name, and the names of classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in tars.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(tar(files))
    if names:
        (folder / "classes.txt").write_text(names, encoding="utf-8")
    return folder


def samples(images: data.Dataset) -> list[tuple[bytes, int]]:
    pixels, labels = images[:]  # type: ignore[index]
    return [(image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True)]


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_are_those_of_the_folder(workers: int, tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 9, 12)
    tars = write_tars(tmp_path / "tars", photos)
    ours, theirs = data.load(tars, image_size=8), data.load(photos, image_size=8)
    assert (ours.class_names, ours.notes) == (theirs.class_names, theirs.notes)
    for part in ("train", "test"):
        assert names_of(getattr(ours, part)) == names_of(getattr(theirs, part))
        loaders = [
            data.DataLoader(getattr(splits, part), 4, shuffle=True, seed=3, augment=data.RandomFlip(), workers=workers)
            for splits in (ours, theirs)
        ]
        for _ in range(2):
            batches = [[(x.tobytes(), y.tobytes()) for x, y in loader] for loader in loaders]
            assert len(batches[0]) > 0
            assert batches[0] == batches[1]


def test_webdataset_with_numbers_and_parts(tmp_path: Path) -> None:
    tars = {
        f"{part}-{number:06}.tar": {
            f"{number}{key}.{kind}": content
            for key in range(2)
            for kind, content in (("png", picture(10 * number + key)), ("cls", str(key).encode()))
        }
        for part, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3,)))
        for number in numbers
    }
    splits = data.load(write(tmp_path / "x", tars, "dog\ncat\n"), image_size=6)
    assert splits.class_names == ("dog", "cat")
    assert splits.validation is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 2, 2]
    assert [path.relative_to(tmp_path / "x").as_posix() for path in splits.train.paths] == [  # type: ignore[union-attr]
        "train-000000.tar/00.png", "train-000001.tar/10.png", "train-000000.tar/01.png", "train-000001.tar/11.png",
    ]  # fmt: skip
    assert splits.train.labels.tolist() == [0, 0, 1, 1]


def test_numbers_without_names_are_their_own_and_sorted_as_numbers(tmp_path: Path) -> None:
    files = {
        f"{n}.{kind}": content for n in (10, 2, 0) for kind, content in (("png", picture(n)), ("cls", str(n).encode()))
    }
    images = TarImages(write(tmp_path / "x", {"a.tar": files}), 6)
    assert (images.class_names, images.labels.tolist()) == (("0", "2", "10"), [0, 1, 2])


def test_parts_in_folders_of_tars_with_one_file_of_names(tmp_path: Path) -> None:
    files = {"1.png": picture(1), "1.cls": b"1", "2.png": picture(2), "2.cls": b"0"}
    for part in ("train", "test"):
        write(tmp_path / "x" / part, {"0.tar": files})
    (tmp_path / "x" / "classes.txt").write_text("dog\ncat\n")
    splits = data.load(tmp_path / "x", image_size=6)
    assert (splits.class_names, len(splits.train), len(splits.test)) == (("dog", "cat"), 2, 2)


def test_a_tar_beside_class_folders_is_the_archive_that_they_came_in(tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 3, 6)
    write(photos, {"photos.tar": {"cat/1.png": picture(1), "dog/1.png": picture(2)}})
    splits = data.load(photos, image_size=6)
    assert splits.class_names == ("dark", "light")
    assert splits.notes == ("left out: 1 .tar (read only in a folder of their own)",)


def test_what_is_beside_tars_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {f"{n}.tar": {"cat/1.png": picture(n), "dog/1.png": picture(9)} for n in range(2)})
    (folder / "0.png").write_bytes(picture(0))
    (folder / "cow").mkdir()
    (folder / "cow" / "1.png").write_bytes(picture(1))
    splits = data.load(folder, image_size=6)
    assert splits.class_names == ("cat", "dog")
    assert splits.notes == ("not read: 0.png, cow, beside the .tar files",)


def test_it_is_looked_at_before_training(tmp_path: Path) -> None:
    files = {"cat/1.png": picture(1), "cat/2.png": picture(1)[:60], "dog/1.png": picture(1), "dog/2.png": picture(2)}
    folder = write(tmp_path / "x", {"a.tar": files})
    found = data.inspect(folder)
    assert [one.path.relative_to(folder).as_posix() for one in found.unreadable] == ["a.tar/cat/2.png"]
    assert len(found.images) == 3
    with pytest.raises(DataError, match=r"1 of 4 images cannot be read: a.tar/cat/2.png \("):
        found.check()
    left = TarImages(folder, 6)
    with pytest.raises(DataError, match=r"a.tar/cat/2.png: .*put it back whole, or start again without it"):
        left[:]
    splits = data.load(folder, image_size=6, skip=[one.path for one in found.unreadable])
    assert len(splits.train) + len(splits.test) == 3


REFUSED = [
    ({"a.tar": {"1.png": b"x"}}, "", "a.tar: 1.png has no label; expected 1.cls with one beside it, or a folder of its class, as in cat/1.png"),
    ({"a.tar": {"1.png": b"", "1.cls": b"0", "2.png": b""}}, "", "a.tar: 2.png has no label; expected 2.cls"),
    ({"a.tar": {"cat/1.png": b""}}, "", "its tars have one class, cat; expected two or more"),
    ({"a.tar": {"1.png": b"", "1.cls": b"2"}}, "dog\ncat\n", "a.tar: 1.png has the label 2, and classes.txt names 2 classes, from 0 on; add its name"),
    ({"a.tar": {"cow/1.png": b""}}, "dog\ncat\n", "a.tar: cow/1.png is of the class 'cow', which classes.txt does not have; add it"),
    ({"a.tar": {"1.png": b"", "1.cls": b"2"}, "b.tar": {"cat/1.png": b""}}, "", "b.tar: cat/1.png has the label 'cat', others have numbers; name the classes"),
    ({"a.tar": {"1.png": b"", "1.cls": b"1"}}, "dog\ncat\n", "no images of dog in its tars; add some, or take the names out of classes.txt"),
    ({"a.tar": {"1.png": b"", "1.cls": b"1"}}, "dog\n", "classes.txt: expected the names of two classes or more, each once, got dog"),
    ({"a.tar": {"1.png": b"", "1.cls": b"\x1b[2J"}, "b.tar": {"1.png": b"", "1.cls": b"b"}}, "", "cannot be printed as the name of a class; give the class another name"),
    ({"a.tar.gz": {"1.png": b""}}, "", "a.tar.gz: is compressed, so that no image in it can be read by itself; unpack it first: gunzip a.tar.gz"),
    ({"a.tar": {"cat/1.png": b"", "dog/1.png": b""}, "b.tgz": {}}, "", "b.tgz: is compressed, so that no image in it can be read by itself; unpack it first: gunzip b.tgz"),
    ({"train/a.tar": {"cat/1.png": b"", "dog/1.png": b""}, "test/b.tar.xz": {}}, "", "test/b.tar.xz: is compressed, so that no image in it can be read by itself; unpack it first: unxz b.tar.xz"),
]  # fmt: skip


@pytest.mark.parametrize(("tars", "names", "message"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_is_refused(tars: Mapping[str, Mapping[str, bytes]], names: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "x", tars, names)
    with pytest.raises(DataError) as refused:
        data.load(folder, image_size=6)
    assert message in str(refused.value)
    assert str(folder) in str(refused.value)


def test_other_classes_than_those_of_a_model_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.tar": {"cat/1.png": picture(1), "cow/1.png": picture(2)}})
    assert TarImages(folder, 6, class_names=["ant", "cow", "cat"]).labels.tolist() == [1, 2]
    with pytest.raises(
        DataError, match="images of classes that the training images do not have: cow; the classes are cat, dog"
    ):
        TarImages(folder, 6, class_names=["cat", "dog"])


def test_any_number_of_threads_may_ask_and_a_pickle_reads_on(tmp_path: Path) -> None:
    images = TarImages(write_tars(tmp_path / "tars", write_two_classes(tmp_path / "photos", 8, 6), 5), 6, cache_bytes=0)
    expected = samples(images)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: samples(images), range(16)))
    assert samples(pickle.loads(pickle.dumps(images))) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on: there are threads
def test_a_child_reads_on(tmp_path: Path) -> None:
    images = TarImages(write_tars(tmp_path / "tars", write_two_classes(tmp_path / "photos", 8, 6), 5), 6, cache_bytes=0)
    expected = samples(images)

    def check() -> None:
        assert samples(images) == expected

    assert exit_status(check) == 0
    check()


MEASURE = """
import resource, sys, threading
import numpy as np
from gpucnn import data
from gpucnn.data.image_folder import whole_of
threading.stack_size(1 << 18)
images = data.load(sys.argv[1], image_size=8).train
loader = data.DataLoader(images, 8, shuffle=True)
next(iter(loader))
own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + 4_000_000,) * 2)
if sys.argv[2] == "loader":
    assert sum(len(labels) for _, labels in loader) == len(images)
else:
    assert sum(map(len, list(whole_of(images).contents(np.arange(350))))) > 0
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded as Linux does it")
@pytest.mark.parametrize(("what", "fits"), [("loader", True), ("all at once", False)])
def test_memory_stays_under_a_cap_with_data_ten_times_as_large(what: str, fits: bool, tmp_path: Path) -> None:
    """40 MB of images through 4 MB more than the process has after its first batch; and they are not there at once."""
    draw = np.random.default_rng(0)
    for number in range(4):
        noise = [b"P6\n200 170\n255\n" + draw.bytes(200 * 170 * 3) for _ in range(100)]
        files = {f"{'cat' if place % 2 else 'dog'}/{number}-{place}.ppm": one for place, one in enumerate(noise)}
        write(tmp_path / "x", {f"{number}.tar": files})
    assert sum(path.stat().st_size for path in (tmp_path / "x").iterdir()) > 40_000_000
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    environment["MALLOC_ARENA_MAX"] = "1"  # others have room in reserve
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "x"), what], env=environment, capture_output=True, text=True
    )
    assert (done.returncode == 0) is fits, done.stderr
    assert fits or "MemoryError" in done.stderr
