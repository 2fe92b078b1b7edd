"""`gpucnn predict RUN PATH...`, or FILE.onnx for RUN: what a trained model sees in image files."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpucnn.backend import ChosenDevice, choose_device
from gpucnn.cli.arguments import add_views, add_weights, count
from gpucnn.cli.given_images import add_images, found_images
from gpucnn.cli.result_file import check_writable, finite, write_json, write_text
from gpucnn.data.catalog import is_light_on_dark
from gpucnn.data.image_listing import left_out_text
from gpucnn.errors import GpucnnError
from gpucnn.runs.kept_weights import BEST
from gpucnn.runs.load import load_run
from gpucnn.runs.trained_run import Seen, Shown, TrainedRun
from gpucnn.text import printed
from gpucnn.text_table import columns, padded

HELP = "Classify image files (PNG, JPEG, .npy) and folders of them: one line per image, with class and probability."


class Prediction(NamedTuple):
    """What was found in one file: the best answers as (class, probability), or why there is none."""

    file: str
    answers: Sequence[tuple[str, float]] = ()
    error: str | None = None
    is_dark_on_light: bool = False
    """As ink on paper, see `image_file.is_dark_on_light`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn predict`."""
    parser.epilog = (
        "A file that cannot be read is named on standard error, the others are classified all the same, and the exit status is 1. "
        "In folders, the files are taken that training takes (PNG, JPEG, TIFF, WebP, ..., .npy), and a line tells of the others."
    )
    parser.add_argument(
        "run_folder", metavar="RUN", help="a folder that gpucnn train made, or FILE.onnx of gpucnn export RUN --float"
    )
    add_images(parser)
    parser.add_argument("--top", type=count, default=1, metavar="K", help="the K best answers (default: 1)")
    parser.add_argument("--csv", metavar="FILE", help="write the answers to FILE, too, as a table")
    parser.add_argument("--json", metavar="FILE", help="write the answers to FILE, too, as JSON")
    add_weights(parser)
    add_views(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn predict`; returns 1 if a file could not be read, else 0."""
    from tqdm import tqdm

    chosen = choose_device(options.device)
    trained = load_run(options.run_folder, chosen.device, options.weights)
    trained.look_at(options.views)
    check_writable(options.csv, options.json)
    files, problems, left_out = found_images(options.images)
    top = min(options.top, len(trained.class_names))
    widths = max(columns(printed(file)) for file in files), max(columns(printed(name)) for name in trained.class_names)
    found: list[Prediction] = []
    with tqdm(total=len(files), unit="image", leave=False, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        shown = trained.shown(options.invert, options.background)
        for prediction in predictions(trained, chosen, files, top, shown, problems):
            if prediction.error is None:
                tqdm.write(line(prediction, *widths), file=sys.stdout)
            else:
                tqdm.write(f"gpucnn predict: {prediction.error}", file=sys.stderr)
            found.append(prediction)
            bar.update()
    if text := left_out_text(left_out):
        print(f"gpucnn predict: {text}", file=sys.stderr)
    if warning := on_ink(trained, found, options.invert):
        print(f"gpucnn predict: {warning}", file=sys.stderr)
    if options.csv:
        write_csv(options.csv, found, top)
    if options.json:
        write_json(options.json, [as_json(prediction) for prediction in found])
    return int(any(prediction.error for prediction in found))


def predictions(
    trained: TrainedRun, chosen: ChosenDevice, files: Sequence[str], top: int, shown: Shown, problems: Mapping[str, str]
) -> Iterator[Prediction]:
    """What the model sees in each of `files`, in their order, computed in batches; `chosen` is told before the first.

    `problems` says of some why they cannot be read.
    """
    told = False
    seen = trained.in_batches((file for file in files if file not in problems), top, shown)
    waiting: list[Seen | GpucnnError] = []
    for file in files:
        if file in problems:
            yield Prediction(file, error=" ".join(problems[file].split()))
            continue
        waiting = waiting or next(seen)
        if not told and any(isinstance(one, Seen) for one in waiting):
            print(chosen, file=sys.stderr)  # the table on standard output stays a table
            if trained.weights.name == BEST:
                print(f"weights: {trained.weights}", file=sys.stderr)
            told = True
        found = waiting.pop(0)
        if isinstance(found, Seen):
            yield Prediction(file, found.answers, is_dark_on_light=found.is_dark_on_light)
        else:
            yield Prediction(file, error=" ".join(str(found).split()))


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
    answers = (f"{padded(printed(name), class_width)}  {probability:.4f}" for name, probability in prediction.answers)
    return f"{padded(printed(prediction.file), file_width)}  {'  '.join(answers)}"


def as_json(prediction: Prediction) -> dict[str, object]:
    """A prediction as JSON values: "file", and either "answers" or "error"."""
    if prediction.error is not None:
        return {"file": prediction.file, "error": prediction.error}
    answers = [{"class": name, "probability": finite(probability)} for name, probability in prediction.answers]
    return {"file": prediction.file, "answers": answers}


def write_csv(path: str, found: Sequence[Prediction], top: int) -> None:
    """Write one line per file: its name, class and probability of each of the `top` answers, and why there are none."""
    numbers = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    names = [f"{name}{number}" for number in numbers for name in ("class", "probability")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *names, "error"])
    for prediction in found:
        cells = [cell for answer in prediction.answers for cell in answer] or [""] * len(names)
        writer.writerow([prediction.file, *cells, prediction.error or ""])
    write_text(path, text.getvalue())
