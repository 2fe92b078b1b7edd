"""What an inspection has decoded is not decoded again, and never shown for a file that has changed."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data import ImageFolder, file_stamp, inspected_pixels, pack
from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.data.inspected_pixels import InspectedPixels
from gpucnn.data.packed import find_packed
from gpucnn.data.packed_parts import PackedFiles
from gpucnn.runs import prepare as prepare_module
from gpucnn.training import RunConfig, prepare

PLAIN = 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six plain images in two classes, which are taken for settled; none is remembered."""
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path / "cache"))
    rng, place = np.random.default_rng(3), tmp_path / "images"
    for number in range(PLAIN):
        shape = ((9, 12, 3), (12, 9))[number % 2]
        path = place / "ab"[number // 3] / f"{number}{('.png', '.jpg')[number % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    return place


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the name of every file that a data set decodes."""
    names: list[str] = []
    decode = ImageDecoder.__call__

    def counting(decoder: ImageDecoder, content: bytes, name: str) -> np.ndarray:
        names.append(Path(name).name)
        return decode(decoder, content, name)

    monkeypatch.setattr(ImageDecoder, "__call__", counting)
    return names


def _inspected(folder: Path, most_bytes: int = 1 << 20) -> InspectedPixels:
    pixels = InspectedPixels(most_bytes)
    data.inspect(folder, pixels=pixels)
    return pixels


def _all(images: ImageFolder) -> np.ndarray:
    return np.asarray(images[np.arange(len(images))][0])


@pytest.mark.parametrize("size", [7, 9, 20])
@pytest.mark.parametrize("mode", ["rgb", "grey"])
def test_they_are_what_the_files_give(folder, decoded, mode, size):
    expected = _all(ImageFolder(folder, size, mode))
    decoded.clear()
    images = ImageFolder(folder, size, mode).decoded_by(pixels=_inspected(folder))
    np.testing.assert_array_equal(_all(images), expected)
    np.testing.assert_array_equal(_all(images), expected)
    assert not decoded


def test_an_image_that_a_batch_has_twice_is_decoded_by_nobody(folder, decoded):
    expected = np.asarray(ImageFolder(folder, 9)[[1, 1, 4, 1]][0])
    decoded.clear()
    images = ImageFolder(folder, 9).decoded_by(pixels=_inspected(folder))
    np.testing.assert_array_equal(np.asarray(images[[1, 1, 4, 1]][0]), expected)
    assert not decoded


def test_a_file_that_has_changed_is_read_anew(folder, decoded):
    pixels, changed = _inspected(folder), folder / "a" / "1.png"
    times = os.stat(changed)
    content = bytearray(changed.read_bytes())
    other = folder.parent / "other.png"
    Image.new("L", (9, 12), 200).save(other)
    small = other.read_bytes()
    assert len(small) < len(content)
    # As large and as old as it was: what is behind the image's end is not of it, and only the times of its inode tell.
    changed.write_bytes(small.ljust(len(content), b"\0"))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = _all(ImageFolder(folder, 9).decoded_by(pixels=pixels))
    assert decoded == ["1.png"]
    np.testing.assert_array_equal(after, _all(ImageFolder(folder, 9)))
    assert (after[1] == np.float32(200) / np.float32(255)).all()


def test_a_file_that_may_change_unseen_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(file_stamp, "SETTLED", 10**18)
    assert len(_inspected(folder)) == 0


def test_only_images_whose_pixels_depend_on_no_setting_are_kept(folder, decoded, monkeypatch):
    grey = Image.fromarray(np.arange(81, dtype=np.uint8).reshape(9, 9))
    transparent, turned = grey.convert("RGBA"), Image.Exif()
    transparent.putalpha(grey)
    turned[0x0112] = 6
    transparent.save(folder / "a" / "transparent.png")
    grey.save(folder / "a" / "key.png", transparency=40)
    grey.convert("P").save(folder / "a" / "palette.png")
    grey.convert("CMYK").save(folder / "a" / "cmyk.jpg")
    grey.save(folder / "a" / "turned.jpg", exif=turned)
    Image.fromarray(np.full((9, 9), 70_00, np.uint16)).save(folder / "a" / "sixteen.png")
    np.save(folder / "a" / "array.npy", np.asarray(grey))
    monkeypatch.setattr(inspected_pixels, "MOST_PIXELS", 12 * 9)
    Image.new("L", (11, 10)).save(folder / "a" / "large.png")
    pixels = _inspected(folder)
    assert len(pixels) == PLAIN
    for mode, background in (("rgb", "white"), ("grey", "black")):
        expected = _all(ImageFolder(folder, 9, mode, background=background))
        images = ImageFolder(folder, 9, mode, background=background).decoded_by(pixels=_inspected(folder))
        np.testing.assert_array_equal(_all(images), expected)


def test_another_decoder_decodes_for_itself(folder, decoded):
    _all(ImageFolder(folder, 9).decoded_by("pillow-draft", pixels=_inspected(folder)))
    assert len(decoded) == PLAIN


def test_their_memory_is_bounded(folder, decoded):
    pixels = _inspected(folder, 2 * 9 * 12 * 3)
    assert 0 < len(pixels) < PLAIN
    kept = len(pixels)
    np.testing.assert_array_equal(_all(ImageFolder(folder, 9).decoded_by(pixels=pixels)), _all(ImageFolder(folder, 9)))
    assert len(decoded) == PLAIN - kept + PLAIN
    assert len(pixels) == 0, "what was taken is let go"


def test_a_pickle_has_none(folder, decoded):
    images = pickle.loads(pickle.dumps(ImageFolder(folder, 9).decoded_by(pixels=_inspected(folder))))
    _all(images)
    assert len(decoded) == PLAIN


def test_those_of_a_tar_are_taken_too(folder, decoded):
    packed_folder = folder.parent / "packed"
    pack(folder, packed_folder)
    found = find_packed(packed_folder)
    assert found is not None
    images = found.kind(PackedFiles(found.train), 9).decoded_by(pixels=_inspected(packed_folder))
    given = _all(images)
    assert not decoded
    np.testing.assert_array_equal(given, _all(found.kind(PackedFiles(found.train), 9)))


def test_a_run_decodes_no_small_file_twice(folder, decoded, monkeypatch):
    settings = {"data": str(folder), "model": "mlp", "image_size": 28, "batch_size": 2, "epochs": 1, "device": "cpu"}
    for _ in prepare(RunConfig(**settings)).train_loader:
        pass
    assert not decoded
    given = [np.asarray(images) for images, _ in prepare(RunConfig(**settings)).train_loader]
    monkeypatch.setattr(prepare_module, "InspectedPixels", lambda: None)
    expected = [np.asarray(images) for images, _ in prepare(RunConfig(**settings)).train_loader]
    assert decoded
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("augment", [(), ("crop",)])
def test_a_run_has_them_at_their_size_before_its_first_batch(folder, decoded, augment):
    ready = prepare(RunConfig(data=str(folder), model="mlp", image_size=28, epochs=1, device="cpu", augment=augment))
    for path in folder.rglob("*.*"):
        path.unlink()
    for loader in (ready.train_loader, ready.test_loader):
        assert loader is not None
        assert sum(len(labels) for _, labels in loader) == len(loader.dataset)
    assert not decoded
