"""Data sets of image files: what is decoded, what is kept, and what is said of folders that are none."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data, layers, optim
from gpucnn.backend import choose_device, to_host
from gpucnn.data import DataLoader, ImageFolder, split
from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.data.image_folder import paths_of
from gpucnn.errors import ArgumentError, DataError
from gpucnn.training import Trainer
from tests.backends import Backend
from tests.data.image_files import save, write_two_classes


def one_image(folder: Path, name: str, write: Callable[[Path], object], size: int, mode: str = "rgb") -> np.ndarray:
    """What becomes of a file, as bytes (C, size, size)."""
    save(folder / "b" / "other.png", np.zeros((4, 4)))
    (folder / "a").mkdir()
    write(folder / "a" / name)
    images, labels = ImageFolder(folder, size, mode)[np.array([0])]
    assert (images.dtype, labels.dtype, labels.tolist()) == (np.float32, np.int64, [0])
    return np.rint(images[0] * 255).astype(np.uint8)


def test_classes_are_folders_in_order(tmp_path: Path) -> None:
    for place, name in enumerate(["zebra/1.png", "ant/b.PNG", "ant/a.png", "Bee/x.webp", "ant/.hidden.png"]):
        save(tmp_path / name, np.full((5, 5), 10 * place))
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "ant" / "deeper.png").mkdir()
    (tmp_path / ".cache").mkdir()
    save(tmp_path / "beside.png", np.zeros((5, 5)))
    folder = ImageFolder(tmp_path, 5, "grey")
    assert (folder.class_names, folder.num_classes, len(folder)) == (("Bee", "ant", "zebra"), 3, 4)
    assert [path.name for path in folder.paths] == ["x.webp", "a.png", "b.PNG", "1.png"]
    assert (folder.labels.tolist(), folder.labels.dtype) == ([0, 1, 1, 2], np.int64)
    images, labels = folder[np.array([3, 1, 3])]
    assert labels.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.float32([0, 20, 0]) / 255)
    image, label = folder[2]
    assert (image.shape, label, len(folder[1:3][1])) == ((1, 5, 5), 1, 2)
    with pytest.raises(IndexError):
        folder[np.array([4])]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright(orientation: int, tmp_path: Path) -> None:
    upright = np.arange(0, 250, 10).reshape(5, 5).astype(np.uint8)
    stored = {  # the file's rows and columns, from what EXIF's table of orientations says of the first row and column
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = one_image(tmp_path, "1.png", lambda path: Image.fromarray(stored).save(path, exif=exif), 5, "grey")
    np.testing.assert_array_equal(found[0], upright)


def deep(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(path)


def palette(path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(path)


@pytest.mark.parametrize(
    ("name", "write", "expected", "tolerance"),
    [
        ("deep.png", deep, (156, 156, 156), 0),  # 40000 / 65535 * 255 = 155.6
        ("palette.png", palette, (200, 100, 50), 0),
        ("palette.gif", palette, (200, 100, 50), 0),
        ("see_through.png", lambda path: Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(path), (0, 0, 0), 0),
        ("solid.png", lambda path: Image.new("RGBA", (4, 4), (200, 100, 50, 255)).save(path), (200, 100, 50), 0),
        ("truth.bmp", lambda path: Image.new("1", (4, 4), 1).save(path), (255, 255, 255), 0),
        ("grey.bmp", lambda path: Image.new("L", (4, 4), 77).save(path), (77, 77, 77), 0),
        ("photo.JPEG", lambda path: Image.new("RGB", (16, 16), (200, 100, 50)).save(path), (200, 100, 50), 3),
        ("print.jpg", lambda path: Image.new("CMYK", (16, 16), (0, 0, 0, 255)).save(path), (0, 0, 0), 3),
        ("small.webp", lambda path: Image.new("RGB", (1, 1), (200, 100, 50)).save(path, lossless=True), (200, 100, 50), 0),
    ],
)  # fmt: skip
def test_kinds_of_files(
    name: str, write: Callable[[Path], object], expected: tuple[int, ...], tolerance: int, tmp_path: Path
) -> None:
    found = one_image(tmp_path, name, write, 4)
    assert found.shape == (3, 4, 4)
    assert np.abs(found.astype(int) - np.array(expected)[:, None, None]).max() <= tolerance


@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_is_kept_of_long_images(turned: bool, tmp_path: Path) -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 90
    pixels[2:6, 10:14] = 250
    pixels = pixels.T if turned else pixels
    found = one_image(tmp_path, "1.png", lambda path: Image.fromarray(pixels).save(path), 8, "grey")[0]
    expected = np.full((8, 8), 90)
    expected[2:6, 2:6] = 250
    np.testing.assert_array_equal(found, expected)


def test_large_images_are_averaged_and_small_ones_enlarged(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    checked = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8)
    large = one_image(tmp_path / "large", "1.png", lambda path: Image.fromarray(checked).save(path), 8, "grey")
    assert np.abs(large.astype(int) - 100).max() <= 2, "every second pixel would be 0 or 200"
    (tmp_path / "line").mkdir()
    line = one_image(
        tmp_path / "line", "1.png", lambda path: Image.fromarray(np.full((1, 999), 60, np.uint8)).save(path), 6
    )
    np.testing.assert_array_equal(line, np.full((3, 6, 6), 60))


def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills, from now on, with the name of every file that is decoded."""
    decoded: list[str] = []
    decode = ImageDecoder.__call__

    def counting(decoder: ImageDecoder, content: bytes, name: str) -> np.ndarray:
        decoded.append(Path(name).name)
        return decode(decoder, content, name)

    monkeypatch.setattr(ImageDecoder, "__call__", counting)
    return decoded


