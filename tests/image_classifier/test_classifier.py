"""ImageClassifier: what it learns, from which forms of X, what stays of it in a pickle, and what it refuses."""

import copy
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", reason="ImageClassifier needs the extra sklearn")

import joblib  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn import datasets  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.metrics import accuracy_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from gpucnn import ImageClassifier, errors, layers, models, training  # noqa: E402
from gpucnn.backend.threads import thread_count  # noqa: E402
from tests.backends import Backend  # noqa: E402
from tests.data.idx_files import write_small_mnist  # noqa: E402

DRAW = np.random.default_rng(7)
LABELS = np.arange(24) % 3
IMAGES = DRAW.integers(0, 60, (24, 1, 8, 8)).astype(np.uint8)
IMAGES[np.arange(24), 0, :, 1 + 2 * LABELS] = 255
"""Bars: the class is the bar's place."""
ROWS = IMAGES.reshape(24, 64).astype(np.float64)


def small_net(classes: int, shape: tuple[int, ...]) -> layers.Layer:
    """With masks that are drawn anew at every step, and statistics that run."""
    features = 2 * (shape[1] - 2) * (shape[2] - 2)
    return layers.Sequential(
        layers.Conv2d(shape[0], 2, 3),
        layers.BatchNorm2d(2),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Linear(features, classes),
    )


def ends_in_a_norm(classes: int, shape: tuple[int, ...]) -> layers.Layer:
    """Which cannot learn from one image alone."""
    return layers.Sequential(layers.Flatten(), layers.Linear(math.prod(shape), classes), layers.BatchNorm1d(classes))


def weights_of(classifier: ImageClassifier) -> dict[str, np.ndarray]:
    return classifier.model_.state_dict()


def small(**parameters: Any) -> ImageClassifier:
    return ImageClassifier(small_net, **{"epochs": 2, "batch_size": 8, "device": "cpu", **parameters})


@pytest.mark.parametrize("augment", [(), ("shift:2",)])
@pytest.mark.parametrize("model", ["lenet5", "mlp"])
def test_its_weights_are_those_of_a_run_with_these_settings(
    model: str, augment: tuple[str, ...], tmp_path: Path
) -> None:
    write_small_mnist(tmp_path, train=70, test=10)
    settings: dict[str, Any] = {"model": model, "epochs": 2, "batch_size": 16, "augment": augment, "seed": 3}
    config = training.RunConfig(data="mnist", data_dir=str(tmp_path), normalize=True, device="cpu", **settings)
    run = training.prepare(config)
    run.trainer().fit(2)
    images, labels = run.splits.train.images, run.splits.train.labels
    for X in (images, images[:, 0], images.reshape(70, -1)):
        shape = (1, 28, 28) if X.ndim == 2 else None
        found = ImageClassifier(**settings, image_shape=shape, device="cpu").fit(X, labels)
        np.testing.assert_equal(weights_of(found), run.model.state_dict())
    found.set_params(seed=4).fit(X, labels)
    assert not np.array_equal(found.model_.state_dict()["output.bias"], run.model.state_dict()["output.bias"])


def write_photos(folder: Path) -> list[Path]:
    for label in range(3):
        for part in ("train", "test"):
            (folder / part / f"class {label}").mkdir(parents=True)
    paths = []
    for place, label in enumerate(LABELS):
        pixels = DRAW.integers(0, 90, (40, 56 + place, 3)).astype(np.uint8)
        pixels[..., label] += 150
        path = folder / "train" / f"class {label}" / f"{place:02d}.png"
        Image.fromarray(pixels).save(path)
        Image.fromarray(pixels[::-1]).save(folder / "test" / f"class {label}" / f"{place:02d}.png")
        paths.append(path)
    return sorted(paths)


