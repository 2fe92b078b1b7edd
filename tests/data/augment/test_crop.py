"""Random resized crops against torchvision's algorithm in loops, pixels one after the other, and Pillow."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.backend import generator
from gpucnn.data import ImageFolder, RandomResizedCrop
from gpucnn.data.augment.drawn_box import drawn_boxes
from gpucnn.data.catalog import read_larger
from gpucnn.data.subset import Subset
from gpucnn.errors import ArgumentError
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import prepare
from tests.data.augment.transforms import images_of

Pair = tuple[float, float]


def box_of(draws: list[float], height: int, width: int, scale: Pair, ratio: Pair) -> tuple[int, int, int, int]:
    """Top, left, height and width, as torchvision's RandomResizedCrop.get_params has them of such draws."""
    for attempt in range(10):
        area = height * width * (scale[0] + draws[attempt] * (scale[1] - scale[0]))
        low, high = math.log(ratio[0]), math.log(ratio[1])
        proportion = math.exp(low + draws[10 + attempt] * (high - low))
        wide, tall = max(1, round(math.sqrt(area * proportion))), max(1, round(math.sqrt(area / proportion)))
        if wide <= width and tall <= height:
            return int(draws[20] * (height - tall + 1)), int(draws[21] * (width - wide + 1)), tall, wide
    if width / height < ratio[0]:
        wide, tall = width, max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        wide, tall = max(1, round(height * ratio[1])), height
    else:
        wide, tall = width, height
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def resized(box: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A box (C, h, w) at another size, pixel by pixel."""
    _, height, width = box.shape
    found = np.empty((len(box), rows, columns))
    for row in range(rows):
        down = min(max((row + 0.5) * height / rows - 0.5, 0), height - 1)
        top, below = math.floor(down), min(math.floor(down) + 1, height - 1)
        for column in range(columns):
            right = min(max((column + 0.5) * width / columns - 0.5, 0), width - 1)
            left, beside = math.floor(right), min(math.floor(right) + 1, width - 1)
            vertical, horizontal = down - top, right - left
            upper = box[:, top, left] * (1 - horizontal) + box[:, top, beside] * horizontal
            lower = box[:, below, left] * (1 - horizontal) + box[:, below, beside] * horizontal
            found[:, row, column] = upper * (1 - vertical) + lower * vertical
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(9, 7), (1, 1), (1, 12), (16, 16)])
@pytest.mark.parametrize("image_size", [None, 5, 13])
def test_crop(channels: int, height: int, width: int, image_size: int | None) -> None:
    images, scale, ratio = images_of(6, channels, height, width, np.float64), (0.1, 0.8), (0.5, 1.5)
    cropped = RandomResizedCrop(image_size, scale, ratio)(images, np.arange(6) + 30, 3, 2)
    shape = (height, width) if image_size is None else (image_size, image_size)
    assert cropped.shape == (6, channels, *shape)
    for sample in range(6):
        draws = generator(3, "RandomResizedCrop", 2, sample + 30).random(22).tolist()
        top, left, tall, wide = box_of(draws, height, width, scale, ratio)
        box = images[sample, :, top : top + tall, left : left + wide]
        np.testing.assert_allclose(cropped[sample], resized(box, *shape), atol=1e-12)
        if tall <= shape[0] and wide <= shape[1]:  # Pillow would smooth what becomes smaller
            theirs = [Image.fromarray(plane.astype(np.float32)) for plane in box]
            theirs = [plane.resize(shape[::-1], Image.Resampling.BILINEAR) for plane in theirs]
            np.testing.assert_allclose(cropped[sample], [np.asarray(plane) for plane in theirs], atol=1e-6)


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.35, 1.0), (0.9, 1.0)])
@pytest.mark.parametrize(("height", "width"), [(100, 100), (60, 200)])
def test_areas_proportions_and_places_are_distributed_as_torchvisions(scale: Pair, height: int, width: int) -> None:
    ratio, count = (0.75, 4 / 3), 4000
    boxes = drawn_boxes(np.random.default_rng(0).random((count, 22)), (height, width), scale, ratio)
    ours = np.concatenate([boxes.first, boxes.sizes], axis=1)
    other = np.random.default_rng(1)
    theirs = np.array([box_of(other.random(22).tolist(), height, width, scale, ratio) for _ in range(count)])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= (height, width)).all()
    for measure in (lambda box: box[:, 2] * box[:, 3], lambda box: box[:, 3] / box[:, 2], lambda box: box[:, 0],
                    lambda box: box[:, 1]):  # fmt: skip
        one, two = np.sort(measure(ours)), np.sort(measure(theirs))
        at = np.union1d(one, two)
        apart = np.abs(np.searchsorted(one, at, "right") - np.searchsorted(two, at, "right")).max() / count
        assert apart < 0.044, "Kolmogorov and Smirnov: one time in a thousand"
    if scale == (0.35, 1.0) and height == width:
        shares = ours[:, 2] * ours[:, 3] / (height * width)
        assert (shares.min() < 0.37, shares.max() > 0.95) == (True, True)
        assert abs(np.log(ours[:, 3] / ours[:, 2]).mean()) < 0.01


def test_a_crop_of_the_whole_changes_nothing_and_one_colour_stays() -> None:
    images = images_of(4, 3, 8, 8)
    np.testing.assert_array_equal(RandomResizedCrop(None, (1, 1), (1, 1))(images, np.arange(4), 0, 0), images)
    flat = np.broadcast_to(np.float32([0.1, 0.2, 0.3])[:, None, None], (20, 3, 9, 9))
    found = RandomResizedCrop(21)(flat, np.arange(20), 0, 0)
    np.testing.assert_array_equal(found, np.broadcast_to(flat[:, :, :1, :1], found.shape))


def test_a_box_has_a_pixel_at_least() -> None:
    images = images_of(50, 1, 20, 20)
    found = RandomResizedCrop(None, (1e-9, 1e-9))(images, np.arange(50), 0, 0)
    assert (found == found[:, :, :1, :1]).all(), "of one pixel"
    assert len(np.unique(found)) > 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "image_size must be an int >= 1, got 0"),
        ({"scale": 0.5}, r"scale must be a pair of rising shares of the image's area, above 0 and at most 1, got 0.5"),
        ({"scale": (0, 1)}, r"scale must be a pair .* got \(0, 1\)"),
        ({"scale": (0.5, 1.2)}, r"scale must be a pair .* got \(0.5, 1.2\)"),
        ({"scale": (0.9, 0.5)}, r"scale must be a pair .* got \(0.9, 0.5\)"),
        ({"scale": (math.nan, 1)}, r"scale must be a pair .* got \(nan, 1\)"),
        ({"ratio": (0, 1)}, r"ratio must be a pair of rising factors from 0.01 to 100, got \(0, 1\)"),
        ({"ratio": (1, 101)}, "ratio must be a pair of rising factors"),
        ({"ratio": "1"}, "ratio must be a pair of rising factors"),
    ],
)
def test_crop_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandomResizedCrop(**settings)  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of five images, 90x60."""
    pixels = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(5):
            image = pixels.integers(0, 256, (60, 90, 3)).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / label / f"{number}.png")
    return tmp_path