def test_decoded_images_are_kept_up_to_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_classes(tmp_path, 3)
    decoded = decoded_files(monkeypatch)
    for cache_bytes, again in [(1 << 30, 0), (4 * 3 * 64, 2), (3 * 64 - 1, 6), (0, 6)]:
        folder = ImageFolder(tmp_path, 8, cache_bytes=cache_bytes)
        assert folder.to("cpu")._decoded is folder._decoded, "one cache for all that come of a folder"
        first = folder[np.arange(6)][0]
        assert len(decoded) == 6
        decoded.clear()
        np.testing.assert_array_equal(folder.to("cpu")[np.arange(6)][0], first)
        assert len(decoded) == again
        decoded.clear()
        assert folder._decoded.pixels.nbytes <= cache_bytes


def test_threads_get_what_one_gets(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 20, 12)
    expected = ImageFolder(tmp_path, 12)[np.arange(40)][0]
    folder = ImageFolder(tmp_path, 12, cache_bytes=25 * 3 * 144)
    together = threading.Barrier(8)

    def ask(seed: int) -> None:
        together.wait()
        for _ in range(5):
            order = np.random.default_rng(seed).permutation(40)
            np.testing.assert_array_equal(folder[order][0], expected[order])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_loaders_with_workers_get_the_same(tmp_path: Path) -> None:
    folder = ImageFolder(write_two_classes(tmp_path), 16)

    def epoch(workers: int) -> list[np.ndarray]:
        return [images for images, _ in DataLoader(folder, 3, shuffle=True, workers=workers)]

    for threaded, plain in zip(epoch(4), epoch(0), strict=True):
        np.testing.assert_array_equal(threaded, plain)


def test_batches_on_a_device(backend: Backend, tmp_path: Path) -> None:
    folder = ImageFolder(write_two_classes(tmp_path, 3), 8)
    moved = folder.to(backend.device_name)
    assert moved.device == choose_device(backend.device_name).device
    assert folder.device.kind == "cpu"
    for indices in (np.array([4, 0]), backend.array(np.array([4, 0]))):
        images, labels = moved[indices]
        np.testing.assert_array_equal(to_host(images), folder[np.array([4, 0])][0])
        assert to_host(labels).tolist() == [1, 0]