def test_its_weights_of_paths_are_those_of_a_run_on_the_folder(tmp_path: Path) -> None:
    paths = write_photos(tmp_path)
    labels = np.array([path.parent.name for path in paths])
    config = training.RunConfig(
        data=str(tmp_path), model="squeezenet", image_size=32, epochs=1, batch_size=8, augment=(), label_smoothing=0.0,
        normalize=True, device="cpu",
    )  # fmt: skip
    run = training.prepare(config)
    run.trainer().fit(1)
    found = ImageClassifier("squeezenet", image_shape=(3, 32, 32), epochs=1, batch_size=8, device="cpu")
    found.fit(paths, labels)
    np.testing.assert_equal(weights_of(found), run.model.state_dict())
    texts = [str(path) for path in paths]
    answers = found.predict(paths)
    assert set(answers) <= set(found.classes_) == {"class 0", "class 1", "class 2"}
    for X in (texts, np.array(texts), np.array(texts)[:, None], np.array(paths), [[path] for path in paths]):
        np.testing.assert_array_equal(found.predict(X), answers)
    assert found.score(paths, labels) == accuracy_score(labels, answers)


def test_of_paths_the_middle_is_taken_at_the_size_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.Trainer, "fit", lambda self, epochs: None)
    paths = write_photos(tmp_path)
    found = ImageClassifier(epochs=1, device="cpu").fit(paths, LABELS)
    assert (type(found.model_), found.inputs_.model_shape) == (models.ResNet20, (3, 64, 64))


TABLE = np.column_stack([1.7e9 + DRAW.random(24), DRAW.random((24, 3)) * [1e-9, 1.0, 1e6], np.full(24, 0.1)])
"""Features of very different scales; the last one never changes."""


def mlp_by_hand(found: ImageClassifier, rows: np.ndarray) -> np.ndarray:
    """The logits of an MLP for features that learned TABLE, in NumPy."""
    state = weights_of(found)
    scaled = (rows - TABLE.mean(0)) / [*TABLE.std(0)[:-1], 1]
    hidden = np.maximum(scaled @ state["hidden.weight"].T + state["hidden.bias"], 0)
    logits: np.ndarray = hidden @ state["output.weight"].T + state["output.bias"]
    return logits


@pytest.mark.parametrize("classes", [2, 3])
def test_features_are_scaled_one_by_one_and_the_answers_are_those_of_the_formulas(classes: int) -> None:
    labels = np.array(["ant", "bee", "cat"])[np.arange(24) % classes]
    found = ImageClassifier(epochs=3, device="cpu").fit(TABLE, labels)
    rows = TABLE + DRAW.random(TABLE.shape) * [1, 1e-9, 1, 1e6, 0]
    logits = mlp_by_hand(found, rows)
    assert np.isfinite(logits).all()
    decision = found.decision_function(rows)
    np.testing.assert_allclose(decision, logits[:, 1] - logits[:, 0] if classes == 2 else logits, rtol=1e-6, atol=1e-7)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(rows), shares, rtol=1e-6)
    np.testing.assert_array_equal(found.predict(rows), np.unique(labels)[logits.argmax(1)])


def test_all_forms_of_the_same_images_have_the_same_answers() -> None:
    found = small().fit(IMAGES, LABELS)
    expected = found.predict_proba(IMAGES)
    forms = [
        IMAGES[:, 0],
        ROWS,
        IMAGES.astype(np.float64),
        IMAGES.astype(np.int64),
        ROWS.tolist(),
        np.asfortranarray(IMAGES),
    ]
    for X in forms:
        np.testing.assert_array_equal(found.predict_proba(X), expected)
    other = small(image_shape=(1, 8, 8)).fit(ROWS.astype(np.uint8), LABELS)
    np.testing.assert_equal(weights_of(other), weights_of(found))


def test_images_that_are_not_square_get_a_margin_and_small_ones_grow() -> None:
    wide = ImageClassifier("lenet5", epochs=1, device="cpu").fit(IMAGES[:, :, :5, :], LABELS)
    prepared = wide.inputs_(IMAGES[:1, :, :5, :])
    assert prepared.shape == (1, 1, 32, 32)
    assert np.unique(prepared[0, 0, 0]).size == 1, "nothing but the margin"
    tall = wide.inputs_(IMAGES[:1, :, :5, :]).swapaxes(2, 3)
    turned = ImageClassifier("lenet5", epochs=1, device="cpu").fit(IMAGES[:, :, :5, :].swapaxes(2, 3), LABELS)
    np.testing.assert_allclose(turned.inputs_(IMAGES[:1, :, :5, :].swapaxes(2, 3)), tall, rtol=1e-5, atol=1e-6)
    near = ImageClassifier("lenet5", epochs=1, device="cpu").fit(
        np.pad(IMAGES, ((0, 0), (0, 0), (10, 10), (10, 10))), LABELS
    )
    prepared = near.inputs_(np.pad(IMAGES[:1], ((0, 0), (0, 0), (10, 10), (10, 10))))
    mean, std = near.inputs_.mean, near.inputs_.std
    assert mean is not None
    assert std is not None
    expected = (np.pad(IMAGES[:1] / 255, ((0, 0), (0, 0), (12, 12), (12, 12))) - mean[0]) / std[0]
    np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=1e-6)


