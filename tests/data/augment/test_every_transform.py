"""What holds for every augmentation and every mix."""

import numpy as np
import pytest

from gpucnn.backend import xp_of
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from tests.backends import Backend, host
from tests.data.augment.transforms import AUGMENTATIONS, FLOATS_ALONE, MIXES, images_of, labels_of, transform

EVERY = [*AUGMENTATIONS, *MIXES]
INDICES = np.array([7, 0, 12345, 3, 3, 60_000])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_and_dtype_stay_and_inputs_are_not_changed(name: str, dtype: type) -> None:
    images, indices = images_of(6, dtype=dtype), INDICES.copy()
    before = images.copy()
    images.flags.writeable = indices.flags.writeable = False
    changed = transform(name)(images, indices, 1, 2)
    assert (changed.shape, changed.dtype) == (images.shape, np.dtype(dtype))
    assert not np.shares_memory(changed, images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(indices, INDICES)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_changed_the_same_in_whatever_batch_it_comes(name: str) -> None:
    images, augment = images_of(40, height=12), AUGMENTATIONS[name]
    indices = np.arange(100, 140)
    together = augment(images, indices, 1, 5)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(augment(images[order], indices[order], 1, 5), together[order])
    for place in (0, 17, 39):
        alone = augment(images[place : place + 1], indices[place : place + 1], 1, 5)
        np.testing.assert_array_equal(alone[0], together[place])
    assert len(np.unique(augment(images[:1].repeat(40, 0), indices, 1, 5), axis=0)) > 1, "not all alike"


@pytest.mark.parametrize("name", EVERY)
def test_seed_epoch_and_index_matter_and_nothing_else(name: str) -> None:
    images, indices, change = images_of(40), np.arange(40), transform(name)
    changed = change(images, indices, 1, 5)
    np.testing.assert_array_equal(change(images, indices, 1, 5), changed)
    for other in (change(images, indices, 2, 5), change(images, indices, 1, 6), change(images, indices + 40, 1, 5)):
        assert (other != changed).any()


@pytest.mark.parametrize("name", EVERY)
def test_strides_do_not_matter(name: str) -> None:
    images, indices = images_of(10), np.arange(10)
    holder = np.zeros((20, 3, 9, 21), np.float32)
    strided = holder[::-2, :, :, 1::3]
    strided[...] = images
    expected = transform(name)(images, indices, 0, 0)
    for same in (strided, np.asfortranarray(images), images.transpose(1, 0, 3, 2).copy().transpose(1, 0, 3, 2)):
        np.testing.assert_array_equal(transform(name)(same, np.repeat(indices, 2)[::2], 0, 0), expected)


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_batch_stays_one(name: str) -> None:
    assert transform(name)(images_of(0), np.arange(0), 0, 0).shape == (0, 3, 9, 7)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (2, 3)])
def test_few_pixels(name: str, height: int, width: int) -> None:
    found = transform(name)(images_of(60, 3, height, width), np.arange(60), 0, 0)
    assert found.shape == (60, 3, height, width)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_labels_stay(name: str) -> None:
    images, labels = images_of(6), labels_of(6)
    batches = list(DataLoader(ArrayDataset(images, labels), 4, augment=AUGMENTATIONS[name]))
    np.testing.assert_array_equal(np.concatenate([own for _, own in batches]), labels)
    changed = np.concatenate([own for own, _ in batches])
    np.testing.assert_array_equal(changed, AUGMENTATIONS[name](images, np.arange(6), 0, 0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_on_a_gpu(gpu: Backend, name: str) -> None:
    images, indices = images_of(20), np.arange(20)
    there = gpu.array(images)
    changed = AUGMENTATIONS[name](there, indices, 3, 1)
    assert xp_of(changed) is not np
    assert changed.dtype == np.float32
    # Moves are the same to the bit; a mean is summed in another order there.
    tolerance = 1e-6 if name.startswith("color") else 0
    np.testing.assert_allclose(
        host(changed), AUGMENTATIONS[name](images, indices, 3, 1), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_array_equal(host(there), images)


@pytest.mark.parametrize("name", MIXES)
def test_mixes_on_a_gpu(gpu: Backend, name: str) -> None:
    images, labels, indices = images_of(20), labels_of(20), np.arange(20)
    mixed, soft = MIXES[name](gpu.array(images), gpu.array(labels), indices, 3, 1, 5)
    assert xp_of(mixed, soft) is not np
    expected, expected_soft = MIXES[name](images, labels, indices, 3, 1, 5)
    np.testing.assert_array_equal(host(mixed), expected, strict=True)
    np.testing.assert_array_equal(host(soft), expected_soft, strict=True)


OWNERS = {"shift": "RandomShift", "flip": "RandomFlip", "alternating flip": "AlternatingFlip", "crop": "RandomResizedCrop", "randaugment": "RandAugment", "erase": "RandomErasing", "affine": "RandomAffine", "color jitter": "ColorJitter",
          "cutout": "Cutout", "mixup": "Mixup", "cutmix": "CutMix"}  # fmt: skip


@pytest.mark.parametrize("name", OWNERS)
def test_images_and_indices_that_do_not_go_together(name: str) -> None:
    change, owner = transform(name), OWNERS[name]
    expected = rf"^{owner}: expected images \(B, C, H, W\) and indices \(B,\), got"
    with pytest.raises(ShapeError, match=rf"{expected} \(6, 3, 9, 7\) and \(5,\)$"):
        change(images_of(6), np.arange(5), 0, 0)
    with pytest.raises(ShapeError, match=rf"{expected} \(3, 9, 7\) and \(3,\)$"):
        change(images_of(6)[0], np.arange(3), 0, 0)
    with pytest.raises(ShapeError, match=rf"{expected} \(6, 3, 9, 7\) and \(6, 1\)$"):
        change(images_of(6), np.arange(6)[:, None], 0, 0)
    with pytest.raises(ShapeError, match=rf"{expected} \(6, 3, 0, 7\) and \(6,\)$"):
        change(images_of(6)[:, :, :0], np.arange(6), 0, 0)
    with pytest.raises(ArgumentError, match=f"indices for '{owner}' must be integers >= 0"):
        change(images_of(6), np.arange(6) - 1, 0, 0)
    with pytest.raises(ArgumentError, match="seed must be an int from 0"):
        change(images_of(6), np.arange(6), -1, 0)
    with pytest.raises(ArgumentError, match=f"counter of '{owner}' must be an int from 0"):
        change(images_of(6), np.arange(6), 0, -1)


@pytest.mark.parametrize("name", OWNERS)
def test_bytes_are_moved_but_not_computed_with(name: str) -> None:
    images = np.random.default_rng(0).integers(1, 256, (6, 3, 9, 7)).astype(np.uint8)
    if name in FLOATS_ALONE:
        with pytest.raises(
            DTypeError, match=f"^{OWNERS[name]}: images must be floats, got uint8; make them so with a Pre"
        ):
            transform(name)(images, INDICES, 0, 0)
    else:
        assert transform(name)(images, INDICES, 0, 0).dtype == np.uint8
