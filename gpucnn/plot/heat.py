"""Where a model looks in an image: Grad-CAM, the gradient by the image, and what is lost where a patch covers it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn import explain
from gpucnn import functions as F
from gpucnn.autograd import Tensor, no_grad
from gpucnn.backend import to_host
from gpucnn.checks import IntOrPair
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import evaluating
from gpucnn.layers.one_output import one_output
from gpucnn.plot.figure import HEAT, StrPath, check_path, finished, in_style, new_figure, set_title, signed_colours
from gpucnn.plot.inputs import Image, Model, Subject, image_of, layer_name, subject_of
from gpucnn.plot.numbers import check_finite, largest
from gpucnn.plot.shown_image import picture, show_image
from gpucnn.text import size_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COVERED = 0.65
"""How much of the image the highest heat covers."""
IMAGE_FIX = "give an image of finite ones"
MODEL_FIX = "the weights are not finite, or too large: train it anew at a lower learning rate; feature_maps shows where it begins"


@in_style
def grad_cam(
    model: Model,
    image: Image,
    label: int | str | None = None,
    layer: str | Layer | None = None,
    path: StrPath | None = None,
) -> "Figure":
    """The image, where the evidence for a class is in it, see `explain.grad_cam`, and one upon the other.

    - `model`: a model, or what `gpucnn.load` gives, with which files can be read, and classes have names.
    - `image`: as it goes into the model, floats (C, H, W) or (1, C, H, W); of a run also what its `predict` takes, e.g. a file.
    - `label`: the class, of a run also by its name; by default the model's answer. `layer`: by default that with the last map larger than 1x1.
    - `path`: a file to save it to, .png, .svg or .pdf.

    Raises what `explain.grad_cam` does.
    """
    check_path(path)
    subject = subject_of("grad_cam", model)
    asked = _asked("grad_cam", subject, image_of("grad_cam", image, subject), label)
    heat = explain.grad_cam(asked.subject.model, asked.image, asked.label, layer)
    there = explain.last_map(asked.subject.model, asked.image) if layer is None else layer
    place = layer_name(there.path if isinstance(there, Layer) else there, asked.subject.model)
    return _drawn(asked, heat, f"Grad-CAM of {place}: what speaks for {asked.name}", path)


@in_style
def input_gradient(model: Model, image: Image, label: int | str | None = None, path: StrPath | None = None) -> "Figure":
    """The image, by how much the score of a class rises where a pixel gets brighter, and one upon the other.

    The gradient is added over the channels: orange raises the score, blue lowers it. Arguments as of `grad_cam`; raises what
    `explain.input_gradient` does.
    """
    check_path(path)
    subject = subject_of("input_gradient", model)
    asked = _asked("input_gradient", subject, image_of("input_gradient", image, subject), label)
    heat = explain.input_gradient(asked.subject.model, asked.image, asked.label).sum(axis=0)
    return _drawn(asked, heat, f"Gradient: where a brighter pixel raises the score of {asked.name}", path, signed=True)


@in_style
def occlusion(
    model: Model,
    image: Image,
    label: int | str | None = None,
    size: IntOrPair | None = None,
    stride: IntOrPair | None = None,
    path: StrPath | None = None,
) -> "Figure":
    """The image, how much of a class's probability is lost where a patch covers it, and one upon the other.

    Orange speaks for the class, blue against it. `size` and `stride` of the patch are those of `explain.occlusion`, the other
    arguments those of `grad_cam`. Raises what `explain.occlusion` does.
    """
    check_path(path)
    subject = subject_of("occlusion", model)
    asked = _asked("occlusion", subject, image_of("occlusion", image, subject), label)
    heat = explain.occlusion(asked.subject.model, asked.image, asked.label, size, stride)
    return _drawn(
        asked,
        heat,
        f"Occlusion: what is lost of the probability of {asked.name} where it is covered",
        path,
        signed=True,
    )


class _Asked(NamedTuple):
    """What is to be explained, and by which function."""

    owner: str
    subject: Subject
    image: Any
    label: int
    answer: str
    """What the model says of the image."""

    @property
    def name(self) -> str:
        return self.subject.name_of(self.label)


def _asked(owner: str, subject: Subject, found: Tensor, label: int | str | None) -> _Asked:
    with no_grad(), evaluating(subject.model):
        scores = F.softmax(one_output(owner, subject.model(found)), axis=1).array[0]
    check_finite(owner, "the image", to_host(found.array), IMAGE_FIX)
    check_finite(owner, f"the scores of {subject.model.label}", to_host(scores), MODEL_FIX)
    probabilities = to_host(scores).reshape(len(scores), -1).mean(axis=1)  # over the pixels, where each has its own
    answer = int(probabilities.argmax())
    asked = answer if label is None else subject.label_of(owner, label, len(probabilities))
    text = f"answer: {subject.name_of(answer)} {probabilities[answer]:.2f}"
    return _Asked(owner, subject, found, asked, text)


def _drawn(asked: _Asked, heat: np.ndarray, title: str, path: StrPath | None, signed: bool = False) -> "Figure":
    """The three panels: the image, the heat (H, W) and the heat upon the image."""
    check_finite(asked.owner, "the heat", heat, MODEL_FIX)
    shown = picture(asked.image.array[0], asked.subject.preprocess)
    most = float(np.abs(heat).max())
    colours, limits = (signed_colours(), (-most, most)) if signed else (HEAT, (0, most))
    figure = new_figure(7.6, 2.9)
    places = figure.subplots(1, 3)
    show_image(places[0], shown)
    look = {"cmap": colours, "vmin": limits[0], "vmax": limits[1] or 1.0, "interpolation": "nearest"}
    drawn = places[1].imshow(heat, **look)
    places[1].set(xticks=(), yticks=())
    places[1].spines[:].set_visible(False)
    show_upon(places[2], shown, heat, look)
    figure.colorbar(drawn, ax=places[1], fraction=0.05, pad=0.02).outline.set_visible(False)
    for axes, text in zip(places, (asked.answer, "heat", "upon the image"), strict=True):
        axes.set_title(text)
    set_title(figure, title)
    return finished(figure, f"{title}; {most_text(heat, signed)}. {asked.answer.capitalize()}.", path)


def most_text(heat: np.ndarray, is_exact: bool) -> str:
    """Where the most is, for those who do not see it: the pixel, or of a map that was enlarged the part of the image."""
    if not heat.any():
        return "nothing anywhere"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    if is_exact:
        return f"the most at row {row}, column {column} of {size_text(heat.shape)}"
    down, across = 3 * int(row) // heat.shape[0], 3 * int(column) // heat.shape[1]
    part = " ".join(word for word in (("upper", "", "lower")[down], ("left", "", "right")[across]) if word)
    return f"the most about the {f'{part} part' if part else 'middle'} of the image"


def show_upon(axes: "Axes", shown: np.ndarray, heat: np.ndarray, look: Mapping[str, Any]) -> None:
    """Draw heat (H, W) upon an image, in grey, the more of it covered the more heat there is; `look` is matplotlib's, e.g. cmap."""
    show_image(axes, shown if shown.ndim == 2 else shown.mean(axis=2))
    axes.imshow(heat, alpha=MOST_COVERED * np.abs(heat) / largest(heat), **look)