def test_what_auto_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.Trainer, "fit", lambda self, epochs: None)

    def chosen(X: np.ndarray) -> tuple[type, int]:
        found = ImageClassifier(epochs=1, device="cpu").fit(X, [0, 1, 0, 1])
        return type(found.model_), found.inputs_.model_shape[1]

    assert chosen(ROWS[:4]) == (models.MLP, 1)
    assert chosen(IMAGES[:4]) == (models.LeNet5, 32)
    assert chosen(np.zeros((4, 3, 20, 32), np.uint8)) == (models.LeNet5, 32)
    assert chosen(np.zeros((4, 3, 33, 20), np.uint8)) == (models.ResNet20, 33)


@pytest.mark.parametrize(("count", "epochs"), [(2000, 40), (2001, 20), (20001, 10)])
def test_few_images_are_seen_more_often(count: int, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(training.Trainer, "fit", lambda self, epochs: asked.append(epochs))
    ImageClassifier(device="cpu").fit(np.zeros((count, 2)), np.arange(count) % 2)
    assert asked == [epochs]


def test_two_fits_are_equal_to_the_bit_and_the_second_forgets_the_first() -> None:
    first, again = small().fit(IMAGES, LABELS), small().fit(IMAGES, LABELS)
    np.testing.assert_equal(weights_of(first), weights_of(again))
    again.fit(255 - IMAGES[:16], 7 + LABELS[:16])
    assert again.classes_.tolist() == [7, 8, 9]
    again.fit(IMAGES, LABELS)
    np.testing.assert_equal(weights_of(first), weights_of(again))
    assert first.history_ == again.history_
    assert (again.n_iter_, [row["epoch"] for row in again.history_]) == (2, [1, 2])


def carried(classifier: ImageClassifier, how: str, folder: Path) -> ImageClassifier:
    if how == "joblib":
        joblib.dump(classifier, folder / "classifier")
        found: ImageClassifier = joblib.load(folder / "classifier")
        return found
    return copy.deepcopy(classifier) if how == "deepcopy" else pickle.loads(pickle.dumps(classifier))


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_was_pickled_answers_and_goes_on_with_the_same_bits(how: str, optimizer: str, tmp_path: Path) -> None:
    found = small(optimizer=optimizer, augment=["shift:1"]).fit(IMAGES, LABELS)
    other = carried(found, how, tmp_path)
    np.testing.assert_array_equal(other.predict_proba(IMAGES), found.predict_proba(IMAGES))
    for part in (slice(0, 11), slice(11, None)):
        found.partial_fit(IMAGES[part], LABELS[part])
        other.partial_fit(IMAGES[part], LABELS[part])
        other = carried(other, how, tmp_path)
    np.testing.assert_equal(weights_of(other), weights_of(found))
    assert other.history_ == found.history_
    assert (found.n_iter_, [row["epoch"] for row in found.history_]) == (4, [1, 2, 3, 4])
    assert found.history_[-1]["lr"] == found.history_[-2]["lr"] > found.history_[1]["lr"], "the rate itself"


def test_from_a_gpu_it_is_pickled_through_the_host(gpu: Backend) -> None:
    found = small(epochs=1, device="cuda").fit(IMAGES, LABELS)
    wide = small(epochs=1, optimizer="sgd", device="cuda").fit(IMAGES[:, :, 1:], LABELS)
    on_host = small(epochs=1, optimizer="sgd", device="cpu").fit(IMAGES[:, :, 1:], LABELS)
    np.testing.assert_allclose(wide.predict_proba(IMAGES[:, :, 1:]), on_host.predict_proba(IMAGES[:, :, 1:]), rtol=1e-3)
    expected, carried_file = found.predict_proba(IMAGES), pickle.dumps(found)
    assert b"cupy" not in carried_file
    assert found.model_.state_dict().keys() == weights_of(found).keys()
    assert all(parameter.device.kind == "cuda" for parameter in found.model_.parameters())
    other = pickle.loads(carried_file)
    assert all(parameter.device.kind == "cpu" for parameter in other.model_.parameters())
    on_the_host = pickle.loads(pickle.dumps(other)).set_params(device="cpu")
    np.testing.assert_allclose(on_the_host.predict_proba(IMAGES), expected, rtol=1e-4)
    np.testing.assert_array_equal(other.predict_proba(IMAGES), expected)
    for one in (found, other):
        one.partial_fit(IMAGES, LABELS)
    np.testing.assert_equal(weights_of(other), weights_of(found))


def test_a_function_is_pickled_by_its_name() -> None:
    assert b"small_net" in pickle.dumps(small())
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(ImageClassifier(lambda classes, shape: small_net(classes, shape)))


def test_partial_fit_begins_with_all_classes_of_which_few_are_there() -> None:
    found = small()
    for _ in range(30):
        for part in (LABELS == 2, LABELS < 2):
            found.partial_fit(IMAGES[part], LABELS[part], classes=[2, 1, 0])
    assert found.classes_.tolist() == [0, 1, 2]
    assert found.score(IMAGES, LABELS) > 0.9
    assert found.n_iter_ == 60


def test_weights_of_samples_are_as_if_they_were_there_so_often() -> None:
    weights = np.arange(24) % 4
    whole = ImageClassifier(linear, epochs=5, batch_size=64, device="cpu")
    weighted = clone(whole).fit(IMAGES, LABELS, sample_weight=weights)
    often = IMAGES.repeat(weights, axis=0)
    repeated = clone(whole).fit(often, LABELS.repeat(weights))
    np.testing.assert_allclose(weighted.inputs_.mean, often.mean() / 255, rtol=1e-6)
    np.testing.assert_allclose(weighted.inputs_.std, often.std() / 255, rtol=1e-6)
    np.testing.assert_allclose(
        weighted.decision_function(IMAGES), repeated.decision_function(IMAGES), rtol=1e-3, atol=1e-4
    )
    unweighted = clone(whole).fit(IMAGES, LABELS)
    assert np.abs(weighted.decision_function(IMAGES) - unweighted.decision_function(IMAGES)).max() > 0.01
    alike = small().fit(IMAGES, LABELS, sample_weight=np.full(24, 2.5))
    np.testing.assert_equal(weights_of(alike), weights_of(small().fit(IMAGES, LABELS)))
    some = weights > 0
    np.testing.assert_equal(
        weights_of(small().fit(IMAGES, LABELS, some)), weights_of(small().fit(IMAGES[some], LABELS[some]))
    )


def test_the_loss_of_a_batch_is_weighted() -> None:
    """By the formulas: one step of plain SGD from the same beginning, of a linear model on features."""

    found = ImageClassifier(linear, epochs=1, batch_size=64, optimizer="sgd:momentum=0", lr=0.5, device="cpu")
    weights, X = DRAW.random(24) + 0.1, DRAW.standard_normal((24, 4))
    found.fit(X, LABELS, sample_weight=weights)
    begun = linear(3, (4, 1, 1))
    begun.seed = 0
    state = {name: array.astype(np.float64) for name, array in begun.state_dict().items()}
    mean = np.average(X, axis=0, weights=weights)
    scaled = (X - mean) / np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    logits = scaled @ state["1.weight"].T + state["1.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (shares - np.eye(3)[LABELS]) * (weights / weights.sum())[:, None]
    rate = found.history_[0]["lr"]
    after = weights_of(found)
    np.testing.assert_allclose(after["1.weight"], state["1.weight"] - rate * gradient.T @ scaled, rtol=1e-6)
    np.testing.assert_allclose(after["1.bias"], state["1.bias"] - rate * gradient.sum(0), rtol=1e-6, atol=1e-12)
    loss = -(weights * np.log(shares[np.arange(24), LABELS])).sum() / weights.sum()
    assert found.history_[0]["train_loss"] == pytest.approx(loss, rel=1e-6)


def linear(classes: int, shape: tuple[int, ...]) -> layers.Layer:
    return layers.Sequential(layers.Flatten(), layers.Linear(int(np.prod(shape)), classes))


def test_a_grid_in_two_processes_finds_what_one_finds_and_each_takes_its_share_of_the_cores() -> None:
    search = GridSearchCV(ImageClassifier(epochs=2, device="cpu"), {"lr": [0.0001, 0.01]}, cv=2)
    alone = clone(search).fit(ROWS, LABELS)
    with joblib.parallel_config("loky", n_jobs=2):
        together = search.fit(ROWS, LABELS)
        threads = joblib.Parallel()(joblib.delayed(thread_count)() for _ in range(2))
    assert together.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()
    assert together.best_params_ == alone.best_params_
    np.testing.assert_equal(weights_of(together.best_estimator_), weights_of(alone.best_estimator_))
    assert all(count <= max(1, joblib.cpu_count() // 2) for count in threads)


def test_it_stands_in_pipelines_and_is_cloned_with_its_parameters() -> None:
    scores = cross_val_score(make_pipeline(StandardScaler(), ImageClassifier(epochs=8, lr=0.03)), ROWS, LABELS, cv=2)
    assert scores.min() > 0.6
    given = small(lr=np.float64(0.01), epochs=np.int64(1), augment=["flip"], seed=5)
    assert clone(given).get_params() == given.get_params()
    assert repr(ImageClassifier("mlp", lr=0.1)) == "ImageClassifier(lr=0.1, model='mlp')"
    assert "ImageClassifier" in given.fit(IMAGES, LABELS)._repr_html_()


def test_names_of_features_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS[:, :3], columns=["a", "b", "c"])
    found = ImageClassifier(epochs=1).fit(table, pandas.Series(LABELS.astype(str)))
    assert (found.feature_names_in_.tolist(), found.n_features_in_) == (["a", "b", "c"], 3)
    with pytest.raises(ValueError, match="feature names"):
        found.predict(table.rename(columns={"a": "d"}))


REFUSED: list[tuple[dict[str, Any], Any, type[Exception], str]] = [
    ({"epochs": 0}, IMAGES, errors.ArgumentError, "ImageClassifier: epochs: expected a whole number >= 1, got 0"),
    ({"model": "resnet2"}, IMAGES, errors.ArgumentError, "did you mean resnet20?"),
    ({"model": "unet"}, IMAGES, errors.ArgumentError, "unet labels every pixel"),
    ({"model": 3}, IMAGES, errors.ArgumentError, 'model must be "auto", a name, e.g. "resnet20", or a function of'),
    ({"model": models.LeNet5}, IMAGES, errors.ArgumentError, "or a function of (number of classes, (C, H, W))"),
    ({"model": layers.Flatten()}, IMAGES, errors.ArgumentError, "as each fit begins anew; got Flatten()"),
    (
        {"model": lambda classes, shape: None}, IMAGES, errors.ArgumentError,
        "ImageClassifier: what the function <lambda> gave: model must be a layer, got None",
    ),
    (
        {"model": lambda classes, shape: small_net(classes + 1, shape)}, IMAGES, errors.ShapeError,
        "expected a model that gives logits (N, 3) for images (N, 1, 8, 8), got (N, 4) from Sequential",
    ),
    ({"model": "resnet20"}, ROWS, errors.ArgumentError, "give image_shape, the (channels, height, width) that a row is, e.g. (1, 8, 8)"),
    ({"lr": "find"}, IMAGES, errors.ArgumentError, "lr must be a number > 0 or None, got 'find'"),
    ({"lr": 0}, IMAGES, errors.ArgumentError, "lr must be a number > 0 or None, got 0"),
    ({"lr": -1}, IMAGES, errors.ArgumentError, "ImageClassifier: lr must be a number > 0 or None, got -1"),
    ({"optimizer": "sgdd"}, IMAGES, errors.ArgumentError, "did you mean sgd?"),
    ({"augment": "flip"}, IMAGES, errors.ArgumentError, "augment: expected a list of augmentations, got 'flip'"),
    ({"augment": ["flip"]}, ROWS, errors.ArgumentError, "augment changes images, and X has features; give image_shape"),
    ({"device": "gpu"}, IMAGES, errors.ArgumentError, "unknown device 'gpu'"),
    ({"seed": None}, IMAGES, errors.ArgumentError, "seed: expected a whole number from 0"),
    ({"image_shape": (8, 8)}, ROWS, errors.ArgumentError, "image_shape must be (channels, height, width), e.g. (1, 8, 8), or None, got (8, 8)"),
    ({"image_shape": (1, 8, 9)}, ROWS, errors.ShapeError, "image_shape (1, 8, 9) has 72 pixels, and X has 64 features"),
    (
        {"image_shape": (1, 8, 8)}, IMAGES.transpose(0, 2, 3, 1), errors.ShapeError,
        "image_shape is (1, 8, 8), and X has images (N, 8, 8, 1); the axes are N,H,W,C: X.transpose(0, 3, 1, 2)",
    ),
    ({}, IMAGES.transpose(0, 2, 3, 1), errors.ShapeError, "if it is (N, C, H, W), say so with image_shape=(8, 8, 1)"),
    (
        {"image_shape": (8, 8, 1)}, ROWS, errors.ShapeError,
        "(8, 8, 1) looks like (height, width, channels): image_shape=(1, 8, 8); if it is as it says, X.reshape(-1, 8, 8, 1)",
    ),
    (
        {"image_shape": (4, 4, 3)}, ROWS[:, :48], errors.ShapeError,
        "image_shape=(3, 4, 4), and X.reshape(-1, 4, 4, 3).transpose(0, 3, 1, 2); if it is as it says, X.reshape(-1, 4, 4, 3)",
    ),
    ({}, [Image.fromarray(image[0]) for image in IMAGES], errors.ArgumentError, "or arrays of one size: np.stack([np.asarray(image) for"),
    ({}, [b"a"] * 24, errors.ArgumentError, "X[0] is b'a'; give paths of image files, or arrays of one size"),
    ({}, IMAGES[:, :, None], errors.ShapeError, "or grey ones (N, H, W), or paths, got (24, 1, 1, 8, 8)"),
    ({}, IMAGES * 1e300, errors.ArgumentError, "X has values that are too large for float32, up to"),
    ({}, ROWS * 1e300, errors.ArgumentError, "X has values that are too large to learn from, up to"),
    ({}, "photos", errors.ArgumentError, "expected paths of images, got the path 'photos'; give a list: [path]"),
    ({}, ["a.png"] * 24, errors.DataError, "X[0]: a.png: no such image file"),
    ({"image_shape": (3, 8, 9)}, ["a.png"] * 24, errors.ArgumentError, "grey (1, S, S) or in colours (3, S, S), got image_shape=(3, 8, 9)"),
    ({}, ["a.png"] * 23 + [3], errors.ArgumentError, "X[0] is a path, so all are to be paths, got X[23] = 3"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "X", "kind", "text"), REFUSED, ids=[row[3][-40:] for row in REFUSED])
def test_what_fit_refuses(
    parameters: dict[str, Any],
    X: Any,
    kind: type[Exception],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier = ImageClassifier(**{"epochs": 1, "device": "cpu", **parameters})
    with pytest.raises(kind) as raised:
        classifier.fit(X, LABELS)
    assert text in str(raised.value)
    assert isinstance(raised.value, ValueError)
    with pytest.raises(NotFittedError):
        classifier.predict(X)


LATER: list[tuple[Callable[[ImageClassifier], object], str]] = [
    (lambda it: it.predict(IMAGES[:, :, 1:]), "was fitted to images (N, 1, 8, 8), and X is (24, 1, 7, 8)"),
    (lambda it: it.predict(IMAGES.transpose(0, 2, 3, 1)), "X is (24, 8, 8, 1); the axes are N,H,W,C: X.transpose(0, 3, 1, 2)"),
    (lambda it: it.predict(ROWS[0]), "was fitted to images (N, 1, 8, 8), and X is (64,)"),
    (lambda it: it.predict(["a.png"]), "X was numbers when it was fitted, and is paths now"),
    (lambda it: it.partial_fit(IMAGES, LABELS + 1), "y has the label 3, which is none of 0, 1, 2; give all labels as classes"),
    (lambda it: it.partial_fit(IMAGES, LABELS, classes=[0, 1]), "classes must be those of the first call, 0, 1, 2, got [0, 1]"),
    (lambda it: it.predict(IMAGES / 255), "was fitted to bytes, up to 255, and X has floats up to 1; give numbers of the same scale: X * 255"),
    (
        lambda it: it.set_params(optimizer="sgd").partial_fit(IMAGES, LABELS),
        "optimizer was 'adam' when the network began, and is 'sgd' now; set it back, or call fit, which begins anew",
    ),
    (lambda it: it.set_params(model="mlp").partial_fit(IMAGES, LABELS), "model was <function small_net"),
    (lambda it: it.fit(IMAGES, LABELS * 0), "expected two classes or more, got one class, 0"),
    (lambda it: it.fit(IMAGES, LABELS, LABELS * 0), "non-zero"),
]  # fmt: skip


def test_what_is_refused_of_one_that_is_fitted() -> None:
    for call, text in LATER:
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            call(small(epochs=1).fit(IMAGES, LABELS))
        assert text in str(raised.value)


def test_a_loss_that_is_no_number_ends_the_fit() -> None:
    found = ImageClassifier("lenet5", lr=1e9, epochs=20, device="cpu")
    with pytest.raises(errors.TrainingError, match="the loss became"):
        found.fit(IMAGES, LABELS)
    with pytest.raises(NotFittedError):  # and not what weights that are no numbers say
        found.predict(IMAGES)


def test_a_batch_of_one_image_that_is_left_over_is_told_with_parameters_that_there_are() -> None:
    with pytest.raises(errors.ArgumentError, match=r"leave one for the last batch, .*; use batch_size 22$"):
        ImageClassifier(ends_in_a_norm, epochs=1, batch_size=23, device="cpu").fit(IMAGES, LABELS)


def test_logarithms_of_probabilities_are_finite_where_these_are_none() -> None:
    found = small().fit(IMAGES, LABELS)
    np.testing.assert_allclose(np.exp(found.predict_log_proba(IMAGES)), found.predict_proba(IMAGES), rtol=1e-12)
    for parameter in found.model_.parameters():
        parameter.data *= 1e3
    logits = found.decision_function(IMAGES)
    assert (found.predict_proba(IMAGES) == 0).any()
    assert np.isfinite(logits).all()
    ahead = logits - logits.max(1, keepdims=True)
    np.testing.assert_allclose(found.predict_log_proba(IMAGES), ahead, atol=np.log(3))


@pytest.mark.parametrize(("X", "count"), [(IMAGES, 1), (IMAGES[:, 0], 1), (IMAGES.repeat(3, 1), 3), (ROWS, 64)])
def test_features_are_channels_of_images(X: np.ndarray, count: int) -> None:
    found = ImageClassifier(linear, epochs=1, device="cpu").fit(X, LABELS)
    assert found.n_features_in_ == count
    assert len(found.predict(X)) == 24


def test_without_scikit_learn_all_else_is_there_and_the_message_has_the_line_to_type() -> None:
    script = (
        "import sys, gpucnn\n"
        "assert 'sklearn' not in sys.modules\n"
        "assert 'ImageClassifier' in dir(gpucnn)\n"
        "assert 'sklearn' not in sys.modules\n"
        "sys.modules['sklearn'] = None\n"
        "from gpucnn import *\n"
        "try: gpucnn.ImageClassifier\n"
        "except gpucnn.errors.LibraryError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    assert run.stdout.startswith("ImageClassifier needs scikit-learn 1.6 or newer (")
    assert run.stdout.endswith('; pip install "gpucnn[sklearn]"\n')


def test_the_python_of_its_page_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = datasets.load_digits()
    few.images, few.target = few.images[:300], few.target[:300]
    monkeypatch.setattr(datasets, "load_digits", lambda: few)
    page = Path(sys.modules[ImageClassifier.__module__].__file__ or "").with_name("README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # Smaller, and in one process.
    quick = code.replace("epochs=6", "epochs=1").replace("n_jobs=2", "n_jobs=1").replace('"mlp", "lenet5"', '"mlp"')
    assert quick != code
    exec(compile(quick, "README.md", "exec"), {})
    assert re.fullmatch(r"\{'lr': [\d.]+, 'model': 'mlp'\} [\d.]+\n", capsys.readouterr().out)
