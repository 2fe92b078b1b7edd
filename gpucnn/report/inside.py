"""What is to be seen inside a model: filters, feature maps, what excites filters, and how its layers go together."""

import re
from functools import partial
from typing import NamedTuple

import numpy as np

from gpucnn import plot
from gpucnn.errors import GpucnnError
from gpucnn.layers import Conv2d, Layer
from gpucnn.report.chosen_images import ChosenImages
from gpucnn.report.pictures import Picture, embedded, embedded_svg
from gpucnn.report.run_in_hand import RunInHand
from gpucnn.report.thumbnails import model_images

FIRST_LAYERS = 2
"""Convolutions whose filters are shown."""
COLOURS = 3
"""Channels of filters that are shown as colours."""
MOST_IMAGES, MOST_BYTES, MOST_WORK = 512, 1 << 26, 6e10
"""Images that are searched for what excites filters, what they take, and the multiply-adds of a pass: each stage has one."""


class Part(NamedTuple):
    """Pictures of what is inside a model."""

    title: str
    text: str
    pictures: list[Picture]


def inside(run: RunInHand, chosen: ChosenImages) -> list[Part]:
    """What there is to see in a model's layers; where there is nothing, the reason."""
    trained, dataset, samples = run.trained, run.measured.images, run.found.samples
    convolutions = [path for path, layer in trained.model.named_layers() if isinstance(layer, Conv2d)]
    if not convolutions:
        reason = Picture(
            reason=f"Nothing to show: {run.model_name} has no convolution, so there are no filters and no maps."
        )
        return [Part("Filters and feature maps", "", [reason])]
    filters = [embedded(partial(plot.filters, trained, path)) for path in convolutions[:FIRST_LAYERS]]
    maps = []
    for place in _telling(run, chosen):
        one = samples[place]
        image = model_images(dataset, np.array([one.index]))
        found = embedded(partial(plot.feature_maps, trained, image))
        label, answer = (trained.class_names[number] for number in (one.label, one.answer))
        maps.append(found._replace(title=f"{label}, answered {'right' if label == answer else answer}"))
    count = min(len(samples), _searched(run))
    searched = samples.index[np.linspace(0, len(samples) - 1, count).round().astype(np.int64)]
    hierarchy = embedded(lambda: plot.hierarchy(trained, model_images(dataset, searched)))
    return [
        Part("Filters", f"What the first convolutions look for.{_colours_text(trained.model, convolutions)}", filters),
        Part("Feature maps", "What the layers make of an image: the brighter, the more of what the filter looks for.", maps),
        Part("From edges to parts", "Beside some filters of each stage, the parts of images that excite them most.", [hierarchy]),
    ]  # fmt: skip


def _colours_text(model: Layer, convolutions: list[str]) -> str:
    """What the colours of the filters that are shown mean: those of three channels are in the colours that they look for."""
    first = [layer for path, layer in model.named_layers() if path in convolutions[:FIRST_LAYERS]]
    channels = [layer.weight.shape[1] for layer in first if isinstance(layer, Conv2d)]
    of_colours = (
        " Of those on colour images the colours are what they look for, and grey is zero."
        if COLOURS in channels
        else ""
    )
    return of_colours + (
        f" {'In the others b' if of_colours else 'B'}lue is below zero, orange above."
        if {*channels} - {COLOURS}
        else ""
    )


def _searched(run: RunInHand) -> int:
    """How many images may be searched for what excites filters."""
    channels, size = run.trained.preprocess.channels, run.trained.preprocess.image_size
    work = run.trained.model.multiply_adds((1, channels, size, size))
    return max(min(MOST_IMAGES, MOST_BYTES // (channels * size**2 * 4), int(MOST_WORK / max(work, 1))), 1)


def diagram(run: RunInHand) -> Picture:
    """The model's picture, or why it has none."""
    preprocess = run.trained.preprocess
    try:
        svg = run.trained.model.diagram((preprocess.channels, preprocess.image_size, preprocess.image_size))
    except GpucnnError as error:
        return Picture(reason=f"No picture: {error}")
    size = [round(float(text)) for text in re.findall(r'\b(?:width|height)="([\d.]+)"', svg)[:2]]
    return embedded_svg(svg, f"The layers of {run.model_name} in their order, as in the table below", *size)


def _telling(run: RunInHand, chosen: ChosenImages) -> list[int]:
    """An image that the model is sure of and right, and the worst mistake, as far as there are such."""
    samples = run.found.samples
    is_wrong = samples.label != samples.answer
    sure = np.where(is_wrong | np.isnan(samples.probability), -1, samples.probability)
    right = [int(sure.argmax())] if sure.max() > 0 else []
    wrong = [int(place) for place in chosen.worst if is_wrong[place]][:1]
    return [*right, *wrong]
