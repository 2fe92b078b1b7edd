"""ImageClassifier: a network with scikit-learn's methods."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from gpucnn import backend, data, models, optim
from gpucnn.autograd import no_grad
from gpucnn.backend import to_host
from gpucnn.checks import Shape, is_finite
from gpucnn.errors import ArgumentError, ConfigError, LibraryError, ShapeError, TrainingError
from gpucnn.image_classifier.inputs import (
    OWNER,
    Inputs,
    as_image_shape,
    as_images,
    as_shape_of_files,
    known_images,
    paths_in,
    read_files,
)
from gpucnn.image_classifier.weighted_batches import WeightedBatches
from gpucnn.layers import Layer
from gpucnn.layers.as_model import as_model
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output
from gpucnn.runs.choices import AUGMENTATIONS, OPTIMIZERS, RunLength, make_schedule
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import near
from gpucnn.runs.recipe import MOST_PHOTOS
from gpucnn.text import names_text, shape_text, value_text
from gpucnn.training.can_train import check_last_batch
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.metrics import History
from gpucnn.training.out_of_memory import in_parts
from gpucnn.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise LibraryError(
        f'ImageClassifier needs scikit-learn 1.6 or newer ({error}); pip install "gpucnn[sklearn]"'
    ) from None

AUTO = "auto"
SMALL = 32
"""Images of at most this side are for LeNet-5, as those of all data sets that `gpucnn train` knows; larger ones for ResNet-20."""
BATCH_SIZE = 32
PREDICTED_TOGETHER = 256
DTYPES = (np.float64, np.float32, np.uint8)
"""Of X, which stay; all others become the first."""

MakeModel: TypeAlias = Callable[[int, Shape], Layer]


class _Samples(NamedTuple):
    """What there is to learn."""

    raw: np.ndarray
    """Raw images (N, C, H, W)."""
    labels: np.ndarray
    """As they were given, (N,)."""
    weights: np.ndarray | None
    """Above 0, float64 (N,); None if all are alike."""


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network as a classifier of scikit-learn, for its pipelines, searches and scores.

    Parameters are those of `RunConfig`, and None stands for what suits:

    - `model`: "auto", a name, see `models.names()`, or a function of (number of classes, (C, H, W)) that makes a model of such
      images. "auto" is an MLP for features, for images LeNet-5, or ResNet-20 if a side is longer than 32.
    - `image_shape`: None, or (C, H, W): what the rows of X are, flat, or to what image files are cut, (3, 64, 64) by default.
    - `epochs`: None for 40, for 20 with more than 2,000 images, for 10 with more than 20,000. `batch_size`: None for 32.
    - `optimizer`, `lr`: as in `RunConfig`. `fit` has the rate rise to `lr` and fall, as `gpucnn train` does.
    - `augment`: None, or random changes of training images, e.g. ("flip", "shift:2").
    - `device`: "auto", "cpu", "cuda", ... `seed`: decides every draw; two fits alike are equal to the bit.

    X is one of these, at each call of the same form:

    - (N, features), numbers; with `image_shape` each row is an image.
    - (N, C, H, W), images, or grey ones (N, H, W): numbers of any scale, the same at each call. Models that are named get them square, enlarged to
      the least size that suits them.
    - paths of image files, in a list, an array or a column.

    `fit` learns the mean and the standard deviation of each channel, or feature, and brings them to 0 and 1. y has labels of any
    type. After it there are `classes_`, `model_` (the network), `history_` (a row an epoch), `n_iter_` (epochs), `inputs_` (what
    is done to X), `optimizer_`, `n_features_in_` and, of tables with names, `feature_names_in_`; of channels for images.

    Raises ArgumentError, a ValueError, for wrong parameters when `fit` is called, ShapeError for X of another form, DataError
    for files that cannot be read, TrainingError for a loss that is no number. LibraryError without scikit-learn.
    """

    classes_: np.ndarray
    inputs_: Inputs
    model_: Layer
    optimizer_: optim.Optimizer
    history_: History
    n_iter_: int

    def __init__(
        self,
        model: str | MakeModel = AUTO,
        *,
        image_shape: Shape | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str = "adam",
        lr: float | None = None,
        augment: tuple[str, ...] | list[str] | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.augment = augment
        self.device = device
        self.seed = seed

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn X (N, ...) with its labels y (N,), all anew; returns itself.

        `sample_weight`: None, or numbers >= 0, (N,): by how much each counts in a batch's loss, and in means and deviations. With
        whole numbers, and a batch that holds all, it is as if each were there so often.
        """
        config = self._config()
        loader = self._begin(X, y, None, sample_weight, config)
        epochs = _epochs_for(len(loader.dataset)) if config.epochs is None else config.epochs
        length = RunLength(epochs, steps_per_epoch=len(loader))
        self._train(loader, epochs, make_schedule(config.schedule, config.warmup, _rate(config), length))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more pass, over X (N, ...) with its labels y (N,), at the rate `lr`; returns itself.

        The first call, where there was no `fit`, begins the network, and learns the means and deviations. `classes`, (K,), are
        then all labels that will come; by default those of this y. `sample_weight` as for `fit`.
        """
        config = self._config()
        if not hasattr(self, "model_"):
            loader = self._begin(X, y, classes, sample_weight, config)
        else:
            self._check_begun()
            if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ArgumentError(
                    f"{OWNER}: classes must be those of the first call, {names_text(list(map(str, self.classes_)))}, got "
                    f"{value_text(classes)}; leave them out, or call fit, which begins anew"
                )
            samples = self._weighted(*self._checked(X, y), sample_weight)
            self._move()
            loader = self._loader(samples, config)
        self.optimizer_.lr = _rate(config)
        self._train(loader, 1, None)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """The logits, float64 (N, K); of two classes (N,), by how much the second is ahead."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_`, float64 (N, K)."""
        logits = self._logits(X)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of these, finite where the probability itself is too small for a number, float64 (N, K)."""
        logits = self._logits(X)
        ahead = logits - logits.max(axis=1, keepdims=True)
        logarithms: np.ndarray = ahead - np.log(np.exp(ahead).sum(axis=1, keepdims=True))
        return logarithms

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each, (N,)."""
        answers = self._logits(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[answers]
        return labels

    def _config(self) -> RunConfig:
        """The parameters as the settings of a run, checked, with what suits the optimizer. Model and epochs may be None."""
        if self.lr is not None and not (is_finite(self.lr) and self.lr > 0):
            raise ArgumentError(f"{OWNER}: lr must be a number > 0 or None, got {value_text(self.lr)}")
        is_class = isinstance(self.model, type) and issubclass(self.model, models.ImageModel)
        if not isinstance(self.model, str) and (not callable(self.model) or isinstance(self.model, Layer) or is_class):
            raise ArgumentError(
                f'{OWNER}: model must be "{AUTO}", a name, e.g. "resnet20", or a function of (number of classes, (C, H, W)) that '
                f"makes a model, as each fit begins anew; got {value_text(self.model)}"
            )
        try:
            config = RunConfig(
                model=self.model if isinstance(self.model, str) and self.model != AUTO else None,
                epochs=self.epochs, batch_size=BATCH_SIZE if self.batch_size is None else self.batch_size,
                optimizer=self.optimizer, lr=self.lr, augment=() if self.augment is None else self.augment,  # type: ignore[arg-type]
                device=self.device, seed=self.seed,
            )  # fmt: skip
        except ConfigError as error:
            raise ArgumentError(f"{OWNER}: {error}") from None
        return dataclasses.replace(config.resolved(), model=config.model, epochs=config.epochs)

    def _begin(self, X: Any, y: Any, classes: Any, sample_weight: Any, config: RunConfig) -> data.DataLoader:
        """A new network, and what it learns from."""
        self._forget()
        self._begun = self._decided()
        raw, y = self._checked(X, y)
        check_classification_targets(y)
        samples = self._weighted(raw, y, sample_weight)
        self.classes_ = np.unique(samples.labels if classes is None else classes)
        if len(self.classes_) < 2:
            raise ArgumentError(
                f"{OWNER}: expected two classes or more, got one class, {value_text(self.classes_.tolist()[0])}; partial_fit takes "
                f"a part of the data, and classes=... with all labels"
            )
        name, size = self._plan(config)
        self.inputs_ = dataclasses.replace(self.inputs_, size=size).learned(samples.raw, samples.weights)
        loader = self._loader(samples, config)
        self.model_ = self._made(name, config)
        self._move()
        self.optimizer_ = OPTIMIZERS.make(
            config.optimizer,
            parameters=self.model_.parameters(),
            lr=_rate(config),
            weight_decay=config.weight_decay,
            decay_vectors=config.decay_vectors,
        )
        self.history_ = History()
        self.n_iter_ = 0
        return loader

    def _forget(self) -> None:
        """Be as if there had been no fit."""
        for name in ("model_", "optimizer_", "inputs_", "classes_"):
            self.__dict__.pop(name, None)

    def _decided(self) -> dict[str, Any]:
        """The parameters that are decided once a network has begun."""
        return {name: getattr(self, name) for name in ("model", "image_shape", "optimizer")}

    def _check_begun(self) -> None:
        for (name, before), now in zip(self._begun.items(), self._decided().values(), strict=True):
            if before is not now and value_text(before) != value_text(now):
                raise ArgumentError(
                    f"{OWNER}: {name} was {value_text(before)} when the network began, and is {value_text(now)} now; set it back, or "
                    f"call fit, which begins anew"
                )

    def _checked(self, X: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """X as raw images (N, C, H, W), and y (N,). Of the first the form is kept in `inputs_`, others must be of that form."""
        known: Inputs | None = getattr(self, "inputs_", None)
        paths = paths_in(X)
        if known is not None and (known.form == "files") != (paths is not None):
            expected, got = ("paths", "numbers") if paths is None else ("numbers", "paths")
            raise ArgumentError(
                f"{OWNER}: X was {expected} when it was fitted, and is {got} now; give what it was fitted to"
            )
        shape = as_image_shape(self.image_shape)
        if paths is not None:
            if y is not None:
                y = column_or_1d(y, warn=True)
                check_consistent_length(paths, y)
            self.inputs_ = known or Inputs("files", as_shape_of_files(shape), None, 255)
            return read_files(paths, self.inputs_.shape), y
        # How many features there are is for scikit-learn to check; images have a shape, which says more.
        is_images = known is not None and known.form == "images"
        checks: dict[str, Any] = {"reset": known is None, "dtype": DTYPES, "allow_nd": True, "ensure_2d": not is_images}
        if known is not None and y is None:
            X = validate_data(self, X, **checks)
        else:
            X, y = validate_data(self, X, y, **checks)
        if known is not None:
            if is_images:
                known.check_scale(X)
            return (known_images(X, known.shape) if is_images else X[:, :, None, None]), y
        form, raw = as_images(X, shape)
        if X.ndim > 2:
            self.n_features_in_ = raw.shape[1]  # of (N, H, W) scikit-learn takes the height
        self.inputs_ = Inputs(form, raw.shape[1:], None, 255 if form == "images" and raw.dtype == np.uint8 else 1)
        return raw, y

    def _plan(self, config: RunConfig) -> tuple[str, int | None]:
        """The model's name, empty for a function's, and the side of its images; None for theirs."""
        form, (_, *sides) = self.inputs_.form, self.inputs_.shape
        if form == "features" and config.augment:
            raise ArgumentError(
                f"{OWNER}: augment changes images, and X has features; give image_shape, or leave augment out"
            )
        if not isinstance(self.model, str):
            return "", None
        if form == "features":
            if config.model not in (None, "mlp"):
                side = round(self.inputs_.shape[0] ** 0.5)
                example = (1, side, side) if side**2 == self.inputs_.shape[0] else (1, 28, 28)
                raise ArgumentError(
                    f"{OWNER}: {config.model} takes images, and X has {self.inputs_.shape[0]:,} features; give image_shape, the "
                    f"(channels, height, width) that a row is, e.g. {example}, or images (N, C, H, W)"
                )
            return "mlp", None
        name = config.model or ("lenet5" if max(sides) <= SMALL else "resnet20")
        return name, models.image_size_for(name, max(sides))

    def _made(self, name: str, config: RunConfig) -> Layer:
        """The network, as it begins. ShapeError if it does not take the images, or does not give a logit for each class."""
        count, shape = len(self.classes_), self.inputs_.model_shape
        if not isinstance(self.model, str):
            model = as_model(
                f"{OWNER}: what the function {getattr(self.model, '__name__', '')} gave", self.model(count, shape)
            )
            model.seed = config.seed
        else:
            model = models.create(name, count, shape[0], shape[1], config.seed)
        model.astype(self.inputs_.dtype)
        given = model.output_shape((1, *shape))
        if given != (1, count):
            raise ShapeError(
                f"{OWNER}: expected a model that gives logits {shape_text(('N', count))} for images {shape_text(('N', *shape))}, got "
                f"{shape_text(('N', *given[1:]))} from {type(model).__name__}"
            )
        return model

    def _move(self) -> backend.Device:
        """The network to its device, where it may not be after it was pickled."""
        device = backend.choose_device(self.device).device
        self.model_.to(device)
        return device

    def _weighted(self, raw: np.ndarray, y: np.ndarray, sample_weight: Any) -> _Samples:
        """Those of the samples that count, and how much; None if all count alike."""
        if sample_weight is None:
            return _Samples(raw, y, None)
        weights = _check_sample_weight(sample_weight, raw, dtype=np.float64, ensure_non_negative=True)
        counts = weights > 0
        if not counts.any():
            raise ArgumentError(f"{OWNER}: sample_weight is zero for all samples; one at least must be above 0")
        if not counts.all():
            raw, y, weights = raw[counts], y[counts], weights[counts]
        return _Samples(raw, y, None if (weights == weights[0]).all() else weights)

    def _loader(self, samples: _Samples, config: RunConfig) -> data.DataLoader:
        """Samples in batches."""
        y = samples.labels
        if not (known := np.isin(y, self.classes_)).all():
            raise ArgumentError(
                f"{OWNER}: y has the label {value_text(y[~known].tolist()[0])}, which is none of "
                f"{names_text(list(map(str, self.classes_)))}; give all labels as classes to the first partial_fit"
            )
        labels = np.searchsorted(self.classes_, y).astype(np.int64)
        _, height, width = self.inputs_.model_shape
        given = {"image_size": height if height == width else None, "mean": self.inputs_.mean, "std": self.inputs_.std}
        dataset = data.ArrayDataset(samples.raw, labels, self.inputs_, len(self.classes_))
        device = backend.choose_device(config.device).device
        return data.DataLoader(
            near(dataset, device) if self.inputs_.takes_any_device(samples.raw.dtype) else dataset,
            config.batch_size or BATCH_SIZE,
            shuffle=True,
            seed=config.seed,
            augment=data.Compose(*(AUGMENTATIONS.make(one, **given) for one in config.augment))
            if config.augment
            else None,
            mix=None if samples.weights is None else WeightedBatches(samples.weights),
        )

    def _train(self, loader: data.DataLoader, epochs: int, schedule: optim.Schedule | None) -> None:
        check_last_batch(self.model_, loader, can_drop=False)
        trainer = Trainer(self.model_, self.optimizer_, loader, None, schedule)
        trainer.epoch, trainer.history = self.n_iter_, History(self.history_)
        try:
            trainer.fit(epochs)
        except TrainingError:  # whose weights are no numbers
            self._forget()
            raise
        self.n_iter_, self.history_ = trainer.epoch, trainer.history
        self.optimizer_.zero_grad()

    def _logits(self, X: Any) -> np.ndarray:
        """What the network gives for X, float64 (N, K)."""
        check_is_fitted(self, "model_")
        raw, _ = self._checked(X)
        device = self._move()
        found = []
        with no_grad(), evaluating(self.model_):
            for start in range(0, len(raw), PREDICTED_TOGETHER):
                images = self.inputs_(raw[start : start + PREDICTED_TOGETHER])
                found.append(to_host(in_parts(lambda part: one_output(OWNER, self.model_(part)), images, device)))
        return np.concatenate(found).astype(np.float64)

    def __getstate__(self) -> dict[str, Any]:
        """As it is, but with the network on the host, so that it can be read where there is no GPU."""
        state = dict(super().__getstate__())
        if "model_" in state and device_of_model(self.model_).kind != "cpu":
            model, optimizer = copy.deepcopy((self.model_, self.optimizer_))
            state["model_"], state["optimizer_"] = model.to("cpu"), optimizer
        return state


def _epochs_for(count: int) -> int:
    """As many as suit photos of this number."""
    return next(epochs for epochs, most in MOST_PHOTOS.items() if count <= most)


def _rate(config: RunConfig) -> float:
    assert isinstance(config.lr, float)
    return config.lr
