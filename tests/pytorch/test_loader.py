"""Data sets, samplers and crops of a script for PyTorch, in the loader here."""

from typing import Any

import numpy as np
import pytest

from gpucnn.data import DataLoader, split

torch = pytest.importorskip("torch", reason="PyTorch is only in the nox session oracle")
of_torch = torch.utils.data

IMAGES, LABELS = torch.rand(23, 3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 4


class Own(of_torch.Dataset):  # type: ignore[name-defined,misc]
    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> Any:
        return IMAGES[index], int(LABELS[index])


def test_batches_are_those_of_pytorchs_loader() -> None:
    for own in (Own(), of_torch.TensorDataset(IMAGES, LABELS), of_torch.Subset(Own(), list(range(23)))):
        theirs = of_torch.DataLoader(own, 8, drop_last=True)
        for (images, labels), (their_images, their_labels) in zip(
            DataLoader(own, 8, drop_last=True), theirs, strict=True
        ):
            np.testing.assert_array_equal(images, their_images.numpy(), strict=True)
            np.testing.assert_array_equal(labels, their_labels.numpy(), strict=True)
        assert [len(part) for part in split(own, 0.7)] == [16, 7]


def test_their_samplers() -> None:
    def order(generator: int) -> Any:
        return of_torch.RandomSampler(Own(), generator=torch.Generator().manual_seed(generator))

    assert [LABELS[i] for i in order(3)] == [
        label for _, labels in DataLoader(Own(), 4, sampler=order(3)) for label in labels
    ]
    loader = DataLoader(
        Own(), batch_sampler=of_torch.BatchSampler(of_torch.SequentialSampler(Own()), 5, drop_last=False)
    )
    assert [len(labels) for _, labels in loader] == [5, 5, 5, 5, 3]


def test_their_collate() -> None:
    collate = of_torch.default_collate
    images, labels = next(iter(DataLoader(Own(), 8, collate=collate)))
    np.testing.assert_array_equal(images, IMAGES[:8].numpy(), strict=True)
    np.testing.assert_array_equal(labels, LABELS[:8].numpy(), strict=True)
