"""A run as one page to look at: everything in one file, which needs no network."""

import os
from pathlib import Path
from typing import Any

from gpucnn import __version__, plot
from gpucnn.atomic_file import check_place, telling_of, write_atomically
from gpucnn.checks import as_path
from gpucnn.layers.costs import costs
from gpucnn.report.facts import (
    calibration_text,
    commands,
    digits,
    has_probabilities,
    notes,
    rows,
    sentence,
    setting_rows,
    title,
    unfinished,
    versions,
    weights_text,
)  # fmt: skip
from gpucnn.report.inside import diagram, inside
from gpucnn.report.page import check_libraries, page
from gpucnn.report.pictures import embedded
from gpucnn.report.run_in_hand import RunInHand
from gpucnn.report.shown_images import ShownImages
from gpucnn.report.tables import class_rows, confusions, layer_rows
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.network import build


def write_report(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
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
    images = None if data_dir is None else str(as_path(data_dir, "write_report: data_dir"))
    place = folder.report_file if out is None else as_path(out, "write_report: out")
    folder.read_config()  # what is no run is said first
    check_place(place)
    content = page(contents(RunInHand.measure(folder, weights, images, device)))
    with telling_of(place):
        write_atomically(place, content)
    return place


def contents(run: RunInHand) -> dict[str, Any]:
    """All that the page has, by the names of its template."""
    found = run.found
    images = ShownImages(run)
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
        "pictures": {
            "curves": embedded(lambda: plot.curves(run.folder)),
            "calibration": embedded(lambda: plot.calibration(found)) if has_probabilities(run) else None,
            "diagram": diagram(run),
        },
        "weights_text": weights_text(run),
        "calibration_text": calibration_text(run),
        "inside": inside(run, images.chosen),
        "worst": images.cards(images.chosen.worst),
        "worst_text": images.worst_text,
        "unsure": images.cards(images.chosen.unsure),
        "size": images.width,
        "layers": layer_rows(_costs(run)),
        "parameters": run.parameters,
        "changed": changed,
        "rest": rest,
        "versions": versions(run),
        "commands": commands(run),
        "looks_text": images.looks_text,
        "left_out_text": images.left_out_text,
        "data": images.for_script(),
    }


def _costs(run: RunInHand) -> Any:
    create, preprocess = dict(run.trained.config["create"]), run.trained.preprocess
    shape = (preprocess.channels, preprocess.image_size, preprocess.image_size)
    return costs(lambda: build(create, run.folder.path), shape)
