"""`gpucnn data FOLDER`: what is in a folder of images, and what is wrong with it."""

import argparse
from collections.abc import Sequence

import numpy as np

from gpucnn import data
from gpucnn.backend import to_host
from gpucnn.cli import folder_report
from gpucnn.cli.arguments import argument, count
from gpucnn.cli.result_file import check_writable, write_json
from gpucnn.data import Inspection, Splits
from gpucnn.data.catalog import FOLDER, folder_of, name_and_folder
from gpucnn.errors import DataError
from gpucnn.runs.choices import DataSet
from gpucnn.text_table import text_table

HELP = "Look at a folder of images before training: classes, sizes, files that cannot be read, the same image twice."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn data`."""
    parser.epilog = "Every file is decoded. Exit status: 0 if all can be read, 1 if not."
    parser.add_argument(
        "data", metavar="FOLDER", type=argument(DataSet()),
        help="a folder of images, as gpucnn train --data takes it, or the name of a data set",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="the folder of a named data set's files (default: data/NAME)")
    parser.add_argument(
        "--image-size",
        type=count,
        metavar="N",
        help="tell how many images are smaller than that, and would be enlarged",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was seen to FILE, too, file by file")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn data`; returns 1 if a file cannot be read, else 0."""
    name, folder = name_and_folder(options.data, options.data_dir)
    check_writable(options.json)
    if name != FOLDER:
        splits = data.load(name, folder)
        if options.json:
            write_json(options.json, {"data": name, "classes": list(splits.class_names), "images": _counts(splits)})
        print("\n".join(_lines_of_set(name, splits)))
        return 0
    place = folder_of(name, folder)
    with folder_report.looking() as told:
        found = data.inspect(place, told)
    taken = _taken(found)
    splits_or_none = None if isinstance(taken, DataError) else taken
    if options.json:
        write_json(options.json, folder_report.as_json(found, splits_or_none))
    print("\n".join(folder_report.lines(found, splits_or_none, options.image_size)), flush=True)
    if isinstance(taken, DataError):
        raise taken
    return int(bool(found.unreadable))


def _taken(found: Inspection) -> Splits | DataError:
    """The images that can be read, as a training takes them, or why it cannot."""
    try:
        return data.load(FOLDER, found.folder, image_size=1, skip=[file.path for file in found.unreadable])
    except DataError as error:
        return error


def _counts(splits: Splits) -> dict[str, list[int]]:
    """How many images of each class are in each part."""
    parts = {"train": splits.train, "test": splits.test}
    return {
        name: np.bincount(to_host(part.labels), minlength=len(splits.class_names)).tolist()
        for name, part in parts.items()
    }


def _lines_of_set(name: str, splits: Splits) -> Sequence[str]:
    """A data set that has a name: images of one size, which were read as they are."""
    counts, size = _counts(splits), splits.preprocess.native_size
    rows = [(label, *(f"{number:,}" for number in numbers))
            for label, *numbers in zip(splits.class_names, *counts.values(), strict=True)]  # fmt: skip
    rows.append(("all", *(f"{sum(numbers):,}" for numbers in counts.values())))
    kind = "grey" if splits.preprocess.channels == 1 else "rgb"
    total = sum(map(sum, counts.values()))
    return [
        f"{name}: {total:,} {kind} images of {size}x{size} pixels in {len(splits.class_names):,} classes",
        "",
        *text_table(("class", *counts), rows, "lrr"),
        *splits.notes,
    ]
