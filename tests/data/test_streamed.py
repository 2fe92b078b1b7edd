"""Images that stay on the host, or in a file: what threads read ahead arrives in its order, and nothing stays behind."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import choose_device
from gpucnn.backend.memory import free_bytes
from gpucnn.backend.uploads import PLACES
from gpucnn.data import ArrayDataset, DataLoader, Mixup, Preprocess, RandomFlip, RandomShift, Subset
from gpucnn.data.prefetch import THREAD_NAME
from gpucnn.runs.prepare import near
from tests.backends import Backend, emulated_cupy, host
from tests.data.sets import loader_threads

PREPROCESS = Preprocess(3, 5, 5, 255, "crop")


def whole_set(count: int = 23) -> ArrayDataset:
    draw = np.random.default_rng(1)
    return ArrayDataset(
        draw.integers(0, 256, (count, 3, 5, 5)).astype(np.uint8), draw.integers(0, 4, count), PREPROCESS, 4
    )


def check_same(found: Any, expected: Any) -> None:
    for pair, wanted in zip(found, expected, strict=True):
        for one, other in zip(pair, wanted, strict=True):
            np.testing.assert_array_equal(host(one), host(other), strict=True)


OPTIONS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "moved": {"augment": RandomShift(2)},
    "changed on the host": {"augment": lambda images, *_: images[:, :, ::-1]},
    "by weight": {"augment": RandomFlip(), "weights": np.arange(23.0)},
    "mixed": {"mix": Mixup(0.3)},
    "batches of two sizes": {"batch_sampler": [[3], [1, 2, 22], [7, 7], [0]]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_threads_that_read_change_nothing(gpu: Backend, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they come to an end; one batch is held while the others are made."""
    read, names = ArrayDataset.read, set()

    def slowly(dataset: ArrayDataset, indices: np.ndarray) -> Any:
        names.add(threading.current_thread().name)
        time.sleep(0.002 * (int(indices[0]) % 3))
        return read(dataset, indices)

    monkeypatch.setattr(ArrayDataset, "read", slowly)
    options = (
        {"batch_size": 64, **OPTIONS[name]}
        if "batch_sampler" in OPTIONS[name]
        else {"batch_size": 4, "shuffle": True, **OPTIONS[name]}
    )
    for epoch, first in ((0, 0), (2, 1)):
        loaders = [DataLoader(whole_set().streamed(gpu.device_name), workers=workers, **options) for workers in (0, 3)]
        check_same(list(loaders[1].batches(epoch, first)), list(loaders[0].batches(epoch, first)))
    assert names
    assert all(name.startswith(THREAD_NAME) for name in names)
    assert not loader_threads()


def test_shards_of_what_threads_read(gpu: Backend) -> None:
    there = Subset(whole_set().streamed(gpu.device_name), np.arange(23)[::-1])
    for own in (range(3), range(1, 3), range(2, 3)):
        both = [
            list(DataLoader(there, 5, shuffle=True, augment=RandomShift(1), workers=workers).sharded(1, 0, 3, own))
            for workers in (0, 2)
        ]
        for found, wanted in zip(*both, strict=True):
            for pieces, others in zip(found, wanted, strict=True):
                assert pieces.sizes == others.sizes
                assert pieces.arrays.keys() == others.arrays.keys()
                for shard, part in pieces.arrays.items():
                    np.testing.assert_array_equal(host(part), host(others.arrays[shard]), strict=True)


class Inverted(ArrayDataset):
    """One of its own way."""

    def __getitem__(self, indices: Any) -> Any:
        images, labels = super().__getitem__(indices)
        return 1 - images, labels


def test_what_a_class_of_ones_own_gives_is_what_comes(gpu: Backend) -> None:
    whole = whole_set()
    there = Inverted(whole.images, whole.labels, PREPROCESS, 4).streamed(gpu.device_name)
    expected = [whole[np.arange(start, min(start + 8, 23))] for start in range(0, 23, 8)]
    check_same(DataLoader(there, 8, workers=2), [(1 - images, labels) for images, labels in expected])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_read_raises_arrives_in_its_turn(gpu: Backend, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its batch and samples; the next epoch is whole, and has no other memory to send from."""
    read, take, pinned = ArrayDataset.read, np.take, []

    def fails(function: Any, indices: np.ndarray) -> Any:
        if 9 in indices and broken:
            raise OSError("the disk is gone")
        return function()

    monkeypatch.setattr(ArrayDataset, "read", lambda own, indices: fails(lambda: read(own, indices), indices))
    monkeypatch.setattr(np, "take", lambda *given, **named: fails(lambda: take(*given, **named), given[1]))
    if gpu.name == "emulated":
        cuda = emulated_cupy().cuda
        allocate = cuda.alloc_pinned_memory
        monkeypatch.setattr(cuda, "alloc_pinned_memory", lambda size: pinned.append(size) or allocate(size))
    loader, broken = DataLoader(whole_set().streamed(gpu.device_name), 4, workers=workers), True
    for _ in range(3):
        batches = loader.batches(0)
        next(batches), next(batches)
        with pytest.raises(OSError, match="the disk is gone") as caught:
            next(batches)
        assert caught.value.__notes__ == ["in batch 2 of epoch 0, samples 8, 9, 10, 11 of the data set"]
        assert not loader_threads()
    broken = False
    check_same(
        list(loader.batches(0)), [whole_set()[np.arange(start, min(start + 4, 23))] for start in range(0, 23, 4)]
    )
    assert len(pinned) == (PLACES if gpu.name == "emulated" else 0)


@pytest.mark.parametrize("ends", ["break", "close", "drop"])
def test_a_loop_that_ends_early_leaves_nothing(gpu: Backend, ends: str) -> None:
    loader = DataLoader(whole_set().streamed(gpu.device_name), 2, workers=3)
    batches = loader.batches(0)
    for images, _ in batches:
        kept = images
        break
    if ends == "close":
        batches.close()  # type: ignore[attr-defined]
    elif ends == "drop":
        del batches
    else:
        batches = loader.batches(1)
        list(batches)
    np.testing.assert_array_equal(host(kept), whole_set()[:2][0])
    del kept, images
    if ends != "break":
        assert not loader_threads()
    check_same(
        list(loader.batches(0)), [whole_set()[np.arange(start, min(start + 2, 23))] for start in range(0, 23, 2)]
    )


def test_a_file_larger_than_a_gpu_has_room_for(gpu: Backend, tmp_path: Path) -> None:
    """It is neither copied on the host nor sent as a whole."""
    whole = whole_set()
    np.save(tmp_path / "images.npy", whole.images)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = ArrayDataset(images, whole.labels, PREPROCESS, 4)
    device = choose_device(gpu.device_name).device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpucnn.runs.prepare.free_bytes", lambda own: 3 * dataset.nbytes)
        there = near(dataset, device)
    assert free_bytes(device) > 3 * dataset.nbytes
    assert (there.streams, there.device) == (True, device)
    assert np.shares_memory(there.images, images)
    for workers in (0, 2):
        options: dict[str, Any] = {
            "batch_size": 6,
            "shuffle": True,
            "augment": RandomShift(1, "reflect"),
            "workers": workers,
        }
        check_same(list(DataLoader(there, **options).batches(3)), list(DataLoader(whole, **options).batches(3)))
