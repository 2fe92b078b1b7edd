"""What a GPU moves while it gathers a batch: the very bytes that the host makes, one augmentation after the other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import models, optim, training
from gpucnn.backend import choose_device
from gpucnn.backend.memory import free_bytes
from gpucnn.data import (
    AlternatingFlip,
    ArrayDataset,
    ColorJitter,
    Compose,
    Cutout,
    DataLoader,
    Mixup,
    Preprocess,
    RandomFlip,
    RandomShift,
    Subset,
    class_weights,
)
from gpucnn.data.augment.moves import moves_of
from gpucnn.errors import ArgumentError
from gpucnn.kernels import launch
from gpucnn.kernels.kernel import Kernel, Variant
from gpucnn.kernels.preprocess import MOST_MOVES, MOST_PIXELS
from gpucnn.runs.prepare import near
from tests.backends import Backend, emulated_cupy, host

Augmentation = Callable[..., Any]


class Launches:
    """A runner that notes how often each kernel is run."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        self.names.append(kernel.name)
        launch.cupy_runner.run(kernel, variant, blocks, arguments)


def drawn_augmentation(rng: np.random.Generator, most: int = 4) -> Augmentation:
    """Any that only moves, with settings that are drawn, the ends of their ranges among them."""
    kind = rng.integers(6 if most > 1 else 5) - 1
    if kind == -1:
        return AlternatingFlip()
    if kind == 0:
        return RandomFlip(float(rng.choice([0.0, 0.3, 0.5, 1.0])))
    if kind == 1:
        return Cutout(int(rng.choice([1, 2, 3, 8, 40])))
    if kind < 4:
        limit = rng.choice([0, 1, 3, 20]) if rng.random() < 0.6 else rng.choice([0.0, 0.125, 0.3, 1.0])
        return RandomShift(
            limit.item() if limit % 1 or rng.random() < 0.2 else int(limit), "reflect" if kind == 3 else "zero"
        )
    return Compose(*(drawn_augmentation(rng, most // 2) for _ in range(rng.integers(most + 1))))


def drawn_set(rng: np.random.Generator, augment: Augmentation) -> tuple[ArrayDataset, dict[str, Any]]:
    """Images and the way they are prepared, and what a loader is told; the rows of a batch differ in all respects."""
    channels, native, more = int(rng.choice([1, 3, 4])), int(rng.integers(1, 12)), int(rng.choice([0, 0, 1, 5, 22]))
    count, classes = int(rng.integers(1, 12)), 4
    normalization = (
        (tuple(rng.random(channels)), tuple(rng.random(channels) + 0.1)) if rng.random() < 0.6 else (None, None)
    )
    fit = str(rng.choice(["pad", "resize"])) if more else "crop"
    preprocess = Preprocess(channels, native, native + more, int(rng.integers(1, 256)), fit, *normalization)
    images = rng.integers(0, 256, (count, channels, native, native)).astype(np.uint8)
    labels = rng.integers(0, classes, count).astype(rng.choice([np.int64, np.uint8]))
    dataset = ArrayDataset(images, labels, preprocess, classes)
    seed = int(rng.choice([0, 5, 2**40 + 3, 2**63])) + int(rng.integers(9))
    told: dict[str, Any] = {"batch_size": int(rng.integers(1, 6)), "seed": seed, "augment": augment}
    told["shuffle"] = bool(rng.random() < 0.5)
    if rng.random() < 0.3:
        told |= {"weights": rng.random(count) + 0.01}
    elif rng.random() < 0.2:
        told |= {"mix": Mixup(0.4)}
    if rng.random() < 0.1:
        told |= {"workers": 2}
    return dataset, told


def check_drawn(gpu: Backend, first: int, count: int) -> None:
    """That batches are the same bytes, of one launch each, of so many configurations."""
    for case in range(first, first + count):
        rng = np.random.default_rng(case)
        augment = drawn_augmentation(rng)
        dataset, told = drawn_set(rng, augment)
        there = dataset.to(gpu.device_name) if rng.random() < 0.6 else dataset.streamed(gpu.device_name)
        if "weights" not in told and rng.random() < 0.3:
            chosen = rng.permutation(len(dataset))[: max(1, len(dataset) // 2)]
            halves = [Subset(Subset(own, chosen), np.arange(len(chosen))[::-1]) for own in (dataset, there)]
        else:
            halves = [dataset, there]
        runner, epoch = Launches(), int(rng.choice([0, 1, 2**31 - 2]))
        expected = list(DataLoader(halves[0], **told).batches(epoch))
        with launch.use_runner(runner):
            found = list(DataLoader(halves[1], **told).batches(epoch))
        assert runner.names == ["preprocess"] * len(expected), f"case {case}: {augment}"
        for (images, labels), (wanted, own) in zip(found, expected, strict=True):
            assert host(images).dtype == wanted.dtype
            assert host(images).tobytes() == wanted.tobytes(), f"case {case}: {augment} of {dataset}"
            np.testing.assert_array_equal(host(labels), own, strict=True)


def test_drawn_configurations(gpu: Backend) -> None:
    check_drawn(gpu, 0, 60)


def test_drawn_configurations_in_other_orders(gpu: Backend, order: str) -> None:
    check_drawn(gpu, 60, 15)


def digits(count: int = 12) -> ArrayDataset:
    rng = np.random.default_rng(0)
    return ArrayDataset(
        rng.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8), np.arange(count) % 3, Preprocess(1, 8, 8, 255, "crop")
    )


def test_several_within_several_come_in_their_order(gpu: Backend) -> None:
    """What is blanked first is moved, and what is moved first is mirrored the other way."""
    augment = Compose(Compose(Cutout(3), RandomShift(3)), RandomFlip(1.0), Compose(Cutout(2), RandomShift(1)))
    batches = [
        list(DataLoader(one, 4, seed=2, augment=augment).batches(1)) for one in (digits(), digits().to(gpu.device_name))
    ]
    for (expected, _), (found, _) in zip(*batches, strict=True):
        assert host(found).tobytes() == expected.tobytes()


def test_training_is_the_same_to_the_bit(gpu: Backend) -> None:
    """Beside the same augmentation behind a function, which is a kernel's to call for nobody."""
    shift = Compose(RandomFlip(), RandomShift(2))

    def behind(images: Any, indices: np.ndarray, seed: int, epoch: int) -> Any:
        return shift(images, indices, seed, epoch)

    found = []
    for augment in (shift, behind):
        model = models.MLP(in_channels=1, image_size=8, num_classes=3, seed=1).to(gpu.device_name)
        loader = DataLoader(digits().to(gpu.device_name), 4, shuffle=True, seed=3, augment=augment)
        trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loader)
        trainer.fit(2)
        found.append([host(parameter.data).tobytes() for parameter in model.parameters()])
    assert found[0] == found[1]


def other(images: Any, *_: Any) -> Any:
    """An augmentation of one's own, of which nobody knows what it does."""
    return images


class OwnFlip(RandomFlip):
    """One whose parent is known; it may do anything."""


NOT_MOVED: dict[str, Any] = {
    "it computes": ColorJitter(0.3),
    "one of several computes": Compose(RandomFlip(), Compose(RandomShift(1), ColorJitter(0.3))),
    "a function": other,
    "a class of one's own": OwnFlip(),
    "many": Compose(*(RandomFlip() for _ in range(MOST_MOVES + 1))),
    "far": Cutout(MOST_PIXELS + 1),
    "one of several goes far": Compose(RandomFlip(), Cutout(MOST_PIXELS + 1)),
}


@pytest.mark.parametrize("name", NOT_MOVED)
def test_all_else_goes_the_way_of_the_host_and_a_training_says_so(gpu: Backend, name: str) -> None:
    augment, there = NOT_MOVED[name], digits().to(gpu.device_name)
    assert moves_of(augment, 0, 8) is None
    loaders = [DataLoader(own, 5, augment=augment, seed=2) for own in (digits(), there)]
    for (images, labels), (wanted, own) in zip(*(loader.batches(1) for loader in loaders[::-1]), strict=True):
        np.testing.assert_allclose(host(images), wanted, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(host(labels), own)
    text = (
        f"{augment!r} is drawn on the host, and sent to cuda:0 with every batch: what is drawn there is RandomShift, RandomFlip, "
        f"AlternatingFlip and Cutout, up to 8 of them, of an ArrayDataset of bytes with a Preprocess"
    )
    assert [loader.note for loader in loaders] == ["", text]
    model = models.MLP(in_channels=1, image_size=8, num_classes=3, seed=1).to(gpu.device_name)
    trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loaders[1], graph=False)
    trainer.fit(1)
    trainer.fit(1)
    assert trainer.notes == [text]


def test_what_is_moved_there_needs_no_note(gpu: Backend) -> None:
    flip = RandomFlip()
    there = digits().to(gpu.device_name)
    assert (
        DataLoader(there, 5, augment=flip).note == DataLoader(Subset(there, np.arange(5)), 5, augment=flip).note == ""
    )
    assert DataLoader(there, 5).note == ""
    floats = ArrayDataset(np.ones((5, 1, 8, 8), np.float32), np.zeros(5, int)).to(gpu.device_name)
    assert DataLoader(floats, 5, augment=flip).note.startswith("RandomFlip() is drawn on the host")
    collated = DataLoader(
        there, 5, augment=flip, collate=lambda samples: tuple(map(np.stack, zip(*samples, strict=True)))
    )
    assert collated.note.startswith("RandomFlip() is drawn on the host")


def test_what_of_an_epoch_is_sent_is_sent_once(gpu: Backend) -> None:
    """Order, keys where they are others, and the moves: nothing with a batch."""
    if gpu.name != "emulated":
        pytest.skip("only the stand-in counts")
    log = emulated_cupy().operation_log
    loader = DataLoader(
        Subset(digits().to(gpu.device_name), np.arange(12)[::-1]), 4, shuffle=True, augment=RandomShift(3)
    )
    for epoch in (0, 1):
        batches = loader.batches(epoch)
        counts = []
        for _ in range(3):
            before = len(log)
            next(batches)
            counts.append([operation.kind for operation in log[before:]].count("upload"))
        assert counts == [3, 0, 0]


def test_streamed_images_train_as_those_that_are_there(gpu: Backend) -> None:
    found = []
    for own in (digits().to(gpu.device_name), digits().streamed(gpu.device_name)):
        model = models.MLP(in_channels=1, image_size=8, num_classes=3, seed=1).to(gpu.device_name)
        loader = DataLoader(Subset(own, np.arange(12)), 2, shuffle=True, augment=RandomShift(2), workers=1)
        trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loader, DataLoader(own, 5))
        trainer.fit(2)
        assert trainer.notes == []
        found.append(([host(one.data).tobytes() for one in model.parameters()], trainer.history))
    assert found[0] == found[1]


def test_what_is_asked_of_streamed_images(gpu: Backend) -> None:
    whole, there, own = digits(), digits().to(gpu.device_name), digits().streamed(gpu.device_name)
    assert [one.streams for one in (own, there, whole)] == [True, False, False]
    assert (own.device, repr(own)) == (there.device, repr(there))
    places = np.array([3, -1, 0])
    for indices in (4, -12, [2, 5], places, gpu.array(places), slice(1, 9, 3), np.arange(12) < 5, np.arange(0)):
        for got, wanted in zip(own[indices], there[indices], strict=True):
            np.testing.assert_array_equal(host(got), host(wanted), strict=True)
    for got, wanted in zip(Subset(own, places)[gpu.array(np.array([1, 2]))], whole[[-1, 0]], strict=True):
        np.testing.assert_array_equal(host(got), wanted)
    np.testing.assert_array_equal(Subset(own, places).labels, whole.labels[places])
    np.testing.assert_array_equal(class_weights(own.labels), class_weights(whole.labels))
    with pytest.raises(IndexError):
        own[12]
    back = own.to("cpu")
    assert (back.device.kind, back.streams, own.streams) == ("cpu", False, True)
    np.testing.assert_array_equal(back[places][0], whole[places][0])
    again = own.to(gpu.device_name)
    assert not again.streams
    np.testing.assert_array_equal(host(again[places][0]), whole[places][0])


def test_what_is_not_streamed(gpu: Backend) -> None:
    with pytest.raises(
        ArgumentError, match=r'ArrayDataset: streamed\("cpu"\): images are on the host already; leave it out'
    ):
        digits().streamed("cpu")
    floats = ArrayDataset(np.ones((5, 1, 8, 8), np.float32), np.zeros(5, int))
    with pytest.raises(
        ArgumentError,
        match=r"streamed: expected images of bytes \(uint8\) and a Preprocess for them, got float32 with None; use to\(device\)",
    ):
        floats.streamed(gpu.device_name)
    free = free_bytes(choose_device(gpu.device_name).device)
    small, large = digits(), digits()
    large.labels = np.broadcast_to(large.labels[:1], free // 16)  # half of it, says one number that is there many times
    assert [near(one, small.to(gpu.device_name).device).streams for one in (small, large)] == [False, True]
    floats.labels = large.labels
    assert near(floats, small.to(gpu.device_name).device) is floats


def test_shards_of_a_batch(gpu: Backend) -> None:
    augment = Compose(RandomShift(2, "reflect"), RandomFlip())
    whole, there, streamed = (
        list(DataLoader(own, 5, shuffle=True, augment=augment).sharded(3, 0, 3, range(1, 3)))
        for own in (digits(), digits().to(gpu.device_name), digits().streamed(gpu.device_name))
    )
    for wanted, *others in zip(whole, there, streamed, strict=True):
        for pair in others:
            for pieces, own in zip(pair, wanted, strict=True):
                assert pieces.sizes == own.sizes
                for shard, part in own.arrays.items():
                    np.testing.assert_array_equal(host(pieces.arrays[shard]), part, strict=True)
