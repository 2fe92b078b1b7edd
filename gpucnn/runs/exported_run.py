"""A run out of an ONNX file: what `gpucnn export RUN --float` wrote, with all that it takes to show its model images."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.autograd import no_grad
from gpucnn.backend import Device
from gpucnn.data import Preprocess
from gpucnn.data.image_file import AUTO, BACKGROUNDS
from gpucnn.errors import ArgumentError, GpucnnError, OnnxError
from gpucnn.layers import Layer
from gpucnn.runs import network
from gpucnn.runs.trained_run import TrainedRun, Weights
from gpucnn.text import names_text, printed, shape_text, value_text
from gpucnn.text_table import LONGEST, shortened

LARGEST_IMAGE = 1 << 26
"""Numbers of one image: a file of a few bytes can ask for any size."""

AGAIN = "write it again with gpucnn export RUN --float"


def load_exported(path: Path, device: Device, weights: str | None = None) -> TrainedRun:
    """The run that an ONNX file was made of, its model on `device`, with the `weights` that the file has, "best" or "last".

    Raises OnnxError, which names the file, if it cannot be read, does not tell how images are prepared and what its classes are
    called, or tells what does not fit; ArgumentError for other weights than it has; LibraryError without onnx.
    """
    owner, model = printed(str(path)), network.read(path).model
    facts = model.metadata
    missing = [name for name in ("preprocess", "class_names") if name not in facts]
    if missing:
        raise OnnxError(
            f"{owner}: no {' and no '.join(map(repr, missing))} in its metadata, by which gpucnn export RUN --float tells how images are "
            f"prepared and what the classes are called; of a file from elsewhere gpucnn train --model {owner} --data NAME makes a run, "
            f"and gpucnn.load_onnx takes arrays"
        )
    preprocess, names = _preprocess(owner, facts["preprocess"]), model.class_names
    if names is None:
        raise OnnxError(f"{owner}: its metadata 'class_names' are no list of texts; {AGAIN}")
    image = (preprocess.channels, preprocess.image_size, preprocess.image_size)
    if model.input_shape != image:
        taken = "of open sizes" if model.input_shape is None else shape_text(model.input_shape)
        raise OnnxError(
            f"{owner}: takes inputs {taken}, and images as its metadata 'preprocess' tells are {shape_text(image)}; {AGAIN}"
        )
    _check_answers(owner, model, image, len(names))
    kept = "best" if facts.get("weights") == "best" else "last"
    if weights not in (None, kept):
        raise ArgumentError(
            f"{owner}: has the {kept} weights of its run alone; leave weights out, or export the run with --weights {weights}"
        )
    background = facts.get("background", AUTO)
    if background not in BACKGROUNDS:
        raise OnnxError(
            f"{owner}: its metadata 'background' must be {names_text(BACKGROUNDS)}, got {value_text(background)}; {AGAIN}"
        )
    config = {
        "create": {"name": shortened(facts.get("model", path.name))}, "data": facts.get("data", ""), "background": background,
    }  # fmt: skip
    return TrainedRun(model.to(device), preprocess, names, config, Weights(kept, path, _row(facts)))


def _preprocess(owner: str, text: str) -> Preprocess:
    try:
        return Preprocess(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        reason = shortened(str(error), LONGEST)
        raise OnnxError(f"{owner}: no valid 'preprocess' in its metadata ({reason}); {AGAIN}") from None


def _check_answers(owner: str, model: Layer, image: tuple[int, int, int], classes: int) -> None:
    """OnnxError unless the model gives as many logits as there are classes."""
    if math.prod(image) > LARGEST_IMAGE:
        raise OnnxError(
            f"{owner}: takes images {shape_text(image)}, of more than {LARGEST_IMAGE:,} numbers; export a run of smaller ones"
        )
    try:
        with no_grad():
            logits = model(np.zeros((1, *image), np.float32))
    except GpucnnError as error:
        raise OnnxError(
            f"{owner}: does not compute images {shape_text(image)}: {shortened(str(error), LONGEST)}"
        ) from None
    if isinstance(logits, tuple):
        raise OnnxError(f'{owner}: has {len(logits)} outputs, none of them "logits"; {AGAIN}')
    if logits.shape != (1, classes):
        raise OnnxError(
            f"{owner}: gives {shape_text(logits.shape)} for an image, and has {classes} class_names in its metadata; {AGAIN}"
        )


def _row(facts: Mapping[str, str]) -> dict[str, Any]:
    """Of the metrics, for the epoch of the weights; empty where the file does not tell it."""
    try:
        epoch = int(facts["epoch"])
        scores = {name: float(facts[name]) for name in ("test_accuracy", "val_accuracy") if name in facts}
    except (KeyError, ValueError):
        return {}
    is_known = 0 < epoch < 1 << 31 and bool(scores) and all(0 <= score <= 1 for score in scores.values())
    return {"epoch": epoch, **scores} if is_known else {}
