"""TrainedRun: a trained model in the hand, and all that it takes to show it images."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, overload
from warnings import warn

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import as_precision, precision, to_host
from gpucnn.checks import as_count, as_flag
from gpucnn.data import Preprocess, read_image
from gpucnn.data.catalog import is_light_on_dark
from gpucnn.data.image_file import AUTO, ImageSource, is_array, is_dark_on_light
from gpucnn.data.image_listing import cannot_be_listed, no_images_text
from gpucnn.data.jpeg_decoders import PILLOW
from gpucnn.data.packed import list_packed_images
from gpucnn.errors import ArgumentError, DataError, GpucnnError
from gpucnn.html_fragments import Html, escaped, text_instead, titled
from gpucnn.layers import Layer, MeanOfViews
from gpucnn.layers.forward_state import evaluating
from gpucnn.regular_file import TimedCalls
from gpucnn.text import names_text, value_text
from gpucnn.training.best_epoch import judged_by
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.out_of_memory import in_parts

BATCH = 64
"""Images that are read and computed together."""

Answers: TypeAlias = list[tuple[str, float]]
"""Classes with their probabilities, the best first."""


class Shown(NamedTuple):
    """How images are shown to a model."""

    background: str = AUTO
    """What is behind their transparent parts."""
    invert: bool = False
    """Whether what is light in them is dark to the model."""


class Seen(NamedTuple):
    """What a model saw in an image."""

    answers: Answers
    is_dark_on_light: bool
    """As ink on paper, see `image_file.is_dark_on_light`."""
    is_faint: bool
    """Whether it is as faint as a raw image of a data set that counts to less than 255, taken for bytes."""


class Weights(NamedTuple):
    """Some weights that a run has kept."""

    name: str
    """"best" or "last"."""
    file: Path
    row: dict[str, Any]
    """Of the metrics, for the best epoch; empty where that is not known, as in files of earlier versions."""

    def __str__(self) -> str:
        return f"{self.name}, of {self.epoch or self.file.name}"

    @property
    def epoch(self) -> str:
        """Which epoch they are of, and how good it was; empty where that is not known."""
        if not self.row:
            return ""
        part = judged_by(self.row)
        return f"epoch {self.row['epoch']} ({part} accuracy {self.row[f'{part}_accuracy']:.4f})"


class TrainedRun:
    """The model of a run, in evaluation mode, and what belongs to it: `gpucnn.load` gives it.

    `model` is where it was loaded to, `preprocess` how raw images become its input, `class_names` are those of its outputs, in
    their order, `config` is what the run's config.json has, and `weights` says which ones the model has.
    """

    def __init__(
        self,
        model: Layer,
        preprocess: Preprocess,
        class_names: Sequence[str],
        config: dict[str, Any],
        weights: Weights,
    ) -> None:
        self.model, self.preprocess, self.class_names = model, preprocess, tuple(class_names)
        self.config, self.weights = config, weights

    def look_at(self, views: str | None) -> None:
        """Have the model answer with the mean over several `views` of an image, see `layers.MeanOfViews`; None changes nothing."""
        if views is not None:
            self.model = MeanOfViews(self.model, views).eval()

    @overload
    def predict(self, images: bytes | bytearray | memoryview, top: int = 5, *, invert: bool = False) -> Answers: ...
    @overload
    def predict(self, images: str | os.PathLike[str] | np.ndarray, top: int = 5, *, invert: bool = False) -> Any: ...
    @overload
    def predict(
        self, images: Sequence[Any] | Iterator[Any], top: int = 5, *, invert: bool = False
    ) -> list[Answers]: ...
    @overload
    def predict(self, images: ImageSource, top: int = 5, *, invert: bool = False) -> Any: ...
    def predict(self, images: Any, top: int = 5, *, invert: bool = False) -> Any:
        """What the model sees: [("cat", 0.93), ("dog", 0.04), ...], the `top` classes with their probabilities, the best first.

        - `images`: one image, as `data.read_image` takes it: a path, the bytes of a file, a file opened with mode "rb", an image
          of Pillow's, or an array of bytes, truth values or uint16. Or several: a list of such, or what gives them one by one,
          or an array (N, H, W, C), of which a list comes back with the answers for each. Or a folder, for a dict with the
          answers for each image file in it and below, or each image in its tars, Parquet files or arrays, by its path.
        - `invert`: turn light and dark round, for ink on white paper shown to a model of light digits on dark.

        Images are read, fitted and normalised as the run did it, in batches, of which a GPU without enough memory takes parts;
        in which ones changes no more than the last digits. Any number of threads may call it, while the model is in
        evaluation mode, as it was loaded. Raises DataError or
        ArgumentError, with the place of the image among several, for what is no image.
        """
        shown = self.shown(as_flag(invert, "predict: invert"))
        top = as_count(top, "predict: top")
        if isinstance(images, str | os.PathLike) and os.path.isdir(images):
            files = [str(file) for file in _files_in(Path(images))]
            return dict(zip(files, self._all(files, top, shown), strict=True))
        several = _several("predict", images)
        if several is None:
            return self._all([images], top, shown, is_alone=True)[0]
        return self._all(several, top, shown)

    def as_input(self, images: Any, *, invert: bool = False) -> np.ndarray:
        """Images as the model takes them, (N, C, S, S), for `gpucnn.explain` and figures; a single one as (1, C, S, S).

        `images` and `invert` as for `predict`, with its errors: read, fitted and normalised as the run did it.
        """
        found, doubts = self.inputs("as_input", images, as_flag(invert, "as_input: invert"))
        for doubt in doubts:
            warn(doubt, stacklevel=2)
        return found

    def inputs(self, owner: str, images: Any, invert: bool = False, fix: str = "") -> tuple[np.ndarray, list[str]]:
        """What `as_input` gives, and what is to be warned of, in which `owner` and how to turn light and dark round are named."""
        if isinstance(images, str | os.PathLike) and os.path.isdir(images):
            images = _files_in(Path(images))
        several, shown = _several(owner, images), self.shown(invert)
        raw = [self.read(images, shown)] if several is None else []
        for place, one in enumerate(several or ()):
            try:
                raw.append(self.read(one, shown))
            except (DataError, ArgumentError) as error:
                raise type(error)(f"images[{place}]: {error}") from None
        if not raw:
            raise ArgumentError(f"{owner}: expected images, got none")
        doubts = [(is_dark_on_light(one), self._is_faint(one)) for one in raw]
        return self.preprocess(np.concatenate(raw)), self._warnings(owner, doubts, several is None, invert, fix)

    def shown(self, invert: bool = False, background: str | None = None) -> Shown:
        """How the run was shown its images, unless another `background` is given."""
        return Shown(background or str(self.config.get("background", AUTO)), invert)

    @property
    def decode(self) -> str:
        """What decoded the JPEGs that the run learned from, see `data.read_image`."""
        return str(self.config.get("decode", PILLOW))

    @property
    def cache(self) -> str | None:
        """The folder of decoded images that the run was given, if it is there: it may be on another machine, and changes no result."""
        cache = self.config.get("cache")
        return cache if isinstance(cache, str) and os.path.isdir(cache) else None

    def in_batches(self, images: Iterable[ImageSource], top: int, shown: Shown) -> Iterator[list[Seen | GpucnnError]]:
        """What the model sees in each image, batch by batch; of one that cannot be read, the error."""
        rest = iter(images)
        while batch := list(islice(rest, BATCH)):
            read = [self._read_or_error(image, shown) for image in batch]
            raw = [one for one in read if not isinstance(one, GpucnnError)]
            answers = iter(self.answers(np.concatenate(raw), top) if raw else ())
            yield [
                one if isinstance(one, GpucnnError) else Seen(next(answers), is_dark_on_light(one), self._is_faint(one))
                for one in read
            ]

    def read(self, image: ImageSource, shown: Shown) -> np.ndarray:
        """A raw image (1, C, S, S), for `preprocess`. DataError or ArgumentError for what is no image."""
        raw = read_image(image, self.preprocess, shown.background, self.decode)
        return self.preprocess.full_scale - raw if shown.invert else raw

    def _read_or_error(self, image: ImageSource, shown: Shown) -> np.ndarray | GpucnnError:
        try:
            return self.read(image, shown)
        except (DataError, ArgumentError) as error:
            return error

    @property
    def _faint(self) -> float:
        """The highest that raw images go to which were made of raw ones, taken for bytes."""
        return float(np.rint(self.preprocess.full_scale**2 / 255))

    def _is_faint(self, raw: np.ndarray) -> bool:
        return self.preprocess.full_scale < 255 and bool(0 < raw.max() <= self._faint)

    def in_its_precision(self) -> AbstractContextManager[None]:
        """Inside, the model computes in the precision that it was trained in."""
        return precision(as_precision(self.config.get("precision", "float32")))

    def answers(self, raw: np.ndarray, top: int) -> list[Answers]:
        """The `top` classes for each of the raw images (N, C, H, W)."""
        device = device_of_model(self.model)
        with self.in_its_precision(), no_grad(), evaluating(self.model):
            images = self.preprocess(raw)
            probabilities = to_host(in_parts(lambda part: F.softmax(self.model(part)), images, device))
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [(self.class_names[place], float(row[place])) for place in places]
            for row, places in zip(probabilities, best, strict=True)
        ]

    def doubts(self, owner: str, raw: np.ndarray, fix: str) -> list[str]:
        """What `predict` would warn of each of the raw images (N, C, S, S), empty for nothing; `owner` and `fix` are named in it."""
        grey = raw.mean(axis=1).reshape(len(raw), -1)
        high, faint = grey.max(axis=1), self._faint if self.preprocess.full_scale < 255 else -1
        found = [""] * len(raw)
        # To look closely at no others is quicker.
        for place in np.flatnonzero((2 * grey.mean(axis=1) >= grey.min(axis=1) + high) | (high <= faint)).tolist():
            one = raw[place : place + 1]
            doubts = [(is_dark_on_light(one), self._is_faint(one))]
            found[place] = " ".join(self._warnings(owner, doubts, True, False, fix))
        return found

    def _all(self, images: Iterable[Any], top: int, shown: Shown, is_alone: bool = False) -> list[Answers]:
        """The answers for each; the first error is raised."""
        found: list[Seen] = []
        for batch in self.in_batches(images, top, shown):
            for one in batch:
                if isinstance(one, GpucnnError):
                    raise one if is_alone else type(one)(f"images[{len(found)}]: {one}") from None
                found.append(one)
        doubts = [(one.is_dark_on_light, one.is_faint) for one in found]
        for doubt in self._warnings("predict", doubts, is_alone, shown.invert):
            warn(doubt, stacklevel=3)
        return [one.answers for one in found]

    def _warnings(
        self, owner: str, doubts: Sequence[tuple[bool, bool]], is_alone: bool, invert: bool, fix: str = ""
    ) -> list[str]:
        """What to say of images that are dark on light where they should not be, and of faint ones; `doubts` tell both of each."""
        said, name, scale = [], str(self.config.get("data")), self.preprocess.full_scale
        dark, faint = ([one[place] for one in doubts] for place in range(2))
        if any(dark) and is_light_on_dark(name):
            which = "the image is" if is_alone else f"images[{dark.index(True)}] is the first of {sum(dark)} that are"
            after = " after invert" if invert else ""
            fix = fix or f"invert={not invert}"
            said.append(f"{owner}: {which} dark on light{after}, and {name} is light on dark; give {fix}")
        if any(faint):
            which = (
                "the image goes" if is_alone else f"images[{faint.index(True)}] is the first of {sum(faint)} that go"
            )
            said.append(
                f"{owner}: {which} no higher than {scale} of 255, as raw arrays of {name} do; "
                f"np.rint(image * (255 / {scale})).astype('uint8') makes bytes of these"
            )
        return said

    def __repr__(self) -> str:
        size, colour = self.preprocess.image_size, "grey" if self.preprocess.channels == 1 else "rgb"
        create = self.config.get("create")
        model = str(create.get("name")) if isinstance(create, dict) else type(self.model).__name__
        what = f"{model}, {len(self.class_names)} classes, images {size}x{size} {colour}, {device_of_model(self.model)}"
        is_file = self.weights.file.suffix.lower() == ".onnx"
        place = self.weights.file if is_file else self.weights.file.parent
        return f"TrainedRun({str(place)!r}: {what}; weights: {self.weights})"

    @text_instead
    def _repr_html_(self) -> Html | None:
        """What it is, its classes and its layers."""
        return titled(
            repr(self), escaped(f"classes: {names_text(self.class_names, 50)}"), self.model._repr_html_() or ""
        )


def _several(owner: str, images: Any) -> Iterable[Any] | None:
    """The single images, if there are several; None for one."""
    if is_array(images) and not _is_image(images):
        array = images if hasattr(images, "ndim") else np.asarray(images)
        if array.ndim == 4:
            return [array[place] for place in range(len(array))]
        if array.ndim == 1 and array.dtype.kind in "OUT":  # of paths, as a column of a table has them
            return list(array)
        if array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] not in (1, 3, 4):
            raise DataError(
                f"{owner}: {value_text(array)} is no image (H, W, C); of several grey ones give images[..., None], (N, H, W, 1)"
            )
        return None
    is_one = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or _is_image(images)
    if not is_one and isinstance(images, Sequence | Iterator) and not hasattr(images, "read"):
        return images
    return None


def _is_image(images: Any) -> bool:
    """Whether it is an image of Pillow's, some of which are arrays, too."""
    from PIL import Image

    return isinstance(images, Image.Image)


def _files_in(folder: Path) -> list[Path]:
    """The images in a folder and below. DataError if there are none, or one is known to be unreadable."""
    with TimedCalls() as timed:
        try:
            found = list_packed_images(folder, timed)
        except OSError as error:
            raise cannot_be_listed(folder, error) from None
        for path, problem in found.problems.items():
            raise DataError(f"{path}: {problem}")
        if found.images:
            return found.images
    raise DataError(no_images_text(folder, found.left_out))
