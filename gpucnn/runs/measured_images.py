"""Which images a trained run is measured on: never one that it was trained on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpucnn import data
from gpucnn.data import Dataset, ImageFolder, Preprocess, Splits, Subset
from gpucnn.data.catalog import FOLDER, changed, folder_of, load_to_measure
from gpucnn.data.class_folders import comparable
from gpucnn.data.image_file import AUTO
from gpucnn.data.image_folder import paths_of, whole_of
from gpucnn.data.inspection import inspect
from gpucnn.errors import ArgumentError, RunError
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.image_list import (
    LEARNED,
    ImageList,
    StoredImage,
    check_there,
    file_names,
    files_in,
    fingerprints,
    stored,
)
from gpucnn.runs.prepare import by_place
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import counted, names_text

DIGITS = "digits"
PARTS = {"train": LEARNED, "test": ("test",)}
"""What of a run's list is meant by the two parts of a data set."""


class Measured(NamedTuple):
    """Images to measure a run on."""

    images: Dataset
    what: str
    """Which ones they are, for people to read."""
    notes: tuple[str, ...]
    """What the user should know: how the folder has changed, what was left out."""
    splits: Splits | None = None
    """The data set that they are a part of; None for images of another folder than that of the training."""


def measured_images(run: RunFolder, trained: TrainedRun, data_dir: str | None, part: str) -> tuple[Measured, Path]:
    """The images of the part "train" or "test" to measure `trained` on, and the folder of the data set.

    - `trained`: what was loaded of `run`, with whose preprocessing the images come.
    - `data_dir`: the folder of the data set's files, or another folder of images, of which all are taken but those that the
      run was trained on; None for that of the training.

    Raises ArgumentError for a `data_dir` of the digits, which are in no folder, DataError if files are missing or damaged,
    and RunError if no images are left, or they are not what the run takes.
    """
    name, preprocess, config = trained.config["data"], trained.preprocess, trained.config
    own = config.get("data_dir")
    own_place = folder_of(name, None if own is None else str(own))
    place = own_place if data_dir is None else Path(data_dir)
    if data_dir is not None and name == DIGITS:
        raise ArgumentError(f"--data-dir: the {name} come with gpucnn, and no folder is read; leave it out")
    if name == FOLDER:
        check_there(place)
    size, mode, background = preprocess.image_size, config.get("mode"), config.get("background", AUTO)
    if name == FOLDER and place.resolve() != own_place.resolve():
        skip: Sequence[Path] = (
            [file.path for file in inspect(place).unreadable] if config.get("skip_unreadable") else []
        )
        whole, notes = load_to_measure(place, part, size, mode or "rgb", trained.class_names, background, skip)
        whole = whole.decoded_by(trained.decode, trained.cache)
        if skip:
            notes = (
                *notes,
                f"{place}: {counted(len(skip), 'unreadable file')} left out, as in training: {names_text(list(map(str, skip)))}",
            )
        _check_same(whole.preprocess, preprocess, run, name)
        whole.preprocess = preprocess
        measured = other_images(run.read_images(config), whole, place, part)
        return measured._replace(notes=(*notes, *measured.notes)), place
    images = run.read_images(config) if name == FOLDER else None
    skip = () if images is None else images.unreadable(place)
    splits = data.load(name, place, size, mode, background, skip).decoded_by(trained.decode, trained.cache)
    _check_same(splits.preprocess, preprocess, run, name)
    splits = relabelled(splits, trained.class_names, str(run.path))
    splits = splits.with_preprocess(preprocess)  # with the mean and the standard deviation of the training
    if name != FOLDER:
        what = "" if data_dir is None else f"the {part} images of {name} in {place}"
        return Measured(splits.train if part == "train" else splits.test, what, splits.notes, splits), place
    if images is None:
        measured = images_by_place(splits, place, part, run.test_total())
    else:
        measured = own_images(images, splits, place, part)
    return measured._replace(notes=(*splits.notes, *measured.notes), splits=splits), place


def _check_same(found: object, preprocess: Preprocess, run: RunFolder, name: str) -> None:
    """RunError if the run's `preprocess` is not what its data set is fed with."""
    if found != dataclasses.replace(preprocess, mean=None, std=None):
        raise RunError(f"{run.config_file}: its preprocess is not that of {name}, {found}")


