"""A recorded step that gathers its own batch has, at every savepoint, the very bytes of one to which the loader brings it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpucnn import data, layers
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.errors import TrainingError
from gpucnn.training import Callback, Trainer
from gpucnn.training.sharding import Sharding
from tests.backends import Backend, fast_cupy, host
from tests.training.small_run import assert_same
from tests.training.test_captured_equals_eager import Losses, recordings
from tests.training.test_trainer_state import OPTIMIZERS, Saver

EPOCHS = 3
MOVES = data.Compose(
    data.RandomShift(2), data.AlternatingFlip(), data.RandomShift(0.3, "reflect"), data.Cutout(2), data.RandomFlip(0.3)
)


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    backend = Backend("emulated")
    if missing := backend.missing():
        pytest.skip(missing)
    with use_in_place_of_cupy(fast_cupy()):
        yield


def byte_set(count: int = 14, seed: int = 0, **settings: Any) -> data.ArrayDataset:
    draw = np.random.default_rng(seed)
    preprocess = data.Preprocess(
        **({"channels": 2, "native_size": 4, "image_size": 6, "full_scale": 255, "fit": "pad"} | settings)
    )
    images = draw.integers(0, 256, (count, 2, 4, 4)).astype(np.uint8)
    return data.ArrayDataset(images, draw.integers(0, 3, count), preprocess, 3)


def make_trainer(
    *callbacks: Callback,
    graph: Any = "auto",
    part: bool = False,
    streams: bool = False,
    shards: int = 1,
    **options: Any,
) -> Trainer:
    model = layers.Sequential(layers.Flatten(), layers.Dropout(0.3), layers.Linear(72, 3), seed=4).to("cuda")
    whole = byte_set(20 if part else 14)
    there: Any = whole.streamed("cuda") if streams else whole.to("cuda")
    if part:
        there = data.Subset(data.Subset(there, np.arange(20)[::-1]), np.arange(3, 17))
    of_loader = {name: options.pop(name) for name in list(options) if name in LOADER}
    loader = data.DataLoader(there, **({"batch_size": 4, "shuffle": True, "seed": 3, "augment": MOVES} | of_loader))
    optimizer = OPTIMIZERS["adam"](list(model.parameters()))
    return Trainer(
        model, optimizer, loader, None, callbacks=callbacks, graph=graph, sharding=Sharding(shards), **options
    )


LOADER = ("batch_size", "shuffle", "augment", "mix", "weights", "sampler", "batch_sampler", "drop_last")


def weights() -> np.ndarray:
    return np.arange(1, 15) / 7.0


CASES: dict[str, dict[str, Any]] = {
    "moved": {},
    "as they are": {"augment": None},
    "in order": {"shuffle": False},
    "drawn again and again": {"weights": weights()},
    "a part of a part": {"part": True},
    "a part, by weight": {"part": True, "weights": weights()},
    "a sampler": {"shuffle": False, "sampler": lambda epoch: np.random.default_rng(epoch).integers(0, 14, 14)},
    "batches of two sizes": {
        "shuffle": False,
        "batch_size": 64,
        "batch_sampler": [[3, 1], [5, 5, 2], [4, 13], [0, 1, 6]] * 2,
    },
    "several batches a step": {"accumulate": 2},
    "mixed": {"mix": data.Mixup(0.4)},
    "moved on the host": {"augment": data.Compose(data.RandomFlip(), data.RandomErasing(1.0))},
    "streamed": {"streams": True},
    "shards": {"shards": 3},
    "more shards than images": {"shards": 5, "weights": weights()},
}
NOT_GATHERED = ("mixed", "moved on the host", "streamed")


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES)
def test_every_savepoint_has_the_same_bytes(case: str) -> None:
    options = CASES[case]
    savers, losses = [Saver(), Saver()], [Losses(), Losses()]
    trainers = [
        make_trainer(saver, seen, graph=graph, **options)
        for saver, seen, graph in zip(savers, losses, (False, "auto"), strict=True)
    ]
    epochs = EPOCHS + (case == "several batches a step")  # each part of a step comes twice an epoch
    histories = [trainer.fit(epochs) for trainer in trainers]
    assert histories[0] == histories[1]
    assert losses[0].seen == losses[1].seen
    for eager, captured in zip(savers[0].states, savers[1].states, strict=True):
        assert_same(captured, eager)
    assert recordings(trainers[1]), trainers[1].notes
    assert trainers[1].training_step.gathers == (case not in NOT_GATHERED)
    assert not trainers[0].training_step.gathers


@pytest.mark.parametrize("position", [1, 6])
def test_a_resumed_run_ends_with_the_same_bytes(position: int) -> None:
    """It counts anew, and records in the middle of an epoch."""
    eager = make_trainer(saver := Saver(), graph=False)
    eager.fit(EPOCHS)
    captured = make_trainer()
    captured.fit(2)  # what it has recorded goes on from there
    captured.restore(*saver.states[position])
    captured.fit(EPOCHS - captured.epoch)
    assert_same(captured.state(), eager.state())


class Change(Callback):
    """After the second epoch the loader has other images: of another number, of other bytes, or prepared in another way."""

    def __init__(self, change: Callable[[data.DataLoader], None]) -> None:
        self.change = change

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if trainer.epoch == 2:
            self.change(trainer.train_loader)


def put_others(loader: data.DataLoader) -> None:
    loader.dataset = byte_set(18, seed=5).to("cuda")


def put_other_bytes(loader: data.DataLoader) -> None:
    loader.dataset.images = byte_set(seed=6).to("cuda").images


def write_over(loader: data.DataLoader) -> None:
    loader.dataset.images[...] = byte_set(seed=7).to("cuda").images


def prepare_otherwise(loader: data.DataLoader) -> None:
    loader.dataset.preprocess = byte_set(fit="resize", mean=(0.1, 0.2), std=(0.4, 0.3)).preprocess


def scale_otherwise(loader: data.DataLoader) -> None:
    loader.dataset.preprocess = byte_set(full_scale=200).preprocess


def move_more(loader: data.DataLoader) -> None:
    loader.augment = data.Compose(MOVES, data.RandomShift(1))


def move_no_more(loader: data.DataLoader) -> None:
    loader.augment = None


def move_otherwise(loader: data.DataLoader) -> None:
    loader.augment = data.Compose(*([data.RandomShift(1)] * 5))  # as many as before


def draw_otherwise(loader: data.DataLoader) -> None:
    loader.seed, loader.shuffle = 77, False


CHANGES = [
    put_others, put_other_bytes, write_over, prepare_otherwise, scale_otherwise, move_otherwise, move_more, move_no_more,
    draw_otherwise,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_epochs_is_seen(change: Callable[[data.DataLoader], None]) -> None:
    savers = Saver(), Saver()
    for saver, graph in zip(savers, (False, True), strict=True):
        make_trainer(Change(change), saver, graph=graph).fit(EPOCHS + 1)
    for eager, captured in zip(*(saver.states for saver in savers), strict=True):
        assert_same(captured, eager)


def test_a_step_that_fails_names_its_images() -> None:
    """In the very words of steps that are computed as they are."""
    texts = []
    for graph in (False, True):
        trainer = make_trainer(graph=graph, schedule=lambda step: 1e38 if step == 9 else 0.01)
        with pytest.raises(TrainingError, match=r"step 11 \(epoch 3, batch 3\)") as caught:
            trainer.fit(EPOCHS)
        texts.append(str(caught.value))
        assert trainer.failed_step is not None
    assert texts[0] == texts[1]


def test_gathers_are_the_batches() -> None:
    """From any batch on, two epochs at a time, and one made late."""
    loader = data.DataLoader(byte_set().to("cuda"), 4, shuffle=True, augment=MOVES)
    pairs = [(loader.gathers(epoch, 1), list(loader.batches(epoch, 1))) for epoch in (0, 1)]
    listed = [(list(found), wanted) for found, wanted in pairs]
    assert [[len(gather) for gather in found] for found, _ in listed] == [[4, 4, 2]] * 2
    for found, wanted in reversed(listed):
        for gather, batch in zip(found, wanted, strict=True):
            for one, other in zip(gather.made(), batch, strict=True):
                np.testing.assert_array_equal(host(one), host(other), strict=True)


class OwnLoader(data.DataLoader):
    """May make its batches in any way."""


class OwnSet(data.ArrayDataset):
    """May choose its images in any way."""


@pytest.mark.parametrize("name", ["on the host", "floats", "own loader", "own set", "collate"])
def test_what_is_gathered_by_nobody_else(name: str) -> None:
    there, kind, settings = byte_set().to("cuda"), data.DataLoader, {}
    if name == "on the host":
        there = byte_set()
    elif name == "floats":
        there = data.ArrayDataset(np.ones((5, 1, 8, 8), np.float32), np.zeros(5, int)).to("cuda")
    elif name == "own loader":
        kind = OwnLoader
    elif name == "own set":
        whole = byte_set()
        there = OwnSet(whole.images, whole.labels, whole.preprocess).to("cuda")
    else:
        settings = {"collate": lambda samples: samples}
    assert not kind(there, 4, **settings).can_gather
