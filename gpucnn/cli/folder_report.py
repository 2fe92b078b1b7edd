"""What is said of a folder of images that was looked at: in a few lines before a training, or in full."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.data import InspectedImage, Inspection, Splits
from gpucnn.data.image_folder import paths_of
from gpucnn.data.image_listing import left_out_text
from gpucnn.text import names_text, printed
from gpucnn.text_table import shortened, text_table

IMBALANCE = 3
"""How many times as many images a class has than another where `--balance` is worth a thought."""

MOST_CLASSES, MOST_ROWS, MOST_FILES, MOST_MODES = 8, 40, 20, 6
"""What a line has of classes, a table of rows, a list of files and a line of modes."""

EXAMPLES = 3


class Doubles(NamedTuple):
    """Groups of files that show the same image, by their pixels."""

    across: list[list[InspectedImage]]
    """Some to learn from, some to test with."""
    classes: list[list[InspectedImage]]
    """In different classes."""
    others: list[list[InspectedImage]]


@contextmanager
def looking() -> Iterator[Callable[[int, int], None]]:
    """Inside, what `data.inspect` tells is shown as a bar, if it takes longer than a moment and standard error is a terminal."""
    from tqdm import tqdm

    is_shown = sys.stderr.isatty()
    with tqdm(unit="image", desc="looking at", leave=False, file=sys.stderr, disable=not is_shown, delay=1) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


def short_lines(found: Inspection, splits: Splits, balance: bool) -> list[str]:
    """What is worth knowing before a training: how many images and classes, their sizes, and what is wrong."""
    counts = Counter(image.class_name for image in found.images)
    ratio = "" if balance else _imbalance(counts)
    hint = f" ({ratio}: --balance)" if ratio else ""
    classes = _classes(found.class_names, counts)
    lines = [f"{printed(str(found.folder))}: {len(found.images):,} images of {_pixels(found.images)}; {classes}{hint}"]
    if found.unreadable:
        names = [_name(found, file.path) for file in found.unreadable]
        lines.append(f"left out: {len(names):,} that cannot be read: {names_text(names, EXAMPLES)}")
    doubles = same_images(found, splits)
    return [*lines, *_double_lines(found, doubles._replace(others=[]))]


def lines(found: Inspection, splits: Splits | None, image_size: int | None) -> list[str]:
    """All that was seen. `splits` are the images as a training takes them, None where they cannot be taken."""
    parts = parts_by_path(splits)
    counts = Counter((image.class_name, parts.get(image.path, image.part)) for image in found.images)
    whole = Counter(image.class_name for image in found.images)
    text = [
        f"{printed(str(found.folder))}: {len(found.images):,} images of {len(found.class_names):,} classes",
        "",
        *_class_table(found.class_names, counts),
        "",
    ]
    if ratio := _imbalance(whole):
        text.append(f"imbalance: {ratio}; gpucnn train --balance draws each class as often as any other")
    if found.images:
        text += _size_lines(found.images, image_size)
        modes = Counter(image.mode for image in found.images)
        named = [f"{mode} {count:,}" for mode, count in modes.most_common(MOST_MODES)]
        rest = len(modes) - MOST_MODES
        text.append(f"modes: {', '.join(named)}{f' and {rest} more' if rest > 0 else ''}{_grey_hint(modes)}")
    text += [line for line in (() if splits is None else splits.notes) if line not in text]
    if splits is None and (left_out := left_out_text(found.left_out)):
        text.append(left_out)
    if splits is not None:
        text += _double_lines(found, same_images(found, splits))
    return [*text, *_unreadable_lines(found)]


def as_json(found: Inspection, splits: Splits | None) -> dict[str, Any]:
    """All that was seen, of every file, as JSON values."""
    parts = parts_by_path(splits)
    return {
        "folder": str(found.folder),
        "classes": list(found.class_names),
        "images": [
            {
                "file": _name(found, image.path),
                "part": parts.get(image.path, image.part),
                "class": image.class_name,
                "width": image.size[0],
                "height": image.size[1],
                "mode": image.mode,
                "blake2b": image.digest,
                "pixels": image.pixels,
            }
            for image in found.images
        ],
        "unreadable": [
            {"file": _name(found, file.path), "part": file.part, "class": file.class_name, "reason": file.reason}
            for file in found.unreadable
        ],
        "left_out": dict(found.left_out),
        "notes": [] if splits is None else list(splits.notes),
        "same_image": [
            [_name(found, image.path) for image in group]
            for groups in (() if splits is None else same_images(found, splits))
            for group in groups
        ],
    }


def parts_by_path(splits: Splits | None) -> dict[Path, str]:
    """Which part each file is in: "train", "validation" or "test"."""
    if splits is None:
        return {}
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {path: name for name, part in parts.items() if part is not None for path in paths_of(part) or ()}


def same_images(found: Inspection, splits: Splits) -> Doubles:
    """Which files show the same image: their pixels are the same, whatever their bytes."""
    parts, groups = parts_by_path(splits), dict[str, list[InspectedImage]]()
    for image in found.images:
        groups.setdefault(image.pixels, []).append(image)
    doubles = Doubles([], [], [])
    for group in groups.values():
        if len(group) > 1:
            is_test = {parts.get(image.path) == "test" for image in group}
            several = len({image.class_name for image in group}) > 1
            (doubles.across if len(is_test) > 1 else doubles.classes if several else doubles.others).append(group)
    return doubles


def _class_table(names: Sequence[str], counts: Mapping[tuple[str, str], int]) -> list[str]:
    """How many images each class has in each part; of many classes the largest and the smallest."""
    parts = [part for part in ("train", "validation", "test", "") if any(one == part for _, one in counts)]
    totals = {name: sum(counts.get((name, part), 0) for part in parts) for name in names}
    shown = list(names)
    if len(names) > MOST_ROWS:
        shown = sorted(names, key=lambda name: -totals[name])
        shown = [*shown[: MOST_ROWS // 2], *shown[-MOST_ROWS // 2 :]]
    rows = [(shortened(name), *(f"{counts.get((name, part), 0):,}" for part in parts)) for name in shown]
    if len(names) > MOST_ROWS:
        rows.insert(MOST_ROWS // 2, (f"({len(names) - MOST_ROWS:,} classes between)", *("" for _ in parts)))
    sums = [sum(counts.get((name, part), 0) for name in names) for part in parts]
    rows.append(("all", *(f"{count:,}" for count in sums)))
    return text_table(("class", *(part or "images" for part in parts)), rows, "l" + "r" * len(parts))


def _classes(names: Sequence[str], counts: Mapping[str, int]) -> str:
    """The classes and how many images each has, the largest first."""
    numbers = {counts.get(name, 0) for name in names}
    if len(numbers) == 1:
        return f"{len(names):,} classes of {numbers.pop():,} each"
    ordered = sorted(names, key=lambda name: -counts.get(name, 0))
    return (
        f"{len(names):,} classes: {names_text([f'{name} {counts.get(name, 0):,}' for name in ordered], MOST_CLASSES)}"
    )


def _imbalance(counts: Mapping[str, int]) -> str:
    """How many images the largest class has for one of the smallest, e.g. "7 to 1"; empty for few."""
    if not counts or (ratio := max(counts.values()) / min(counts.values())) < IMBALANCE:
        return ""
    return f"{ratio:,.0f} to 1"


def _pixels(images: Sequence[InspectedImage]) -> str:
    small, _, large = _by_size(images)
    return f"{_size(small)} pixels" if small == large else f"{_size(small)} to {_size(large)} pixels"


def _by_size(images: Sequence[InspectedImage]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The smallest, median and largest size, by their number of pixels."""
    sizes = sorted((image.size for image in images), key=lambda size: (size[0] * size[1], size))
    return sizes[0], sizes[len(sizes) // 2], sizes[-1]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _size_lines(images: Sequence[InspectedImage], image_size: int | None) -> list[str]:
    small, median, large = map(_size, _by_size(images))
    text = [f"sizes: {small} the smallest, {median} the median, {large} the largest"]
    if image_size is not None and (count := sum(min(image.size) < image_size for image in images)):
        text.append(f"{count:,} of the images are smaller than {image_size} pixels, and are enlarged")
    return text


def _grey_hint(modes: Mapping[str, int]) -> str:
    return "; all are grey: --mode grey" if all(mode in ("1", "L") or mode.startswith("I") for mode in modes) else ""


def _double_lines(found: Inspection, doubles: Doubles) -> list[str]:
    told = [
        (doubles.across, "in the training and the test images", "; remove one of each, or the test says too much"),
        (doubles.classes, "in two classes", "; one of each is wrong"),
        (doubles.others, "in two files of one class", ""),
    ]
    return [
        f"the same image {where}: {len(groups):,} ({_examples(found, groups)}){fix}"
        for groups, where, fix in told
        if groups
    ]


def _examples(found: Inspection, groups: Sequence[Sequence[InspectedImage]]) -> str:
    named = [" = ".join(shortened(_name(found, image.path)) for image in group[:2]) for group in groups[:EXAMPLES]]
    return f"{', '.join(named)}{', ...' if len(groups) > EXAMPLES else ''}"


def _unreadable_lines(found: Inspection) -> list[str]:
    """The files that cannot be read, each with its reason."""
    files = found.unreadable
    if not files:
        return ["all can be read"]
    text = [
        "",
        f"{len(files):,} cannot be read; repair or remove them, or leave them out with gpucnn train --skip-unreadable:",
    ]
    text += [f"  {printed(_name(found, file.path))}: {file.reason}" for file in files[:MOST_FILES]]
    left = len(files) - MOST_FILES
    return text if left <= 0 else [*text, f"  and {left:,} more; --json FILE lists all"]


def _name(found: Inspection, path: Path) -> str:
    """A file's path in the folder, with "/" on every system."""
    return Path(os.path.relpath(path, found.folder)).as_posix()
