"""From a configuration to the loaders of a run."""

import numpy as np

from gpucnn import data
from gpucnn.backend import to_host
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.training import RunConfig, prepare
from tests.backends import Backend


def images_of(dataset: data.Dataset) -> list[bytes]:
    """Every image of a data set, as bytes."""
    return [image.tobytes() for image in to_host(dataset[np.arange(len(dataset))][0])]


def prepared(device: str = "cpu", **settings: object) -> PreparedRun:
    return prepare(RunConfig(model="mlp", device=device, **settings))  # type: ignore[arg-type]


def val_set(ready: PreparedRun) -> data.Dataset:
    assert ready.val_loader is not None
    return ready.val_loader.dataset


def test_a_validation_share_is_no_part_of_the_training_set_nor_of_the_test_set() -> None:
    ready = prepared(validation=0.25, seed=4)
    train, measured = ready.train_loader.dataset, val_set(ready)
    assert (len(train), len(measured)) == (1078, 359)
    whole = data.load("digits", image_size=ready.config.image_size)
    assert sorted(images_of(train) + images_of(measured)) == sorted(images_of(whole.train))
    counts, sizes = np.bincount(measured.labels), np.bincount(whole.train.labels)
    assert (np.abs(counts - sizes / 4) < 1.5).all(), "each class gives its share"
    other, again = prepared(validation=0.25, seed=5), prepared(validation=0.25, seed=4)
    assert images_of(val_set(again)) == images_of(measured)
    assert images_of(val_set(other)) != images_of(measured)
    assert images_of(ready.test_loader.dataset) == images_of(whole.test)


def test_without_a_share_the_test_set_is_measured_on() -> None:
    ready = prepared()
    whole = data.load("digits", image_size=ready.config.image_size)
    assert ready.val_loader is None
    assert images_of(ready.test_loader.dataset) == images_of(whole.test)
    assert images_of(ready.train_loader.dataset) == images_of(whole.train)


def test_what_is_not_trained_on_has_no_say_in_the_normalisation(gpu: Backend) -> None:
    for device in ("cpu", "cuda"):
        ready = prepared(device, validation=0.5, normalize=True)
        pixels = np.stack([np.frombuffer(image, np.float32) for image in images_of(ready.train_loader.dataset)])
        assert abs(pixels.mean(dtype=float)) < 1e-6
        assert abs(pixels.std(dtype=float) - 1) < 1e-6
        measured = np.stack([np.frombuffer(image, np.float32) for image in images_of(val_set(ready))])
        assert abs(measured.mean(dtype=float)) > 1e-5
        assert val_set(ready).device.kind == ready.test_loader.dataset.device.kind == device


def test_balance_draws_each_class_alike() -> None:
    ready = prepared(balance=True, data="digits")
    order = np.concatenate([ready.train_loader.indices(0, number) for number in range(len(ready.train_loader))])
    assert len(set(order.tolist())) < len(order), "with replacement"
    weights = ready.train_loader.weights
    assert weights is not None
    np.testing.assert_allclose(np.bincount(ready.train_loader.dataset.labels, weights), 1437 / 10)
    assert prepared().train_loader.weights is None


def test_workers_train_the_same_model() -> None:
    def trained(workers: int) -> dict[str, bytes]:
        ready = prepared(epochs=2, workers=workers, validation=0.1, mix="cutmix", augment=("shift:2",), balance=True)
        assert ready.train_loader.workers == ready.test_loader.workers == workers
        ready.trainer().fit(2)
        return {name: array.tobytes() for name, array in ready.model.state_dict().items()}

    assert trained(0) == trained(3)
