"""Images in one .npy array, read one by one; and arrays that are mapped into memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data import ArrayDataset, DataLoader, Preprocess, Subset
from gpucnn.data.npy_images import NpyImages
from gpucnn.errors import DataError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (12, 6, 6, 3), np.uint8)
LABELS = np.arange(12) % 3


def save(folder: Path, images: Any, labels: Any = LABELS, part: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{part}images.npy", images)
    np.save(folder / f"{part}labels.npy", labels)
    return folder


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2).copy(),
        PIXELS.astype(np.float32) / 255,
        PIXELS.astype(np.float64) / 255,
    ],
    ids=["NHWC", "NCHW", "float32", "float64"],
)
def test_images_are_those_of_files_of_their_own(tmp_path: Path, images: np.ndarray) -> None:
    for place, label in enumerate(LABELS):
        (tmp_path / "files" / str(label)).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "files" / str(label) / f"{place:02}.npy", images[place])
    files = data.ImageFolder(tmp_path / "files", 6)[:][0]
    found = NpyImages(save(tmp_path / "one", images), 6)
    np.testing.assert_array_equal(found[np.argsort(LABELS, kind="stable")][0], files)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.class_names == ("0", "1", "2")


def test_grey_images_and_labels_that_are_texts(tmp_path: Path) -> None:
    found = NpyImages(save(tmp_path, PIXELS[..., 0], np.array(["dog", "cat", "ox"])[LABELS]), 6, "grey")
    np.testing.assert_allclose(found[:][0][:, 0] * 255, PIXELS[..., 0], atol=1e-4)
    assert [found.class_names[label] for label in found.labels[:3]] == ["dog", "cat", "ox"]


@pytest.mark.parametrize("layout", ["folders", "names"])
def test_parts(tmp_path: Path, layout: str) -> None:
    for part, count in (("train", 9), ("test", 6)):
        place, name = (tmp_path / part, "") if layout == "folders" else (tmp_path, f"{part}_")
        save(place, PIXELS[:count], LABELS[:count], name)
    splits = data.load(tmp_path, image_size=6)
    assert (len(splits.train), len(splits.test), splits.class_names) == (9, 6, ("0", "1", "2"))
    assert len(data.inspect(tmp_path).images) == 15


def test_an_image_that_is_called_so_is_an_image(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "1.npy", PIXELS[0])
    np.save(tmp_path / "images.npy", PIXELS[0])
    assert data.inspect(tmp_path).class_names == ("cat", "dog")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


REFUSED: list[tuple[Any, Any, str]] = [
    (PIXELS[0, 0], LABELS, r"images.npy: expected images \(N, H, W\), .*got 6x3|images.npy: expected images"),
    (np.array([PIXELS[0], None], object), LABELS[:2], "images.npy: not a .npy file that can be read .*pickl"),
    (np.asfortranarray(PIXELS), LABELS, "Fortran's order.*ascontiguousarray"),
    (PIXELS.astype("c8"), LABELS, "expected bytes .uint8. or floats from 0 to 1, got complex64"),
    (PIXELS.astype(np.uint16), LABELS, "got uint16; images.astype"),
    (PIXELS, LABELS[:5], "labels.npy: expected labels .*integers or text, one for each of images.npy"),
    (PIXELS, LABELS.astype(float), "integers or text.*of float64"),
    (PIXELS, LABELS - 1, "labels.npy: row 0: label -1 is not from 0 on"),
    (PIXELS, LABELS * 0, "one class, 0; expected two classes or more"),
]


@pytest.mark.parametrize(("images", "labels", "message"), REFUSED)
def test_what_is_no_array_of_images_is_refused(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    save(tmp_path, images, labels)
    with pytest.raises(DataError, match=message):
        data.load(tmp_path, image_size=6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "truncated or its header is damaged"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{"), "not a .npy file that can be read"),
        (lambda path: path.write_bytes(b""), "not a .npy file that can be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    save(tmp_path, PIXELS)
    spoil(tmp_path / "images.npy")
    with pytest.raises(DataError, match=message):
        data.load(tmp_path, image_size=6)


def test_a_file_that_is_cut_off_meanwhile_is_refused(tmp_path: Path) -> None:
    found = NpyImages(save(tmp_path, PIXELS), 6)
    cut(tmp_path / "images.npy")
    with pytest.raises(DataError, match=r"images.npy: has changed since it was opened; start again"):
        found[10]


MAPPED = """
import sys
import numpy as np
from gpucnn.data import *
from gpucnn.data.npy_images import NpyImages
images = np.load(sys.argv[1] + "/images.npy", mmap_mode="r")
labels = np.load(sys.argv[1] + "/labels.npy")
whole = ArrayDataset(images.transpose(0, 3, 1, 2), labels, Preprocess(3, 64, 64, 255, "pad"))
train, test = split(whole, 0.8)
for part in (train, Subset(whole, np.arange(9)), NpyImages(sys.argv[1], 8, cache_bytes=0)):
    for batch in DataLoader(part, 8, shuffle=True):
        break
assert whole.nbytes > 5 << 24
status = open("/proc/self/status").read()
print(int(status.partition("RssAnon:")[2].split()[0]) >> 10)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux does it")
def test_an_array_that_is_mapped_is_not_copied(tmp_path: Path) -> None:
    """Nor is that of a data set in a .npy file."""
    taken = []
    for count in (800, 8000):
        folder = tmp_path / str(count)
        folder.mkdir()
        array = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 64, 64, 3))
        del array
        np.save(folder / "labels.npy", np.arange(count) % 2)
        program = MAPPED if count == 8000 else MAPPED.replace("assert whole.nbytes > 5 << 24\n", "")
        done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        taken.append(int(done.stdout))
    assert 0 < taken[1] < taken[0] + 20, taken  # of 90 MB


def test_statistics_of_a_mapped_array_are_those_of_the_array(tmp_path: Path) -> None:
    save(tmp_path, PIXELS)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r").transpose(0, 3, 1, 2)
    preprocess = Preprocess(3, 6, 6, 255, "pad")
    ours, theirs = (ArrayDataset(images, LABELS, preprocess) for images in (mapped, PIXELS.transpose(0, 3, 1, 2)))
    assert np.shares_memory(ours.images, mapped)
    assert data.channel_statistics(ours) == data.channel_statistics(theirs)
    for part in (DataLoader(Subset(ours, np.arange(0, 12, 2)), 4), DataLoader(ours, 5, shuffle=True, workers=2)):
        assert all(np.isfinite(images).all() for images, _ in part)


def test_an_array_without_labels_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros((4, 6, 6), np.uint8))
    with pytest.raises(DataError) as raised:
        data.load(tmp_path, image_size=6)
    assert str(raised.value) == (
        f"{tmp_path / 'train_images.npy'}: no train_labels.npy beside it, which says of what class each image is; add it"
    )
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "images.npy", np.full((6, 6), len(name), np.uint8))
        np.save(tmp_path / name / "1.npy", np.full((6, 6), len(name), np.uint8))
    assert data.load(tmp_path, image_size=6).class_names == ("cat", "dog"), "it is an image that is called so"