def test_a_folder_is_read_larger_for_a_crop(photos: Path) -> None:
    config = RunConfig(
        data="folder", data_dir=str(photos), image_size=32, model="simplecnn", augment=("crop", "flip"), device="cpu",
        batch_size=4,
    )  # fmt: skip
    ready = prepare(config)
    learned = ready.train_loader.dataset
    assert learned[np.arange(2)][0].shape == (2, 3, 39, 39), "32 / sqrt(0.675)"
    assert ready.splits.test[np.arange(2)][0].shape == (2, 3, 32, 32)
    images, labels = next(iter(ready.train_loader))
    assert images.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(labels, learned.labels[ready.train_loader.indices(0, 0)])
    row = ready.trainer().fit(1)[-1]
    assert row["test_total"] == len(ready.splits.test)
    same = ImageFolder(photos, 39)
    whole = learned.parent
    assert isinstance(whole, ImageFolder)
    np.testing.assert_array_equal(whole[np.arange(10)][0], same[np.arange(10)][0])


def test_what_is_read_larger(photos: Path) -> None:
    folder = ImageFolder(photos, 8, "grey", cache_bytes=3 * 144)
    larger = read_larger(Subset(folder, np.array([7, 1])), 12)
    np.testing.assert_array_equal(larger[:][0], ImageFolder(photos, 12, "grey")[[7, 1]][0])
    np.testing.assert_array_equal(folder[:][0], ImageFolder(photos, 8, "grey")[:][0])
    with pytest.raises(ArgumentError, match="image_size must be an int >= 1, got 0"):
        folder.at_size(0)
    assert RandomResizedCrop(100, (0.01, 0.01)).source_size == 200, "not more than twice"
    assert RandomResizedCrop(100, (1, 1)).source_size == 100
    assert RandomResizedCrop().source_size is None
