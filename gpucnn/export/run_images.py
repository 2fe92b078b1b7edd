"""Images of a run's data set as people have them: decoded, in their own sizes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpucnn import data
from gpucnn.backend import to_host
from gpucnn.data import Dataset
from gpucnn.data.catalog import Part, changed
from gpucnn.data.image_file import decode_image
from gpucnn.data.image_folder import ImageFolder, places_of
from gpucnn.errors import GpucnnError
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.measured_images import measured_images
from gpucnn.runs.trained_run import TrainedRun

if TYPE_CHECKING:
    from PIL import Image


BATCH = 64


class RunImages(NamedTuple):
    """Images of a run's data set, or others, to see what a file makes of them."""

    what: str
    """Which ones they are, for people to read."""
    labels: np.ndarray
    """The classes, by their numbers."""
    at: "Callable[[int], Image.Image]"
    """The image at a place, grey or RGB."""
    have_one_size: bool
    """Whether they are those of a data set that has one."""

    def batches(self) -> "Iterator[tuple[list[int], list[Image.Image]]]":
        """All images with their places, in their order, in batches of one size."""
        places: list[int] = []
        images: list[Image.Image] = []
        for place in range(len(self.labels)):
            image = self.at(place)
            if images and (len(images) == BATCH or (image.size, image.mode) != (images[0].size, images[0].mode)):
                yield places, images
                places, images = [], []
            places.append(place)
            images.append(image)
        if images:
            yield places, images

    def spread(self, count: int) -> np.ndarray:
        """The places of `count` images from the first to the last, or of all, if there are less."""
        return np.unique(np.linspace(0, len(self.labels) - 1, min(count, len(self.labels))).round().astype(int))


def run_images(trained: TrainedRun, data_dir: str | None, part: str) -> RunImages:
    """Those of the part "train" or "test" that `gpucnn evaluate` measures `trained` on; its errors where they are not there."""
    measured, _ = measured_images(RunFolder(trained.weights.file.parent), trained, data_dir, part)
    return _decoded(trained, measured.images, f"the run's {part} images")


def images_to_try(trained: TrainedRun, data_dir: str | None) -> RunImages:
    """The test images of a run, or the digits that come with gpucnn, where these are not there."""
    try:
        return run_images(trained, data_dir, "test")
    except (GpucnnError, OSError) as error:
        if data_dir is not None:
            raise
        reason = str(error).partition(";")[0]
        digits = data.load("digits").test
        return _pixels(
            digits, 16, f"the digits that come with gpucnn, as the run's test images are not there ({reason})"
        )


def _decoded(trained: TrainedRun, images: Dataset, what: str) -> RunImages:
    places, whole = places_of(images)
    assert isinstance(images, Part)
    if not isinstance(whole, ImageFolder):
        return _pixels(images, trained.preprocess.full_scale, what)
    background = trained.shown().background

    def at(place: int) -> "Image.Image":
        size = trained.preprocess.native_size
        with closing(whole.contents(places[place : place + 1])) as contents:
            return decode_image(
                whole.paths[places[place]], trained.preprocess.channels, background=background,
                read=lambda _: next(contents), decode=trained.decode, least=size,
            )  # fmt: skip

    return RunImages(what, to_host(images.labels), at, False)


def _pixels(images: Part, full_scale: int, what: str) -> RunImages:
    """Images that are arrays, which count up to `full_scale`."""
    from PIL import Image

    raw = changed(images, preprocess=None)

    def at(place: int) -> Image.Image:
        counts = to_host(raw[np.array([place])][0])[0]
        pixels = np.rint(counts * (255 / full_scale)).astype(np.uint8)
        return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))

    return RunImages(what, to_host(raw.labels), at, True)


def as_input(trained: TrainedRun, images: "Sequence[Image.Image]", raw: bool) -> np.ndarray:
    """Decoded images as a file takes them: raw, which are of one size, as bytes (N, H, W, C), else as the model does."""
    if not raw:
        read = np.concatenate([trained.read(image, trained.shown()) for image in images])
        return to_host(trained.preprocess(read))
    arrays = [np.asarray(image) for image in images]
    return np.stack([array[:, :, None] if array.ndim == 2 else array for array in arrays])
