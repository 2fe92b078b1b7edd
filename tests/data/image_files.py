"""Image files to make data sets of."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.data import image_kind


def save(path: Path, pixels: np.ndarray) -> Path:
    """Bytes (H, W) or (H, W, 3) as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write_two_classes(folder: Path, count: int = 10, size: int = 32) -> Path:
    """`count` RGB images a class: "dark" with pixels from 0 to 99, "light" from 150 to 249."""
    rng = np.random.default_rng(7)
    for name, low in (("dark", 0), ("light", 150)):
        for index in range(count):
            save(folder / name / f"{index:03}.png", rng.integers(low, low + 100, (size, size, 3)))
    return folder


@contextmanager
def pillow_heif(module: object = None) -> Iterator[None]:
    """Inside, `module` is what there is of the library for HEIC files; None for no such library."""
    image_kind.reads_heif.cache_clear()
    image_kind.suffixes.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", module)
        yield
    image_kind.reads_heif.cache_clear()
    image_kind.suffixes.cache_clear()
