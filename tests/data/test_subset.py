"""Parts of data sets."""

from typing import Any

import numpy as np
import pytest

from gpucnn.data import ArrayDataset, DataLoader, Subset, split
from gpucnn.data.subset import stratified_choice
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host
from tests.data.sets import as_bytes, numbered


def test_a_subset_is_its_samples_in_order() -> None:
    parent = numbered(20)
    part = Subset(parent, np.array([7, 3, 19, -1, 7]))
    assert (len(part), part.num_classes, part.device) == (5, 5, parent.device)
    assert part.labels.tolist() == [2, 3, 4, 4, 2]
    for asked in (np.array([4, 1]), [4, 1], slice(1, 4), np.array([False, True, True, False, False])):
        images, labels = part[asked]
        indices = np.array([7, 3, 19, 19, 7])[asked]
        np.testing.assert_array_equal(images, parent.images[indices])
        np.testing.assert_array_equal(labels, indices % 5)
    image, label = part[2]
    assert (int(image[0, 0, 0]), int(label)) == (19, 4)
    of_part = Subset(part, np.array([3, 0]))
    assert of_part[np.array([0, 1])][0][:, 0, 0, 0].tolist() == [19, 7]
    assert len(Subset(parent, np.arange(20) % 5 == 2)) == 4
    assert as_bytes(DataLoader(part, 2)) == as_bytes(
        DataLoader(ArrayDataset(parent.images[[7, 3, 19, 19, 7]], parent.labels[[7, 3, 19, 19, 7]]), 2)
    )


@pytest.mark.parametrize("indices", [np.array([20]), np.array([0, -21])])
def test_indices_that_are_not_there(indices: np.ndarray) -> None:
    with pytest.raises(IndexError):
        Subset(numbered(20), indices)
    with pytest.raises(IndexError):
        Subset(numbered(25), np.arange(20))[indices]


@pytest.mark.parametrize("indices", [np.array([[0, 1]]), np.array(3), np.array([0.5]), np.ones(19, bool), None, "ab"])
def test_indices_are_integers_of_one_axis_or_a_mask_of_all(indices: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match=r"^Subset: expected indices \(n,\), integers or a mask \(20,\), got "):
        Subset(numbered(20), indices)


def test_a_subset_moves_with_its_parent(gpu: Backend) -> None:
    part = Subset(numbered(20), np.array([7, 3, 19]))
    there = part.to("cuda")
    assert there.device.kind == "cuda"
    assert host(there.labels).tolist() == [2, 3, 4]
    for asked in (np.array([2, 0]), there._indices_there[:2] * 0 + 1):
        np.testing.assert_array_equal(host(there[asked][0]), part[host(asked)][0])
    assert int(there[1][1]) == 3
    first, second = split(numbered(40).to("cuda"), 0.5, 3)
    ours = split(numbered(40), 0.5, 3)
    assert [first.indices.tolist(), second.indices.tolist()] == [one.indices.tolist() for one in ours]


def unequal(count: int = 997) -> ArrayDataset:
    """Four classes of very unequal size, in no order."""
    labels = np.random.default_rng(count).choice(4, count, p=[0.6, 0.3, 0.09, 0.01]).astype(np.uint8)
    return ArrayDataset(np.zeros((count, 1, 1, 1), np.uint8), labels, num_classes=4)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.123, 1 - 0.1, 0.002])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_a_split_is_complete_disjoint_and_even(share: float, seed: int) -> None:
    whole = unequal()
    first, second = split(whole, share, seed)
    assert sorted([*first.indices, *second.indices]) == list(range(997))
    assert len(first) == round(997 * share)
    for part in (first, second):
        assert (np.diff(part.indices) > 0).all(), "in order"
        assert part.parent is whole
        assert part.num_classes == 4
        np.testing.assert_array_equal(part.labels, whole.labels[part.indices])
    found, sizes = np.bincount(first.labels, minlength=4), np.bincount(whole.labels)
    assert (np.abs(found - sizes * share) < 1.5).all(), found


def test_a_split_is_a_function_of_the_seed() -> None:
    whole = unequal()
    parts = [split(whole, 0.7, seed)[0].indices.tolist() for seed in (0, 1, 0)]
    assert parts[0] == parts[2] != parts[1]
    assert split(whole, 0.7)[0].indices.tolist() == parts[0]
    assert parts[0] != list(range(len(parts[0]))), "and no first part of the data set"
    again = split(split(whole, 0.7, 4)[0], 0.5, 4)
    assert not {*again[0].parent.indices[again[0].indices]} & {*again[1].parent.indices[again[1].indices]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1, "share must be a number from 0 to below 1, got 1"),
        (-0.1, "share must be a number from 0 to below 1, got -0.1"),
        (float("nan"), "share must be a number from 0 to below 1, got nan"),
        (True, "share must be a number from 0 to below 1, got True"),
        ("0.5", "share must be a number from 0 to below 1, got '0.5'"),
        (0, "split: a share of 0 of 20 images leaves one part empty; choose another share or add images"),
        (0.99, "split: a share of 0.99 of 20 images leaves one part empty"),
        (0.01, "split: a share of 0.01 of 20 images leaves one part empty"),
    ],
)
def test_shares_that_are_none(share: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        split(numbered(20), share)


def test_a_seed_that_is_none() -> None:
    with pytest.raises(ArgumentError, match=r"seed must be an int from 0 to 2\^64 - 1, got -1"):
        split(numbered(20), 0.5, -1)


def test_no_images_cannot_be_split() -> None:
    with pytest.raises(ArgumentError, match="a share of 0.5 of 0 images leaves one part empty"):
        split(ArrayDataset(np.zeros((0, 1, 1, 1)), np.zeros(0, int)), 0.5)


def test_a_choice_takes_its_share_of_each_class_to_within_one() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    chosen = stratified_choice(labels, 4, 0, "test")
    assert np.bincount(labels[chosen]).tolist() == [2, 1, 1]
    assert chosen.sum() == 4
    other = stratified_choice(labels, 4, 0, "another")
    assert other.sum() == 4
    many = np.repeat([0, 1], [500, 500])
    assert (stratified_choice(many, 300, 0, "test") != stratified_choice(many, 300, 0, "another")).any()
