"""Some of the images that a run was tested with, for the page: none that the network has learned from."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn import data
from gpucnn.backend import to_host
from gpucnn.data import Dataset, Preprocess, Splits
from gpucnn.data.catalog import FOLDER, folder_of
from gpucnn.data.image_file import AUTO
from gpucnn.data.image_folder import paths_of
from gpucnn.errors import GpucnnError
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.measured_images import images_by_place, own_images, relabelled
from gpucnn.runs.trained_run import TrainedRun

COUNT = 10


def sample_images(run: RunFolder, trained: TrainedRun) -> tuple[list[dict[str, Any]], str]:
    """Up to `COUNT` test images as `raw` bytes in base64, with `label` and `name`, of as many classes as there are.

    Without the run's data there are none, and the text says why.
    """
    try:
        images, names = _test_images(run, trained)
        places = _of_each_class(to_host(images.labels))
        pixels = to_host(images[places][0]) * trained.preprocess.full_scale
    except (GpucnnError, OSError) as error:
        return [], str(error)
    raw = np.rint(pixels).astype(np.uint8)
    return [
        {
            "raw": base64.b64encode(raw[row].tobytes()).decode(),
            "label": trained.class_names[int(images.labels[place])],
            "name": names[place].name if names else f"test image {place}",
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


def _test_images(run: RunFolder, trained: TrainedRun) -> tuple[Dataset, Sequence[Path] | None]:
    """The run's test images, whose pixels are raw ones over their full scale; and their files, if they have any."""
    name, config, how = str(trained.config["data"]), trained.config, trained.preprocess
    own = config.get("data_dir")
    place = folder_of(name, None if own is None else str(own))
    images = run.read_images(config) if name == FOLDER else None
    skip = () if images is None else images.unreadable(place)
    background = config.get("background", AUTO)
    splits = relabelled(
        data.load(name, place, how.image_size, config.get("mode"), background, skip), trained.class_names, str(run.path)
    )
    plain = Preprocess(
        how.channels, how.native_size, how.native_size, how.full_scale, "crop" if name == FOLDER else "pad"
    )
    found = _tested(run, splits.with_preprocess(plain), name, place)
    return found, paths_of(found)


def _tested(run: RunFolder, splits: Splits, name: str, place: Path) -> Dataset:
    if name != FOLDER:
        return splits.test
    images = run.read_images(run.read_config())
    if images is None:
        return images_by_place(splits, place, "test", run.test_total()).images
    return own_images(images, splits, place, "test").images
