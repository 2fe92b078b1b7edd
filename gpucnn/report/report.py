"""A run as one page to look at: everything in one file, which needs no network."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn import __version__, data, models, plot
from gpucnn.backend import choose_device
from gpucnn.checks import as_path
from gpucnn.data.image_folder import names_of
from gpucnn.files.atomic_file import telling_of, write_atomically
from gpucnn.layers.costs import costs
from gpucnn.report.chosen_images import choose_images
from gpucnn.report.facts import (
    RunInHand,
    commands,
    digits,
    notes,
    rows,
    sentence,
    setting_rows,
    title,
    unfinished,
    versions,
)
from gpucnn.report.page import check_libraries, page
from gpucnn.report.pictures import picture
from gpucnn.report.tables import class_rows, confusions, layer_rows
from gpucnn.report.thumbnails import COLUMNS, PER_SHEET, data_uri, model_images, pixels, sheets
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import list_runs
from gpucnn.runs.measured_images import measured_images
from gpucnn.text import printed
from gpucnn.training import evaluate

BATCH = 256
MOST_BYTES = 2_200_000
"""That all images of cells together take in the file."""


def write_report(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    data_dir: str | None = None,
    device: str = "auto",
) -> Path:
    """Measure a run, as `gpucnn evaluate` does, and write what came of it as a page of HTML in one file; returns the file.

    - `run`: the folder that `gpucnn train` made; one that was killed is told as far as it has come.
    - `out`: the file; by default report.html in the run's folder. It is written whole or not at all.
    - `weights`: "best" or "last"; by default those that are the run's result.
    - `data_dir`: the folder of the data set's files, or another folder of images; by default that of the training.
    - `device`: where to compute, "auto", "cpu", "cuda" or "cuda:1".

    Raises LibraryError without Jinja2 or matplotlib, RunError if the run cannot be read or the file cannot be written,
    DataError if images are missing or damaged, and DeviceError if the device does not work.
    """
    check_libraries()
    folder = RunFolder(run)
    place = folder.report_file if out is None else as_path(out, "write_report: out")
    content = page(contents(look_at(folder, weights, data_dir, device)))
    with telling_of(place):
        write_atomically(place, content)
    return place


def look_at(folder: RunFolder, weights: str | None, data_dir: str | None, device: str) -> RunInHand:
    """A run, measured as `gpucnn evaluate` does it."""
    trained = folder.load(choose_device(device).device, weights)
    measured, place = measured_images(folder, trained, data_dir, "test")
    found = evaluate(trained.model, data.DataLoader(measured.images, BATCH), trained.class_names)
    (entry,) = list_runs(folder.path)
    return RunInHand(folder, trained, entry, measured, place, found)


def contents(run: RunInHand) -> dict[str, Any]:
    """All that the page has, by the names of its template."""
    found = run.found
    images = _Images(run)
    low, high = found.accuracy_interval
    changed, rest = setting_rows(run)
    return {
        "version": __version__,
        "title": title(run),
        "sentence": sentence(run),
        "unfinished": unfinished(run),
        "accuracy": found.accuracy,
        "interval": (low, high),
        "digits": digits(found.total),
        "total": found.total,
        "rows": rows(run),
        "notes": notes(run),
        "confusion": confusions(found.confusion),
        "classes": class_rows(found.confusion),
        "macro": found.confusion.macro(),
        "pictures": {"curves": picture(lambda: plot.curves(run.folder))},
        "worst": images.cards(images.chosen.worst),
        "unsure": images.cards(images.chosen.unsure),
        "size": images.sheets.width,
        "layers": layer_rows(_costs(run)),
        "parameters": run.parameters,
        "changed": changed,
        "rest": rest,
        "versions": versions(run),
        "commands": commands(run),
        "data": images.for_script(),
    }


def _costs(run: RunInHand) -> Any:
    create, preprocess = dict(run.trained.config["create"]), run.trained.preprocess
    shape = (preprocess.channels, preprocess.image_size, preprocess.image_size)
    return costs(lambda: models.create(**create), shape)


class _Images:
    """The images of a report: which ones, as files, and what is told of each."""

    def __init__(self, run: RunInHand) -> None:
        self.run, self.samples = run, run.found.samples
        self.chosen = choose_images(self.samples)
        self.names = names_of(run.measured.images)
        self.thumbnails: dict[int, np.ndarray] = {}
        self.sheets = sheets(self._read(), MOST_BYTES)

    def _read(self) -> Iterator[np.ndarray]:
        """The thumbnails of the images that are shown, batch by batch."""
        places = self.chosen.shown
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            images = model_images(self.run.measured.images, self.samples.index[part])
            for place, thumbnail in zip(part, pixels(images, self.run.trained.preprocess), strict=True):
                self.thumbnails[int(place)] = thumbnail
                yield thumbnail

    def name(self, place: int) -> str:
        """The file of an image, or its number."""
        index = int(self.samples.index[place])
        return f"image {index}" if self.names is None else self.names[index]

    def cards(self, places: np.ndarray) -> list[dict[str, Any]]:
        """What is shown of single images."""
        names = self.run.trained.class_names
        found = []
        for place in map(int, places):
            sample = self.samples[place]
            found.append(
                {
                    "uri": data_uri(self.thumbnails[place]),
                    "look": "",
                    "label": names[sample.label],
                    "answer": names[sample.answer],
                    "is_right": sample.label == sample.answer,
                    "probability": sample.probability,
                    "loss": sample.loss,
                    "name": self.name(place),
                }
            )
        return found

    def for_script(self) -> dict[str, Any]:
        """What the page's script shows when a cell of the confusion matrix is chosen."""
        rows = []
        for place in map(int, self.chosen.shown[: self.sheets.count]):
            sample = self.samples[place]
            probability, loss = (
                round(value, 4) if np.isfinite(value) else None for value in (sample.probability, sample.loss)
            )
            rows.append([sample.label, sample.answer, probability, loss, printed(self.name(place))])
        return {
            "names": [printed(name) for name in self.run.trained.class_names],
            "images": rows,
            "sheets": self.sheets._asdict(),
            "per_sheet": PER_SHEET,
            "columns": COLUMNS,
        }