def own_images(run: ImageList, splits: Splits, folder: Path, part: str) -> Measured:
    """The images of the part "train" or "test" of a run that learned from `folder`, as far as they are there.

    Of a folder with test images of its own, those that have come since count, too, unless the run was trained on them.
    Raises RunError if there are none.
    """
    files = files_in(splits, folder)
    changes = run.changes(files, PARTS[part])
    whole = whole_of(splits.train if part == "train" else splits.test)
    names, learned = file_names(paths_of(whole) or (), folder), run.digests(*LEARNED)
    candidates = [name for name in names if name in run.by_name and run.by_name[name].part in PARTS[part]]
    if part == "test":
        uncertain = set(changes.changed) & set(candidates)
        if names and not _share_a_folder(splits):
            uncertain |= set(changes.new) & set(names)
        doubles = {file.name for file in run.files if file.part == "test" and file.digest in learned} - uncertain
        seen = _known(uncertain, files, learned) | doubles
        candidates = [name for name in names if name in {*candidates, *uncertain} - seen]
    places = [place for place, name in enumerate(names) if name in set(candidates)]
    if not places and part == "test" and doubles:
        raise RunError(
            f"{folder}: all test images have the very bytes of images that the run was trained on; give another --data-dir"
        )
    if not places:
        raise RunError(
            f"{folder}: none of the run's {part} images is there any more; put them back, or give another --data-dir"
        )
    notes = [f"{folder}: {changes}"] if str(changes) else []
    if part == "test" and doubles:
        left = "is left out, as it has" if len(doubles) == 1 else "are left out, as they have"
        notes.append(
            f"{len(doubles):,} of the run's test images {left} the very bytes of images that it was trained on"
        )
    return Measured(Subset(whole, np.array(places)), f"the run's {part} images in {folder}", tuple(notes))


def other_images(run: ImageList | None, whole: ImageFolder, folder: Path, part: str) -> Measured:
    """All images of another folder, "test", but those that the run was trained on, or just these, "train".

    `whole` has them, see `catalog.load_to_measure`. Raises RunError if there are none.
    """
    learned = set() if run is None else run.digests(*LEARNED)
    seen = np.array([digest in learned for _, digest in fingerprints(stored(whole) or [])])
    places = np.flatnonzero(seen if part == "train" else ~seen)
    if not len(places):
        which = "none of its images is one" if part == "train" else "all of its images are ones"
        raise RunError(
            f"{folder}: {which} that the run was trained on, or measured by in every epoch; give another --data-dir, or another --split"
        )
    notes = []
    if part == "test" and seen.any():
        notes.append(
            f"{folder}: {seen.sum():,} of its images {'is' if seen.sum() == 1 else 'are'} left out, as the run was trained on them"
        )
    if run is None:
        notes.append(
            "the run was made before runs kept lists of their images: it may have been trained on some of these"
        )
    what = f"the images in {whole.folder}" if part == "test" else f"the run's train images in {whole.folder}"
    return Measured(Subset(whole, places), what, tuple(notes))


def images_by_place(splits: Splits, folder: Path, part: str, test_total: int | None) -> Measured:
    """The images of a run that kept no list: right if `folder` is as it was when the run began.

    `test_total` is how many test images the run had, None if that is not known. RunError if there are not as many now.
    """
    splits = by_place(splits)
    what = f"{part} images in {folder}"
    if not _share_a_folder(splits):  # test images have a folder of their own, whatever has changed
        return Measured(getattr(splits, part), what, ())
    if test_total is not None and len(splits.test) != test_total:
        raise RunError(
            f"{folder}: has changed since the run began: {len(splits.test):,} test images, which were {test_total:,}; the run "
            f"kept no list of its images, so that nobody knows which ones it was trained on: put the folder back as it was, or "
            f"give another --data-dir"
        )
    note = (
        f"the run was made before runs kept lists of their images: if {folder} has changed since, some that it was trained on "
        f"are among those measured"
    )
    return Measured(getattr(splits, part), what, (note,) if part == "test" else ())


def relabelled(splits: Splits, class_names: Sequence[str], run: str) -> Splits:
    """The images of another folder, labelled as the classes of a run are; the folder may lack some of these.

    RunError if it has others.
    """
    known = {comparable(name): number for number, name in enumerate(class_names)}
    if [comparable(name) for name in splits.class_names] == list(known):
        return splits._replace(class_names=tuple(class_names))
    unknown = [name for name in splits.class_names if comparable(name) not in known]
    if unknown or not isinstance(whole_of(splits.train), ImageFolder):
        classes = [names_text(names) for names in (class_names, splits.class_names)]
        fix = f"; rename or remove {names_text(unknown)}" if unknown else ""
        raise RunError(f"{run}: trained on the classes {classes[0]}; the images are of {classes[1]}{fix}")
    numbers = np.array([known[comparable(name)] for name in splits.class_names])
    train, test = (
        changed(part, labels=numbers[whole_of(part).labels], class_names=tuple(class_names))
        for part in (splits.train, splits.test)
    )
    return splits._replace(train=train, test=test, class_names=tuple(class_names))


def _known(names: set[str], files: dict[str, StoredImage], digests: set[str]) -> set[str]:
    """Those of the files `names` whose bytes are known."""
    ordered = sorted(names)
    found = fingerprints([files[name] for name in ordered])
    return {name for name, (_, digest) in zip(ordered, found, strict=True) if digest in digests}


def _share_a_folder(splits: Splits) -> bool:
    """Whether training and test images are parts of one folder."""
    wholes = (whole_of(part) for part in (splits.train, splits.test))
    return len({whole.folder for whole in wholes if isinstance(whole, ImageFolder)}) == 1