def test_parts_know_their_files(tmp_path: Path) -> None:
    folder = ImageFolder(write_two_classes(tmp_path), 8)
    train, test = split(folder, 0.8)
    inner, _ = split(train, 0.5)
    for part in (train, test, inner):
        paths = paths_of(part)
        assert paths is not None
        assert [path.parent.name for path in paths] == [folder.class_names[label] for label in part.labels]
    assert {*(paths_of(train) or ()), *(paths_of(test) or ())} == set(folder.paths)
    assert paths_of(data.ArrayDataset(np.zeros((1, 1, 2, 2)), np.zeros(1, int))) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "{}: no such folder; name the one that holds a folder of images for each class"),
        ([], "{}: no class folders in it; expected two or more, with the images of one class in each, e.g. {}/cat/1.png"),
        (["1.png", "2.jpg", "notes.txt"], "{}: no class folders in it, but 2 images; expected two or more, with"),
        (["cat/1.png"], "{}: one class folder, cat; expected two or more, with the images of one class in each"),
        (["cat/1.png", ".dog/1.png"], "{}: one class folder, cat; expected two or more"),
        (["cat/1.png", "dog/notes.txt", "dog/.1.png"], "{}/dog: no images in it (left out: 1 .txt, 1 hidden); add"),
        (["cat/1.png", "dog/notes/"], "{}/dog: no images in it (."),
        (["cat/1.png", "d\nog/1.png"], "{}: 'd\\nog' cannot be printed as the name of a class; rename the folder"),
    ],
)  # fmt: skip
def test_folders_that_are_no_data_set(names: list[str] | None, message: str, tmp_path: Path) -> None:
    place = tmp_path / "images"
    if names is not None:
        place.mkdir()
        for name in names:
            (place / name).parent.mkdir(exist_ok=True, parents=True)
            if name.endswith("/"):
                (place / name).mkdir()
            else:
                (place / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        ImageFolder(place, 8)
    assert str(caught.value).startswith(message.replace("{}", str(place)))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a file, not a folder"):
        ImageFolder(save(tmp_path / "image.png", np.zeros((4, 4))), 8)


def test_wrong_arguments(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 1)
    with pytest.raises(ArgumentError, match='mode must be "rgb" or "grey", got \'gray\''):
        ImageFolder(tmp_path, 8, "gray")
    with pytest.raises(ArgumentError, match="image_size must be an int >= 1, got 0"):
        ImageFolder(tmp_path, 0)
    with pytest.raises(ArgumentError, match="cache_bytes must be an int >= 0, got 1.5"):
        ImageFolder(tmp_path, 8, cache_bytes=1.5)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match="has folders that are not classes of the training images: light; rename or remove them"
    ):
        ImageFolder(tmp_path, 8, class_names=["dark", "grey"])
    with pytest.raises(DataError, match="class_names has a name twice: dark, light, dark; give each class one name"):
        ImageFolder(tmp_path, 8, class_names=["dark", "light", "dark"])
    assert ImageFolder(tmp_path, 8, class_names=["light", "dark"]).paths[0].parent.name == "light"


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "001.png: no such image file; put it back whole, or start again without it"),
        (broken, "001.png: not an image that can be read ("),
        (lambda path: path.write_text("no image"), "001.png: not an image that can be read (cannot identify image file"),
        (lambda path: path.write_bytes(b""), "001.png: not an image that can be read ("),
    ],
)  # fmt: skip
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_harmed_in_mid_training(
    workers: int, harm: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    """The cache holds the first image alone, so the second epoch reads the other files again."""
    folder = ImageFolder(write_two_classes(tmp_path, 4, 8), 8, cache_bytes=3 * 64)
    model = layers.Sequential(layers.Flatten(), layers.Linear(192, 2))
    loader = DataLoader(folder, 2, workers=workers)
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.01), loader, loader)
    trainer.fit(1)
    harm(tmp_path / "light" / "001.png")
    with pytest.raises(DataError) as caught:
        trainer.fit(2)
    assert str(caught.value).startswith(f"{tmp_path}/light/{message}")
    assert str(caught.value).endswith("; put it back whole, or start again without it")


