"""Runs to look at, and images to show them."""

from pathlib import Path

import numpy as np
from PIL import Image

from gpucnn import data
from gpucnn.cli.main import main


def train(folder: Path, model: str = "mlp", epochs: int = 1) -> Path:
    """A run on the digits in `folder`."""
    arguments = ["--model", model, "--epochs", str(epochs), "--out", str(folder), "--quiet", "--device", "cpu"]
    assert main(["train", *arguments]) == 0
    return folder


def save_digit(path: Path, index: int) -> Path:
    """The test digit at `index` as an image file."""
    pixels = data.load("digits").test.images[index, 0].astype(float)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(pixels * 255 / 16).astype(np.uint8)).save(path)
    return path
