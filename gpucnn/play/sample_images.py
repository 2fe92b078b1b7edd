"""Some of the images that a run was tested with, for the page: none that the network has learned from."""

import base64
from typing import Any

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data import Preprocess
from gpucnn.data.catalog import Part, changed
from gpucnn.data.image_folder import paths_of
from gpucnn.errors import GpucnnError
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.measured_images import measured_images
from gpucnn.runs.trained_run import TrainedRun

COUNT = 10


def sample_images(run: RunFolder, trained: TrainedRun) -> tuple[list[dict[str, Any]], str]:
    """Up to `COUNT` test images as `raw` bytes in base64, with `label` and `name`, of as many classes as there are.

    Without the run's data there are none, and the text says why.
    """
    how = trained.preprocess
    raw_over_scale = Preprocess(
        how.channels, how.native_size, how.native_size, how.full_scale, "crop" if how.fit == "crop" else "pad"
    )
    try:
        measured, _ = measured_images(run, trained, None, "test")
        assert isinstance(measured.images, Part)
        images = changed(measured.images, preprocess=raw_over_scale)
        labels = to_host(images.labels)
        places = _of_each_class(labels)
        pixels = to_host(images[places][0]) * how.full_scale
    except (GpucnnError, OSError) as error:
        return [], str(error)
    raw, paths = np.rint(pixels).astype(np.uint8), paths_of(images)
    return [
        {
            "raw": base64.b64encode(raw[row].tobytes()).decode(),
            "label": trained.class_names[int(labels[place])],
            "name": paths[place].name if paths else f"test image {place}",
        }
        for row, place in enumerate(places)
    ], ""


def _of_each_class(labels: np.ndarray) -> np.ndarray:
    """The places of `COUNT` images: the first of each class, then the second, and so on, in the order of their labels."""
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    chosen = np.lexsort((labels, rank))[:COUNT]
    return chosen[np.argsort(labels[chosen], kind="stable")]
