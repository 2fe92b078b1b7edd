"""What a notebook shows of data sets and loaders: the pixels, read back by Pillow, and the names of the classes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data import ArrayDataset, DataLoader, Subset
from gpucnn.data.image_decoder import ImageDecoder
from tests.backends import Backend
from tests.html_page import Page

BYTES = np.arange(20 * 3 * 4 * 5, dtype=np.uint8).reshape(20, 3, 4, 5)
LABELS = np.arange(20) % 3
PLACES = [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19]
"""Sixteen of twenty, in equal steps."""


def page(one: Any) -> Page:
    shown = Page(one._repr_html_())
    shown.check_harmless()
    return shown


def captions(shown: Page) -> list[str]:
    return shown.alts


def test_bytes_are_shown_as_they_are() -> None:
    shown = page(ArrayDataset(BYTES, LABELS))
    assert shown.texts[0] == "ArrayDataset(20 images 3x4x5, 3 classes, cpu)"
    assert captions(shown) == [str(place % 3) for place in PLACES]
    for found, place in zip(shown.images, PLACES, strict=True):
        np.testing.assert_array_equal(found, BYTES[place].transpose(1, 2, 0))


def test_a_normalisation_is_undone() -> None:
    raw = BYTES[:4, :, :, :4]
    normalising = data.Preprocess(3, 4, 4, 255, "pad", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    shown = page(Subset(Subset(ArrayDataset(raw, LABELS[:4], normalising), [0, 2, 3]), [2, 1]))
    for found, place in zip(shown.images, (3, 2), strict=True):
        np.testing.assert_array_equal(found, raw[place].transpose(1, 2, 0))


def test_floats_of_any_range() -> None:
    inside, beyond = np.full((1, 1, 2, 2), 0.5), np.array([-3.0, 1.0, np.nan, 5.0]).reshape(1, 1, 2, 2)
    shown = page(ArrayDataset(inside, [0]))
    assert (shown.images[0].tolist(), shown.texts[0]) == ([[128, 128]] * 2, "ArrayDataset(1 image 1x2x2, 1 class, cpu)")
    shown = page(ArrayDataset(beyond, [0]))
    assert shown.images[0].tolist() == [[0, 128], [0, 255]]
    assert shown.texts[0].endswith(", cpu); black is -3, white 5")


class OwnItems:
    """Samples of one's own, the classes of which have names."""

    class_names = ("<b>cat</b>", "dog")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((1, 2, 2), index, np.uint8), 1 - index


def test_names_of_classes() -> None:
    assert captions(page(data.ItemDataset(OwnItems()))) == ["dog", "<b>cat</b>"]
    splits = data.load("digits", image_size=32)._replace(class_names=("zero", *["<script>alert(1)</script>"] * 9))
    shown = page(splits)
    assert set(captions(shown)) == {"zero", "<script>ale...)</script>"}
    assert shown.texts[0] == repr(splits)
    assert len(shown.images) == 16
    assert shown.images[0].shape == (32, 32)


def test_the_parts_of_splits_name_their_classes() -> None:
    splits = data.load("digits")
    assert splits.train.class_names == splits.test.class_names == splits.class_names
    known = data.ArrayDataset(BYTES, LABELS)
    assert known.class_names is None
    assert set(captions(page(known))) == {"0", "1", "2"}
    known.class_names = ("ant", "bee", "cow")
    for one in (known, Subset(known, np.arange(9)), DataLoader(Subset(Subset(known, np.arange(20)), np.arange(12)), 4)):
        assert set(captions(page(one))) == {"ant", "bee", "cow"}
    moved: Any = pickle.loads(pickle.dumps(known.to("cpu")))
    assert moved.class_names == ("ant", "bee", "cow")


