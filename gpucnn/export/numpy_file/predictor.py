"""A predictor whose network is trivial: what is light, and what is dark. A run's has its own constants, network and images."""

import hashlib
import io
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.export.numpy_file.functions import softmax
from gpucnn.export.numpy_file.images import as_pixels, single_images

WEIGHTS = Path(__file__).with_name("predictor.npz")
SHA256 = ""
CLASSES = ("dark", "light")
CHANNELS = 1


def predict(images: Any, top: int = 5, *, invert: bool = False) -> list[Any]:
    """The `top` classes with their probabilities, the best first: [("cat", 0.9), ...].

    `images` is one image or several, as `preprocess` takes them; of several, in a list
    or an array (N, H, W, C), it is a list with the answers for each. `invert` turns
    light and dark round, for ink on paper shown to a model of light digits on dark.
    """
    answers = []
    for row in probabilities(images, invert=invert):
        best = np.argsort(-row, kind="stable")[:top]
        answers.append([(CLASSES[place], float(row[place])) for place in best])
    is_single = not isinstance(images, list | tuple) and np.ndim(images) < 4
    return answers[0] if is_single else answers


def probabilities(images: Any, *, invert: bool = False) -> np.ndarray:
    """(N, classes), computed 64 images at a time."""
    single = single_images(images)
    found = [np.empty((0, len(CLASSES)), np.float32)]
    for start in range(0, len(single), 64):
        x = preprocess(single[start : start + 64], invert=invert)
        found.append(softmax(logits(x)))
    return np.concatenate(found)


def logits(x: np.ndarray) -> np.ndarray:
    """How dark and how light images are, (N, 2)."""
    light = x.mean((1, 2, 3))
    return np.stack([1 - light, light], axis=1)


def preprocess(images: Any, *, invert: bool = False) -> np.ndarray:
    """Bytes in [0, 1]."""
    pixels = [as_pixels(image, 1, "auto") for image in single_images(images)]
    raw = 255 - np.stack(pixels) if invert else np.stack(pixels)
    return raw.transpose(0, 3, 1, 2) / np.float32(255)


@cache
def weights() -> dict[str, np.ndarray]:
    """The arrays in the file beside this one, by the names of the layers."""
    if not WEIGHTS.is_file():
        raise FileNotFoundError(f"{WEIGHTS}: missing; it has the weights of {__file__}")
    content = WEIGHTS.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(
            f"{WEIGHTS}: not those of {Path(__file__).name}, or damaged; keep the "
            f"two files together that were written together",
        )
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def main(arguments: list[str]) -> int:
    """Print what is seen in each file."""
    files = [argument for argument in arguments if argument != "--invert"]
    if not files:
        name = Path(__file__).name
        print(f"usage: python {name} [--invert] IMAGE ...", file=sys.stderr)
        return 2
    failed = False
    for file in files:
        try:
            answers = predict(file, invert="--invert" in arguments)
            print(file, *(f"{name} {share:.4f}" for name, share in answers), sep="  ")
        except (OSError, ValueError) as error:
            print(f"{file}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
