"""Trainings that have all that could depend on the number of processes, and the hash of all that is left of each.

As a program, `mpiexec -n P python -m tests.training.parallel_states BACKEND ...`, one of P processes: a line for each training.
"""

import hashlib
import json
import sys
from collections.abc import Sequence

import numpy as np

from gpucnn import models
from gpucnn.backend import choose_device
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.data import ArrayDataset, DataLoader
from gpucnn.data.augment import Compose, Mixup, RandomFlip, RandomShift
from gpucnn.layers import Dropout, Layer, Sequential
from gpucnn.optim import SGD, Adam, Lookahead, WeightAverage
from gpucnn.training import Trainer
from gpucnn.training.sharding import Sharding
from tests.backends import Backend, fast_cupy

TRAININGS = ("lenet5", "resnet20")
PROCESSES = (1, 2, 3, 4)
SHARDS, EPOCHS = 4, 2
IMAGES, MEASURED, BATCH = 18, 5, 8
"""Batches of 8, 8 and 2, of which the last leaves two shards of four without images."""


def images(count: int, shape: tuple[int, ...], seed: int) -> ArrayDataset:
    draw = np.random.default_rng(seed)
    return ArrayDataset(draw.standard_normal((count, *shape), np.float32), draw.integers(0, 10, count))


def trainer(name: str, device_name: str, sharding: Sharding | None, accumulate: int = 2) -> Trainer:
    """Batch norm, dropout, mixup, augmentation, clipping, averages, a lookahead, steps of two batches, an uneven last batch, validation."""
    device = choose_device(device_name).device
    size = 32 if name == "lenet5" else 8
    shape = (1 if name == "lenet5" else 3, size, size)
    inner = models.create(name, 10, in_channels=shape[0], image_size=size, seed=1)
    model: Layer = Sequential(Dropout(0.3), inner).to(device)
    optimizer = (
        Adam(model.parameters(), 1e-2)
        if name == "lenet5"
        else SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    )
    mixes = Mixup(0.4) if name == "resnet20" else None
    augment = Compose(RandomShift(2), RandomFlip())
    loader = DataLoader(images(IMAGES, shape, 3), BATCH, shuffle=True, seed=5, augment=augment, mix=mixes)
    measured = DataLoader(images(MEASURED, shape, 4), 2)
    return Trainer(
        model, optimizer, loader, val_loader=measured, accumulate=accumulate, clip_norm=1.0, average=WeightAverage(model, 0.9),
        sharding=sharding, lookahead=Lookahead(model, 5, 2),
    )  # fmt: skip


def state_hash(name: str, device_name: str, group: Group, shards: int = SHARDS) -> str:
    """Of all that a training of `EPOCHS` epochs leaves. It has learned: what is not finite is refused."""
    one = trainer(name, device_name, Sharding(shards, group))
    one.fit(EPOCHS)
    arrays, values = one.state()
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for key, array in sorted(arrays.items()):
        assert array.dtype.kind != "f" or np.isfinite(array).all()
        digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def main(names: Sequence[str]) -> None:
    from gpucnn.backend import mpi

    group = mpi.world()
    for name in names:
        backend = Backend(name)
        with use_in_place_of_cupy(fast_cupy()) if name == "emulated" else backend.active():
            for training in TRAININGS:
                found = state_hash(training, backend.device_name, group)
                all_found = group.gather(found)
                assert set(all_found) == {found}
                if group.rank == 0:
                    print(name, training, group.size, found, flush=True)


def alone(name: str, device_name: str, shards: int = SHARDS) -> str:
    return state_hash(name, device_name, SingleProcess(), shards)


if __name__ == "__main__":
    main(sys.argv[1:])
