"""`gpucnn data FOLDER`: what is in a folder of images, and what is wrong with it; `gpucnn data pack FOLDER`: the same in tars."""

import argparse
from collections.abc import Sequence

import numpy as np

from gpucnn import data
from gpucnn.backend import to_host
from gpucnn.cli import folder_report
from gpucnn.cli.arguments import argument, count
from gpucnn.cli.result_file import check_writable, write_json
from gpucnn.data import Inspection, Splits
from gpucnn.data import packing as data_packing
from gpucnn.data.catalog import FOLDER, folder_of, name_and_folder
from gpucnn.errors import ArgumentError, DataError
from gpucnn.runs.choices import DataSet
from gpucnn.runs.value_kind import SEED
from gpucnn.text import counted, printed, quoted
from gpucnn.text_table import text_table

HELP = (
    "Look at a folder of images before training: classes, sizes, files that cannot be read, the same image twice. Or pack it "
    "into tars."
)
PACK = "pack"
"""The word before a folder that is to be packed."""

OF_PACK, OF_LOOK = ("to", "size", "seed"), ("data_dir", "image_size", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn data`."""
    parser.epilog = "Every file is decoded. Exit status: 0 if all can be read, 1 if not."
    parser.add_argument(
        "words", metavar="FOLDER", nargs="+",
        help="a folder of images, as gpucnn train --data takes it, or the name of a data set; with the word pack before it a "
        "folder whose images are written into tars",
    )  # fmt: skip
    parser.add_argument(
        "--to", metavar="DIR", help="of pack: the new folder for the tars and the names of their classes"
    )
    parser.add_argument(
        "--size", type=count, metavar="BYTES", help=f"of pack: bytes of a tar (default: {data_packing.SIZE:,})"
    )
    parser.add_argument(
        "--seed",
        type=argument(SEED),
        metavar="S",
        help="of pack: draws the order of the images in the tars (default: 0)",
    )
    parser.set_defaults(parser=parser)
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
    if options.words[0] == PACK and len(options.words) > 1:
        return _pack(options)
    if given := [name for name in OF_PACK if getattr(options, name) is not None]:
        options.parser.error(f"--{given[0]} goes with pack: gpucnn data pack FOLDER --to DIR")
    if len(options.words) > 1:
        options.parser.error(f"unrecognized arguments: {' '.join(options.words[1:])}")
    try:
        word = DataSet().check(options.words[0])
    except ArgumentError as error:
        options.parser.error(f"argument FOLDER: {error}")
    name, folder = name_and_folder(word, options.data_dir)
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


def _pack(options: argparse.Namespace) -> int:
    """Write the images of a folder into tars, and say which."""
    _, source, *more = options.words
    if more:
        options.parser.error(f"unrecognized arguments: {' '.join(more)}")
    if given := [name for name in OF_LOOK if getattr(options, name) is not None]:
        options.parser.error(f"--{given[0].replace('_', '-')} does not go with pack; leave it out")
    if options.to is None:
        options.parser.error("pack needs --to DIR, a new folder for the tars")
    written = data.pack(source, options.to, options.size or data_packing.SIZE, options.seed or 0)
    rows = [(one.path.name, f"{one.images:,}", f"{one.size:,}") for one in written]
    print("\n".join(text_table(("tar", "images", "bytes"), rows, "lrr")))
    images, size = (sum(getattr(one, what) for one in written) for what in ("images", "size"))
    print(f"{printed(options.to)}: {counted(images, 'image')} in {counted(len(written), 'tar')}, {size:,} bytes")
    print(f"train on them: gpucnn train --data {quoted(options.to)}")
    return 0


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
