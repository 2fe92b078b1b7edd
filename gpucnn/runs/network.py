"""The network of a run: one of the models by their names, or that of an ONNX file, of which the run's folder keeps a copy."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gpucnn import models
from gpucnn.checks import Shape
from gpucnn.data.normalization import Normalization, as_normalization
from gpucnn.errors import ArgumentError, GpucnnError, RunError
from gpucnn.layers import Layer
from gpucnn.regular_file import read_regular
from gpucnn.text import counted, printed, shape_text
from gpucnn.text_table import shortened

if TYPE_CHECKING:
    from gpucnn.onnx_model import OnnxModel

COPY = "onnx"
"""What of the entry "create" of a run's config.json names the copy of its ONNX file."""

ENDING = ".onnx"


class OnnxCopy(NamedTuple):
    """An ONNX file, as a run keeps it: with all that it takes to build its network again."""

    content: bytes

    @property
    def file_name(self) -> str:
        """What it is called in the run's folder: by its content, so that weights and a file of another run never go together."""
        return f"network-{hashlib.blake2b(self.content, digest_size=16).hexdigest()}{ENDING}"

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "OnnxCopy":
        """That of a user's file; arrays that lie in files beside it are in the copy. OnnxError if it cannot be read."""
        from gpucnn.onnx_model.whole_file import whole_file

        return cls(whole_file(path))

    @classmethod
    def read(cls, create: Mapping[str, Any], folder: Path) -> "OnnxCopy | None":
        """That in the folder of a run with this entry "create"; None if it names none.

        RunError if it is gone or was changed.
        """
        if COPY not in create:
            return None
        path = folder / str(create[COPY])
        try:
            copy = cls(read_regular(path))
        except OSError as error:
            raise RunError(
                f"{path}: the run's network cannot be read ({error.strerror or error}); put it back"
            ) from None
        if copy.file_name != create[COPY]:
            raise RunError(f"{path}: not the network of the run (its content was changed); put it back")
        return copy


def is_onnx(name: str | None) -> bool:
    """Whether a model's name is that of an ONNX file."""
    return name is not None and name.lower().endswith(ENDING)


class ReadNetwork(NamedTuple):
    """What was read of an ONNX file for a run."""

    model: "OnnxModel"
    """It gives logits."""
    had_softmax: bool
    """Whether the file makes probabilities of them, which a run leaves out: its loss takes logits."""


def read(path: str | os.PathLike[str], copy: OnnxCopy | None = None) -> ReadNetwork:
    """The network in an ONNX file; of the `copy` that was made of it, as the file itself may be another by now.

    Raises what `gpucnn.load_onnx` does, which is imported only by what has an ONNX file.
    """
    from gpucnn.onnx_model.model import model_of

    model = model_of(Path(path), None if copy is None else copy.content)
    return ReadNetwork(model, model.leave_softmax_out())


def build(create: Mapping[str, Any], folder: Path, seed: int | None = None) -> Layer:
    """The network that the entry "create" of a run in `folder` describes, not trained.

    Raises RunError and OnnxError if the copy of an ONNX file is gone, was changed or cannot be read, and what `models.create` does.
    """
    copy = OnnxCopy.read(create, folder)
    if copy is None:
        return models.create(**create, seed=seed)
    model = read(folder / str(create[COPY]), copy).model
    if seed is not None:
        model.seed = seed
    return model


def image_size_of(path: str) -> int | None:
    """The height and width of the images that an ONNX file takes; None where it leaves them open.

    ArgumentError where it takes no square images; OnnxError if it cannot be read.
    """
    shape = read(path).model.input_shape
    if shape is None:
        return None
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ArgumentError(
            f"{printed(path)}: takes inputs {shape_text(shape)}; a run has square images (C, H, W): export it for these"
        )
    return shape[1]


def normalization_of(path: str, metadata: Mapping[str, str], channels: int) -> Normalization | None:
    """What a file that gpucnn wrote tells of the images that it was trained on; None where it tells nothing.

    ArgumentError for what is no mean and std of as many channels.
    """
    try:
        told = json.loads(metadata.get("preprocess", "{}"))
        return as_normalization(told.get("mean"), told.get("std"), channels)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArgumentError(
            f"{printed(path)}: its metadata 'preprocess' tells no mean and std that fit ({shortened(str(error))}); give normalize, "
            f"yes or no"
        ) from None


def check_fits(path: str, model: "OnnxModel", image: Shape, classes: int) -> None:
    """ArgumentError, which says what to do, unless a file's network gives of images of the shape `image` so many logits each."""
    owner, taken = printed(path), model.input_shape
    if taken is not None and len(taken) == 3 and taken != image:
        if taken[0] != image[0]:
            kinds = {1: "grey", 3: "rgb"}
            fix = f"; choose mode {kinds[taken[0]]} for a folder of images" if taken[0] in kinds else ""
            raise ArgumentError(
                f"{owner}: takes images of {counted(taken[0], 'channel')}, and those of the data have {image[0]}{fix}, or export it for these"
            )
        raise ArgumentError(
            f"{owner}: takes images of {taken[1]}x{taken[2]}, and image_size is {image[1]}; leave image_size out, or export it "
            f"with open sizes"
        )
    logits = _tried(owner, model, image, 1)
    if isinstance(logits, tuple):
        raise ArgumentError(
            f'{owner}: has {len(logits)} outputs; a run trains one, or that called "logits": export it with one'
        )
    if logits.shape != (1, classes):
        raise ArgumentError(
            f"{owner}: gives {shape_text(logits.shape)} for an image, and the data has {classes} classes, (1, {classes}); export it "
            f"with a last layer of {classes} outputs, or choose data with its classes"
        )
    if _tried(owner, model, image, MORE).shape != (MORE, classes):
        raise ArgumentError(f"{owner}: gives other than one row for each image of a batch{_open_batch(model)}")


MORE = 3
"""Images of a batch that every network must take: one that was exported for a fixed number takes no others."""


def _tried(owner: str, model: "OnnxModel", image: Shape, count: int) -> Any:
    """What the network gives for `count` black images. ArgumentError if it does not take them."""
    try:
        return model(np.zeros((count, *image), np.float32))
    except GpucnnError as error:
        taken = shape_text(image) if count == 1 else f"in batches of {count}"
        raise ArgumentError(f"{owner}: does not take images {taken}{_open_batch(model)}: {error}") from None


def _open_batch(model: "OnnxModel") -> str:
    """What to do about a fixed number of images; empty for a file that declares none."""
    if model.batch_size is None:
        return ""
    return (
        f"; it was exported for {counted(model.batch_size, 'image')} at a time: export it with an open batch, in torch.onnx.export "
        f'by dynamic_axes={{"images": {{0: "N"}}}} for an input named so'
    )
