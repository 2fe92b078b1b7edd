"""`gpucnn predict RUN PATH...`: what a trained model sees in image files."""

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import no_grad
from gpucnn.backend import Choice, choose_device, to_host
from gpucnn.cli.arguments import choice, count
from gpucnn.cli.result_file import check_writable, finite, write_json
from gpucnn.cli.trained_run import TrainedRun, load_run
from gpucnn.data import read_image
from gpucnn.data.catalog import is_light_on_dark
from gpucnn.data.image_file import AUTO, BACKGROUNDS
from gpucnn.data.ink import is_dark_on_light
from gpucnn.errors import DataError
from gpucnn.training.memory import in_parts
from gpucnn.training.text_table import columns, padded

HELP = "Classify image files (PNG, JPEG, .npy) and folders of them: one line an image, with class and probability."
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files in a folder that are taken for images."""

BATCH = 64


class Prediction(NamedTuple):
    """What was found in one file: the best answers as (class, probability), or why there is none."""

    file: str
    answers: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    is_dark_on_light: bool = False
    """As ink on paper, see `ink.is_dark_on_light`."""


class Shown(NamedTuple):
    """How images are shown to the model."""

    background: str = AUTO
    """What is behind their transparent parts."""
    invert: bool = False
    """Whether what is light in them is dark to the model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn predict`."""
    parser.epilog = (
        "A file that cannot be read is named on standard error, the others are classified all the same, and the exit status is 1. "
        f"In folders, names that begin with a dot are left out, and files that do not end in {', '.join(SUFFIXES)}."
    )
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+",
        help="an image, light on dark as in the digits and MNIST, or a folder, with all below it",
    )  # fmt: skip
    parser.add_argument("--invert", action="store_true", help="turn light and dark round, for ink on white paper")
    parser.add_argument(
        "--background",
        type=choice(BACKGROUNDS),
        metavar="NAME",
        help="what is behind the transparent parts of an image: auto, white or black (default: as in training)",
    )
    parser.add_argument("--top", type=count, default=1, metavar="K", help="the K best answers (default: 1)")
    parser.add_argument("--csv", metavar="FILE", help="write the answers to FILE, too, as a table")
    parser.add_argument("--json", metavar="FILE", help="write the answers to FILE, too, as JSON")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn predict`; returns 1 if a file could not be read, else 0."""
    from tqdm import tqdm

    chosen = choose_device(options.device)
    trained = load_run(options.run_folder, chosen.device)
    check_writable(options.csv, options.json)
    files = [file for path in options.images for file in files_of(path)]
    top = min(options.top, len(trained.class_names))
    widths = max(map(columns, files)), max(map(columns, trained.class_names))
    found: list[Prediction] = []
    with tqdm(total=len(files), unit="image", leave=False, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        shown = Shown(options.background or str(trained.config.get("background", AUTO)), options.invert)
        for prediction in predictions(trained, chosen, files, top, shown):
            if prediction.error is None:
                tqdm.write(line(prediction, *widths), file=sys.stdout)
            else:
                tqdm.write(f"gpucnn predict: {prediction.error}", file=sys.stderr)
            found.append(prediction)
            bar.update()
    if warning := on_ink(trained, found, options.invert):
        print(f"gpucnn predict: {warning}", file=sys.stderr)
    if options.csv:
        write_csv(options.csv, found, top)
    if options.json:
        write_json(options.json, [as_json(prediction) for prediction in found])
    return int(any(prediction.error for prediction in found))


def files_of(path: str) -> list[str]:
    """The images in a folder and in those below it, sorted; a file itself, and a folder without images, are left as they are."""
    if not os.path.isdir(path):
        return [path]
    files: list[str] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = (name for name in sorted(names) if not name.startswith(".") and name.lower().endswith(SUFFIXES))
        files += [os.path.join(folder, name) for name in images]
    return files or [path]


def predictions(
    trained: TrainedRun, chosen: Choice, files: Sequence[str], top: int, shown: Shown
) -> Iterator[Prediction]:
    """What the model sees in each of `files`, in their order, computed in batches; `chosen` is told before the first."""
    told, full_scale = False, trained.preprocess.full_scale
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        images: list[np.ndarray] = []
        errors: dict[str, str] = {}
        for file in batch:
            try:
                raw = _read(file, trained, shown.background)
                images.append(full_scale - raw if shown.invert else raw)
            except DataError as error:
                errors[file] = " ".join(str(error).split())
        if images and not told:
            print(chosen, file=sys.stderr)  # the table on standard output stays a table
            told = True
        answers = iter(_answers(trained, chosen, np.concatenate(images), top) if images else ())
        on_paper = iter([is_dark_on_light(image) for image in images])
        for file in batch:
            if file in errors:
                yield Prediction(file, error=errors[file])
            else:
                yield Prediction(file, next(answers), is_dark_on_light=next(on_paper))


def on_ink(trained: TrainedRun, found: Sequence[Prediction], invert: bool) -> str | None:
    """What to say of images that are dark on light, to a model that has learned from the opposite; None without."""
    name, wrong = str(trained.config["data"]), [prediction.file for prediction in found if prediction.is_dark_on_light]
    if not wrong or not is_light_on_dark(name):
        return None
    which = wrong[0] if len(wrong) == 1 else f"{len(wrong)} of {len(found)} images, {wrong[0]} the first,"
    are = "is" if len(wrong) == 1 else "are"
    if invert:
        return f"{which} {are} dark on light after --invert, and {name} is light on dark; leave --invert out for what is light on dark"
    return f"{which} {are} dark on light, and {name} is light on dark; --invert turns light and dark round"


def line(prediction: Prediction, file_width: int, class_width: int) -> str:
    """A line of the table: the file, then class and probability of each answer."""
    answers = (f"{padded(name, class_width)}  {probability:.4f}" for name, probability in prediction.answers)
    return f"{padded(prediction.file, file_width)}  {'  '.join(answers)}"


def as_json(prediction: Prediction) -> dict[str, object]:
    """A prediction as JSON values: "file", and either "answers" or "error"."""
    if prediction.error is not None:
        return {"file": prediction.file, "error": prediction.error}
    answers = [{"class": name, "probability": finite(probability)} for name, probability in prediction.answers]
    return {"file": prediction.file, "answers": answers}


def write_csv(path: str, found: Sequence[Prediction], top: int) -> None:
    """Write a line a file: its name, class and probability of each of the `top` answers, and why there are none."""
    numbers = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    names = [f"{name}{number}" for number in numbers for name in ("class", "probability")]
    # File names need not be text: surrogates become the bytes that they stand for.
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *names, "error"])
        for prediction in found:
            cells = [cell for answer in prediction.answers for cell in answer] or [""] * len(names)
            writer.writerow([prediction.file, *cells, prediction.error or ""])


def _read(file: str, trained: TrainedRun, background: str) -> np.ndarray:
    if os.path.isdir(file):
        raise DataError(f"{file}: no images in this folder; give a folder with files that end in .png, .jpg or .npy")
    return read_image(file, trained.preprocess, background)


def _answers(trained: TrainedRun, chosen: Choice, raw: np.ndarray, top: int) -> list[tuple[tuple[str, float], ...]]:
    """The `top` classes with their probabilities, the best first, for each of the raw images (N, C, H, W)."""
    with no_grad():
        images = trained.preprocess(raw)
        probabilities = to_host(in_parts(lambda part: F.softmax(trained.model(part)), images, chosen.device))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        tuple((trained.class_names[place], float(row[place])) for place in places)
        for row, places in zip(probabilities, best, strict=True)
    ]
