"""Sheets of images: those that a model gets wrong, and those that it learns from, as they are augmented."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.backend import to_host
from gpucnn.checks import as_count, as_items
from gpucnn.data import DataLoader
from gpucnn.data.as_shown import preprocess_of
from gpucnn.data.dataset import class_names_of
from gpucnn.data.loader import check_loader
from gpucnn.errors import ArgumentError
from gpucnn.plot.figure import WRONG, StrPath, check_path, finished, in_style, new_figure, own_text, set_title
from gpucnn.plot.numbers import percent
from gpucnn.plot.shown_image import pictures, show_image
from gpucnn.text import counted, value_text
from gpucnn.text_table import columns
from gpucnn.training.evaluate import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNT = 16
MOST = 100
"""Images on a sheet."""
COLUMNS, LONG_COLUMNS = 8, 6
LEAST = 0.005
"""Smaller shares of a label are 0.00 in print."""
NAME = 13
"""Columns of a class name above an image."""
SHORT = 6
"""Of two names that stand in a line."""


@in_style
def mistakes(result: Evaluation, count: int = COUNT, path: StrPath | None = None) -> "Figure":
    """The images that were answered wrong, those with the highest loss first: label, answer, and the answer's probability.

    - `result`: what `training.evaluate` gives; the images are read from its `dataset`.
    - `count`: how many at most, up to 100.
    - `path`: a file to save it to, .png, .svg or .pdf.

    ArgumentError for what is no result, and for one without its data set.
    """
    if not isinstance(result, Evaluation):
        raise ArgumentError(f"mistakes: result must be what evaluate gives, got {value_text(result)}")
    if result.dataset is None:
        raise ArgumentError(
            "mistakes: the result knows no data set, as it was pickled, or its loader has none; evaluate anew"
        )
    count, _ = _count("mistakes", count), check_path(path)
    samples, names = result.samples, result.confusion.class_names
    by_loss = samples.by_loss()
    wrong = by_loss[samples.label[by_loss] != samples.answer[by_loss]]
    worst = [samples[int(place)] for place in wrong[:count]]
    dataset = result.dataset
    images, note = pictures([dataset[one.index][0] for one in worst], preprocess_of(dataset))
    what = f"{len(wrong):,} of {counted(len(samples), 'image')} answered wrong"
    key = "what it is, what was answered, and with which probability"
    texts = [
        (own_text(names[one.label], NAME), own_text(names[one.answer], NAME), percent(one.probability)) for one in worst
    ]
    is_long = any(columns(label) + columns(answer) > SHORT for label, answer, _ in texts)
    figure, places = _sheet(len(worst), [*([f"{what}:", key] if worst else [what]), note], is_long)
    told, between = [], "\n" if is_long else " "
    for axes, image, one, (label, answer, share) in zip(places, images, worst, texts, strict=False):
        show_image(axes, image)
        axes.set_title(f"{label},{between}answered {answer}\n{share}", color=WRONG)
        told.append(f"image {one.index}, {label} answered with {answer} at {share}")
    alt = f"{what}.{_list('Shown', told)}"
    return finished(figure, alt, path)


@in_style
def batch(
    loader: DataLoader, class_names: Sequence[str] | None = None, count: int = COUNT, path: StrPath | None = None
) -> "Figure":
    """The first images of the loader's next epoch, shuffled, augmented and mixed as training gets them, with their labels.

    - `class_names`: by default those of the data set, if it has some, or else the classes' numbers.
    - `count`: how many images of the first batch at most, up to 100.
    - `path`: a file to save it to, .png, .svg or .pdf.

    What was normalised is put back; of values beyond 0 and 1 the title says which are black and white. The loader's epoch
    stays what it is. ArgumentError for what is no loader.
    """
    check_loader(loader, "batch")
    count, _ = _count("batch", count), check_path(path)
    names = _names(loader, class_names)
    with closing(loader.batches(loader.epoch)) as batches:  # type: ignore[type-var]
        images, labels = next(batches)
    shown, note = pictures(to_host(images[:count]), preprocess_of(loader.dataset))
    figure, places = _sheet(len(shown), [f"first batch of epoch {loader.epoch + 1}", note])
    told = []
    for axes, image, label in zip(places, shown, to_host(labels[:count]), strict=False):
        show_image(axes, image)
        text = _label_text(label, names)
        axes.set_title(text)
        told.append(text.replace("\n", ", "))
    return finished(figure, f"Images as training gets them.{_list('Labels', told)}", path)


def _sheet(count: int, title: Sequence[str], is_long: bool = False) -> tuple["Figure", list["Axes"]]:
    """A figure with room for `count` images under the lines of a title, and the places for them, whose captions may be long."""
    across = min(max(count, 4), LONG_COLUMNS if is_long else COLUMNS)
    rows = max(-(-count // across), 1)
    width, height, letters = (1.75, 2.2, 7) if is_long else (1.25, 1.55, 8)
    figure = new_figure(width * across, height * rows + 0.3 if count else 0.6)
    set_title(figure, *title)
    places = list(figure.subplots(rows, across, squeeze=False).ravel())
    for axes in places:
        axes.axis("off")
        axes.title.set(fontsize=letters)
        axes.set_title("", loc="center")
    return figure, places


def _count(owner: str, count: int) -> int:
    if as_count(count, f"{owner}: count") > MOST:
        raise ArgumentError(f"{owner}: count must be at most {MOST}, which fit on a sheet, got {count}")
    return int(count)


def _names(loader: DataLoader, class_names: Sequence[str] | None) -> Sequence[str]:
    classes = loader.dataset.num_classes
    if class_names is None:
        known = class_names_of(loader.dataset)
        return known if known is not None and len(known) >= classes else [str(label) for label in range(classes)]
    names = as_items(class_names)
    if names is None or len(names) < classes:
        raise ArgumentError(
            f"batch: class_names must be a list of {counted(classes, 'name')}, as the data set has classes, got {value_text(class_names)}"
        )
    return [str(name) for name in names]


def _label_text(label: Any, names: Sequence[str]) -> str:
    """A label's name; of the shares of a mixed one those that are not 0 in print, the highest first."""
    if not np.ndim(label):
        return own_text(names[int(label)], NAME)
    order = [int(place) for place in np.argsort(-label, kind="stable")[:2] if label[place] >= LEAST]
    if len(order) == 1:
        return own_text(names[order[0]], NAME)
    return "\n".join(f"{own_text(names[place], NAME)} {label[place]:.2f}" for place in order)


def _list(what: str, texts: Sequence[str]) -> str:
    return f" {what}: {'; '.join(texts)}." if texts else ""