def test_a_folder_is_read_no_further_than_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(30):
        (tmp_path / f"class '{place % 2}'").mkdir(exist_ok=True)
        Image.new("RGB", (9, 7), (place, 0, 0)).save(tmp_path / f"class '{place % 2}'" / f"{place:02}.png")
    read: list[Path] = []
    decode = ImageDecoder.__call__

    def note(decoder: ImageDecoder, content: bytes, name: str) -> np.ndarray:
        read.append(Path(name))
        return decode(decoder, content, name)

    monkeypatch.setattr(ImageDecoder, "__call__", note)
    folder = data.ImageFolder(tmp_path, 4)
    shown = page(folder)
    assert (len(read), len(set(read))) == (16, 16)
    assert captions(shown) == ["class '0'"] * 8 + ["class '1'"] * 8
    assert [image[0, 0, 0] for image in shown.images] == [int(path.stem) for path in read]
    folder.paths[0].write_bytes(b"no image")
    assert data.ImageFolder(tmp_path, 4)._repr_html_() is None, "where a file is damaged the text is shown"


def test_a_loader_shows_what_comes_next() -> None:
    dataset = ArrayDataset(BYTES / np.float32(255), LABELS)
    loader = DataLoader(dataset, 4, shuffle=True, seed=1, augment=data.RandomFlip(0.5))
    for _ in loader:
        pass
    shown = page(loader)
    batches = list(loader)
    images, labels = (np.concatenate([batch[part] for batch in batches])[:16] for part in (0, 1))
    assert captions(shown) == [str(label) for label in labels]
    for found, image in zip(shown.images, images, strict=True):
        np.testing.assert_array_equal(found, np.rint(image.transpose(1, 2, 0) * 255))
    order = [loader.indices(1, batch) for batch in range(len(loader))]
    unturned = (BYTES[np.concatenate(order)[:16]] / np.float32(255) == images).all(axis=(1, 2, 3))
    assert 0 < unturned.sum() < 16, "some are mirrored"


def test_looking_changes_nothing_of_what_comes() -> None:
    def batches(look: bool, **options: Any) -> list[np.ndarray]:
        state = np.random.default_rng(0)
        drawing = type("Drawing", (), {"__iter__": lambda _: iter(state.permutation(20)), "__len__": lambda _: 20})
        if "sampler" in options:
            options["sampler"] = drawing()
        loader, found = DataLoader(ArrayDataset(BYTES, LABELS), 5, **options), []
        for _ in range(3):
            if look:
                assert loader._repr_html_()
            found += [images for images, _ in loader]
        return found

    for options in ({"shuffle": True}, {"sampler": None}, {"weights": np.array([1.0, 2.0, 0.0])}):
        np.testing.assert_array_equal(batches(True, **options), batches(False, **options))


def test_soft_labels_tell_their_shares() -> None:
    dataset = ArrayDataset(BYTES / np.float32(255), LABELS)
    shown = page(DataLoader(dataset, 4, mix=data.Mixup(1.0)))
    (images, labels) = next(iter(DataLoader(dataset, 16, mix=data.Mixup(1.0))))
    assert len(shown.images) == len(images)
    for caption, label in zip(captions(shown), labels, strict=True):
        told = {int(name): float(share) for name, share in (part.split() for part in caption.split(", "))}
        assert told == {int(place): pytest.approx(label[place], abs=0.006) for place in np.flatnonzero(label)}


@pytest.mark.parametrize(
    "one",
    [
        ArrayDataset(np.zeros((0, 1, 2, 2)), np.zeros(0, int)),
        data.ItemDataset([(np.zeros((1, 2, 2)), 0), (np.zeros((1, 3, 3)), 0)]),
        data.ItemDataset([("no image", 0)]),
        ArrayDataset(np.zeros((1, 1, 2, 2)), [0], lambda raw: 1 / 0),
        DataLoader([(np.zeros((1, 2, 2)), 0)], augment=lambda *given: 1 / 0),
    ],
)
def test_where_nothing_can_be_shown_the_text_is(one: Any) -> None:
    assert one._repr_html_() is None
    assert repr(one)


def test_on_a_gpu_it_is_the_same(gpu: Backend) -> None:
    normalising = data.Preprocess(3, 4, 5, 255, "pad", (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    on_host = ArrayDataset(BYTES[..., :4], LABELS, normalising)
    there = on_host.to("cuda")
    for make in (
        lambda one: one,
        lambda one: Subset(one, [3, 1]),
        lambda one: DataLoader(one, 4, shuffle=True, augment=data.RandomFlip(), workers=2),
    ):
        shown, expected = page(make(there)), page(make(on_host))
        assert captions(shown) == captions(expected)
        np.testing.assert_array_equal(np.stack(shown.images), np.stack(expected.images))