@pytest.mark.parametrize(("mode", "limit"), [("RGB", 200), ("L", 200), ("RGBA", 100), ("I;16", 100)])
def test_an_image_of_too_many_pixels(mode: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones take photos of 108 million; Pillow warns from 89 on, and refuses from 178."""
    assert 89_000_000 < (Image.MAX_IMAGE_PIXELS or 0) < 12000 * 9000 < 2 * (Image.MAX_IMAGE_PIXELS or 0)
    write_two_classes(tmp_path, 1)
    for width in (10, 20, 21):
        Image.new(mode, (width, 10)).save(tmp_path / "dark" / f"{width}.png")
    folder = ImageFolder(tmp_path, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for index, width in enumerate((10, 20, 21), 1):
        if width * 10 <= limit:
            assert folder[index][0].shape == (3, 8, 8)
            continue
        with pytest.raises(DataError) as caught:
            folder[index]
        said = (
            f"{width}x10 pixels of {mode}, at most {limit} are taken" if width == 20 else "exceeds limit of 200 pixels"
        )
        assert said in str(caught.value)
        assert "; make the image smaller; " in str(caught.value)


def test_a_folder_with_both_parts(tmp_path: Path) -> None:
    write_two_classes(tmp_path / "train", 5)
    write_two_classes(tmp_path / "test", 2)
    splits = data.load("folder", tmp_path, 16)
    assert (len(splits.train), len(splits.test), splits.class_names) == (10, 4, ("dark", "light"))
    assert splits.train[np.array([0])][0].shape == (1, 3, 16, 16)
    assert {path.parents[1].name for path in paths_of(splits.test) or ()} == {"test"}
    (tmp_path / "test" / "light").rename(tmp_path / "test" / "bright")
    with pytest.raises(
        DataError, match=r"test: has folders that are not classes of the training images: bright; rename"
    ):
        data.load("folder", tmp_path, 16)


def test_a_fifth_of_each_class_is_for_testing_and_always_the_same(tmp_path: Path) -> None:
    write_two_classes(tmp_path)
    first, second = (data.load("folder", tmp_path, 16, "grey") for _ in range(2))
    assert (np.bincount(first.train.labels).tolist(), np.bincount(first.test.labels).tolist()) == ([8, 8], [2, 2])
    assert paths_of(first.test) == paths_of(second.test)
    assert first.train[np.array([0])][0].shape == (1, 1, 16, 16)
    normal = first.with_preprocess(data.Preprocess(1, 16, 16, 255, "crop", (0.5,), (0.25,)))
    np.testing.assert_allclose(normal.test[:][0], (first.test[:][0] - 0.5) / 0.25, atol=1e-6)
    assert paths_of(normal.test) == paths_of(first.test)


def test_half_of_a_data_set(tmp_path: Path) -> None:
    write_two_classes(tmp_path / "train", 2)
    with pytest.raises(
        DataError, match="has class folders in train, but no folder test; add .*/test, or give .*/train, of"
    ):
        data.load("folder", tmp_path, 16)
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(DataError, match="has class folders in test, but no folder train; add"):
        data.load("folder", tmp_path, 16)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 5)
    (tmp_path / "dark").rename(tmp_path / "train")
    assert data.load("folder", tmp_path, 16).class_names == ("light", "train")


def test_what_load_needs_to_know(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="image_size: the images of a folder may have any; give the one"):
        data.load("folder", write_two_classes(tmp_path, 5))
    with pytest.raises(ArgumentError, match='mode must be "rgb" or "grey", got 5'):
        data.load("folder", tmp_path, 16, 5)  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentError, match="digits: mode is 'grey', but only the data set \"folder\" has one; leave it"
    ):
        data.load("digits", mode="grey")
    assert (data.native_size("folder"), data.native_size("mnist")) == (None, 28)
