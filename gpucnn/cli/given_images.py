"""Images that are given to a command: files, and folders with all below them."""

import argparse
import errno
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gpucnn.cli.arguments import choice
from gpucnn.data.image_file import BACKGROUNDS
from gpucnn.data.image_listing import cannot_be_listed, no_images_text
from gpucnn.data.packed import list_packed_images
from gpucnn.errors import DataError
from gpucnn.regular_file import TimedCalls


def add_images(parser: argparse.ArgumentParser) -> None:
    """Declare the images, and how they are shown to the model."""
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+",
        help="an image, light on dark as in the digits and MNIST, or a folder, with all below it, or with tars, "
        "Parquet files or arrays of images",
    )  # fmt: skip
    parser.add_argument("--invert", action="store_true", help="turn light and dark round, for ink on white paper")
    parser.add_argument(
        "--background",
        type=choice(BACKGROUNDS),
        metavar="NAME",
        help="what is behind the transparent parts of an image: auto, white or black (default: as in training)",
    )


def found_images(paths: Sequence[str]) -> tuple[list[str], dict[str, str], Counter[str]]:
    """The images at `paths` and below, why some cannot be read, and how many files of each kind were left out.

    A file is taken as it is named; so is a folder without images, with that as its problem.
    """
    files: list[str] = []
    problems: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    with TimedCalls() as timed:
        for path in paths:
            if not path:  # of a shell's variable that is not set; it would be the current folder
                problems[path] = "an empty path; give the file or folder of images"
                files.append(path)
                continue
            try:
                found = list_packed_images(Path(path), timed)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # of which reading it tells
                    problems[path] = str(cannot_be_listed(Path(path), error))
                files.append(path)
                continue
            except DataError as error:  # of the tars in it, or what else has many images
                problems[path] = str(error)
                files.append(path)
                continue
            named = {file: os.path.join(path, file.relative_to(path)) for file in (*found.images, *found.problems)}
            problems |= {named[file]: f"{named[file]}: {problem}" for file, problem in found.problems.items()}
            if named:
                left_out += found.left_out
            else:
                problems[path] = no_images_text(path, found.left_out)
            files += named.values() or [path]
    return files, problems, left_out
