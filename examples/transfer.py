"""What weights from elsewhere are worth: four classes of CIFAR-10, 100 images each, learned from scratch and from six others.

Run it with `python examples/transfer.py DIR`, where DIR has CIFAR-10's files. It writes the images of both halves into folders,
prints the commands of `gpucnn train` that it runs, and compares the accuracies of three seeds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from gpucnn import data
from gpucnn.cli.main import main as gpucnn

TARGET = ("airplane", "cat", "frog", "ship")
EACH = 100


def write_folders(source: Path, out: Path, each: int) -> None:
    """OUT/six and OUT/four, with train/CLASS and test/CLASS; of the four, `each` training images a class."""
    splits = data.load("cifar10", source)
    for part, images in (("train", splits.train), ("test", splits.test)):
        counts = np.zeros(len(splits.class_names), int)
        for pixels, label in zip(images.images, images.labels, strict=True):
            name = splits.class_names[label]
            is_target = name in TARGET
            counts[label] += 1
            if is_target and part == "train" and counts[label] > each:
                continue
            folder = out / ("four" if is_target else "six") / part / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{counts[label]:04d}.png")


def train(out: Path, half: str, run: str, *options: str) -> float:
    """The test accuracy of a run of `gpucnn train`."""
    line = ["train", "--data", "folder", "--data-dir", str(out / half), "--out", str(out / run), *options]
    print(f"gpucnn {' '.join(line)}", flush=True)
    if gpucnn([*line, "--quiet"]) != 0:
        raise SystemExit(1)
    return float(json.loads((out / run / "summary.json").read_text())["test_accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path, help="the folder of CIFAR-10's files")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="a new folder for images and runs")
    parser.add_argument("--model", default="vgg_mini")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--epochs", default="15", help="of the four classes (default: 15)")
    parser.add_argument("--six-epochs", default="12", help="of the six classes (default: 12)")
    options = parser.parse_args()
    write_folders(options.data_dir, options.out, EACH)
    alike = ["--model", options.model, "--normalize"]
    train(options.out, "six", "run-six", *alike, "--epochs", options.six_epochs)
    weights = options.out / "run-six" / "model.safetensors"
    gains = []
    for seed in range(options.seeds):
        settings = ["--model", options.model, "--epochs", options.epochs, "--lr", "0.001", "--seed", str(seed)]
        scratch = train(options.out, "four", f"scratch-{seed}", *settings, "--normalize")
        tuned = train(options.out, "four", f"tuned-{seed}", *settings, "--weights", str(weights))
        gains.append(100 * (tuned - scratch))
        print(
            f"seed {seed}: from scratch {scratch:.4f}, from the weights {tuned:.4f}: {gains[-1]:+.1f} points",
            flush=True,
        )
    print(f"mean gain: {np.mean(gains):+.1f} points")


if __name__ == "__main__":
    main()
