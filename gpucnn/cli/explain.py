"""`gpucnn explain RUN PATH...`: a picture for each image file of what a trained model makes of it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpucnn.atomic_file import telling_of
from gpucnn.backend import choose_device
from gpucnn.cli.arguments import add_weights
from gpucnn.cli.given_images import add_images, found_images
from gpucnn.cli.predict import Prediction, line, on_ink
from gpucnn.data.image_file import is_dark_on_light
from gpucnn.data.image_listing import left_out_text
from gpucnn.errors import ArgumentError, DataError, RunError
from gpucnn.explain.given import as_layer
from gpucnn.plot.explanation import explanation
from gpucnn.plot.figure import check_path
from gpucnn.runs.folder import RunFolder
from gpucnn.text import printed
from gpucnn.text_table import columns

HELP = (
    "Draw what a model makes of images: top classes, where the evidence is, filters, and feature maps layer by layer."
)
TOP = 3
"""Classes that are printed of an image."""
FOLDER = "explained"
LONGEST = 180
"""Bytes of an image's name that its picture's name has: with all that is added, names may have 255."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn explain`."""
    parser.epilog = (
        "cat.jpg becomes cat-explained.png, a second cat.jpg cat-explained-2.png; no image that is given is written to. A file that "
        "cannot be read is named on standard error, and the exit status is 1. Needs the extra plot, which is matplotlib."
    )
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    add_images(parser)
    parser.add_argument(
        "--layer",
        metavar="PATH",
        help="show the maps of this layer alone, e.g. conv2, large (default: the last of each size of maps)",
    )
    parser.add_argument("--out", metavar="FOLDER", default=FOLDER, help=f"where the pictures go (default: {FOLDER})")
    add_weights(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn explain`; returns 1 if a file could not be read, or its picture not be written, else 0."""
    check_path(None)  # says at once if matplotlib is missing
    chosen = choose_device(options.device)
    trained = RunFolder(options.run_folder).load(chosen.device, options.weights)
    if options.layer is not None:
        as_layer("--layer", trained.model, options.layer)
    files, problems, left_out = found_images(options.images)
    pictures = picture_files(files, Path(options.out))
    shown, top = trained.shown(options.invert, options.background), min(TOP, len(trained.class_names))
    widths = max(columns(printed(file)) for file in files), max(columns(printed(name)) for name in trained.class_names)
    found: list[Prediction] = []
    for file, picture in zip(files, pictures, strict=True):
        try:
            if file in problems:
                raise DataError(problems[file])
            raw = trained.read(file, shown)
        except (DataError, ArgumentError) as error:
            found.append(_failed(file, error))
            continue
        with telling_of(picture.parent):
            picture.parent.mkdir(parents=True, exist_ok=True)
        try:
            explanation(trained, trained.preprocess(raw)[0], options.layer, picture)
        except RunError as error:
            found.append(_failed(file, error))
            continue
        if all(one.error for one in found):  # before the first of them
            print(chosen, f"weights: {trained.weights}", sep="\n", file=sys.stderr)
        found.append(Prediction(file, trained.answers(raw, top)[0], is_dark_on_light=is_dark_on_light(raw)))
        print(f"{line(found[-1], *widths)}  {printed(str(picture))}", flush=True)
    if text := left_out_text(left_out):
        print(f"gpucnn explain: {text}", file=sys.stderr)
    if warning := on_ink(trained, found, options.invert):
        print(f"gpucnn explain: {warning}", file=sys.stderr)
    return int(any(prediction.error for prediction in found))


def _failed(file: str, error: Exception) -> Prediction:
    """What becomes of a file that has no picture; those after it have theirs."""
    found = Prediction(file, error=" ".join(str(error).split()))
    print(f"gpucnn explain: {found.error}", file=sys.stderr)
    return found


def picture_files(images: Sequence[str], folder: Path) -> list[Path]:
    """Where the picture of each image goes: each its own file, and none of the images, by whatever way they are named."""
    taken = {_same(image) for image in images}
    found: list[Path] = []
    for image in images:
        stem, number = f"{_short(Path(image).stem)}-explained", 1
        picture = folder / f"{stem}.png"
        while _same(picture) in taken:
            number += 1
            picture = folder / f"{stem}-{number}.png"
        taken.add(_same(picture))
        found.append(picture)
    return found


def _short(name: str) -> str:
    """`name`, cut where it would take more than `LONGEST` bytes, between two letters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONGEST else encoded[:LONGEST].decode("utf-8", "ignore")


def _same(path: str | Path) -> str:
    """What is the same for all ways to name a file; names of files may count in capitals or not."""
    return os.path.realpath(path).casefold()
