"""`gpucnn evaluate RUN`: measure a trained model on its data set, class by class."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpucnn import data
from gpucnn.backend import choose_device
from gpucnn.cli.arguments import add_views, add_weights, choice, count
from gpucnn.cli.result_file import check_writable, finite, write_json, write_text
from gpucnn.data.catalog import FOLDER
from gpucnn.data.image_folder import paths_of
from gpucnn.runs.measured_images import measured_images
from gpucnn.text_table import shortened, shortened_table, terminal_width
from gpucnn.training import RunFolder, evaluate
from gpucnn.training.evaluate import TOP, Evaluation

HELP = "Measure the model of a run on its data set's test images, class by class."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn evaluate`."""
    parser.epilog = (
        "Precision: of the images answered with a class, the share that belong to it. Recall: of the images of a class, the "
        "share answered with it. F1: their harmonic mean. A ratio of nothing is 0; averages are over the classes that occur."
    )
    parser.add_argument("run_folder", metavar="RUN", help="a folder that gpucnn train made")
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the folder of the data set's files (default: as in training); of another folder of images all are measured, but "
        "those that the run was trained on",
    )
    parser.add_argument("--split", type=choice(["test", "train"]), default="test", help="test (default) or train")
    parser.add_argument("--worst", type=count, default=0, metavar="N", help="list the N images with the highest loss")
    parser.add_argument("--csv", metavar="FILE", help="write the confusion matrix to FILE")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured to FILE")
    add_weights(parser)
    add_views(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn evaluate`."""
    device = choose_device(options.device)
    trained = RunFolder(options.run_folder).load(device.device, options.weights)
    trained.look_at(options.views)
    measured, place = measured_images(RunFolder(options.run_folder), trained, options.data_dir, options.split)
    check_writable(options.csv, options.json)
    print(device, f"weights: {trained.weights}", sep="\n", flush=True)
    for note in measured.notes:
        print(f"gpucnn evaluate: {note}", file=sys.stderr)
    images = measured.images
    if measured.what:
        print(f"measured: {len(images):,} images, {measured.what}", flush=True)
    with trained.in_its_precision():
        found = evaluate(trained.model, data.DataLoader(images, 256), trained.class_names, options.worst)
    files = paths_of(images)
    if options.csv:
        write_text(options.csv, found.confusion.csv())
    if options.json:
        origin = {"run": options.run_folder, "weights": trained.weights.name, "epoch": trained.weights.row.get("epoch")}
        origin |= {"data": trained.config["data"], "split": options.split}
        if trained.config["data"] == FOLDER:
            origin["data_dir"] = str(place)
        write_json(options.json, {**origin, **as_json(found, files)})
    print("\n".join(lines(found, options.split, files)))


def lines(found: Evaluation, split: str, files: Sequence[Path] | None = None) -> list[str]:
    """What `gpucnn evaluate` prints of an evaluation, the figures that matter most at the end.

    `files`, if there are any, name the images.
    """
    confusion = found.confusion
    text = ["", *confusion.matrix_lines(terminal_width()), "", *confusion.class_lines(), ""]
    if found.worst:
        text += [*_worst_lines(found, confusion.class_names, files), ""]
    text.append(f"{split} loss {found.loss:.4f}")
    if len(confusion.class_names) > TOP:
        text.append(f"{split} top-{TOP} accuracy {found.top_5_accuracy:.4f} ({found.top_5_correct}/{found.total})")
    return [*text, f"{split} accuracy {found.accuracy:.4f} ({found.correct}/{found.total})"]


def as_json(found: Evaluation, files: Sequence[Path] | None = None) -> dict[str, Any]:
    """An evaluation as JSON values; null for NaN and infinity. `files`, if there are any, name the images."""
    confusion, scores, macro = found.confusion, found.confusion.scores(), found.confusion.macro()
    names = confusion.class_names
    rows = zip(names, scores.precision, scores.recall, scores.f1, confusion.support, strict=True)
    return {
        "loss": finite(found.loss),
        "accuracy": found.accuracy,
        "correct": found.correct,
        "total": found.total,
        "top_5_accuracy": found.top_5_accuracy if len(names) > TOP else None,
        "macro_average": {"precision": macro.precision, "recall": macro.recall, "f1": macro.f1},
        "classes": [
            {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1), "images": int(images)}
            for name, precision, recall, f1, images in rows
        ],
        "confusion": confusion.counts.tolist(),
        "worst": [
            {
                "index": sample.index,
                **({} if files is None else {"file": str(files[sample.index])}),
                "label": names[sample.label],
                "answer": names[sample.answer],
                "probability": finite(sample.probability),
                "loss": finite(sample.loss),
            }
            for sample in found.worst
        ],
    }  # fmt: skip


def _worst_lines(found: Evaluation, class_names: Sequence[str], files: Sequence[Path] | None) -> list[str]:
    header, sides = ("label", "answer", "image", "probability", "loss"), "llrrr" if files is None else "lllrr"
    rows = [
        (shortened(class_names[sample.label], 20), shortened(class_names[sample.answer], 20),
         str(sample.index) if files is None else shortened(str(files[sample.index]), 60),
         f"{sample.probability:.4f}", f"{sample.loss:.4f}")
        for sample in found.worst
    ]  # fmt: skip
    return shortened_table(header, rows, sides, header.index("image"))
