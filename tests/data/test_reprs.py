"""What data sets, loaders and augmentations are at a prompt: a line, and of augmentations one that can be typed."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import data
from gpucnn.data import ArrayDataset, DataLoader, ImageFolder, ItemDataset, Subset
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import prepare
from tests.data.augment.transforms import AUGMENTATIONS, MIXES, images_of, transform
from tests.data.image_files import write_two_classes

SEVEN = ArrayDataset(np.zeros((7, 3, 4, 5), np.float32), np.arange(7) % 3)


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *MIXES])
def test_what_an_augmentation_shows_makes_it_again(name: str) -> None:
    one = {**AUGMENTATIONS, **MIXES}[name]
    same = eval(repr(one), vars(data))
    assert (type(same), repr(same)) == (type(one), repr(one))
    if name in AUGMENTATIONS:
        images = images_of(20)
        np.testing.assert_array_equal(same(images, np.arange(20), 1, 2), transform(name)(images, np.arange(20), 1, 2))


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (data.RandomShift(2, "reflect"), "RandomShift(2, fill='reflect')"),
        (data.RandomShift(0.12), "RandomShift(0.12)"),
        (data.RandomAffine(15), "RandomAffine(15.0)"),
        (data.RandomAffine((-5, 15), shear=3), "RandomAffine((-5.0, 15.0), shear=3.0)"),
        (data.RandAugment(), "RandAugment()"),
        (data.ColorJitter(0.1, mean=(0.5,), std=(0.2,)), "ColorJitter(brightness=0.1, mean=(0.5,), std=(0.2,))"),
        (SEVEN, "ArrayDataset(7 images 3x4x5, 3 classes, cpu)"),
        (ArrayDataset(np.zeros((1, 1, 2, 2), np.uint8), [0], data.Preprocess(1, 2, 9, 255, "pad")),
         "ArrayDataset(1 image 1x9x9, 1 class, cpu)"),
        (ArrayDataset(np.zeros((2, 1, 2, 2)), [0, 1], lambda raw: raw), "ArrayDataset(2 images of raw 1x2x2, 2 classes, cpu)"),
        (Subset(SEVEN, [1, 2]), "Subset(2 of ArrayDataset(7 images 3x4x5, 3 classes, cpu))"),
        (ItemDataset([(np.zeros((1, 2, 2)), 0)]), "ItemDataset(1 sample of list, cpu)"),
        (DataLoader(SEVEN, 4), "DataLoader(2 batches of 4 of ArrayDataset(7 images 3x4x5, 3 classes, cpu))"),
        (DataLoader(SEVEN, 9, True, augment=data.RandomFlip(), weights=np.ones(3)),
         "DataLoader(1 batch of 9 of ArrayDataset(7 images 3x4x5, 3 classes, cpu), shuffle=True, augment=RandomFlip(), weights=...)"),
        (DataLoader(SEVEN, 1, sampler=[3, 4]),
         "DataLoader(2 batches of 1 of ArrayDataset(7 images 3x4x5, 3 classes, cpu), sampler=[3, 4])"),
        (data.load("digits", image_size=32),
         "Splits(1,437 images to train on, 360 to test, 1x32x32, 10 classes: 0, 1, 2, 3, 4, 5 and 4 more)"),
        (prepare(RunConfig(device="cpu")),
         "PreparedRun(lenet5 on digits, 1,437 images to learn from, 360 to measure on, 40 epochs of 45 steps, adam, cpu)"),
    ],
)  # fmt: skip
def test_a_line_tells_what_it_is(one: object, text: str) -> None:
    assert repr(one) == text


def test_a_folder(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_two_classes(tmp_path / part, 2, 4)
    splits = data.load("folder", tmp_path, 8)
    assert repr(splits) == (
        "Splits(4 images to train on, 4 to validate with, 4 to test, 3x8x8, 2 classes: dark, light)"
    )
    assert repr(splits.train) == f"ImageFolder(4 images 3x8x8, 2 classes, cpu, '{tmp_path / 'train'}')"
    assert isinstance(splits.train, ImageFolder)
