"""What should be known of a folder of images before it is trained on: what was left out, and what its parts lack."""

from collections.abc import Mapping, Sequence

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data.dataset import Dataset
from gpucnn.data.folder_parts import FolderParts, part_of
from gpucnn.data.image_folder import ImageFolder
from gpucnn.data.image_listing import left_out_text
from gpucnn.text import names_text


def notes_on_parts(parts: FolderParts, images: Sequence[ImageFolder]) -> tuple[str, ...]:
    """The lines about a folder with parts, whose images these are, those to train on first."""
    names = [one.folder.name for one in images]
    lines = [left_out_text(sum((one.left_out for one in images), parts.files_beside))]
    if parts.folders_beside:
        lines.append(f"not read: {names_text(parts.folders_beside)}, beside {', '.join(names)}")
    if part_of(parts.test.name) == "validation":
        lines.append(f"there is no folder test: {parts.test.name} is what is tested with")
    for one, name in zip(images, names, strict=True):
        if missing := _of_count(0, one, one.class_names):
            lines.append(f"{name} has no images of {missing}")
    if alone := _of_count(1, images[0], images[0].class_names):
        lines.append(f"{names[0]} has only one image of {alone}")
    return tuple(line for line in lines if line)


def notes_on_packed(parts: Mapping[str, ImageFolder]) -> tuple[str, ...]:
    """The lines about the parts of a data set that is in a few large files."""
    lines = [line for images in parts.values() for line in images.notes]
    for part, images in parts.items():
        if missing := _of_count(0, images, images.class_names):
            lines.append(f"{part} has no images of {missing}")
    return tuple(lines)


def notes_on_whole(images: ImageFolder) -> tuple[str, ...]:
    """The lines about a folder of classes, all of which is measured."""
    lines = [left_out_text(images.left_out)]
    if missing := _of_count(0, images, images.class_names):
        lines.append(f"{images.folder} has no images of {missing}")
    return tuple(line for line in lines if line)


def notes_on_split(images: ImageFolder, train: Dataset, test: Dataset) -> tuple[str, ...]:
    """The lines about a folder of classes, which was split in two."""
    lines = [left_out_text(images.left_out)]
    if alone := _of_count(1, images, images.class_names):
        lines.append(f"there is only one image of {alone}")
    for part, purpose in ((train, "to learn from"), (test, "to test with")):
        if missing := _of_count(0, part, images.class_names):
            lines.append(f"there are too few images of {missing}: none is left {purpose}")
    return tuple(line for line in lines if line)


def _of_count(count: int, images: Dataset, class_names: Sequence[str]) -> str:
    """The classes with `count` images."""
    counts = np.bincount(to_host(images.labels), minlength=len(class_names))
    return names_text([name for name, images_of_it in zip(class_names, counts, strict=True) if images_of_it == count])
